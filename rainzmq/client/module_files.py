"""Files of modules on disk, and in zip files, as `zipimport` names them: `/dir/app.pyz/package/module.py`."""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

Signature = tuple[int, int, int, int] | None


@dataclass(slots=True, frozen=True)
class Entry:
    """What is in a directory.

    Attributes:
        name: its name there.
        path: the directory's path and its name.
        size: bytes of a regular file, None for a directory.
    """

    name: str
    path: str
    size: int | None


def signature(path: str) -> Signature:
    """What tells whether a file or directory, or the zip file that it is in, has changed; None when it
    is gone.
    """
    info = status(path)
    return None if info is None else (info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def status(path: str) -> os.stat_result | None:
    """The status of a file or directory, or of the zip file that it is in; None when it is gone."""
    try:
        return os.stat(path)
    except OSError:
        found = _in_zip_file(path)
        if found is None or (found[1] not in found[2].files and found[1] not in found[2].directories):
            return None
        return found[2].status


def inode(path: str) -> int:
    """The number of a file or directory on disk, 0 for what is not there."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


def exists(path: str) -> bool:
    """Whether there is a file or directory."""
    return status(path) is not None


def is_directory(path: str) -> bool:
    """Whether it is a directory, of modules if it is in a zip file."""
    if os.path.isdir(path):
        return True
    found = _in_zip_file(path)
    return found is not None and found[1] in found[2].directories


def size(path: str) -> int | None:
    """Bytes of a regular file, None for anything else."""
    if os.path.isfile(path):
        return os.path.getsize(path)
    found = _in_zip_file(path)
    return None if found is None else found[2].files.get(found[1])


def read(path: str) -> bytes | None:
    """What a file holds; None when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        pass
    found = _in_zip_file(path)
    if found is None or found[1] not in found[2].files:
        return None
    try:
        with zipfile.ZipFile(found[0]) as archive:
            return archive.read(found[1])
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError):
        return None


def entries(directory: str) -> Iterable[Entry]:
    """The regular files and directories in a directory, by name; nothing when it cannot be read."""
    try:
        with os.scandir(directory) as listed:
            on_disk = [(item, item.stat()) for item in listed if item.is_dir() or item.is_file()]
    except OSError:
        return _entries_in_zip_file(directory)
    found = [
        Entry(item.name, item.path, None if stat.S_ISDIR(info.st_mode) else info.st_size)
        for item, info in on_disk
    ]
    return sorted(found, key=lambda item: item.name)


@dataclass(slots=True, frozen=True)
class _Index:
    """What a zip file holds: sizes of its files by path, and its directories."""

    status: os.stat_result
    files: dict[str, int]
    directories: frozenset[str]


def _in_zip_file(path: str) -> tuple[str, str, _Index] | None:
    """The zip file that a path leads into, the path within it, and what it holds."""
    archive = os.path.dirname(path)
    while archive != os.path.dirname(archive):
        info = None
        try:
            info = os.stat(archive)
        except OSError:
            archive = os.path.dirname(archive)
            continue
        if not stat.S_ISREG(info.st_mode):
            return None
        index = _index(archive, (info.st_ino, info.st_size, info.st_mtime_ns))
        return None if index is None else (archive, path[len(archive) + 1 :], index)
    return None


@lru_cache(maxsize=64)
def _index(archive: str, _signature: tuple[int, int, int]) -> _Index | None:
    try:
        info = os.stat(archive)
        with zipfile.ZipFile(archive) as file:
            files = {item.filename: item.file_size for item in file.infolist() if not item.is_dir()}
    except (OSError, zipfile.BadZipFile):
        return None
    directories = set()
    for name in files:
        while name:
            name = name.rpartition("/")[0]
            directories.add(name)
    return _Index(info, files, frozenset(directories))


def _entries_in_zip_file(directory: str) -> list[Entry]:
    found = _in_zip_file(directory)
    if found is None:
        return []
    _, place, index = found
    return [
        Entry(os.path.basename(name), f"{directory}/{os.path.basename(name)}", index.files.get(name))
        for name in sorted({*index.files, *index.directories})
        if name and os.path.dirname(name) == place
    ]
