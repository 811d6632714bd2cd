"""What is said of a disk that is full: what was needed, and what there is."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import suppress

from rainzmq.common.units import format_size

_TRIAL_BYTES = 4 << 10


def is_full(error: BaseException | None) -> bool:
    """The error says that a disk or a quota has no room."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def free_bytes(where: str | os.PathLike[str]) -> int:
    """Bytes that are free on the disk that `where` is on, or would be on."""
    path = os.path.abspath(where)
    while path != "/" and not os.path.exists(path):
        path = os.path.dirname(path)
    info = os.statvfs(path)
    return info.f_bavail * info.f_frsize


def no_room(where: str | os.PathLike[str], needed_bytes: int, *, at_least: bool = False) -> str:
    """`no room on the disk: need X, have Y`. `at_least`: it is only known that `needed_bytes` were not
    enough.
    """
    need = f"{'more than ' if at_least else ''}{format_size(needed_bytes)}"
    return f"no room on the disk: need {need}, have {format_size(free_bytes(where))}"


def check_writable(directory: str | os.PathLike[str]) -> None:
    """Raises `OSError` unless a file can be made and written in a directory. Only a trial tells for sure:
    `access` knows nothing of read-only and full file systems, and an empty file needs no room.
    """
    handle, trial = tempfile.mkstemp(prefix=".rainzmq-", dir=directory)
    try:
        os.write(handle, bytes(_TRIAL_BYTES))
    finally:
        os.close(handle)
        with suppress(FileNotFoundError):
            os.unlink(trial)
