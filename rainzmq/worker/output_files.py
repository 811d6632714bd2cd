"""What a subworker and all it starts write to their standard streams: two files in memory.

They are not in the log directory, for that may be full, and then all that prints would fail: tasks, and
programs that tasks start. The end of what was written goes there when the subworker ends, if there is room.

The files only grow while a task runs. Where its output begins is the *mark*; a Python subworker, which runs
tasks without the worker between them, says where each one's ended (`TaskPrinted`).
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from rainzmq.common.tails import OUTPUT_FILE_BYTES, TAIL_BYTES, read_tail
from rainzmq.protocol.messages.subworker import TaskPrinted
from rainzmq.worker.core.jobs import Printed

_SUFFIXES = (".out.log", ".err.log")
_KEPT_BYTES = 1 << 20
"""So much of the end of each goes to the log directory."""

_MAX_INT = (1 << 62) - 1


class OutputFiles:
    """The two files of one subworker, of which all methods but `open` work when they are not open, too."""

    def __init__(self, directory: Path, stem: str) -> None:
        """`directory` is where their ends are kept, under `stem` with `.out.log` and `.err.log`."""
        self._paths = [directory / f"{stem}{suffix}" for suffix in _SUFFIXES]
        self._files: list[int] = []
        self._marks = [0, 0]

    def open(self) -> tuple[int, int]:
        """Make them; descriptors of standard output and error. Raises `OSError`."""
        for path in self._paths:
            # Read by the subworker as well, which looks for the end of what a task wrote.
            self._files.append(os.memfd_create(path.name, os.MFD_CLOEXEC))
            fcntl.fcntl(self._files[-1], fcntl.F_SETFL, os.O_APPEND)
        return self._files[0], self._files[1]

    def descriptors(self) -> list[int]:
        """Those of the files that are open."""
        return list(self._files)

    def mark(self) -> None:
        """What is written from here on belongs to the next task."""
        self._marks = self._sizes()

    def peek(self) -> Printed | None:
        """What was written since the mark, None for nothing: the output so far of a running task."""
        rows = [
            (file, begin if begin <= end else 0, end)
            for file, begin, end in zip(self._files, self._marks, self._sizes(), strict=False)
        ]
        if not any(end > begin for _, begin, end in rows):
            return None
        out, err = [(read_tail(file, begin, end), end - begin) for file, begin, end in rows]
        return Printed(out[0], err[0], out[1], err[1])

    def take(self) -> Printed | None:
        """The same of a task that ended: the mark moves. Files that have become large are emptied."""
        printed = self.peek()
        if printed is not None:
            self.mark()
            for index, file in enumerate(self._files):
                if self._marks[index] > OUTPUT_FILE_BYTES:
                    os.ftruncate(file, 0)
                    self._marks[index] = 0
        return printed

    def take_told(self, told: TaskPrinted) -> Printed | None:
        """The same as the subworker tells it. It is not trusted."""
        self._marks = [min(max(end, 0), _MAX_INT) for end in (told.stdout_end, told.stderr_end)]
        sizes = [min(max(size, 0), _MAX_INT) for size in (told.stdout_bytes, told.stderr_bytes)]
        if not any(sizes):
            return None
        return Printed(told.stdout[-TAIL_BYTES:], told.stderr[-TAIL_BYTES:], sizes[0], sizes[1])

    def tail(self, *, since_mark: bool) -> str:
        """The end of both, human-readable: since the mark, or of all. Empty when there is nothing."""
        marks = self._marks if since_mark else [0, 0]
        rows = zip(self._files, marks, self._sizes(), strict=False)
        texts = [read_tail(file, begin if begin <= end else 0, end).strip() for file, begin, end in rows]
        return "\n".join(text for text in texts if text)

    def close(self) -> None:
        """Close them; the ends of those with something in them are kept in the directory."""
        for file, path, size in zip(self._files, self._paths, self._sizes(), strict=False):
            if size:
                with suppress(OSError):  # what is printed is best effort
                    _keep(os.pread(file, _KEPT_BYTES, max(0, size - _KEPT_BYTES)), path)
            os.close(file)
        self._files.clear()

    def _sizes(self) -> list[int]:
        return [os.fstat(file).st_size for file in self._files]


def _keep(data: bytes, path: Path) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
