"""The object store: immutable data objects of one process, by uid.

    root/objects/   one file or sealed directory tree per object that is too large for memory (`common.trees`)
    root/incoming/  what is still being written; moved to objects/ by rename when it is complete

Files are 0444, or 0555 when they are executable, directories 0555 and their files keep exec bits only, so a
program that gets a link to one cannot write to it, unless it is root's: then `use_view` names a read-only
mount of objects/ and `path` points there.

Several uids can share one content (`alias`); it goes when the last of them goes. The store may be used from
several threads: a lock guards the tables, work on files is done outside of it.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import shutil
import stat
import threading
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path

from rainzmq.common.ids import id_of, session_of
from rainzmq.common.limits import MEMORY_OBJECT_BYTES
from rainzmq.common.trees import (
    copy_file,
    copy_tree,
    is_executable,
    link_part,
    remove_tree,
    seal_tree,
    tree_size,
)
from rainzmq.common.units import format_size
from rainzmq.store.signature import Signature, signature_of
from rainzmq.store.streams import FileSource, MemorySource, ObjectSink, ObjectSource, TreeSource, write_all

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StoreFull(Exception):
    """There is no room for an object. The text says what it needs and what there is: "need X, have Y"."""


class _Content:
    """One content, which several uids may share."""

    __slots__ = (
        "data",
        "digest",
        "executable",
        "is_directory",
        "name",
        "references",
        "signature",
        "size",
        "whole",
    )

    def __init__(
        self, size: int, data: bytes | None, name: str | None, is_directory: bool, executable: bool = False
    ) -> None:
        self.size = size
        self.data = data
        self.name = name
        self.is_directory = is_directory
        self.executable = executable
        self.digest: bytes | None = None
        self.signature: Signature | None = None
        self.references = 1
        self.whole: _Content | None = None
        """The directory that this is a part of, and stays as long as this does; None for most."""


class ObjectStore:
    """The data objects that one process holds. A uid that is not in the store raises `KeyError`."""

    def __init__(self, root: Path, memory_limit_bytes: int = 1 << 30) -> None:
        """`root` is private to this process and is made 0700. Objects go to files when more than
        `memory_limit_bytes` are in memory. Raises `OSError`.
        """
        self._memory_limit_bytes = memory_limit_bytes
        self._lock = threading.Lock()
        self._numbers = count(1)
        self.move_to(root)

    def move_to(self, root: Path) -> None:
        """Forget all objects and begin again, empty, in another directory; what is in the former one stays
        there. Raises `OSError`.
        """
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        root.chmod(0o700)
        for directory in (root / "objects", root / "incoming"):
            directory.mkdir(mode=0o700)
        with self._lock:
            self.root = root
            self.objects_dir = root / "objects"
            self._incoming = root / "incoming"
            self._view = self.objects_dir
            self._memory_left = self._memory_limit_bytes
            self._used_bytes = 0
            self._contents: dict[int, _Content] = {}

    def use_view(self, view: Path) -> None:
        """From now on `path` points into `view`, a read-only mount of `objects_dir`."""
        self._view = view

    def put(self, uid: int, data: bytes | memoryview, executable: bool = False) -> int:
        """Store a blob, in memory or as a file by its size; returns its size. Replaces what had the uid.
        An executable one is always a file, so that whoever gets its path can run it.

        Raises `StoreFull`, `OSError`.
        """
        return self._put(uid, data, None, executable)

    def adopt(self, uid: int, path: str, is_directory: bool) -> int:
        """Take a file or directory over: it is gone from `path`. Returns its size, of a directory the sum of
        its files. Replaces what had the uid. A file that anybody may execute stays executable.

        Raises `ValueError` when it is not a regular file, or not a directory; `ArchiveError` when the
        directory has something in it that cannot be stored; `StoreFull`, `OSError`. It is removed then, too,
        or still there.
        """
        info = os.lstat(path)
        if is_directory != stat.S_ISDIR(info.st_mode) or not (is_directory or stat.S_ISREG(info.st_mode)):
            raise ValueError(f"{path} is not a {'directory' if is_directory else 'regular file'}")
        try:
            return self._adopt(uid, path, is_directory, info, None, is_executable(info.st_mode))
        except OSError as error:
            needed = tree_size(path) if is_directory and os.path.lexists(path) else info.st_size
            raise self._full(error, needed) from error

    def alias(self, uid: int, source_uid: int, inner: str = "") -> int:
        """Give the content of one object another uid as well, without a copy; returns its size. `inner` is
        a path inside of a directory, through no links: of that file or directory only. The whole directory
        stays on the disk as long as a part of it is here.

        Raises `ArchiveError` for a directory with a link that leaves it, `OSError`.
        """
        with self._lock:
            content = self._contents[source_uid]
            content.references += 1
        if inner:
            try:
                content = self._part_of(content, inner, uid)
            except BaseException:
                self._release(content)
                raise
        self._register(uid, content, is_new=False)
        return content.size

    def has(self, uid: int) -> bool:
        """Whether the object is here."""
        return uid in self._contents

    def is_there(self, uid: int) -> bool:
        """Whether the object is here and nobody has removed its file or directory behind our back."""
        content = self._contents.get(uid)
        return content is not None and (content.name is None or os.path.lexists(self._path_of(content)))

    def size(self, uid: int) -> int:
        """Its size in bytes, of a directory the sum of its files."""
        return self._contents[uid].size

    def is_directory(self, uid: int) -> bool:
        """Whether it is a directory."""
        return self._contents[uid].is_directory

    def is_executable(self, uid: int) -> bool:
        """Whether it is a blob that was an executable file when it was made."""
        return self._contents[uid].executable

    def data(self, uid: int) -> bytes | None:
        """Its content when it is in memory, else None."""
        return self._contents[uid].data

    def path(self, uid: int) -> str | None:
        """Where it can be read as a file or directory, in the read-only view; None when it is in memory."""
        name = self._contents[uid].name
        return None if name is None else os.path.join(self._view, name)

    def read(self, uid: int) -> bytes | memoryview:
        """The content of a blob; of a file, a memory map of it that stays valid when the object is removed.

        Raises `ValueError` for a directory, `OSError`.
        """
        content = self._contents[uid]
        if content.data is not None:
            return content.data
        if content.is_directory:
            raise ValueError(f"data object {id_of(uid)} is a directory")
        if content.size == 0:
            return b""
        with open(self._path_of(content), "rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))

    def remove(self, uid: int) -> None:
        """Forget an object, and delete its content unless another uid has it too.

        No error when it is not here.
        """
        with self._lock:
            content = self._contents.pop(uid, None)
        if content is not None:
            self._release(content)

    def remove_session(self, session_id: int) -> None:
        """Remove all objects of a session."""
        for uid in self.uids():
            if session_of(uid) == session_id:
                self.remove(uid)

    @property
    def used_bytes(self) -> int:
        """Size of all objects together; what several share counts once."""
        return self._used_bytes

    @property
    def object_count(self) -> int:
        """Number of objects."""
        return len(self._contents)

    def uids(self) -> Iterable[int]:
        """The uids of all objects, as they are now."""
        with self._lock:
            return list(self._contents)

    def verify(self, uid: int) -> bool:
        """Whether the stored content is what it was. Files whose inode, size and times are the same count as
        the same; others are read if their digest is known, and count as changed if it is not.
        """
        content = self._contents[uid]
        if content.data is not None:
            return True
        try:
            if signature_of(self._path_of(content), content.is_directory) == content.signature:
                return True
            return content.digest is not None and self._compute_digest(content) == content.digest
        except OSError:
            return False

    def looks_unchanged(self, uid: int) -> bool:
        """Whether stored files have the inodes, sizes and times they were stored with. True in the view of
        `use_view`, through which nothing can be changed, and when the object is not here any more.
        """
        content = self._contents.get(uid)
        if content is None or content.data is not None or self._view != self.objects_dir:
            return True
        try:
            return signature_of(self._path_of(content), content.is_directory) == content.signature
        except OSError:
            return False

    def open_source(self, uid: int) -> ObjectSource:
        """The object as a stream. Raises `OSError`."""
        content = self._contents[uid]
        found = partial(setattr, content, "digest")
        if content.data is not None:
            return MemorySource(content.data, content.digest, found)
        kind = TreeSource if content.is_directory else FileSource
        return kind(self._path_of(content), content.digest, found)

    def open_sink(self, uid: int, is_directory: bool, executable: bool = False) -> ObjectSink:
        """Take an object in as a stream. It is in the store once the sink's `finish` returned.

        Raises `StoreFull`.
        """
        try:
            place = partial(self._place, uid, is_directory, executable)
            return ObjectSink(is_directory, self._new_path(uid), place, self._full)
        except OSError as error:
            raise self._full(error, 0) from error

    def close(self) -> None:
        """Remove everything, also `root` if nothing of others is in it."""
        with self._lock:
            self._contents.clear()
            self._used_bytes = 0
        remove_tree(self.objects_dir)
        remove_tree(self._incoming)
        with suppress(OSError):
            self.root.rmdir()

    def _put(self, uid: int, data: bytes | memoryview, digest: bytes | None, executable: bool) -> int:
        size = len(data)
        if size <= MEMORY_OBJECT_BYTES and not executable and self._take_memory(size):
            content = _Content(size, bytes(data), None, False)
        else:
            path = self._new_path(uid)
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
                try:
                    write_all(descriptor, data)
                    os.fchmod(descriptor, _file_mode(executable))
                finally:
                    os.close(descriptor)
                content = self._keep_file(path, size, executable)
            except OSError as error:
                remove_tree(path)
                raise self._full(error, size) from error
        content.digest = digest
        self._register(uid, content)
        return size

    def _adopt(
        self,
        uid: int,
        path: str,
        is_directory: bool,
        info: os.stat_result,
        digest: bytes | None,
        executable: bool,
    ) -> int:
        if is_directory:
            content = self._keep_tree(uid, path)
        elif info.st_size <= MEMORY_OBJECT_BYTES and not executable and self._memory_left >= info.st_size:
            with open(path, "rb") as file:
                data = file.read()
            os.unlink(path)
            return self._put(uid, data, digest, False)
        else:
            taken = self._take_file(uid, path, info.st_nlink > 1, _file_mode(executable))
            content = self._keep_file(taken, info.st_size, executable)
        content.digest = digest
        self._register(uid, content)
        return content.size

    def _take_file(self, uid: int, path: str, has_other_links: bool, mode: int) -> str:
        """Move a file to the incoming directory, with `mode`; copied when others could still write to it."""
        target = self._new_path(uid)
        if not has_other_links:
            try:
                os.rename(path, target)
                os.chmod(target, mode)
                return target
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
        try:
            copy_file(path, target, mode)
        except OSError:
            remove_tree(target)
            raise
        os.unlink(path)
        return target

    def _keep_file(self, path: str, size: int, executable: bool) -> _Content:
        content = _Content(size, None, os.path.basename(path), False, executable)
        os.rename(path, self._path_of(content))
        content.signature = signature_of(self._path_of(content), False)
        return content

    def _keep_tree(self, uid: int, path: str) -> _Content:
        name = os.path.basename(self._new_path(uid))
        target = os.path.join(self.objects_dir, name)
        try:
            os.chmod(path, 0o700)  # a directory that is not writable cannot be moved by others than root
            try:
                os.rename(path, target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                copy_tree(path, target)
                remove_tree(path)
            size = sum(entry.size for entry in seal_tree(target))
            content = _Content(size, None, name, True)
            content.signature = signature_of(target, True)
        except BaseException:
            remove_tree(target)
            raise
        return content

    def _part_of(self, whole: _Content, inner: str, uid: int) -> _Content:
        """A file or directory inside of a stored directory, as a content of its own."""
        info = os.lstat(os.path.join(self._path_of(whole), inner))
        if stat.S_ISDIR(info.st_mode):
            name = os.path.basename(self._new_path(uid))
            size = link_part(self._path_of(whole), inner, os.path.join(self.objects_dir, name))
            part = _Content(size, None, name, True)
        else:
            executable = is_executable(info.st_mode)
            part = _Content(info.st_size, None, f"{whole.name}/{inner}", False, executable)
        part.whole = whole
        part.signature = signature_of(self._path_of(part), part.is_directory)
        return part

    def _place(
        self, uid: int, is_directory: bool, executable: bool, result: bytes | str, digest: bytes
    ) -> int:
        """Take over what a sink received."""
        if isinstance(result, bytes):
            return self._put(uid, result, digest, executable)
        return self._adopt(uid, result, is_directory, os.lstat(result), digest, executable)

    def _register(self, uid: int, content: _Content, is_new: bool = True) -> None:
        with self._lock:
            if is_new:
                self._used_bytes += content.size
            replaced = self._contents.get(uid)
            self._contents[uid] = content
        if replaced is not None:
            self._release(replaced)

    def _release(self, content: _Content) -> None:
        with self._lock:
            content.references -= 1
            if content.references:
                return
            if content.whole is None:
                self._used_bytes -= content.size
            if content.data is not None:
                self._memory_left += content.size
        if content.name is not None and (content.whole is None or content.is_directory):
            remove_tree(self._path_of(content))  # of a part, the link to it
        if content.whole is not None:
            self._release(content.whole)

    def _take_memory(self, size: int) -> bool:
        with self._lock:
            if size > self._memory_left:
                return False
            self._memory_left -= size
            return True

    def _compute_digest(self, content: _Content) -> bytes:
        path = self._path_of(content)
        if not content.is_directory:
            with open(path, "rb") as file:
                return hashlib.file_digest(file, "sha256").digest()
        source = TreeSource(path, None, lambda _: None)
        try:
            return source.digest()
        finally:
            source.close()

    def _new_path(self, uid: int) -> str:
        session_id, local_id = id_of(uid)
        return os.path.join(self._incoming, f"{session_id}-{local_id}-{next(self._numbers)}")

    def _path_of(self, content: _Content) -> str:
        assert content.name is not None
        return os.path.join(self.objects_dir, content.name)

    def _full(self, error: OSError, size: int, is_all: bool = True) -> Exception:
        """The error to raise for one of the disk's: `StoreFull` if it has no room, else the error itself."""
        if error.errno not in _FULL:
            return error
        have = shutil.disk_usage(self.root).free
        least = "" if is_all else "at least "
        return StoreFull(
            f"the store at {self.root} is full: need {least}{format_size(size)}, have {format_size(have)}"
        )


def _file_mode(executable: bool) -> int:
    return 0o555 if executable else 0o444
