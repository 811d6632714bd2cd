"""What the runners of one worker share: readable failures, relative paths, and how outcomes are made."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence

from rainzmq.common.errors import RainException
from rainzmq.common.room import is_full, no_room
from rainzmq.common.states import AttemptState
from rainzmq.worker.core.jobs import CANCELLED, FAILED, FINISHED, UNABLE, Job, Outcome, Produced


class TaskFault(Exception):
    """A task cannot be done, for a reason of its own. The text is what the user reads."""


class WorkerFault(Exception):
    """A task cannot be done here, for a reason of this worker and not of the task: it runs elsewhere.

    `lost`: uids of stored objects whose content is gone.
    """

    def __init__(self, text: str, lost: Sequence[int] = ()) -> None:
        super().__init__(text)
        self.lost = list(lost)


def own_error(error: OSError, what: str) -> WorkerFault:
    """The fault of this worker that an error in its own files and processes is."""
    return WorkerFault(f"{what}: {error.strerror or error}{f' ({error.filename})' if error.filename else ''}")


SCARCE = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
"""This process or machine has no more of something: processes, memory, descriptors."""

_BROKEN = frozenset(
    {errno.EIO, errno.EROFS, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.EHOSTDOWN}
)
"""A file system cannot be used any more."""


def is_own(error: BaseException, directory: str | os.PathLike[str]) -> bool:
    """Whether an error says more of this worker than of the task it came up with. `directory`: where the
    worker's own files are; a task may have named broken file systems itself.
    """
    if not isinstance(error, OSError):
        return False
    if error.errno in SCARCE:
        return True
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    return error.errno in _BROKEN and any(name.startswith(os.fspath(directory) + os.sep) for name in names)


NOEXEC = (
    "no program can be run from {}, and no library loaded: its file system is mounted noexec. Give the "
    "worker a --workdir on another one"
)
"""What to tell of a path on such a file system."""


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

    def failed(self, error: str, kind: AttemptState = FAILED, damaged: list[int] | None = None) -> Outcome:
        """The outcome of a job that did not."""
        outcome = self._outcome(kind, error, [])
        outcome.damaged = damaged or []
        return outcome

    def unable(self, error: str, lost: list[int] | None = None) -> Outcome:
        """The outcome of a job that this worker could not do; `lost`: inputs that are gone."""
        return self.failed(error, UNABLE, lost)

    def cancelled_outcome(self) -> Outcome:
        """The outcome of a job that was killed on request."""
        return self._outcome(CANCELLED, "", [])

    def _outcome(self, kind: AttemptState, error: str, outputs: list[Produced]) -> Outcome:
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
