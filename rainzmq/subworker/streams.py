"""The standard streams of a subworker: what a task did to them does not reach the next task.

A closed descriptor below 3 is worse than lost text: the next file that anything opens would get its number,
and what is printed would go there.
"""

from __future__ import annotations

import fcntl
import os
import sys
from contextlib import suppress
from typing import IO, Any

_NAMES = ("stdin", "stdout", "stderr")


class Streams:
    """The streams as they were when this was made."""

    def __init__(self) -> None:
        self._objects: list[tuple[str, int, IO[str] | None]] = [
            (name, number, getattr(sys, name)) for number, name in enumerate(_NAMES)
        ]
        self._copies: dict[int, int] = {}
        self._identities: dict[int, tuple[int, int] | None] = {}
        for number in range(len(_NAMES)):
            with suppress(OSError):  # one that was never there
                self._copies[number] = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3)
                self._identities[number] = _identity(number)

    def restore(self) -> None:
        """Write out what is buffered, then make descriptors and objects what they were. Never raises."""
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except Exception:  # one was deleted, closed, or replaced by something that can not be flushed
            self._flush_each()
        for number, copy in self._copies.items():
            if _identity(number) != self._identities[number]:
                os.dup2(copy, number)
        for name, number, stream in self._objects:
            if stream is not None and _is_closed(stream):
                stream = _open(number)
                self._objects[number] = (name, number, stream)
            if getattr(sys, name, None) is not stream:
                setattr(sys, name, stream)

    @staticmethod
    def _flush_each() -> None:
        for name in ("stdout", "stderr"):
            with suppress(Exception):
                getattr(sys, name).flush()


def _is_closed(stream: IO[str]) -> bool:
    """Closed, or without what is below it, which a task may have detached."""
    try:
        return stream.closed
    except ValueError:
        return True


def _identity(number: int) -> tuple[int, int] | None:
    """What is open there; None for nothing."""
    try:
        info = os.fstat(number)
    except OSError:
        return None
    return info.st_dev, info.st_ino


def _open(number: int) -> Any:
    mode = "r" if number == 0 else "w"
    return open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)
