"""What the server remembers, one slotted record per thing.

There may be a million tasks, so what only few have (names of their own, user data, debug messages) stands in
dictionaries of the session, and holder lists are tuples: a single holder shares its worker's `solo`.
"""

from __future__ import annotations

from collections import deque

from rainzmq.common.ids import id_of
from rainzmq.common.states import DataObjectState, TaskState, WorkerState
from rainzmq.common.transitions import IllegalTransition
from rainzmq.common.versions import minor_of
from rainzmq.protocol.messages.shared import Endpoint, TaskBody
from rainzmq.protocol.messages.worker import WorkerHello
from rainzmq.server.core import states
from rainzmq.server.core.table import Table


class BodyRecord:
    """A task body and what was measured of its tasks.

    Attributes:
        declared: as the client sent it.
        kind: what stands before the `/` of the task type: which runner it needs.
        request: (cpus, kind), where the kind of Python functions has the minor version: `python 3.11`. Tasks
            of one request share a ready heap.
        mean_s: running mean of the duration of its tasks in seconds, None before the first.
        group: counts that its tasks without a name of their own are in, as `NameGroups` has them.
    """

    __slots__ = ("declared", "group", "kind", "mean_s", "request")

    def __init__(self, declared: TaskBody, group: list[int], python: str = "") -> None:
        """`python`: the client's minor version of Python, empty when it is not known."""
        self.declared = declared
        self.group = group
        self.kind = declared.task_type.partition("/")[0]
        self.request = (
            declared.cpus,
            f"{self.kind} {python}" if python and self.kind == "python" else self.kind,
        )
        self.mean_s: float | None = None

    def measured(self, duration_s: float) -> None:
        """Take one more duration into the mean (exponential, weight 1/8)."""
        mean = self.mean_s
        self.mean_s = duration_s if mean is None else mean + (duration_s - mean) / 8


class TaskRecord:
    """A task.

    Attributes:
        waiting: number of unfinished inputs; over 0 in a task that was sent ahead, too.
        blevel: longest path in tasks from here to a task without consumers, within its submit.
        worker: where it is assigned or runs, or where it last finished.
        attempt: which attempt the current or next run is, from 0.
        crashes: how often it ended the process it ran in.
        crash_notes: where and how, one line each.
        retracting: it was retracted from its worker.
        expected_s: what it was counted with in its worker's backlog.
        start_time, duration_us: of the run that was committed.
    """

    __slots__ = (
        "attempt",
        "blevel",
        "body",
        "config",
        "crash_notes",
        "crashes",
        "duration_us",
        "expected_s",
        "inputs",
        "outputs",
        "past",
        "retracting",
        "start_time",
        "state",
        "uid",
        "waiting",
        "worker",
    )

    def __init__(self, uid: int, body: BodyRecord, config: bytes, inputs: tuple[ObjectRecord, ...]) -> None:
        self.uid = uid
        self.body = body
        self.config = config
        self.inputs = inputs
        self.outputs: tuple[ObjectRecord, ...] = ()
        self.state: TaskState = states.WAITING
        self.past = states.NEW_TASK
        self.waiting = 0
        self.blevel = 0
        self.worker: WorkerRecord | None = None
        self.attempt = 0
        self.crashes = 0
        self.crash_notes: tuple[str, ...] = ()
        self.retracting = False
        self.expected_s = 0.0
        self.start_time = 0.0
        self.duration_us = -1

    def to(self, new: TaskState) -> None:
        """Change state; IllegalTransition when the table does not have it."""
        try:
            self.past = self.past[new]
        except KeyError:
            raise IllegalTransition("task", str(id_of(self.uid)), self.past.states, new) from None
        self.state = new


class ObjectRecord:
    """A data object.

    Attributes:
        producer: the task that makes it, None for a constant.
        consumers: tasks that read it and are not released.
        pending: how many of its consumers are unfinished.
        lineage: how many of its consumers are not released (see `objects.py`).
        size: bytes, -1 while unfinished.
        keep: the client wants it until told otherwise.
        data: the content when the server itself has it.
        at_relay: the relay has it (an uploaded constant).
        holders: workers with a replica.
        expected: workers that were told of it and may be getting it.
        misses: how often a worker could not get it from anywhere.
    """

    __slots__ = (
        "at_relay",
        "consumers",
        "data",
        "expected",
        "holders",
        "keep",
        "lineage",
        "misses",
        "past",
        "pending",
        "producer",
        "size",
        "state",
        "uid",
    )

    def __init__(self, uid: int, producer: TaskRecord | None) -> None:
        self.uid = uid
        self.producer = producer
        self.consumers: list[TaskRecord] | tuple[()] = ()
        self.pending = 0
        self.lineage = 0
        self.state: DataObjectState = states.UNFINISHED
        self.past = states.NEW_OBJECT
        self.size = -1
        self.keep = False
        self.data: bytes | None = None
        self.at_relay = False
        self.holders: tuple[WorkerRecord, ...] = ()
        self.expected: tuple[WorkerRecord, ...] = ()
        self.misses = 0

    def to(self, new: DataObjectState) -> None:
        """Change state; IllegalTransition when the table does not have it."""
        try:
            self.past = self.past[new]
        except KeyError:
            raise IllegalTransition("object", str(id_of(self.uid)), self.past.states, new) from None
        self.state = new

    @property
    def available(self) -> bool:
        """Some process has its content."""
        return self.data is not None or self.at_relay or bool(self.holders)

    def add_holder(self, worker: WorkerRecord) -> None:
        """Note a replica."""
        if worker not in self.holders:
            self.holders = (*self.holders, worker) if self.holders else worker.solo
            worker.objects[self.uid] = self
        if worker in self.expected:
            self.expected = tuple(item for item in self.expected if item is not worker)

    def add_consumer(self, task: TaskRecord) -> None:
        """One more task reads it."""
        if self.consumers:
            self.consumers.append(task)
        else:
            self.consumers = [task]  # most objects of a large graph have few readers, and many none
        self.pending += 1
        self.lineage += 1

    def forget(self, worker: WorkerRecord) -> None:
        """The worker has no replica and is getting none."""
        if worker in self.holders:
            self.holders = tuple(item for item in self.holders if item is not worker)
        if worker in self.expected:
            self.expected = tuple(item for item in self.expected if item is not worker)
        worker.objects.discard(self.uid)


