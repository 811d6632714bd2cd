"""Events as flat rows, one about one thing: what the event log is asked for and REST hands out.

An event message speaks of many tasks in columns; `rows_of` takes it apart. Every row has `number` and `time`
of its event, `type` (one of KINDS), `session_id`, `id` (such as "3/17") and `worker` (its worker_id), the
last three None where they do not apply; and what else there is to say, by the names in FIELDS. All values are
plain: str, int, float, bool, None, lists of str and dictionaries of these.

Events name workers by number. Give `rows_of` a `WorkerNames` that has seen the events before: it is kept up
to date by what passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rainzmq.common.ids import id_of, make_uid, session_of
from rainzmq.monitoring.hub import EventFilter, Row
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.shared import Failure

WorkerNames = dict[int, str]
"""The worker_id of each worker's number."""

FIELDS: dict[str, Mapping[str, str]] = {
    "snapshot_begin": {"software": "version of the server", "started": "when it started, s since the epoch"},
    "snapshot_end": {},
    "worker_came": {
        "worker_number": "its number",
        "hostname": "its host",
        "pid": "its process",
        "cpus": "cpus it offers",
        "kinds": "kinds of task it can run",
    },
    "worker_went": {"reason": "human-readable", "on_purpose": "it said goodbye"},
    "worker_troubled": {"troubles": "kinds of task it takes none of for now, with why; empty: none"},
    "worker_sampled": {
        "cpu_percent": "mean load of its machine's cpus, 0 to 100",
        "memory_used_bytes": "memory of its machine in use",
        "memory_total_bytes": "memory of its machine",
        "store_bytes": "size of the objects in its store",
        "store_objects": "number of the objects in its store",
    },
    "server_sampled": {
        "cpu_s": "cpu time the server has used, s",
        "memory_bytes": "resident memory of the server",
        "clients": "connected clients",
    },
    "session_came": {"name": "as its client named it", "client": "host and process of its client"},
    "session_ended": {"state": "closed, failed or cancelled", "message": "why; null when it was closed"},
    "session_waits": {"reasons": "why nothing runs; empty when nothing keeps it"},
    "task_submitted": {
        "name": "its name, null without one",
        "task_type": "its type, null when not told again",
    },
    "constant_submitted": {"label": "its label, null without one", "size_bytes": "its size"},
    "task_assigned": {"attempt": "from 0"},
    "task_started": {"attempt": "from 0"},
    "task_finished": {
        "attempt": "from 0",
        "started": "when it began, s since the epoch on the worker's clock",
        "duration_s": "how long it ran",
        "cpu": "lowest index of its cpus",
        "output_bytes": "sum of the sizes of its outputs",
    },
    "task_returned": {
        "attempt": "the attempt that ended",
        "outcome": "retracted, lost, crashed or unable",
        "note": "what happened, human-readable; may be empty",
    },
    "task_rerun": {"attempt": "the next attempt"},
    "task_failed": {
        "attempt": "the attempt that failed",
        "name": "its name, null without one",
        "message": "why",
        "started": "when it began, s since the epoch; null when it ran nowhere",
        "duration_s": "how long it ran; null when it ran nowhere",
    },
    "task_printed": {
        "attempt": "from 0",
        "stdout": "end of its standard output",
        "stderr": "end of its standard error",
        "stdout_bytes": "length of the whole standard output",
        "stderr_bytes": "length of the whole standard error",
    },
    "object_moved": {
        "source": "worker_id it came from, or `server`",
        "started": "when it set out, s since the epoch",
        "duration_s": "how long it took",
        "size_bytes": "its size",
    },
    "object_removed": {},
    "task_state": {"state": "state on the server", "attempt": "from 0"},
}
"""What rows of each type have beside `number`, `time`, `type`, `session_id`, `id` and `worker`."""

PLACE_BITS = 20
"""Low bits of a cursor that say which row of its event it is."""

KINDS: tuple[str, ...] = tuple(FIELDS)
"""All types of row."""


def rows_of(event: Any, workers: WorkerNames | None = None) -> Iterator[Row]:
    """The rows of an event, in order. `workers`: names of the workers so far; those that come are added.

    Without it `worker` is None, except where a worker comes.
    """
    names = {} if workers is None else workers
    if type(event) is e.WorkerCame:
        names[event.worker] = event.worker_id
    maker = _MAKERS.get(type(event))
    if maker is not None:
        yield from maker(event, names)


def matches(row: Row, wanted: EventFilter) -> bool:
    """Whether a row is wanted. `after` is not looked at: what it means is for the log to say."""
    return (
        (wanted.kinds is None or row["type"] in wanted.kinds)
        and (wanted.session_id is None or row["session_id"] == wanted.session_id)
        and (wanted.ids is None or uid_of(row) in wanted.ids)
        and (wanted.worker_id is None or row["worker"] == wanted.worker_id)
        and (wanted.since is None or row["time"] >= wanted.since)
        and (wanted.until is None or row["time"] < wanted.until)
    )


