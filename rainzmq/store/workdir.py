"""Private working directories of processes, and what dead processes left of theirs.

All working directories of a user below one base (a RAM disk, a scratch disk) are in one directory of that
user, `rainzmq-UID`, 0700. Each holds a `lock` file that its process keeps locked; the kernel lets go of the
lock however the process ends, so whoever makes a new one can tell which of the others are dead, and removes
those.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from rainzmq.common.errors import RainException
from rainzmq.common.trees import remove_tree

_log = logging.getLogger(__name__)

_RAM_DISK = Path("/dev/shm")
_WANTED_BYTES = 1 << 30
_LOCK = "lock"

_held: dict[Path, int] = {}


def default_workdir() -> Path:
    """A new private working directory: on the RAM disk when it has at least 1 GiB free, else with temporary
    files.

    Raises `RainException` when none can be made.
    """
    return private_workdir(_RAM_DISK if _has_room(_RAM_DISK) else Path(tempfile.gettempdir()))


def private_workdir(base: Path) -> Path:
    """A new empty directory below `base`, 0700 and locked by this process; those of dead processes there are
    removed.

    `base` is made when it is missing. Raises `RainException` saying why when it can not be written.
    """
    try:
        os.makedirs(base, exist_ok=True)
        return _make(base)
    except OSError as error:
        raise RainException(
            f"the working directory {base} can not be used: {error.strerror} ({error.filename}); "
            "give another one with --workdir"
        ) from error


def release_workdir(path: Path) -> None:
    """Remove a working directory made here, with all that is in it. No error when it is gone."""
    remove_tree(path)
    descriptor = _held.pop(path, None)
    if descriptor is not None:
        os.close(descriptor)
    with suppress(OSError):
        _remove_if_unused(path.parent)


def remove_abandoned(path: Path) -> None:
    """Remove a working directory whose process was killed; nothing when it lives, or all is gone already."""
    home = path.parent
    with suppress(OSError):  # others remove it, or what holds it now is not ours
        guard = os.open(home / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(guard, fcntl.LOCK_EX)
            if path.is_dir() and _is_abandoned(path):
                remove_tree(path)
        finally:
            os.close(guard)
        _remove_if_unused(home)


def _remove_if_unused(home: Path) -> None:
    """Remove the user's directory when only its lock is left in it."""
    guard = os.open(home / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if _is_at(guard, home / _LOCK) and os.listdir(home) == [_LOCK]:
            os.unlink(home / _LOCK)
            os.rmdir(home)
    finally:
        os.close(guard)


def _has_room(directory: Path) -> bool:
    try:
        return os.access(directory, os.W_OK | os.X_OK) and shutil.disk_usage(directory).free >= _WANTED_BYTES
    except OSError:
        return False


def _make(base: Path) -> Path:
    home = _user_directory(base)
    while True:
        guard = os.open(home / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(guard, fcntl.LOCK_EX)
            if not _is_at(guard, home / _LOCK):
                home = _user_directory(base)
                continue
            _sweep(home)
            path = home / secrets.token_hex(6)
            path.mkdir(mode=0o700)
            descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _held[path] = descriptor
            _log.debug("working directory: %s", path)
            return path
        finally:
            os.close(guard)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the file is still there; a process that ended last may have removed it in between."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _user_directory(base: Path) -> Path:
    """The user's directory below `base`; a new one when its name is taken by somebody else."""
    home = base / f"rainzmq-{os.geteuid()}"
    with suppress(FileExistsError):
        home.mkdir(mode=0o700)
    info = home.lstat()
    if stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid():
        home.chmod(0o700)
        return home
    return Path(tempfile.mkdtemp(prefix="rainzmq-", dir=base))


def _sweep(home: Path) -> None:
    """Remove the directories of dead processes. The caller holds the lock of `home`."""
    for path in home.iterdir():
        if path.is_dir() and not path.is_symlink() and path not in _held and _is_abandoned(path):
            with suppress(OSError):  # such as a mount of somebody else's: not ours to fail for
                remove_tree(path)


def _is_abandoned(path: Path) -> bool:
    try:
        descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True  # its maker died before it made the lock: it was made under the lock that we hold
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
