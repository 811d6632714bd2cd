"""What the server remembers of sessions and their clients."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from rainzmq.common.states import SessionState
from rainzmq.common.transitions import IllegalTransition, Past
from rainzmq.protocol.messages.shared import Failure, ObjectMeta
from rainzmq.server.core import states
from rainzmq.server.core.groups import NameGroups
from rainzmq.server.core.history import History
from rainzmq.server.core.records import BodyRecord, ObjectRecord, TaskRecord
from rainzmq.server.core.table import Table


@dataclass(slots=True)
class WaitRecord:
    """A client's `Wait` that is not answered yet. `missing` counts what it still waits for."""

    peer: bytes
    request: int
    ids: list[int]
    some: bool
    missing: int


@dataclass(slots=True)
class SessionRecord:
    """A session: its graph, and what only few of its tasks and objects have.

    Attributes:
        opened: when it was opened, on the engine's clock.
        groups: how many tasks there are and are finished, by the first part of their names.
        python: version of Python that its functions are of, empty when that is not known.
        named_versions: versions at workers that its client was told of already.
        unfinished: number of tasks that are neither finished nor cancelled.
        running: number of tasks in state running.
        tasks, objects: those that are not past.
        history: those that are: finished, with outputs that are gone for good.
        uploaded: constants at the relay whose submit has not come.
        awaited: constants that were submitted and have not come to the relay.
        last_uid: no task or object of the session has a greater uid.
        submit_open: a submit has begun whose last part has not come; unkept objects wait in `unread`.
        waits: waits for tasks or objects, by what they wait for.
        session_waits: waits for the whole session.
        fetches: (peer, request) of fetches of unfinished objects, by uid.
        remade: objects that were made again because workers could not reach each other.
    """

    session_id: int
    peer: bytes
    name: str
    opened: float = 0.0
    state: SessionState = states.OPEN
    past: Past[SessionState] = states.NEW_SESSION
    failure: Failure | None = None
    tasks: Table[TaskRecord] = field(default_factory=Table)
    objects: Table[ObjectRecord] = field(default_factory=Table)
    history: History = field(default_factory=History)
    bodies: dict[int, BodyRecord] = field(default_factory=dict)
    consts: dict[int, ObjectMeta] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    users: dict[int, bytes] = field(default_factory=dict)
    info_users: dict[int, bytes] = field(default_factory=dict)
    debugs: dict[int, str] = field(default_factory=dict)
    unable: dict[int, tuple[str, ...]] = field(default_factory=dict)
    content_types: dict[int, str] = field(default_factory=dict)
    executables: set[int] = field(default_factory=set)
    groups: NameGroups = field(default_factory=NameGroups)
    python: str = ""
    named_versions: set[str] = field(default_factory=set)
    unfinished: int = 0
    running: int = 0
    submit_open: bool = False
    uploaded: set[int] = field(default_factory=set)
    awaited: dict[int, None] = field(default_factory=dict)
    last_uid: int = 0
    unread: list[ObjectRecord] = field(default_factory=list)
    waits: dict[int, list[WaitRecord]] = field(default_factory=dict)
    session_waits: list[WaitRecord] = field(default_factory=list)
    fetches: dict[int, list[tuple[bytes, int]]] = field(default_factory=dict)
    remade: set[int] = field(default_factory=set)

    def to(self, new: SessionState) -> None:
        """Change state; IllegalTransition when the table does not have it."""
        try:
            self.past = self.past[new]
        except KeyError:
            raise IllegalTransition("session", str(self.session_id), self.past.states, new) from None
        self.state = new

    @property
    def task_count(self) -> int:
        """How many tasks were submitted."""
        return len(self.tasks) + len(self.history)

    def task_name(self, task: TaskRecord) -> str | None:
        """The task's own name, or its body's."""
        return self.names.get(task.uid, task.body.declared.name)

    def group_of(self, task: TaskRecord) -> list[int]:
        """[total, finished] of the group that a task counts in, to be changed in place."""
        name = self.names.get(task.uid) if self.names else None
        return task.body.group if name is None else self.groups.of(name)

    def meta(self, item: ObjectRecord) -> ObjectMeta:
        """What another process must know of an object."""
        uid = item.uid
        producer = item.producer
        if producer is None:
            return self.consts[uid]
        output = producer.body.declared.outputs[uid - producer.uid - 1]
        return ObjectMeta(
            uid,
            output.label,
            output.is_directory,
            self.content_types.get(uid, output.content_type),
            item.size,
            self.users.get(uid, b""),
            self.info_users.get(uid, b""),
            uid in self.executables,
        )

    def is_directory(self, item: ObjectRecord) -> bool:
        """Whether an object is a directory."""
        return self.meta(item).is_directory


@dataclass(slots=True)
class PastSession:
    """A session that is over. Times on the engine's clock."""

    session_id: int
    name: str
    client: str
    opened: float
    ended: float
    state: SessionState
    failure: Failure | None


@dataclass(slots=True)
class ClientRecord:
    """A client or viewer; whether it is alive is told in `presence.py`.

    Attributes:
        peer: its connection, the last one when that broke.
        last_heard: when a message of its came, on the engine's clock.
        received: how many messages came from it; those of `UNCOUNTED` are not counted here or below.
        confirmed: how many of those that it was sent it has confirmed.
        unconfirmed: those that it was sent after these, oldest first.
        watched: its process is on this machine, and it will be told when it ends.
        away_since: when its connection was closed; None while it has one.
    """

    peer: bytes
    epoch: int
    name: str
    last_heard: float
    viewer: bool = False
    sessions: set[int] = field(default_factory=set)
    received: int = 0
    confirmed: int = 0
    unconfirmed: deque[Any] = field(default_factory=deque)
    watched: bool = False
    away_since: float | None = None