def cursor_of(number: int, place: int) -> int:
    """The cursor of a row: the `place`-th (from 0) of event `number`. Grows in the order of rows."""
    return number << PLACE_BITS | place


def uid_of(row: Row) -> int | None:
    """The uid of the task or object that a row is about, None when it is about neither."""
    if row["id"] is None:
        return None
    session, _, number = row["id"].partition("/")
    return make_uid(int(session), int(number))


def _row(event: Any, kind: str, uid: int | None = None, worker: str | None = None, **more: Any) -> Row:
    return {
        "number": event.number,
        "time": event.time,
        "type": kind,
        "session_id": None if uid is None else session_of(uid),
        "id": None if uid is None else str(id_of(uid)),
        "worker": worker,
        **more,
    }


def _of_session(event: Any, kind: str, **more: Any) -> Row:
    return {**_row(event, kind), "session_id": event.session_id, **more}


def _snapshot_begin(event: e.SnapshotBegin, names: WorkerNames) -> Iterator[Row]:
    yield _row(event, "snapshot_begin", software=event.software, started=event.started)


def _snapshot_end(event: e.SnapshotEnd, names: WorkerNames) -> Iterator[Row]:
    yield _row(event, "snapshot_end")


def _worker_came(event: e.WorkerCame, names: WorkerNames) -> Iterator[Row]:
    yield _row(
        event,
        "worker_came",
        worker=event.worker_id,
        worker_number=event.worker,
        hostname=event.hostname,
        pid=event.pid,
        cpus=event.cpus,
        kinds=list(event.kinds),
    )


def _worker_went(event: e.WorkerWent, names: WorkerNames) -> Iterator[Row]:
    worker = names.get(event.worker)
    yield _row(event, "worker_went", worker=worker, reason=event.reason, on_purpose=event.on_purpose)


def _worker_troubled(event: e.WorkerTroubled, names: WorkerNames) -> Iterator[Row]:
    yield _row(event, "worker_troubled", worker=names.get(event.worker), troubles=dict(event.kinds))


def _worker_sampled(event: e.WorkerSampled, names: WorkerNames) -> Iterator[Row]:
    yield _row(
        event,
        "worker_sampled",
        worker=names.get(event.worker),
        cpu_percent=sum(event.cpu_percent) / max(1, len(event.cpu_percent)),
        memory_used_bytes=event.memory_used_bytes,
        memory_total_bytes=event.memory_total_bytes,
        store_bytes=event.store_bytes,
        store_objects=event.store_objects,
    )


def _server_sampled(event: e.ServerSampled, names: WorkerNames) -> Iterator[Row]:
    yield _row(
        event,
        "server_sampled",
        cpu_s=event.cpu_s,
        memory_bytes=event.memory_bytes,
        clients=event.clients,
    )


def _session_came(event: e.SessionCame, names: WorkerNames) -> Iterator[Row]:
    yield _of_session(event, "session_came", name=event.name, client=event.client)


def _session_ended(event: e.SessionEnded, names: WorkerNames) -> Iterator[Row]:
    message = None if event.failure is None else event.failure.message
    yield _of_session(event, "session_ended", state=event.state, message=message)


def _session_waits(event: e.SessionWaits, names: WorkerNames) -> Iterator[Row]:
    yield _of_session(event, "session_waits", reasons=list(event.reasons))


def _submitted(event: e.TasksSubmitted, names: WorkerNames) -> Iterator[Row]:
    for local_id, label, _, _, size in event.constants:
        uid = make_uid(event.session_id, local_id)
        yield _row(event, "constant_submitted", uid, label=label, size_bytes=size)
    bodies = {body.key: body for body in event.bodies}
    own = dict(event.names)
    for local_id, key in zip(event.ids, event.body_keys, strict=True):
        body = bodies.get(key)
        yield _row(
            event,
            "task_submitted",
            make_uid(event.session_id, local_id),
            name=own.get(local_id, None if body is None else body.name),
            task_type=None if body is None else body.task_type,
        )


def _with_attempts(kind: str) -> Callable[[Any, WorkerNames], Iterator[Row]]:
    def rows(event: Any, names: WorkerNames) -> Iterator[Row]:
        worker = names.get(event.worker)
        for uid, attempt in zip(event.uids, event.attempts, strict=True):
            yield _row(event, kind, uid, worker, attempt=attempt)

    return rows


def _finished(event: e.TasksFinished, names: WorkerNames) -> Iterator[Row]:
    worker, at = names.get(event.worker), 0
    columns = (
        event.uids,
        event.attempts,
        event.start_times,
        event.durations_us,
        event.cpus,
        event.output_counts,
    )
    for uid, attempt, started, duration, cpu, outputs in zip(*columns, strict=True):
        sizes, at = event.sizes[at : at + outputs], at + outputs
        yield _row(
            event,
            "task_finished",
            uid,
            worker,
            attempt=attempt,
            started=started,
            duration_s=duration / 1e6,
            cpu=cpu,
            output_bytes=sum(sizes),
        )


