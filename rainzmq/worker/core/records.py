"""What the worker's core remembers of tasks and objects."""

from __future__ import annotations

from dataclasses import dataclass, field

from rainzmq.common.ids import id_of
from rainzmq.protocol.messages.shared import ObjectMeta, TaskBody
from rainzmq.worker.core import states
from rainzmq.worker.core.jobs import Job


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
    state: str = states.FETCHING
    reported: bool = False
    job: Job | None = None

    def to(self, new: str) -> None:
        """Change state; IllegalTransition when the table does not have it."""
        if new not in states.TASK[self.state]:
            raise states.IllegalTransition("assigned task", str(id_of(self.uid)), self.state, new)
        self.state = new


@dataclass(slots=True)
class Replica:
    """An object that is here or on its way. `readers`: tasks that wait for it."""

    meta: ObjectMeta
    state: str
    readers: list[AssignedTask] = field(default_factory=list)

    def to(self, new: str) -> None:
        """Change state; IllegalTransition when the table does not have it."""
        if new not in states.REPLICA[self.state]:
            raise states.IllegalTransition("replica", str(id_of(self.meta.uid)), self.state, new)
        self.state = new


@dataclass(slots=True)
class Promise:
    """An object that a task of this worker is about to make. `readers`: tasks that wait for it."""

    maker: AssignedTask
    is_blob: bool
    readers: list[AssignedTask] = field(default_factory=list)
