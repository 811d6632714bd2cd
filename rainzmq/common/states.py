"""The states that users meet, by the same words everywhere: in Python, REST, pages, terminal and event log.

The tables of transitions, and finer states where they are needed, are in `server.core.states` and
`worker.core.states`. Members are compared with `is`. Looking one up in its class costs 0.1 us on Python 3.11:
code that does so for each task keeps the member in a constant.
"""

from __future__ import annotations

from enum import Enum, StrEnum


class DataType(Enum):
    """What a data object is: a sequence of bytes, or a tree of files."""

    BLOB = "blob"
    DIRECTORY = "directory"


class TaskState(StrEnum):
    """Where a submitted task stands.

    Attributes:
        WAITING: some input is unfinished.
        READY: all inputs are finished; no worker has it.
        ASSIGNED: a worker has it and has not started it.
        RUNNING: a worker runs it.
        FINISHED: it ran and made its outputs.
        FAILED: its own run failed.
        CANCELLED: it was stopped or never ran, because another task failed or on request.
        NOT_ASSIGNED: an old name of WAITING.
    """

    WAITING = "waiting"
    READY = "ready"
    ASSIGNED = "assigned"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    NOT_ASSIGNED = WAITING


UNENDED = (TaskState.WAITING, TaskState.READY, TaskState.ASSIGNED, TaskState.RUNNING)
"""States of tasks whose end is still to come."""


class DataObjectState(StrEnum):
    """Where a submitted data object stands.

    Attributes:
        UNFINISHED: it is not made yet, or was lost and is to be made again.
        FINISHED: some process has it.
        REMOVED: it was made and is gone, as nobody needs it.
    """

    UNFINISHED = "unfinished"
    FINISHED = "finished"
    REMOVED = "removed"


class WorkerState(StrEnum):
    """Where a worker stands.

    Attributes:
        LIVE: it is registered and heard.
        SUSPECT: it is registered, but has been silent; it gets no new tasks. Only the server itself tells it
            apart from LIVE.
        GONE: it left or is lost.
    """

    LIVE = "live"
    SUSPECT = "suspect"
    GONE = "gone"


class SessionState(StrEnum):
    """Where a session stands.

    Attributes:
        OPEN: it takes submits.
        FAILED: a task of it failed, or what was submitted cannot be run.
        CANCELLED: somebody asked for its end.
        CLOSED: its client closed it or is gone.
    """

    OPEN = "open"
    FAILED = "failed"
    CANCELLED = "cancelled"
    CLOSED = "closed"


class AttemptState(StrEnum):
    """Where an attempt at a task stands, or what came of it.

    Attributes:
        ASSIGNED, RUNNING, FINISHED, FAILED, CANCELLED: as the task.
        RETRACTED: it was taken back before it began, to run elsewhere.
        LOST: its worker is gone.
        CRASHED: it ended the process it ran in.
        UNABLE: its worker could not run it, through a fault of its own.
    """

    ASSIGNED = "assigned"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RETRACTED = "retracted"
    LOST = "lost"
    CRASHED = "crashed"
    UNABLE = "unable"
