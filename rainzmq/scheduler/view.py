"""What a scheduling policy sees: ids, sizes, resources and the graph, never messages.

The server's records satisfy these protocols as they are; a simulation may bring its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

Request = tuple[int, str]
"""(cpus, kind of runner): what a task needs of a worker."""


class BodyView(Protocol):
    """What tasks of one body have in common."""

    request: Request
    mean_s: float | None


class ObjectView(Protocol):
    """An input of a task."""

    @property
    def size(self) -> int: ...
    @property
    def holders(self) -> Sequence[WorkerView]: ...
    @property
    def expected(self) -> Sequence[WorkerView]: ...


class TaskView(Protocol):
    """A task that may be placed."""

    uid: int
    blevel: int
    state: str
    retracting: bool
    expected_s: float

    @property
    def body(self) -> BodyView: ...
    @property
    def inputs(self) -> Sequence[ObjectView]: ...


class WorkerView(Protocol):
    """A worker that tasks may be placed on. `load`: cpus asked for by its tasks; `backlog_s`: their expected
    time.
    """

    cpus: int
    kinds: frozenset[str]
    load: int
    backlog_s: float

    @property
    def tasks(self) -> Mapping[int, TaskView]: ...


Assignments = Iterator[tuple[TaskView, WorkerView]]
