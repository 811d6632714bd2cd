"""Where a process keeps data objects: small ones in memory, larger ones in files."""

from rainzmq.store.objects import ObjectStore, StoreFull
from rainzmq.store.streams import ObjectSink, ObjectSource
from rainzmq.store.workdir import default_workdir, is_noexec, private_workdir, release_workdir

__all__ = [
    "ObjectSink",
    "ObjectSource",
    "ObjectStore",
    "StoreFull",
    "default_workdir",
    "is_noexec",
    "private_workdir",
    "release_workdir",
]
