"""The standard streams of a subworker: what a task did to them does not reach the next task, and what it
wrote is told apart from what others wrote.

Standard output and error are files that only grow; children of tasks write to the same ones. So the sizes
before and after a task say what it wrote. They come with the look at each descriptor that is needed anyway: a
task that writes nothing costs nothing more.

A closed descriptor below 3 is worse than lost text: the next file that anything opens would get its number,
and what is printed would go there.
"""

from __future__ import annotations

import fcntl
import os
import sys
from contextlib import suppress
from typing import IO, Any

from rainzmq.common.tails import OUTPUT_FILE_BYTES, read_tail
from rainzmq.protocol.messages.subworker import TaskPrinted

_NAMES = ("stdin", "stdout", "stderr")
_OUTPUTS = (1, 2)


class Streams:
    """The streams as they were when this was made."""

    def __init__(self) -> None:
        self._streams: list[IO[str] | None] = [getattr(sys, name) for name in _NAMES]
        self._copies: dict[int, int] = {}
        self._identities: dict[int, tuple[int, int]] = {}
        self._begins = [0, 0, 0]
        self._ends = [0, 0, 0]
        for number in range(len(_NAMES)):
            with suppress(OSError):  # one that was never there
                self._copies[number] = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3)
                info = os.fstat(number)
                self._identities[number] = (info.st_dev, info.st_ino)
        self.ignore()

    def restore(self) -> None:
        """Write out what is buffered, then make descriptors and objects what they were. Never raises."""
        try:
            sys.stdout.flush()
            sys.stderr.flush()
            are_open = True  # for a closed one, or one without what is below it, refuses this
        except Exception:  # one was deleted, closed, or replaced by something that cannot be flushed
            self._flush_each()
            are_open = False
        for number, identity in self._identities.items():
            try:
                info = os.fstat(number)
                same = (info.st_dev, info.st_ino) == identity
            except OSError:
                same = False
            if not same:
                os.dup2(self._copies[number], number)
                info = os.fstat(number)
            self._ends[number] = info.st_size
        stdin, stdout, stderr = self._streams
        if not (
            are_open
            and sys.stdout is stdout
            and sys.stderr is stderr
            and sys.stdin is stdin
            and (stdin is None or not _is_closed(stdin))
        ):
            self._restore_objects()

    def _restore_objects(self) -> None:
        for number, name in enumerate(_NAMES):
            stream = self._streams[number]
            if stream is not None and _is_closed(stream):
                stream = self._streams[number] = _open(number)
            if getattr(sys, name, None) is not stream:
                setattr(sys, name, stream)
                self._flush_late(number)

    @property
    def has_output(self) -> bool:
        """Whether something was written between the last `ignore` or `take` and the last `restore`."""
        return self._begins != self._ends

    def take(self, task_id: tuple[int, int], attempt: int) -> TaskPrinted:
        """What was written since the last `ignore` or `take`, as that of a task. Files that have become large
        are emptied.
        """
        tails, sizes = [], []
        for number in _OUTPUTS:
            begin, end = self._begins[number], self._ends[number]
            if end < begin:  # the task has emptied the file itself
                begin = 0
            copy = self._copies.get(number)
            tails.append("" if copy is None else read_tail(copy, begin, end))
            sizes.append(end - begin)
            if copy is not None and end > OUTPUT_FILE_BYTES:
                self._ends[number] = _emptied(copy, end)
        self._begins[:] = self._ends
        return TaskPrinted(task_id, attempt, tails[0], tails[1], sizes[0], sizes[1], *self._begins[1:])

    def ignore(self) -> None:
        """What has been written so far belongs to no task: what earlier tasks left running wrote it."""
        for number in _OUTPUTS:
            copy = self._copies.get(number)
            if copy is not None:
                size = os.fstat(copy).st_size
                self._ends[number] = _emptied(copy, size) if size > OUTPUT_FILE_BYTES else size
        self._begins[:] = self._ends

    def _flush_late(self, number: int) -> None:
        """Write out what a task left in a stream that it had put aside."""
        stream = self._streams[number]
        copy = self._copies.get(number)
        if number in _OUTPUTS and stream is not None and copy is not None:
            with suppress(Exception):  # whatever ails it does so when it is used, too
                stream.flush()
            self._ends[number] = os.fstat(copy).st_size

    @staticmethod
    def _flush_each() -> None:
        for name in ("stdout", "stderr"):
            with suppress(Exception):
                getattr(sys, name).flush()


def line_buffered() -> None:
    """Have lines of standard output written out at once, as on a terminal: a crash must not lose them, and
    those who look at a running task want to see them. Those of standard error are, always.
    """
    with suppress(AttributeError, ValueError, OSError):  # there is none, or it is of another kind
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _emptied(descriptor: int, size: int) -> int:
    """Make a file empty; its size then, which stays `size` where that is not possible."""
    try:
        os.ftruncate(descriptor, 0)
    except OSError:
        return size
    return 0


def _is_closed(stream: IO[str]) -> bool:
    """Closed, or without what is below it, which a task may have detached."""
    try:
        return stream.closed
    except ValueError:
        return True


def _open(number: int) -> Any:
    mode, buffering = ("r", -1) if number == 0 else ("w", 1)
    return open(number, mode, buffering, encoding="utf-8", errors="backslashreplace", closefd=False)
