"""Files that a living process holds, by which it is told from dead ones; with or without locks.

The kernel lets go of a lock (`flock`) however its process ends. Some network file systems refuse locks: NFS
without its lock daemon, Lustre mounted without `-o flock`. So who holds a file also writes into it who it is:
which boot of which machine, which namespace of processes, which process and its start. A process of the same
boot and namespace can be looked for, and what it holds is held, locked or not. Of others nothing is known:
where `flock` is refused they count as alive.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_REFUSED = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL})
_MAX_BYTES = 1000


class HeldError(Exception):
    """Another process holds the file. The text says which, as far as that is known."""


@dataclass(slots=True)
class HeldFile:
    """A file that this process holds.

    Attributes:
        path: the file.
        why_unlocked: why it is not locked, human-readable; None when it is.
    """

    path: Path
    why_unlocked: str | None
    _descriptor: int

    def release(self) -> None:
        """Remove the file and let go of it. No error when it is gone."""
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        self.close()

    def close(self) -> None:
        """Let go of it; who looks for this process finds out that it is gone."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def hold(path: Path) -> HeldFile:
    """Hold a file, which is made 0600 when it is missing.

    Raises:
        HeldError: another process holds it.
        OSError: it cannot be made or written.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        refused = lock(descriptor, wait=False)
        if (owner := _read(descriptor)) != _me() and _may_live(owner, elsewhere=refused is not None):
            raise HeldError(owner.partition(" ")[0])
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, _me().encode(), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return HeldFile(path, refused, descriptor)


def is_held(path: Path) -> bool:
    """Whether a process that may be alive holds the file. Raises `OSError`, such as `FileNotFoundError`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        refused = lock(descriptor, wait=False)
        return _may_live(_read(descriptor), elsewhere=refused is not None)
    except HeldError:
        return True
    finally:
        os.close(descriptor)


def lock(descriptor: int, *, wait: bool) -> str | None:
    """Lock an open file; None, or why its file system refuses to, human-readable.

    Raises:
        HeldError: another process has locked it, and it is not waited for.
        OSError: something else is wrong.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise HeldError(_read(descriptor).partition(" ")[0]) from None
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        return os.strerror(error.errno)
    return None


def _me() -> str:
    """This process: host, boot, namespace of processes, process and when it started."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return (
        f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')} {os.getpid()} {_started('self')}"
    )


def _read(descriptor: int) -> str:
    return os.pread(descriptor, _MAX_BYTES, 0).decode(errors="replace")


def _may_live(owner: str, *, elsewhere: bool) -> bool:
    """Whether the process of a line of `_me` may be alive; `elsewhere` is the answer for those of which
    nothing is known here. A line that is no such is none.
    """
    parts = owner.split()
    if len(parts) != 5:
        return False
    mine = _me().split()
    if parts[1:3] != mine[1:3]:
        return elsewhere
    return _started(parts[3]) == parts[4]


def _started(pid: str) -> str:
    """When a process of this machine started, in ticks since its boot; empty when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()
