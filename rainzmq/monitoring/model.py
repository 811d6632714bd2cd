"""Everything the event log says, as columns: fed event by event, asked by the dashboard, REST and reports.

    event --Model.apply--> sessions (tasks, objects), workers (samples), moves

A model may lag behind or have missed events: what it does not know it passes over, and a
snapshot sets it right.
"""

from __future__ import annotations

import time as clock
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rainzmq.common.ids import local_of, session_of
from rainzmq.common.states import SessionState, TaskState
from rainzmq.monitoring.bulk import Bulk
from rainzmq.monitoring.columns import Columns, IntArray
from rainzmq.monitoring.session import STATES, WAITING, PrintedTails, SessionLog
from rainzmq.protocol.messages import events as e

SAMPLES = 14_400
"""Samples kept of each worker and of the server: four hours of one a second; then every other one goes."""

PAST_TASKS = 3_000_000
PAST_SESSIONS = 10_000
"""Tasks of ended sessions, and ended sessions, that are kept in memory; the oldest sessions go first."""

GAP_S = 3.0
"""The server tells something every second: after a longer silence before a snapshot nobody listened."""

PRINTED_BYTES = 64 << 20
"""Ends of tasks' output that are kept in memory; the oldest go first."""

CONFIGS_BYTES = 64 << 20
"""What tasks were told each, with what keeping it takes, that is kept in memory; the oldest go first."""

_CONFIG_OVERHEAD = 150

_MOST_NOTES = 5

_MOST_BYTES = 1 << 50
"""No object is larger; whatever a worker says, sums of sizes stay right."""

_UNRELATED = (e.WorkerSampled, e.ServerSampled, e.SessionWaits, e.TasksPrinted, e.ObjectsMoved, e.WorkerCame)
"""Events that do not depend on how tasks are."""

_CODES = {state: WAITING if state is TaskState.READY else code for code, state in enumerate(STATES)}


class Samples:
    """Samples of one process over time: columns `time` and those it is made with, float64.

    Attributes:
        per_cpu: load of each cpu at each sample, 0 to 100, one byte each.
    """

    def __init__(self, *names: str) -> None:
        self._names = ("time", *names)
        self.columns = Columns(**dict.fromkeys(self._names, "f8"))
        self.per_cpu: list[bytes] = []

    def __len__(self) -> int:
        return len(self.columns)

    def __getitem__(self, name: str) -> Any:
        return self.columns[name]

    def add(self, per_cpu: bytes, **values: float) -> None:
        """One more sample; thins them out when there are too many."""
        if len(self.columns) and values["time"] <= self.columns["time"][-1]:
            return
        self.columns.append(1, **values)
        self.per_cpu.append(per_cpu)
        if len(self.columns) > SAMPLES:
            thinned = Columns(**dict.fromkeys(self._names, "f8"))
            old = {name: self.columns[name][::2] for name in self._names}
            thinned.append(len(old["time"]), **old)
            self.columns, self.per_cpu = thinned, self.per_cpu[::2]

    def at(self, time: float | None = None) -> int:
        """Index of the last sample, or of the last before a time; -1 without one."""
        if time is None:
            return len(self) - 1
        return int(np.searchsorted(self.columns["time"], time, side="right")) - 1


@dataclass
class WorkerLog:
    """What is known of a worker. `went`: when it left, s since the epoch, NaN while it is there. `troubles`:
    (since when, [(kind of task it takes none of, why)]), oldest first.
    """

    number: int
    worker_id: str
    hostname: str
    pid: int
    cpus: int
    kinds: list[str]
    came: float
    went: float = float("nan")
    why: str = ""
    on_purpose: bool = False
    troubles: list[tuple[float, list[tuple[str, str]]]] = field(default_factory=list)
    samples: Samples = field(
        default_factory=lambda: Samples(
            "cpu_percent",
            "memory_used_bytes",
            "memory_total_bytes",
            "net_sent_bytes",
            "net_received_bytes",
            "disk_read_bytes",
            "disk_written_bytes",
            "store_bytes",
            "store_objects",
            "store_free_bytes",
        )
    )

    def is_there(self, time: float | None = None) -> bool:
        """Whether it is registered, now or at a time."""
        gone = self.went == self.went
        if time is None:
            return not gone
        return self.came <= time and (not gone or time < self.went)

    def trouble(self, time: float | None = None) -> dict[str, str]:
        """Kinds of task it takes none of, with why, now or at a time."""
        rows = [kinds for since, kinds in self.troubles if time is None or since <= time]
        return dict(rows[-1]) if rows and self.is_there(time) else {}


