"""Directories as one stream of bytes: a tar archive that depends on nothing but the tree's content.

Packing sorts names and leaves out owners and times, so equal trees give equal archives and a digest means
something. An archive is never built in memory or on disk: `TreeArchive` lays out where each header and file
stands in it and reads any part on demand, so a transfer can go on at any offset.

Unpacking is our own, because the filters of `tarfile` have been bypassed more than once and because a
transfer pushes bytes at us. `tarfile` only parses single headers. What makes it safe: names are canonical and
relative; an entry is made only in a directory that this archive has made before; files are opened with
O_EXCL; symlinks are made after all else, when all of them are known and checked together, so that nothing is
ever written through one.
"""

from __future__ import annotations

import errno
import os
import tarfile
from bisect import bisect_right
from typing import BinaryIO, Protocol

from rainzmq.common.trees import (
    MAX_TREE_BYTES,
    MAX_TREE_ENTRIES,
    ArchiveError,
    DamagedArchive,
    TreeEntry,
    check_links,
    check_tree,
    scan_tree,
    tree_size,
)

__all__ = [
    "ArchiveError",
    "DamagedArchive",
    "TreeArchive",
    "Unpacker",
    "check_tree",
    "pack_tree",
    "tree_size",
    "unpack_tree",
]

_BLOCK = 512
_END = bytes(2 * _BLOCK)
_READ_BYTES = 1 << 20
_MAX_NAME_BYTES = 4096


class _Writable(Protocol):
    def write(self, data: bytes, /) -> object: ...


class TreeArchive:
    """The archive of the tree at `path`, readable at any offset.

    Raises `ArchiveError` for what a tree may not hold. The tree must not change while it is read; a file
    whose size changed is noticed and raises `ArchiveError` when it is read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._root = os.fspath(path)
        self._starts: list[int] = []
        self._parts: list[bytes | tuple[str, int]] = []  # literal bytes, or a file's name and size
        self.size = 0
        """Bytes of the whole archive."""
        for entry in scan_tree(self._root):
            self._add(_header(entry))
            if entry.size:
                self._add((entry.name, entry.size))
                self._add(bytes(-entry.size % _BLOCK))
        self._add(_END)
        self._open: tuple[str, int] | None = None

    def _add(self, part: bytes | tuple[str, int]) -> None:
        length = len(part) if isinstance(part, bytes) else part[1]
        if length:
            self._starts.append(self.size)
            self._parts.append(part)
            self.size += length

    def read(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset` on; fewer only at the end of the archive."""
        pieces: list[bytes] = []
        count = min(count, self.size - offset)
        index = bisect_right(self._starts, offset) - 1
        while count > 0:
            part = self._parts[index]
            skip = offset - self._starts[index]
            piece = (
                part[skip : skip + count] if isinstance(part, bytes) else self._read_file(part, skip, count)
            )
            pieces.append(piece)
            offset += len(piece)
            count -= len(piece)
            index += 1
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_file(self, part: tuple[str, int], skip: int, count: int) -> bytes:
        name, size = part
        if self._open is None or self._open[0] != name:
            self.close()
            full = os.path.join(self._root, name)
            self._open = name, os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        wanted = min(count, size - skip)
        data = os.pread(self._open[1], wanted, skip)
        while 0 < len(data) < wanted and (
            more := os.pread(self._open[1], wanted - len(data), skip + len(data))
        ):
            data += more
        if len(data) != wanted:
            raise ArchiveError(f"directory {self._root}: the file {name!r} became shorter while it was read")
        return data

    def close(self) -> None:
        """Let go of open files. Reading again opens them again."""
        if self._open is not None:
            os.close(self._open[1])
            self._open = None


def pack_tree(path: str | os.PathLike[str], out: _Writable) -> int:
    """Write the archive of the tree at `path` to `out`; returns its size in bytes.

    Raises `ArchiveError`, `OSError`.
    """
    archive = TreeArchive(path)
    try:
        for offset in range(0, archive.size, _READ_BYTES):
            out.write(archive.read(offset, _READ_BYTES))
    finally:
        archive.close()
    return archive.size


