"""Where a process keeps data objects: small ones in memory, larger ones in files."""

from rainzmq.store.objects import ObjectStore, StoreFull
from rainzmq.store.streams import Sink, Source
from rainzmq.store.workdir import default_workdir, is_noexec, private_workdir, release_workdir

__all__ = [
    "ObjectStore",
    "Sink",
    "Source",
    "StoreFull",
    "default_workdir",
    "is_noexec",
    "private_workdir",
    "release_workdir",
]