def _returned(event: e.TasksReturned, names: WorkerNames) -> Iterator[Row]:
    worker = names.get(event.worker)
    for place, (uid, attempt) in enumerate(zip(event.uids, event.attempts, strict=True)):
        note = event.notes[place] if place < len(event.notes) else ""
        yield _row(event, "task_returned", uid, worker, attempt=attempt, outcome=event.outcome, note=note)


def _rerun(event: e.TasksRerun, names: WorkerNames) -> Iterator[Row]:
    for uid, attempt in zip(event.uids, event.attempts, strict=True):
        yield _row(event, "task_rerun", uid, attempt=attempt)


def _failed(event: e.TaskFailed, names: WorkerNames) -> Iterator[Row]:
    failure: Failure = event.failure
    has_run = event.duration_us >= 0
    yield _row(
        event,
        "task_failed",
        failure.task or None,
        names.get(event.worker, failure.worker),
        attempt=failure.attempt,
        name=failure.name,
        message=failure.message,
        started=event.start_time if has_run else None,
        duration_s=event.duration_us / 1e6 if has_run else None,
    )


def _printed(event: e.TasksPrinted, names: WorkerNames) -> Iterator[Row]:
    worker = names.get(event.worker)
    for uid, attempt, stdout, stderr, stdout_bytes, stderr_bytes in event.rows:
        yield _row(
            event,
            "task_printed",
            uid,
            worker,
            attempt=attempt,
            stdout=stdout,
            stderr=stderr,
            stdout_bytes=stdout_bytes,
            stderr_bytes=stderr_bytes,
        )


def _moved(event: e.ObjectsMoved, names: WorkerNames) -> Iterator[Row]:
    worker = names.get(event.worker)
    for uid, source, start, duration_us, size in event.rows:
        yield _row(
            event,
            "object_moved",
            uid,
            worker,
            source=source,
            started=start,
            duration_s=duration_us / 1e6,
            size_bytes=size,
        )


def _removed(event: e.ObjectsRemoved, names: WorkerNames) -> Iterator[Row]:
    for uid in event.uids:
        yield _row(event, "object_removed", uid)


def _task_states(event: e.TaskStates, names: WorkerNames) -> Iterator[Row]:
    columns = (event.uids, event.states, event.attempts, event.workers)
    for uid, state, attempt, worker in zip(*columns, strict=True):
        yield _row(event, "task_state", uid, names.get(worker), state=state, attempt=attempt)


EVENTS_OF: dict[str, type] = {
    "snapshot_begin": e.SnapshotBegin,
    "snapshot_end": e.SnapshotEnd,
    "worker_came": e.WorkerCame,
    "worker_went": e.WorkerWent,
    "worker_troubled": e.WorkerTroubled,
    "worker_sampled": e.WorkerSampled,
    "server_sampled": e.ServerSampled,
    "session_came": e.SessionCame,
    "session_ended": e.SessionEnded,
    "session_waits": e.SessionWaits,
    "task_submitted": e.TasksSubmitted,
    "constant_submitted": e.TasksSubmitted,
    "task_assigned": e.TasksAssigned,
    "task_started": e.TasksStarted,
    "task_finished": e.TasksFinished,
    "task_returned": e.TasksReturned,
    "task_rerun": e.TasksRerun,
    "task_failed": e.TaskFailed,
    "task_printed": e.TasksPrinted,
    "object_moved": e.ObjectsMoved,
    "object_removed": e.ObjectsRemoved,
    "task_state": e.TaskStates,
}
"""The event that rows of each type come from."""

_MAKERS: dict[type, Callable[[Any, WorkerNames], Iterator[Row]]] = {
    e.SnapshotBegin: _snapshot_begin,
    e.SnapshotEnd: _snapshot_end,
    e.WorkerCame: _worker_came,
    e.WorkerWent: _worker_went,
    e.WorkerTroubled: _worker_troubled,
    e.WorkerSampled: _worker_sampled,
    e.ServerSampled: _server_sampled,
    e.SessionCame: _session_came,
    e.SessionEnded: _session_ended,
    e.SessionWaits: _session_waits,
    e.TasksSubmitted: _submitted,
    e.TasksAssigned: _with_attempts("task_assigned"),
    e.TasksStarted: _with_attempts("task_started"),
    e.TasksFinished: _finished,
    e.TasksReturned: _returned,
    e.TasksRerun: _rerun,
    e.TaskFailed: _failed,
    e.TasksPrinted: _printed,
    e.ObjectsMoved: _moved,
    e.ObjectsRemoved: _removed,
    e.TaskStates: _task_states,
}