class WorkerRecord:
    """A registered worker.

    Attributes:
        peer: where its messages come from.
        epoch: given out at its registration; in every header of its.
        name: `worker_id`, "host:port" of its data endpoint.
        number: given out at its registration, never twice; names it in the event log.
        joined: when it registered, on the engine's clock.
        tasks: assigned and running tasks, oldest first.
        load: cpus that these ask for, together.
        ahead: cpus that those of them ask for that were sent ahead and still wait.
        backlog_s: how long these take together, as far as is known.
        progress_at: when a task of it finished last, or it got one after it had none.
        offered: kinds of task it can run; with `python` also `python 3.11`, say.
        python: its version of Python, empty when it has not told.
        frontier: assigned tasks whose consumers have not been looked at for sending ahead, oldest first.
        objects: what it holds or is getting.
        cut_off: workers that it cannot reach, and until when that is believed (`reach.py`).
        deleting: objects that it was told to remove and has not confirmed.
        ending: objects it had of sessions that it was told have ended and has not confirmed, by session.
        bodies: (session id, body key) it was sent.
        kinds: those of them that it takes now.
        troubles: kinds it takes none of for now, though it offers them, with why.
        to_assign, to_cancel, to_retract, to_remove, to_end: what goes out at the end of the turn.
        last_heard: when a message of its came, on the engine's clock.
    """

    __slots__ = (
        "ahead",
        "backlog_s",
        "bodies",
        "cpus",
        "cut_off",
        "deleting",
        "ending",
        "endpoint",
        "epoch",
        "frontier",
        "hello",
        "joined",
        "kinds",
        "last_heard",
        "load",
        "name",
        "number",
        "objects",
        "offered",
        "past",
        "peer",
        "progress_at",
        "python",
        "solo",
        "state",
        "tasks",
        "to_assign",
        "to_cancel",
        "to_end",
        "to_remove",
        "to_retract",
        "troubles",
    )

    def __init__(self, peer: bytes, epoch: int, hello: WorkerHello, now: float, number: int = 0) -> None:
        self.peer = peer
        self.number = number
        self.joined = now
        self.epoch = epoch
        self.hello = hello
        self.endpoint: Endpoint = hello.data
        self.name = f"{hello.data.host}:{hello.data.port}"
        self.cpus = hello.cpus
        told = [kind.removeprefix("python ") for kind in hello.subworkers if kind.startswith("python ")]
        self.python = told[0] if told else ""
        self.offered = frozenset([kind for kind in hello.subworkers if " " not in kind])
        if self.python:
            self.offered |= {f"python {minor_of(self.python)}"}
        self.kinds = self.offered
        self.troubles: dict[str, str] = {}
        self.state: WorkerState = states.LIVE
        self.past = states.NEW_WORKER
        self.solo: tuple[WorkerRecord, ...] = (self,)
        self.tasks: dict[int, TaskRecord] = {}
        self.load = 0
        self.ahead = 0
        self.backlog_s = 0.0
        self.progress_at = now
        self.frontier: deque[TaskRecord] = deque()
        self.objects: Table[ObjectRecord] = Table()
        self.cut_off: dict[WorkerRecord, float] = {}
        self.deleting: set[int] = set()
        self.ending: dict[int, list[int]] = {}
        self.bodies: set[tuple[int, int]] = set()
        self.to_assign: list[TaskRecord] = []
        self.to_cancel: list[int] = []
        self.to_retract: list[int] = []
        self.to_remove: list[int] = []
        self.to_end: list[int] = []
        self.last_heard = now

    def to(self, new: WorkerState) -> None:
        """Change state; IllegalTransition when the table does not have it."""
        try:
            self.past = self.past[new]
        except KeyError:
            raise IllegalTransition("worker", self.name, self.past.states, new) from None
        self.state = new
