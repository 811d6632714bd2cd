"""Keeping stored objects safe from programs of root.

File modes do not bind root. So a worker that is root moves into a mount namespace of its own and mounts its
store there a second time, read-only; linked inputs point into that view. Its children see the same, other
processes see nothing of it, and it goes with the last process in the namespace.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from rainzmq.store import ObjectStore

_CLONE_NEWNS = 0x20000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT, _MS_BIND = 1, 2, 4, 32, 4096
_MS_REC, _MS_SLAVE = 16384, 1 << 19
_MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


def protect(store: ObjectStore, *, is_private: bool = False) -> str | None:
    """Make links to stored files safe to give to programs.

    Returns None when they are: this process is not root, or the store has a read-only view now. Else the
    reason why not, and inputs must be copied. To be called before any thread is started and any program runs,
    or with `is_private`, when this process has mounts of its own already.
    """
    if os.geteuid() != 0:
        return None
    view = store.root / "ro"
    try:
        if not is_private:
            enter_private_namespace()
        bind_readonly(store.objects_dir, view)
    except OSError as error:
        return f"no read-only view of the store: {error.strerror}"
    store.use_view(view)
    return None


def unprotect(store: ObjectStore) -> None:
    """Take the read-only view away so that the store can be removed. No error when there is none."""
    view = store.root / "ro"
    if view.is_dir():
        _libc.umount2(os.fsencode(view), _MNT_DETACH)
        store.use_view(store.objects_dir)
        view.rmdir()


def enter_private_namespace() -> None:
    """Give this process mounts of its own: it still gets those of the system, and nobody gets its.

    Raises `OSError`.
    """
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    _check(_libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_SLAVE), None), "mount")


def bind_readonly(source: Path, target: Path) -> None:
    """Make the directory `source` visible at `target`, read-only even for root. Raises `OSError`."""
    target.mkdir(mode=0o700, exist_ok=True)
    where = os.fsencode(target)
    _check(_libc.mount(os.fsencode(source), where, None, ctypes.c_ulong(_MS_BIND), None), "mount")
    flags = _MS_BIND | _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | _MS_NODEV
    _check(_libc.mount(None, where, None, ctypes.c_ulong(flags), None), "mount")


def _check(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
