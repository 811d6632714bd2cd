"""Snapshots: the same events that tell of what happens, made from how things are.

Parts are made right after all events were handed out, so that each says how things are after the event whose
number it bears; tasks that change between two parts are told of by events as usual. What an event says is
absolute, so it does no harm to hear of a change before the part that knows of it already.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rainzmq.common.ids import local_of, make_uid
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.shared import TaskBody
from rainzmq.server.core import states

if TYPE_CHECKING:
    from rainzmq.server.core.history import PastTask
    from rainzmq.server.core.records import SessionRecord, TaskRecord, WorkerRecord
    from rainzmq.server.core.state import ServerState

SNAPSHOT_IDS = 4096
"""Ids that one part of a snapshot covers: some milliseconds of work, some 300 KB."""

CONFIG_BYTES = 4 << 10
"""A larger configuration is not shown."""


def shown_body(body: TaskBody) -> TaskBody:
    """A body as it is told: configurations of Python tasks are pickles, which nobody reads."""
    keep = body.task_type.startswith("builtin/") and len(body.config) <= CONFIG_BYTES
    return body if keep or not body.config else replace(body, config=b"")


def worker_came(worker: WorkerRecord) -> tuple[Any, ...]:
    """Fields of a `WorkerCame`."""
    hello = worker.hello
    return worker.number, worker.name, hello.hostname, hello.pid, worker.cpus, sorted(worker.kinds)


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
    sessions = [session for session in state.sessions.values() if session.state == states.OPEN]
    for session in sessions:
        client = state.clients.get(session.peer)
        row = (session.session_id, session.name, client.name if client else "")
        begin.append(stamped(e.SessionCame, *row, when=session.opened))
    feed.reasons.clear()  # so that they are said again
    yield begin
    numbers = {worker.name: worker.number for worker in state.workers.values()}
    for session in sessions:
        base = make_uid(session.session_id, 0)
        known: set[int] = set()
        for start in range(base, session.last_uid + 1, SNAPSHOT_IDS):
            if session.state != states.OPEN:
                break
            new = [body.declared for key, body in session.bodies.items() if key not in known]
            known.update(body.key for body in new)
            part = _Part(session, numbers, start)
            yield [
                stamped(e.TasksSubmitted, *part.submitted(new), when=session.opened),
                stamped(e.TaskStates, *part.states()),
            ]
    yield [stamped(e.SnapshotEnd, request)]


class _Part:
    """Columns for the tasks and constants of a session from uid `start` on."""

    def __init__(self, session: SessionRecord, workers: dict[str, int], start: int) -> None:
        self._session = session
        self._worker_numbers = workers
        self._range = range(start, start + SNAPSHOT_IDS)
        self._uids: list[int] = []
        self._keys: list[int] = []
        self._counts: list[int] = []
        self._inputs: list[int] = []
        self._constants: list[tuple[int, str | None, bool, str | None, int]] = []
        self._keep: list[int] = []
        self._states: list[str] = []
        self._attempts: list[int] = []
        self._workers: list[int] = []
        self._times: list[float] = []
        self._durations: list[int] = []
        self._output_counts: list[int] = []
        self._sizes: list[int] = []
        self._removed: list[int] = []
        for uid in self._range:
            task = session.tasks.get(uid)
            if task is not None:
                self._add_task(task)
            elif (past := session.history.task(uid)) is not None:
                self._add_past(uid, past)
            elif uid in session.consts:
                self._add_constant(uid)

    def submitted(self, bodies: list[TaskBody]) -> tuple[Any, ...]:
        """Fields of a `TasksSubmitted`."""
        session, ids = self._session, [local_of(uid) for uid in self._uids]
        names = [(local_of(uid), session.names[uid]) for uid in self._uids if uid in session.names]
        told = [uid for uid in self._range if uid in session.users] if session.users else []
        users = [(local_of(uid), session.users[uid]) for uid in told]
        shown = [shown_body(body) for body in bodies]
        graph = (shown, ids, self._keys, self._counts, self._inputs)
        return session.session_id, *graph, names, [], users, self._constants, self._keep

    def states(self) -> tuple[Any, ...]:
        """Fields of a `TaskStates`."""
        ran = (self._workers, self._times, self._durations)
        made = (self._output_counts, self._sizes, self._removed)
        return self._uids, self._states, self._attempts, *ran, *made

    def _add_task(self, task: TaskRecord) -> None:
        done = task.state == states.FINISHED
        self._uids.append(task.uid)
        self._keys.append(task.body.declared.key)
        self._counts.append(len(task.inputs))
        self._inputs += [local_of(item.uid) for item in task.inputs]
        self._states.append(task.state)
        self._attempts.append(task.attempt)
        self._workers.append(task.worker.number if task.worker else 0)
        self._times.append(task.start_time if done else 0.0)
        self._durations.append(task.duration_us if done else -1)
        self._output_counts.append(len(task.outputs))
        for item in task.outputs:
            self._sizes.append(-1 if item.state == states.UNFINISHED else item.size)
            if item.state == states.REMOVED:
                self._removed.append(item.uid)
            if item.keep:
                self._keep.append(local_of(item.uid))

    def _add_past(self, uid: int, past: PastTask) -> None:
        outputs = range(uid + 1, uid + 1 + len(past.body.declared.outputs))
        self._uids.append(uid)
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
        if item is None or item.state == states.REMOVED:
            self._removed.append(uid)
        elif item.keep:
            self._keep.append(local_of(uid))