class Model:
    """The state of a cluster and its past.

    Attributes:
        software, started: version and start (s since the epoch) of the server.
        number: number of the last event.
        now: time of the last event, s since the epoch; 0 before the first.
        version: grows with each event: what was computed for a version holds as long as it stays.
        sessions, workers: by number, also those that are gone, in order of their coming.
        moves: columns uid, source (number of the worker, 0 for the server, -1 unknown), worker (where it
            came to), start (s since the epoch), duration (s), bytes.
        gaps: pairs of times between which what happened was not told, but for how it ended.
        dropped_sessions: sessions that ended and were dropped to save memory.
    """

    def __init__(self) -> None:
        self.software = ""
        self.started = 0.0
        self.number = 0
        self.now = 0.0
        self.version = 0
        self.sessions: dict[int, SessionLog] = {}
        self.workers: dict[int, WorkerLog] = {}
        self.moves = Columns(uid="i8", source="i4", worker="i4", start="f8", duration="f8", bytes="i8")
        self.server = Samples("cpu_s", "memory_bytes", "clients")
        self.counters: dict[str, Any] = {}
        self.gaps: list[tuple[float, float]] = []
        self.dropped_sessions: list[int] = []
        self._past_sessions: deque[SessionLog] = deque()
        self._past_tasks = 0
        self._printed: OrderedDict[tuple[int, int], int] = OrderedDict()
        self._printed_bytes = 0
        self._configs: deque[tuple[int, list[int], int]] = deque()
        self._config_bytes = 0
        self._named: set[tuple[str, int]] | None = None
        self._bulk = Bulk()
        self._handlers: dict[type, Callable[[Any], None]] = {
            e.SnapshotBegin: self._on_snapshot_begin,
            e.SnapshotEnd: self._on_snapshot_end,
            e.WorkerCame: self._on_worker_came,
            e.WorkerWent: self._on_worker_went,
            e.WorkerTroubled: self._on_worker_troubled,
            e.WorkerSampled: self._on_worker_sampled,
            e.ServerSampled: self._on_server_sampled,
            e.SessionCame: self._on_session_came,
            e.SessionEnded: self._on_session_ended,
            e.SessionWaits: self._on_session_waits,
            e.TasksSubmitted: self._on_submitted,
            e.TasksReturned: self._on_returned,
            e.TasksRerun: self._on_rerun,
            e.TaskFailed: self._on_failed,
            e.TasksPrinted: self._on_printed,
            e.ObjectsMoved: self._on_moved,
            e.TaskStates: self._on_task_states,
        }

    def apply(self, event: Any) -> None:
        """Take in one event."""
        self.apply_all([event])

    def apply_all(self, events: list[Any]) -> None:
        """Take in events, in order. Many at once cost much less than one by one."""
        bulk = self._bulk
        for event in events:
            if type(event) is e.SnapshotBegin:
                self._note_gap(event)
            self.number = event.number
            self.now = max(self.now, event.time)
            self.version += 1
            handler = self._handlers.get(type(event))
            if handler is None:
                bulk.add(event)
                if isinstance(event, e.TasksFinished):
                    self._note_extras(event)
            else:
                if bulk and type(event) not in _UNRELATED:
                    self._take_bulk()
                handler(event)
        if bulk:
            self._take_bulk()

    def is_complete(self) -> bool:
        """Whether it has been told how things are: it has had a whole snapshot."""
        return bool(self.started) and self._named is None

    def worker_named(self, worker_id: str) -> WorkerLog | None:
        """The last worker of that `worker_id`."""
        for worker in reversed(self.workers.values()):
            if worker.worker_id == worker_id:
                return worker
        return None

    def worker_id(self, number: int) -> str | None:
        """The `worker_id` of a worker's number, None for 0 or an unknown one."""
        worker = self.workers.get(number)
        return None if worker is None else worker.worker_id

    def first_time(self) -> float:
        """When the first thing happened, s since the epoch."""
        times = [session.came for session in self.sessions.values()]
        times += [worker.came for worker in self.workers.values()]
        return min([self.started, *times]) if self.started else min(times, default=self.now)

    # Handlers.

    def _on_snapshot_begin(self, event: e.SnapshotBegin) -> None:
        self.software, self.started = event.software, event.started
        self._named = set()

    def _note_gap(self, event: e.SnapshotBegin) -> None:
        since = self.now or event.started
        if event.number > self.number or event.time - since > GAP_S:
            self.gaps.append((since, event.time))

    def gap_notes(self) -> list[str]:
        """What is not known, human-readable."""
        notes = []
        for since, until in self.gaps[-_MOST_NOTES:]:
            span = [clock.strftime("%Y-%m-%d %H:%M:%S", clock.localtime(item)) for item in (since, until)]
            notes.append(f"what happened from {span[0]} to {span[1]} was not seen, only how it ended")
        return notes

    def _on_snapshot_end(self, event: e.SnapshotEnd) -> None:
        named, self._named = self._named, None
        if named is None:
            return
        for worker in self.workers.values():
            if worker.is_there() and ("worker", worker.number) not in named:
                worker.went, worker.why = event.time, "it left while nobody watched"
        for session in list(self.sessions.values()):
            if session.state is SessionState.OPEN and ("session", session.session_id) not in named:
                self._on_session_ended(
                    e.SessionEnded(event.number, event.time, session.session_id, SessionState.CLOSED, None)
                )

    def _on_worker_came(self, event: e.WorkerCame) -> None:
        if self._named is not None:
            self._named.add(("worker", event.worker))
        if event.worker not in self.workers:
            self.workers[event.worker] = WorkerLog(
                number=event.worker,
                worker_id=event.worker_id,
                hostname=event.hostname,
                pid=event.pid,
                cpus=event.cpus,
                kinds=event.kinds,
                came=event.time,
            )

    def _on_worker_went(self, event: e.WorkerWent) -> None:
        worker = self.workers.get(event.worker)
        if worker is not None:
            worker.went, worker.why, worker.on_purpose = event.time, event.reason, event.on_purpose

    def _on_worker_troubled(self, event: e.WorkerTroubled) -> None:
        worker = self.workers.get(event.worker)
        if worker is not None and dict(event.kinds) != worker.trouble():
            worker.troubles.append((event.time, event.kinds))

    def _on_worker_sampled(self, event: e.WorkerSampled) -> None:
        worker = self.workers.get(event.worker)
        if worker is not None:
            loads = event.cpu_percent
            worker.samples.add(
                bytes(min(100, max(0, round(load))) for load in loads),
                time=event.time,
                cpu_percent=sum(loads) / max(1, len(loads)),
                memory_used_bytes=event.memory_used_bytes,
                memory_total_bytes=event.memory_total_bytes,
                net_sent_bytes=event.net_sent_bytes,
                net_received_bytes=event.net_received_bytes,
                disk_read_bytes=event.disk_read_bytes,
                disk_written_bytes=event.disk_written_bytes,
                store_bytes=event.store_bytes,
                store_objects=event.store_objects,
                store_free_bytes=event.store_free_bytes,
            )

    def _on_server_sampled(self, event: e.ServerSampled) -> None:
        self.counters = event.counters
        self.server.add(
            b"", time=event.time, cpu_s=event.cpu_s, memory_bytes=event.memory_bytes, clients=event.clients
        )

    def _on_session_came(self, event: e.SessionCame) -> None:
        if self._named is not None:
            self._named.add(("session", event.session_id))
        if event.session_id not in self.sessions:
            self.sessions[event.session_id] = SessionLog(
                event.session_id, event.name, event.client, event.time
            )

    def _on_session_ended(self, event: e.SessionEnded) -> None:
        session = self.sessions.get(event.session_id)
        if session is not None and session.state is SessionState.OPEN:
            session.ended_with(event)
            self._past_sessions.append(session)
            self._past_tasks += len(session.tasks)
            self._drop_old_sessions()

    def _on_session_waits(self, event: e.SessionWaits) -> None:
        session = self.sessions.get(event.session_id)
        if session is not None:
            session.reasons.append((event.time, event.reasons))

    def _on_submitted(self, event: e.TasksSubmitted) -> None:
        session = self.sessions.get(event.session_id)
        if session is not None:
            session.submitted(event)
            if event.configs:
                self._keep_configs(event)

    def _keep_configs(self, event: e.TasksSubmitted) -> None:
        """Forget what tasks were told first once that is too much."""
        ids = [task for task, _ in event.configs]
        size = sum(len(config) for _, config in event.configs) + _CONFIG_OVERHEAD * len(ids)
        self._configs.append((event.session_id, ids, size))
        self._config_bytes += size
        while self._config_bytes > CONFIGS_BYTES and len(self._configs) > 1:
            session_id, ids, size = self._configs.popleft()
            self._config_bytes -= size
            known = self.sessions[session_id].configs if session_id in self.sessions else {}
            for task in ids:
                known.pop(task, None)

    def _take_bulk(self) -> None:
        bulk, sessions = self._bulk, self.sessions
        for owner, ids, attempts, workers, times in bulk.assigned():
            if owner in sessions:
                sessions[owner].assigned(ids, attempts, workers, times)
        for owner, ids, times in bulk.started():
            if owner in sessions:
                sessions[owner].started(ids, times)
        for owner, done in bulk.finished():
            if owner in sessions:
                sessions[owner].finished(done)
        for owner, ids, times in bulk.removed():
            if owner in sessions:
                sessions[owner].removed(ids, times)
        bulk.clear()

    def _note_extras(self, event: e.TasksFinished) -> None:
        """What only some of the finished tasks have."""
        for uid, debug in event.debugs:
            if session_of(uid) in self.sessions:
                self.sessions[session_of(uid)].debugs[local_of(uid)] = debug
        for uid, user in event.users:
            if session_of(uid) in self.sessions:
                self.sessions[session_of(uid)].info_users[local_of(uid)] = user
        for uid, content_type in event.content_types:
            if session_of(uid) in self.sessions:
                self.sessions[session_of(uid)].content_types[local_of(uid)] = content_type
        for uid in event.executables:
            if session_of(uid) in self.sessions:
                self.sessions[session_of(uid)].executables.add(local_of(uid))

    def _on_returned(self, event: e.TasksReturned) -> None:
        notes = np.array(event.notes or [""] * len(event.uids), dtype=object)
        for session, ids, mine in self._by_session(event.uids):
            session.returned(event, ids.tolist(), notes[mine].tolist())

    def _on_rerun(self, event: e.TasksRerun) -> None:
        attempts = np.array(event.attempts, dtype=np.int64)
        for session, ids, mine in self._by_session(event.uids):
            session.rerun(ids.tolist(), attempts[mine].tolist(), event.time)
        for session, ids, _ in self._by_session(event.lost):
            session.lost(ids)
        for session, ids, _ in self._by_session(event.there):
            session.not_removed(ids)

    def _on_failed(self, event: e.TaskFailed) -> None:
        session = self.sessions.get(session_of(event.failure.task))
        if session is not None:
            session.failed(event, local_of(event.failure.task))

    def _on_printed(self, event: e.TasksPrinted) -> None:
        for uid, attempt, stdout, stderr, stdout_bytes, stderr_bytes in event.rows:
            session = self.sessions.get(session_of(uid))
            if session is None:
                continue
            session.printed[local_of(uid)] = PrintedTails(attempt, stdout, stderr, stdout_bytes, stderr_bytes)
            key, size = (session.session_id, local_of(uid)), len(stdout) + len(stderr)
            self._printed_bytes += size - self._printed.pop(key, 0)
            self._printed[key] = size
        while self._printed_bytes > PRINTED_BYTES:
            (session_id, local_id), size = self._printed.popitem(last=False)
            self._printed_bytes -= size
            if session_id in self.sessions:
                self.sessions[session_id].printed.pop(local_id, None)

    def _on_moved(self, event: e.ObjectsMoved) -> None:
        if not event.rows:
            return
        uids, sources, starts, durations_us, sizes = zip(*event.rows, strict=True)
        numbers = {"server": 0}
        for source in set(sources) - {"server"}:
            worker = self.worker_named(source)
            numbers[source] = -1 if worker is None else worker.number
        durations = np.clip(np.array(durations_us) / 1e6, 0.0, event.time - self.first_time())
        ends = np.minimum(np.array(starts) + durations, event.time)
        self.moves.append(
            len(uids),
            uid=uids,
            source=[numbers[source] for source in sources],
            worker=event.worker,
            start=np.maximum(ends, self.first_time() + durations) - durations,
            duration=durations,
            bytes=np.clip(sizes, 0, _MOST_BYTES),
        )

    def _on_task_states(self, event: e.TaskStates) -> None:
        codes = np.array([_CODES[state] for state in event.states], dtype=np.int64)
        if event.uids:
            session = self.sessions.get(session_of(event.uids[0]))
            if session is not None:
                session.states_of(event, codes)

    # Helpers.

    def _by_session(self, uids: list[int]) -> Iterator[tuple[SessionLog, IntArray, Any]]:
        """(session, local ids, which of the given ones they are) of the uids of each known session."""
        column = np.array(uids, dtype=np.int64)
        owners = column >> 32
        if not len(column):
            return
        if owners[0] == owners[-1] and bool(np.all(owners == owners[0])):
            session = self.sessions.get(int(owners[0]))
            if session is not None:
                yield session, column & 0xFFFFFFFF, slice(None)
            return
        for owner in np.unique(owners).tolist():
            session = self.sessions.get(owner)
            if session is not None:
                mine = np.flatnonzero(owners == owner)
                yield session, column[mine] & 0xFFFFFFFF, mine

    def _drop_old_sessions(self) -> None:
        past = self._past_sessions
        while len(past) > 1 and (self._past_tasks > PAST_TASKS or len(past) > PAST_SESSIONS):
            session = past.popleft()
            self._past_tasks -= len(session.tasks)
            del self.sessions[session.session_id]
            self.dropped_sessions.append(session.session_id)
