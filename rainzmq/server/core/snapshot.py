"""Snapshots: the same events that tell of what happens, made from how things are.

Parts are made right after all events were handed out, so that each says how things are after the event whose
number it bears; tasks that change between two parts are told of by events as usual. What an event says is
absolute, so it does no harm to hear of a change before the part that knows of it already.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from rainzmq.common.ids import local_of
from rainzmq.common.states import TaskState
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.shared import TaskBody
from rainzmq.server.core import states
from rainzmq.server.core.history import PastTask
from rainzmq.server.core.records import TaskRecord, WorkerRecord
from rainzmq.server.core.session_records import SessionRecord
from rainzmq.server.core.state import ServerState

PART_BYTES = 128 << 10
"""Parts of a snapshot are about as large: far under the limit of a frame, and some milliseconds of work."""

TASK_BYTES = 80
"""Estimated bytes of a task in a snapshot, beside its name, inputs and outputs."""

SNAPSHOT_EVENTS = 1000
"""Events about workers and sessions of one part."""

_BLOCK_BITS = 8

CONFIG_BYTES = 4 << 10
"""A larger configuration is not shown."""

SHOWN_BYTES = {"builtin": CONFIG_BYTES, "python": 256}
"""So long may what a single task is told be at most to be shown, by its kind. Of Python calls these are their
arguments; telling them costs the server 0.15 us a task and the log their size.
"""


def shown_body(body: TaskBody) -> TaskBody:
    """A body as it is told: configurations of Python tasks are pickles, which nobody reads."""
    keep = body.task_type.startswith("builtin/") and len(body.config) <= CONFIG_BYTES
    return body if keep or not body.config else replace(body, config=b"")


def worker_came(worker: WorkerRecord) -> tuple[Any, ...]:
    """Fields of a `WorkerCame`."""
    hello = worker.hello
    kinds = sorted(kind for kind in worker.offered if " " not in kind)
    return worker.number, worker.name, hello.hostname, hello.pid, worker.cpus, kinds


def snapshot_parts(state: ServerState, request: int) -> Iterator[list[Any]]:
    """Parts of a snapshot; each is made when it is asked for."""
    feed = state.feed

    def stamped(kind: type, *values: Any, when: float | None = None) -> Any:
        time = (state.now if when is None else when) + feed.offset
        return kind(feed.number, time, *values)

    started = state.started + feed.offset
    begin = [stamped(e.SnapshotBegin, request, state.options.software, started)]
    begin += [
        stamped(e.WorkerCame, *worker_came(worker), when=worker.joined) for worker in state.workers.values()
    ]
    begin += [
        stamped(e.WorkerTroubled, worker.number, sorted(worker.troubles.items()))
        for worker in state.workers.values()
        if worker.troubles
    ]
    for past in state.ended:
        begin.append(stamped(e.SessionCame, past.session_id, past.name, past.client, when=past.opened))
        begin.append(stamped(e.SessionEnded, past.session_id, past.state, past.failure, when=past.ended))
    sessions = [session for session in state.sessions.values() if session.state is states.OPEN]
    for session in sessions:
        row = (session.session_id, session.name, client_name(state, session))
        begin.append(stamped(e.SessionCame, *row, when=session.opened))
    feed.reasons.clear()  # so that they are said again
    for start in range(0, len(begin), SNAPSHOT_EVENTS):
        yield begin[start : start + SNAPSHOT_EVENTS]
    numbers = {worker.name: worker.number for worker in state.workers.values()}
    for session in sessions:
        known: set[int] = set()
        part = _Part(session, numbers, known)
        for block in sorted(_blocks(session)):
            if session.state is not states.OPEN:
                break
            for uid in range(block << _BLOCK_BITS, (block + 1) << _BLOCK_BITS):
                part.add(uid)
                if part.is_full():
                    yield [
                        stamped(e.TasksSubmitted, *part.submitted(), when=session.opened),
                        stamped(e.TaskStates, *part.states()),
                    ]
                    part = _Part(session, numbers, known)
        if session.state is states.OPEN and not part.is_empty():
            yield [
                stamped(e.TasksSubmitted, *part.submitted(), when=session.opened),
                stamped(e.TaskStates, *part.states()),
            ]
    yield [stamped(e.SnapshotEnd, request)]


def client_name(state: ServerState, session: SessionRecord) -> str:
    """Host and process of a session's client, as far as it is there."""
    client = state.clients.get(session.peer)
    return client.name if client else ""


def _blocks(session: SessionRecord) -> set[int]:
    """Where ids of a session stand, in blocks of `_BLOCK` uids; ids may have large gaps."""
    found = set(session.history.blocks(_BLOCK_BITS))
    for table in (session.tasks, session.objects):
        found.update(table.blocks(_BLOCK_BITS))
    return found


