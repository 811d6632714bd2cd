"""Private working directories of processes, and what dead processes left of theirs.

All working directories of a user below one base (a RAM disk, a scratch disk) are in one directory of that
user, `rainzmq-UID`, 0700. Each has a `lock` file that its process holds (`common.locks`), so whoever makes
a new one can tell which of the others are dead, and removes those.

Where programs run must not be mounted `noexec`, as RAM disks of containers are: what tasks compile could not
be run there.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from rainzmq.common.errors import RainException
from rainzmq.common.locks import HeldFile, hold, is_held, lock
from rainzmq.common.trees import remove_tree

_log = logging.getLogger(__name__)

_RAM_DISK = Path("/dev/shm")
_WANTED_BYTES = 1 << 30
_LOCK = "lock"
_YOUNG_S = 60.0
"""So long a directory without its lock file may be in the making, where that cannot be told by a lock."""

_TRIES = 20

_held: dict[Path, HeldFile] = {}


def default_workdir(*, runs_programs: bool = True) -> Path:
    """A new private working directory: on the RAM disk when it has at least 1 GiB free, else with temporary
    files. `runs_programs`: not where programs cannot be run, as long as there is another place.

    Raises `RainException` when none can be made.
    """
    places = [_RAM_DISK] if _has_room(_RAM_DISK) else []
    try:
        places.append(Path(tempfile.gettempdir()))
    except FileNotFoundError:
        if not places:
            raise RainException(
                "there is no directory for temporary files (TMPDIR, /tmp, /var/tmp) that can be written to; "
                "give one with --workdir, or set TMPDIR"
            ) from None
    if runs_programs:
        further = [place for place in (*places, Path("/var/tmp")) if os.access(place, os.W_OK | os.X_OK)]
        places = [place for place in further if not is_noexec(place)] or places
    return private_workdir(places[0])


def is_noexec(path: str | os.PathLike[str]) -> bool:
    """Whether no program can be run from the file system that a path is on."""
    try:
        return bool(os.statvfs(path).f_flag & os.ST_NOEXEC)
    except OSError:
        return False


def private_workdir(base: Path) -> Path:
    """A new empty directory below `base`, 0700 and locked by this process; those of dead processes there are
    removed.

    `base` is made when it is missing. Raises `RainException` saying why when it cannot be written.
    """
    try:
        os.makedirs(base, exist_ok=True)
        return _make(base)
    except OSError as error:
        raise RainException(
            f"the working directory {base} cannot be used: {error.strerror} ({error.filename}); "
            "give another one with --workdir"
        ) from error


def release_workdir(path: Path) -> None:
    """Remove a working directory made here, with all that is in it. No error when it is gone."""
    held = _held.pop(path, None)
    try:
        remove_tree(path)
    finally:
        if held is not None:
            held.close()
    with suppress(OSError):
        _remove_if_unused(path.parent)


def remove_abandoned(path: Path) -> None:
    """Remove a working directory whose process was killed; nothing when it lives, or all is gone already."""
    home = path.parent
    with suppress(OSError):  # others remove it, or what holds it now is not ours
        guard = os.open(home / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            is_locked = lock(guard, wait=True) is None
            if path.is_dir() and _is_abandoned(path, is_locked):
                remove_tree(path)
        finally:
            os.close(guard)
        _remove_if_unused(home)


def _remove_if_unused(home: Path) -> None:
    """Remove the user's directory when only its lock is left in it. Where there are no locks, who makes a
    directory in it at the same time finds it gone, and makes it again.
    """
    guard = os.open(home / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        lock(guard, wait=True)
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
    for _ in range(_TRIES):
        home = _user_directory(base)
        with suppress(FileNotFoundError):  # a process that ended last has just removed it
            guard = os.open(home / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                refused = lock(guard, wait=True)
                if _is_at(guard, home / _LOCK):
                    return _make_in(home, refused)
            finally:
                os.close(guard)
    raise OSError(errno.ESTALE, "it is removed again and again", str(base))


def _make_in(home: Path, refused: str | None) -> Path:
    """Make a directory in that of the user, whose lock this process has unless locks are `refused`."""
    _sweep(home, is_locked=refused is None)
    path = home / secrets.token_hex(6)
    path.mkdir(mode=0o700)
    _held[path] = hold(path / _LOCK)
    _log.debug("working directory: %s", path)
    if refused is not None:
        _log.warning(
            "the file system of %s has no locks (%s): what dead processes of other machines left there stays",
            home,
            refused,
        )
    return path


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


def _sweep(home: Path, *, is_locked: bool) -> None:
    """Remove the directories of dead processes. `is_locked`: the caller has the lock of `home`."""
    for path in home.iterdir():
        if path.is_dir() and not path.is_symlink() and path not in _held and _is_abandoned(path, is_locked):
            with suppress(OSError):  # such as a mount of somebody else's: not ours to fail for
                remove_tree(path)


def _is_abandoned(path: Path, is_locked: bool) -> bool:
    try:
        return not is_held(path / _LOCK)
    except FileNotFoundError:
        # Its maker died before it made the lock, or another process is about to make it.
        return is_locked or time.time() - path.stat().st_mtime > _YOUNG_S
    except OSError:
        return False
