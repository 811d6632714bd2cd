"""What a scheduling policy sees: ids, sizes, resources and the graph, never messages.

The server's records satisfy these protocols as they are; a simulation may bring its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, Protocol

from rainzmq.common.states import DataObjectState, TaskState

Request = tuple[int, str]
"""(cpus, kind of runner): what a task needs of a worker."""


class BodyView(Protocol):
    """What tasks of one body have in common."""

    request: Request
    mean_s: float | None


class ObjectLike(Protocol):
    """An input or output of a task. It is unfinished until its producer is committed."""

    state: DataObjectState

    @property
    def size(self) -> int: ...
    @property
    def producer(self) -> TaskLike | None: ...
    @property
    def consumers(self) -> Sequence[TaskLike]: ...
    @property
    def holders(self) -> Sequence[WorkerLike]: ...
    @property
    def expected(self) -> Sequence[WorkerLike]: ...


class TaskLike(Protocol):
    """A task that may be placed."""

    uid: int
    blevel: int
    state: TaskState
    retracting: bool
    expected_s: float
    waiting: int

    @property
    def body(self) -> BodyView: ...
    @property
    def inputs(self) -> Sequence[ObjectLike]: ...
    @property
    def outputs(self) -> Sequence[ObjectLike]: ...
    @property
    def worker(self) -> WorkerLike | None: ...


class WorkerLike(Protocol):
    """A worker that tasks may be placed on.

    Attributes:
        load: cpus asked for by its tasks.
        ahead: cpus asked for by those of them that wait for others of them.
        backlog_s: expected time of all its tasks, seconds.
        cut_off: workers that it cannot reach.
    """

    cpus: int
    kinds: frozenset[str]
    load: int
    ahead: int
    backlog_s: float
    progress_at: float

    @property
    def tasks(self) -> Mapping[int, TaskLike]: ...
    @property
    def cut_off(self) -> Container[Any]: ...
    @property
    def frontier(self) -> deque[Any]:
        """Its tasks whose consumers may be sent ahead."""


Assignments = Iterator[tuple[TaskLike, WorkerLike]]
