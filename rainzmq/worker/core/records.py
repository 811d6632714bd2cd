"""What the worker's core remembers of tasks, objects and subworkers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from rainzmq.common.ids import id_of
from rainzmq.common.transitions import IllegalTransition, Past
from rainzmq.protocol.messages.shared import ObjectMeta, TaskBody
from rainzmq.worker.core import states
from rainzmq.worker.core.jobs import Job

BodyKey = tuple[int, int]
"""Session and key of a task body."""


@dataclass(slots=True, eq=False)
class AssignedTask:
    """A task this worker was given. `missing`: inputs that are not here yet."""

    uid: int
    attempt: int
    session_id: int
    body: TaskBody
    config: bytes
    priority: int
    inputs: list[int]
    missing: int = 0
    state: states.AssignedState = states.FETCHING
    reported: bool = False
    job: Job | None = None
    past: Past[states.AssignedState] = states.NEW_TASK

    def to(self, new: states.AssignedState) -> None:
        """Change state; IllegalTransition when the table does not have it."""
        try:
            self.past = self.past[new]
        except KeyError:
            raise IllegalTransition("assigned task", str(id_of(self.uid)), self.past.states, new) from None
        self.state = new


@dataclass(slots=True)
class Replica:
    """An object that is here or on its way. `readers`: tasks that wait for it."""

    meta: ObjectMeta
    state: states.ReplicaState
    readers: list[AssignedTask] = field(default_factory=list)

    def to(self, new: states.ReplicaState) -> None:
        """Change state; IllegalTransition when the table does not have it."""
        if new not in states.REPLICA[self.state]:
            raise IllegalTransition("replica", str(id_of(self.meta.uid)), (self.state,), new)
        self.state = new


@dataclass(slots=True)
class Promise:
    """An object that a task of this worker is about to make. `readers`: tasks that wait for it."""

    maker: AssignedTask
    is_blob: bool
    readers: list[AssignedTask] = field(default_factory=list)


@dataclass(slots=True)
class Subworker:
    """What is known of one subworker.

    Attributes:
        number: its number within the pool; never used again.
        kind: as before the `/` of a task type.
        ready: it said hello. Before that its queue is empty.
        dying: it was told to be killed.
        cpus: cpus of the jobs in its queue, or of the last one.
        queue: its jobs, in order; the first is the one that runs.
        parked: jobs withdrawn from a dying subworker; they move when it is gone.
        killed: uids of jobs that it dies for.
        bodies: task bodies it was sent.
        warm: task bodies it ran at least once.
        began: when the first job of the queue began, as far as is known.
        expected_s: mean durations of the jobs in the queue together, infinite when one is not known; None
            when it
            must be computed again.
    """

    number: int
    kind: str
    ready: bool = False
    dying: bool = False
    cpus: tuple[int, ...] = ()
    queue: deque[Job] = field(default_factory=deque)
    parked: list[Job] = field(default_factory=list)
    killed: set[int] = field(default_factory=set)
    bodies: set[BodyKey] = field(default_factory=set)
    warm: set[BodyKey] = field(default_factory=set)
    began: float = 0.0
    expected_s: float | None = None