class _Part:
    """Columns for some tasks and constants of a session. `known`: keys of bodies that were told already."""

    def __init__(self, session: SessionRecord, workers: dict[str, int], known: set[int]) -> None:
        self._session = session
        self._worker_numbers = workers
        self._known = known
        self._bytes = 0
        self._bodies: list[TaskBody] = []
        self._names: list[tuple[int, str]] = []
        self._users: list[tuple[int, bytes]] = []
        self._uids: list[int] = []
        self._keys: list[int] = []
        self._counts: list[int] = []
        self._inputs: list[int] = []
        self._constants: list[tuple[int, str | None, bool, str | None, int]] = []
        self._keep: list[int] = []
        self._states: list[TaskState] = []
        self._attempts: list[int] = []
        self._workers: list[int] = []
        self._times: list[float] = []
        self._durations: list[int] = []
        self._output_counts: list[int] = []
        self._sizes: list[int] = []
        self._removed: list[int] = []

    def is_full(self) -> bool:
        """Whether it is large enough to be sent."""
        return self._bytes > PART_BYTES

    def is_empty(self) -> bool:
        """Whether it says nothing."""
        return not self._bytes

    def add(self, uid: int) -> None:
        """Add the task or constant of a uid, if there is one."""
        session = self._session
        task = session.tasks.get(uid)
        if task is not None:
            self._add_task(task)
        elif (past := session.history.task(uid)) is not None:
            self._add_past(uid, past)
        elif uid in session.consts:
            self._add_constant(uid)
        user = session.users.get(uid) if session.users else None
        if user:
            self._users.append((local_of(uid), user))
            self._bytes += len(user)

    def _add_name(self, uid: int, body: TaskBody) -> None:
        name = self._session.names.get(uid)
        if name is not None:
            self._names.append((local_of(uid), name))
            self._bytes += 4 * len(name)
        if body.key not in self._known:
            self._known.add(body.key)
            shown = shown_body(body)
            self._bodies.append(shown)
            self._bytes += len(shown.config) + 4 * len(body.name or "") + 100 * (1 + len(body.outputs))
        self._bytes += TASK_BYTES

    def submitted(self) -> tuple[Any, ...]:
        """Fields of a `TasksSubmitted`."""
        ids = [local_of(uid) for uid in self._uids]
        graph = (self._bodies, ids, self._keys, self._counts, self._inputs)
        told: tuple[Any, ...] = (self._names, [], self._users, self._constants, self._keep)
        return self._session.session_id, *graph, *told

    def states(self) -> tuple[Any, ...]:
        """Fields of a `TaskStates`."""
        ran = (self._workers, self._times, self._durations)
        made = (self._output_counts, self._sizes, self._removed)
        return self._uids, self._states, self._attempts, *ran, *made

    def _add_task(self, task: TaskRecord) -> None:
        done = task.state is states.FINISHED
        self._uids.append(task.uid)
        self._keys.append(task.body.declared.key)
        self._counts.append(len(task.inputs))
        self._inputs += [local_of(item.uid) for item in task.inputs]
        self._bytes += 4 * len(task.inputs) + 20 * len(task.outputs)
        self._add_name(task.uid, task.body.declared)
        self._states.append(task.state)
        self._attempts.append(task.attempt)
        self._workers.append(task.worker.number if task.worker else 0)
        self._times.append(task.start_time if done or task.state is states.RUNNING else 0.0)
        self._durations.append(task.duration_us if done else -1)
        self._output_counts.append(len(task.outputs))
        for item in task.outputs:
            self._sizes.append(-1 if item.state is states.UNFINISHED else item.size)
            if item.state is states.REMOVED:
                self._removed.append(item.uid)
            if item.keep:
                self._keep.append(local_of(item.uid))

    def _add_past(self, uid: int, past: PastTask) -> None:
        outputs = range(uid + 1, uid + 1 + len(past.body.declared.outputs))
        self._uids.append(uid)
        self._add_name(uid, past.body.declared)
        self._keys.append(past.body.declared.key)
        self._counts.append(0)
        self._states.append(states.FINISHED)
        self._attempts.append(0)
        self._workers.append(self._worker_numbers.get(past.worker or "", 0))
        self._times.append(past.start_time)
        self._durations.append(past.duration_us)
        self._output_counts.append(len(outputs))
        for output in outputs:
            item = self._session.history.output(output)
            self._sizes.append(item.size if item is not None else 0)
        self._removed += outputs

    def _add_constant(self, uid: int) -> None:
        meta, item = self._session.consts[uid], self._session.objects.get(uid)
        row = (local_of(uid), meta.label, meta.is_directory, meta.content_type, meta.size)
        self._constants.append(row)
        self._bytes += TASK_BYTES + 4 * len(meta.label or "")
        if item is None or item.state is states.REMOVED:
            self._removed.append(uid)
        elif item.keep:
            self._keep.append(local_of(uid))
