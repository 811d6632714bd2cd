"""The content of a directory, kept until it is uploaded."""

from __future__ import annotations

import tempfile
import weakref

from rainzmq.common.trees import remove_tree, tree_size


class Snapshot:
    """The content of a directory as it was when `directory()` was called: an archive in a temporary file.

    Attributes:
        path: the archive.
        archive_size: bytes of the archive.
        size: bytes of all files of the directory.
    """

    def __init__(self, directory: str) -> None:
        from rainzmq.common.archive import pack_tree

        handle, self.path = tempfile.mkstemp(prefix="rainzmq-dir-", suffix=".tar")
        weakref.finalize(self, remove_tree, self.path)
        with open(handle, "wb") as file:
            self.archive_size = pack_tree(directory, file)
        self.size = tree_size(directory)
