"""What the runners of one worker share: failures for people, relative paths, and how outcomes are made."""

from __future__ import annotations

import time

from rainzmq.common.errors import RainException
from rainzmq.common.room import is_full, no_room
from rainzmq.worker.core.jobs import CANCELLED, FAILED, FINISHED, Job, Outcome, Produced


class TaskFault(Exception):
    """A task can not be done, for a reason of its own. The text is what the user reads."""


class Attempt:
    """A job that is being run: its clock, and what ends it."""

    __slots__ = ("_begin", "cancelled", "job", "start_time")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.cancelled = False
        """It was killed; may be read from any thread."""
        self.start_time = time.time()
        self._begin = time.monotonic()

    def is_cancelled(self) -> bool:
        """Whether it was killed."""
        return self.cancelled

    def finished(self, outputs: list[Produced]) -> Outcome:
        """The outcome of a job that made its outputs."""
        return self._outcome(FINISHED, "", outputs)

    def failed(self, error: str, kind: str = FAILED, damaged: list[int] | None = None) -> Outcome:
        """The outcome of a job that did not."""
        outcome = self._outcome(kind, error, [])
        outcome.damaged = damaged or []
        return outcome

    def cancelled_outcome(self) -> Outcome:
        """The outcome of a job that was killed on request."""
        return self._outcome(CANCELLED, "", [])

    def _outcome(self, kind: str, error: str, outputs: list[Produced]) -> Outcome:
        return Outcome(
            self.job.uid,
            self.job.attempt,
            kind,
            error,
            outputs,
            start_time=self.start_time,
            duration_us=int((time.monotonic() - self._begin) * 1e6),
        )


def describe(error: Exception, needed_bytes: int = 0, where: str = "") -> str:
    """What to tell of an error of the disk, of a tree or of a task.

    `needed_bytes` (0: not known) and `where`, a path on the disk, are used when there is no room.
    """
    if isinstance(error, OSError) and error.errno is not None:
        place = error.filename or where
        if is_full(error) and place:
            return no_room(place, needed_bytes, at_least=not needed_bytes)
        return f"{error.strerror}{f': {error.filename}' if error.filename else ''}"
    if isinstance(error, (TaskFault, RainException)):
        return str(error)
    return f"{type(error).__name__}: {error}"


def split_inner_path(path: str) -> list[str]:
    """The parts of a path inside a directory, "" and "." left out; empty for the directory itself.

    Raises `TaskFault` for an absolute path, one with `..`, and one with a NUL.
    """
    if path.startswith("/"):
        raise TaskFault(f"the path {path!r} is absolute; it must be relative to the directory")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise TaskFault(f"the path {path!r} has '..' in it; it must stay inside the directory")
    if "\0" in path:
        raise TaskFault(f"the path {path!r} has a NUL in it")
    return parts
