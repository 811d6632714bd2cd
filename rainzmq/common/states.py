"""The states a user sees. The engine's own, finer states are in `server.core.states` and
`worker.core.states`.
"""

from __future__ import annotations

from enum import Enum


class DataType(Enum):
    """What a data object is: a sequence of bytes, or a tree of files."""

    BLOB = "blob"
    DIRECTORY = "directory"


class TaskState(Enum):
    """Where a submitted task stands, as last heard by the client."""

    NOT_ASSIGNED = "not_assigned"
    READY = "ready"
    ASSIGNED = "assigned"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


class DataObjectState(Enum):
    """Where a submitted data object stands, as last heard by the client."""

    UNFINISHED = "unfinished"
    FINISHED = "finished"
    REMOVED = "removed"