def unpack_tree(
    source: BinaryIO,
    target: str | os.PathLike[str],
    *,
    writable: bool = False,
    max_entries: int = MAX_TREE_ENTRIES,
    max_bytes: int = MAX_TREE_BYTES,
) -> None:
    """Unpack an archive into the directory `target`, which is made and must not be there or be empty.

    Files and directories get the modes they had; with `writable` their owner may write to them in any case.
    Raises `ArchiveError` naming the entry for anything that a tree may not hold, and for more entries or
    bytes than allowed; what was unpacked until then is left for the caller to remove. Nothing outside
    `target` is ever touched.
    """
    unpacker = Unpacker(target, writable=writable, max_entries=max_entries, max_bytes=max_bytes)
    try:
        while data := source.read(_READ_BYTES):
            unpacker.feed(data)
        unpacker.finish()
    finally:
        unpacker.close()


class Unpacker:
    """Unpacks an archive that comes in pieces; see `unpack_tree` for what it takes and raises."""

    def __init__(
        self,
        target: str | os.PathLike[str],
        *,
        writable: bool = False,
        max_entries: int = MAX_TREE_ENTRIES,
        max_bytes: int = MAX_TREE_BYTES,
    ) -> None:
        self._root = os.fspath(target)
        self._more_for_files, self._more_for_directories = (0o600, 0o700) if writable else (0, 0)
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._bytes = 0
        self._directories: dict[str, int] = {}
        self._seen: set[str] = set()
        self._links: dict[str, str] = {}
        self._buffer = bytearray()  # a header, or a long name, that has not come completely
        self._want = _BLOCK
        self._long_kind = b""  # the header before announced a long name (L) or a long link target (K)
        self._long_size = 0
        self._long_name: str | None = None
        self._long_target: str | None = None
        self._file = -1
        self._mode = 0
        self._left = 0  # bytes of the current file that have not come
        self._padding = 0  # bytes to skip after it
        self._ended = False
        os.makedirs(self._root, exist_ok=True)
        if os.listdir(self._root):
            raise ArchiveError(f"{self._root} is not empty, nothing is unpacked into it")

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the archive. Raises `ArchiveError` for what is not taken, `DamagedArchive`
        for what is no archive, `OSError`.
        """
        view = memoryview(data)
        while view and not self._ended:
            if self._left:
                view = self._take_content(view)
            elif self._padding:
                skip = min(self._padding, len(view))
                self._padding -= skip
                view = view[skip:]
            else:
                view = self._take_block(view)

    def finish(self) -> None:
        """All bytes came: make the links and set the modes.

        Raises `DamagedArchive` when the archive is cut off, `ArchiveError` for links that leave it.
        """
        if not self._ended:
            raise DamagedArchive("the archive is cut off before its end")
        check_links(self._links)
        for name, target in self._links.items():
            os.symlink(target, os.path.join(self._root, name))
        for name, mode in reversed(self._directories.items()):
            os.chmod(os.path.join(self._root, name), mode | self._more_for_directories)

    def close(self) -> None:
        """Let go of the file that is being written, if any. May be called at any time."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _take_content(self, view: memoryview) -> memoryview:
        piece = view[: self._left]
        written = os.write(self._file, piece)
        self._left -= written
        if self._left == 0:
            self._end_file()
        return view[written:]

    def _end_file(self) -> None:
        os.fchmod(self._file, self._mode | self._more_for_files)
        self.close()

    def _take_block(self, view: memoryview) -> memoryview:
        missing = self._want - len(self._buffer)
        self._buffer += view[:missing]
        if len(self._buffer) == self._want:
            block = bytes(self._buffer)
            self._buffer.clear()
            self._want = _BLOCK
            if self._long_kind:
                self._take_long_name(block)
            else:
                self._take_header(block)
        return view[missing:]

    def _take_long_name(self, block: bytes) -> None:
        raw = block[: self._long_size].rstrip(b"\0")
        if b"\0" in raw:
            raise DamagedArchive(f"the archive has a name with a NUL in it: {raw[:80]!r}")
        text = raw.decode("utf-8", "surrogateescape")
        if self._long_kind == tarfile.GNUTYPE_LONGNAME:
            self._long_name = text
        else:
            self._long_target = text
        self._long_kind = b""

    def _take_header(self, block: bytes) -> None:
        if not block.strip(b"\0"):
            self._ended = True
            return
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise DamagedArchive(f"this is not an archive of a directory: {error}") from None
        if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            if not 0 < info.size <= _MAX_NAME_BYTES + 1:
                raise ArchiveError(
                    f"the archive has a name of {info.size} bytes, over {_MAX_NAME_BYTES} are refused"
                )
            self._long_kind = info.type
            self._long_size = info.size
            self._want = info.size + -info.size % _BLOCK
            return
        name = info.name if self._long_name is None else self._long_name.rstrip("/")
        target = info.linkname if self._long_target is None else self._long_target
        self._long_name = self._long_target = None
        try:
            self._take_entry(info, name, target)
        except OSError as error:
            if error.errno in _NAME_ERRORS:
                raise ArchiveError(f"the entry {name[:200]!r} cannot be made: {error.strerror}") from None
            raise

    def _take_entry(self, info: tarfile.TarInfo, name: str, target: str) -> None:
        self._check_name(name)
        if info.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
            self._start_file(name, info.mode & 0o777, info.size)
        elif info.isdir():
            os.mkdir(os.path.join(self._root, name), 0o700)
            self._directories[name] = info.mode & 0o777
        elif info.issym():
            if not target:
                raise ArchiveError(f"the symlink {name!r} has no target")
            self._links[name] = target
        else:
            kind = _KINDS.get(info.type, f"of type {info.type!r}")
            raise ArchiveError(
                f"the entry {name!r} is {kind}; only files, directories and symlinks inside are taken"
            )

    def _check_name(self, name: str) -> None:
        if name.startswith("/"):
            raise ArchiveError(f"the entry {name!r} has an absolute name")
        parts = name.split("/")
        if ".." in parts:
            raise ArchiveError(f"the entry {name!r} has '..' in its name")
        if "" in parts or "." in parts:
            raise ArchiveError(f"the entry {name!r} has an empty part or '.' in its name")
        if name in self._seen:
            raise ArchiveError(f"the entry {name!r} is in the archive twice")
        parent = name.rpartition("/")[0]
        if parent and parent not in self._directories:
            raise ArchiveError(
                f"the entry {name!r} is in {parent!r}, which is not a directory of the archive before it"
            )
        self._seen.add(name)
        if len(self._seen) > self._max_entries:
            raise ArchiveError(f"the archive has more than {self._max_entries} entries, which is the limit")

    def _start_file(self, name: str, mode: int, size: int) -> None:
        self._bytes += size
        if size < 0 or self._bytes > self._max_bytes:
            raise ArchiveError(
                f"with the entry {name!r} the archive exceeds {self._max_bytes} bytes, which is the limit"
            )
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.open(os.path.join(self._root, name), flags, 0o600)
        self._mode = mode
        self._left = size
        self._padding = -size % _BLOCK
        if size == 0:
            self._end_file()


_NAME_ERRORS = (errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP)

_KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a FIFO",
}


def _header(entry: TreeEntry) -> bytes:
    info = tarfile.TarInfo(entry.name)
    info.mode = entry.mode
    if entry.is_link:
        info.type = tarfile.SYMTYPE
        info.linkname = entry.target
        info.mode = 0o777
    elif entry.is_directory:
        info.type = tarfile.DIRTYPE
    else:
        info.size = entry.size
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
