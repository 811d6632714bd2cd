"""Removing whatever is at a path, however a task has made it.

Paths end at 4,096 bytes, trees do not: a program that makes a directory and goes there, again and again, is
soon where no path leads. So nothing here is reached by a path but the top: one open directory walks down by
names and up by `..`, which must lead to where it came from. No link is ever followed. Neither depth nor the
number of descriptors is bounded by what Python or the process may have.

Modes do not matter, for directories are made accessible first, and neither do the flags (immutable, append
only) that root can give files where it runs tasks.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import stat
from contextlib import suppress

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602  # FS_IOC_GETFLAGS, FS_IOC_SETFLAGS
_LOCKING_FLAGS = 0x10 | 0x20  # immutable, append only


def remove(path: str) -> None:
    """Remove a directory with all in it, a file or a link. No error when it is not there; `OSError` for what
    this process has no right to.
    """
    try:
        if not _unlink(path, None):
            return
    except FileNotFoundError:
        return
    descriptor = _open_directory(path, None)
    try:
        _empty(descriptor)
    finally:
        os.close(descriptor)
    _remove_directory(path, None)


def _empty(root: int) -> None:
    """Remove all that is in an open directory."""
    here = os.dup(root)
    names: list[str] = []  # of the directories from `root` to `here`
    places = [_place(here)]  # theirs, with that of `root`
    left = [_unlink_files(here)]  # directories in each of them
    try:
        while left[-1] or names:
            if left[-1]:
                name = left[-1].pop()
                here = _move(here, _open_directory(name, here))
                names.append(name)
                places.append(_place(here))
                left.append(_unlink_files(here))
                continue
            here = _move(here, os.open("..", _OPEN, dir_fd=here))
            left.pop()
            places.pop()
            name = names.pop()
            if _place(here) != places[-1]:
                raise OSError(errno.ESTALE, "moved while it was removed", name)
            _remove_directory(name, here)
    finally:
        os.close(here)


def _move(here: int, there: int) -> int:
    os.close(here)
    return there


def _place(descriptor: int) -> tuple[int, int]:
    info = os.fstat(descriptor)
    return info.st_dev, info.st_ino


def _unlink_files(directory: int) -> list[str]:
    """Remove all but directories; the names of those."""
    with os.scandir(directory) as listing:
        items = [(item.name, item.is_dir(follow_symlinks=False)) for item in listing]
    return [name for name, is_directory in items if is_directory or _unlink(name, directory)]


def _unlink(name: str, directory: int | None) -> bool:
    """Remove a file or link; whether it is a directory instead."""
    try:
        os.unlink(name, dir_fd=directory)
        return False
    except (IsADirectoryError, PermissionError):
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            return True
    _unlock(name, directory)
    os.unlink(name, dir_fd=directory)
    return False


def _remove_directory(name: str, directory: int | None) -> None:
    try:
        os.rmdir(name, dir_fd=directory)
    except PermissionError:
        _unlock(name, directory)
        os.rmdir(name, dir_fd=directory)


def _open_directory(name: str, directory: int | None) -> int:
    """Open a directory that may be listed and changed then."""
    try:
        descriptor = os.open(name, _OPEN, dir_fd=directory)
    except PermissionError:
        # There is no chmod that follows no link; this descriptor is the directory itself.
        handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            os.chmod(f"/proc/self/fd/{handle}", 0o700)
        finally:
            os.close(handle)
        descriptor = os.open(name, _OPEN, dir_fd=directory)
    try:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o700 != 0o700:
            os.fchmod(descriptor, 0o700)
        return descriptor
    except PermissionError:
        _clear_flags(descriptor)
        with suppress(PermissionError):  # of another user: removed as far as that is possible
            os.fchmod(descriptor, 0o700)
        return descriptor


def _unlock(name: str, directory: int | None) -> None:
    """Take the flags off what cannot be removed because of them, and off the directory it is in."""
    with suppress(
        OSError
    ):  # a link, a device, or a file system without flags: the removal says what is wrong
        descriptor = os.open(
            name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory
        )
        try:
            _clear_flags(descriptor)
        finally:
            os.close(descriptor)
    if directory is not None:
        _clear_flags(directory)


def _clear_flags(descriptor: int) -> None:
    flags = array.array("l", [0])
    with suppress(OSError):  # there are none here, or no right to change them
        fcntl.ioctl(descriptor, _GET_FLAGS, flags)
        if flags[0] & _LOCKING_FLAGS:
            flags[0] &= ~_LOCKING_FLAGS
            fcntl.ioctl(descriptor, _SET_FLAGS, flags)
