"""Reading a stored object as one stream of bytes, and taking one in: what transfers work with.

A blob's stream is its content, a directory's is its archive (`common.archive`).
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable
from typing import Protocol

from rainzmq.common.archive import TreeArchive, Unpacker
from rainzmq.common.limits import MEMORY_OBJECT_BYTES
from rainzmq.common.trees import remove_tree

_HASH_BYTES = 1 << 20


class ObjectSource(Protocol):
    """A stored object as a stream. It stays readable when the object is removed meanwhile, if it is a blob.

    Attributes:
        size: bytes of the whole stream.
    """

    size: int

    def digest(self) -> bytes:
        """SHA-256 of the whole stream; computed at the first call when it is not known."""

    def read(self, offset: int, count: int) -> bytes | memoryview:
        """Up to `count` bytes from `offset` on, fewer only at the end. Raises `OSError`, `ArchiveError`."""

    def close(self) -> None:
        """Let go of it."""


class MemorySource:
    """A blob in memory."""

    def __init__(self, data: bytes, digest: bytes | None, found: Callable[[bytes], None]) -> None:
        self._data = memoryview(data)
        self._digest = digest
        self._found = found
        self.size = len(data)

    def digest(self) -> bytes:
        """See `ObjectSource`."""
        if self._digest is None:
            self._digest = hashlib.sha256(self._data).digest()
            self._found(self._digest)
        return self._digest

    def read(self, offset: int, count: int) -> memoryview:
        """See `ObjectSource`."""
        return self._data[offset : offset + count]

    def close(self) -> None:
        """See `ObjectSource`."""


class FileSource:
    """A blob in a file, mapped."""

    def __init__(self, path: str, digest: bytes | None, found: Callable[[bytes], None]) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        self.size = os.fstat(self._descriptor).st_size
        self._map = (
            memoryview(mmap.mmap(self._descriptor, self.size, prot=mmap.PROT_READ)) if self.size else b""
        )
        self._digest = digest
        self._found = found

    def digest(self) -> bytes:
        """See `ObjectSource`."""
        if self._digest is None:
            self._digest = _digest_of(self)
            self._found(self._digest)
        return self._digest

    def read(self, offset: int, count: int) -> bytes | memoryview:
        """See `ObjectSource`."""
        if os.fstat(self._descriptor).st_size != self.size:  # touching the lost pages would end this process
            raise OSError("the stored file was truncated")
        return self._map[offset : offset + count]

    def close(self) -> None:
        """See `ObjectSource`. Pieces that were read stay valid: they keep the map."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._map = b""


class TreeSource:
    """A directory, as its archive."""

    def __init__(self, path: str, digest: bytes | None, found: Callable[[bytes], None]) -> None:
        self._archive = TreeArchive(path)
        self.size = self._archive.size
        self._digest = digest
        self._found = found

    def digest(self) -> bytes:
        """See `ObjectSource`."""
        if self._digest is None:
            self._digest = _digest_of(self)
            self._found(self._digest)
        return self._digest

    def read(self, offset: int, count: int) -> bytes:
        """See `ObjectSource`."""
        return self._archive.read(offset, count)

    def close(self) -> None:
        """See `ObjectSource`."""
        self._archive.close()


def _digest_of(source: ObjectSource) -> bytes:
    state = hashlib.sha256()
    for offset in range(0, source.size, _HASH_BYTES):
        state.update(source.read(offset, _HASH_BYTES))
    return state.digest()


class ObjectSink:
    """Takes the stream of one object and puts it into the store when it is complete.

    `position` is the number of bytes taken. Errors of the disk come as `StoreFull` or `OSError`, a bad
    archive as `ArchiveError`; after any error, and if it is given up, `abort` must be called.
    """

    def __init__(
        self,
        is_directory: bool,
        temporary: str,
        place: Callable[[bytes | str, bytes], int],
        translate: Callable[[OSError, int, bool], Exception],
    ) -> None:
        """`temporary` is a path nothing is at. `place(content or path, digest)` takes the result over and
        returns its size; `translate(error, bytes, is_all)` makes the error to raise from one of the
        disk's; without `is_all` more bytes were to come.
        """
        self.position = 0
        self._temporary = temporary
        self._place = place
        self._translate = translate
        self._state = hashlib.sha256()
        self._memory: bytearray | None = None if is_directory else bytearray()
        self._file = -1
        self._unpacker = Unpacker(temporary) if is_directory else None
        self._done = False

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        try:
            self._write(data)
        except OSError as error:
            self.abort()  # what there is room for is told without it
            raise self._translate(error, self.position + len(data), False) from error
        self._state.update(data)
        self.position += len(data)

    def _write(self, data: bytes | memoryview) -> None:
        if self._unpacker is not None:
            self._unpacker.feed(data)
            return
        if self._memory is not None:
            if len(self._memory) + len(data) <= MEMORY_OBJECT_BYTES:
                self._memory += data
                return
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._file = os.open(self._temporary, flags, 0o600)
            write_all(self._file, self._memory)
            self._memory = None
        write_all(self._file, data)

    def finish(self, size: int, digest: bytes) -> int:
        """All came: put the object into the store; returns its size (for a directory the sum of its files).

        Raises `ValueError` when the stream's size or SHA-256 differs, `ArchiveError` for a bad archive,
        `StoreFull`.
        """
        if self.position != size:
            raise ValueError(f"{self.position} bytes came instead of {size}")
        if self._state.digest() != digest:
            raise ValueError("the digest differs: bytes were changed on the way")
        try:
            if self._unpacker is not None:
                self._unpacker.finish()
            self._close()
            content = self._temporary if self._memory is None else bytes(self._memory)
            result = self._place(content, digest)
        except OSError as error:
            raise self._translate(error, size, True) from error
        self._done = True
        return result

    def abort(self) -> None:
        """Give up and leave nothing. No effect after `finish`."""
        if not self._done:
            self._done = True
            self._close()
            remove_tree(self._temporary)

    def _close(self) -> None:
        if self._unpacker is not None:
            self._unpacker.close()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def write_all(descriptor: int, data: bytes | bytearray | memoryview) -> None:
    """Write all of `data`. Raises `OSError`."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
