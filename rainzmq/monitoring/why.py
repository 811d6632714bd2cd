"""Why a task is where it is, as a sentence human-readable."""

from __future__ import annotations

import numpy as np

from rainzmq.common.headline import headline, why_cancelled
from rainzmq.common.ids import make_uid
from rainzmq.common.states import AttemptState, SessionState
from rainzmq.common.units import format_duration, format_size
from rainzmq.monitoring.model import Model
from rainzmq.monitoring.objects import lacks_on, object_label
from rainzmq.monitoring.session import (
    ABSENT,
    ASSIGNED,
    CANCELLED,
    FAILED,
    FINISHED,
    READY,
    RUNNING,
    STATES,
    WAITING,
    SessionLog,
)
from rainzmq.monitoring.standing import (
    Standing,
    cpus_of,
    object_id,
    past_of,
    standing,
    task_id,
    task_type,
)


def why(model: Model, session: SessionLog, row: int, time: float | None = None) -> str:
    """Why a task of a session is where it is, now or at a time."""
    stands = standing(session, np.array([row]), time)
    code = int(stands.state[0])
    if code == ABSENT:
        return "not submitted yet"
    said = _SENTENCES[code](model, session, stands, time)
    if code in (WAITING, READY, ASSIGNED, RUNNING):
        said += _earlier_attempts(model, session, row, time)
    return said


# One sentence per state.


def _waiting(model: Model, session: SessionLog, stands: Standing, time: float | None) -> str:
    row = int(stands.rows[0])
    missing = _missing(session, row, time)
    if not missing:
        return "waits to become ready"
    inputs = len(session.input_ids(row))
    said = f"waits for {len(missing)} of {inputs} input{'s' * (inputs != 1)}: "
    producers = [(item, int(session.objects["producer"][item])) for item in missing[:1000]]
    item, producer = producers[0]
    label = object_label(session, item)
    what = object_id(session, item) + (f" ({label})" if label else "")
    if producer < 0:
        return said + f"constant {what}, which has not arrived"
    said += f"{what} of {_named(session, producer)}, which {_brief(model, session, producer, time)}"
    root = _root(session, producer, time)
    if root != producer:
        said += f"; in the end for {_named(session, root)}, which {_brief(model, session, root, time)}"
    return said


def _ready(model: Model, session: SessionLog, stands: Standing, time: float | None) -> str:
    row = int(stands.rows[0])
    since = _ready_since(session, row, time)
    said = f"ready since {format_duration(max(0.0, _now(model, time) - since))}; "
    own = f"task {session.session_id}/{int(session.tasks['ids'][row])} "
    # Others may wait for what this one does not need.
    reasons = [text for text in session.waits_at(time) if not text.startswith("task ") or own in text]
    if reasons:
        return said + "; ".join(reasons)
    cpus, kind = cpus_of(session, row), task_type(session, row).partition("/")[0]
    live = [worker for worker in model.workers.values() if worker.is_there(time)]
    able = [worker for worker in live if kind in worker.kinds and kind not in worker.trouble(time)]
    if not live:
        return said + "no worker is connected"
    if not able:
        return said + f"no worker offers {kind!r}"
    largest = max(able, key=lambda worker: worker.cpus)
    if largest.cpus < cpus:
        return said + f"it needs {cpus} cpus, but the largest worker, {largest.worker_id}, has {largest.cpus}"
    busy = _busy_cpus(model, time)
    offered = sum(worker.cpus for worker in able)
    used = sum(min(busy.get(worker.number, 0), worker.cpus) for worker in able)
    if used >= offered:
        all_of = f"all {offered} cpus are" if offered > 1 else "the only cpu is"
        return said + f"{all_of} busy or given away"
    if all(worker.cpus - busy.get(worker.number, 0) < cpus for worker in able):
        return said + f"no worker has {cpus} cpus free at once"
    return said + "it is about to be given to a worker"


def _assigned(model: Model, session: SessionLog, stands: Standing, time: float | None) -> str:
    row, number = int(stands.rows[0]), int(stands.worker[0])
    worker = _worker_name(model, number)
    said = f"assigned to {worker} {_ago(model, float(stands.assigned[0]), time)}; "
    lacking, size = lacks_on(model, session, row, number, time)
    missing = len(_missing(session, row, time))
    if missing:
        return said + f"{missing} of its inputs {'are' if missing > 1 else 'is'} being made there before"
    before = _assigned_before(model, number, float(stands.assigned[0]), time)
    parts = []
    if before:
        parts.append(f"{before} task{'s' * (before != 1)} before it")
    if lacking:
        are = "inputs are" if lacking > 1 else "input is"
        parts.append(f"{lacking} {are} being brought there ({format_size(size)})")
    return said + ("; ".join(parts) or "it is about to start")


def _running(model: Model, session: SessionLog, stands: Standing, time: float | None) -> str:
    since = float(stands.started[0])
    return f"runs on {_worker_name(model, int(stands.worker[0]))}{_for(model, since, time)}"


def _finished(model: Model, session: SessionLog, stands: Standing, time: float | None) -> str:
    took = float(stands.ended[0] - stands.started[0])
    after = f" after {format_duration(max(0.0, took))}" if took == took else ""
    return f"finished on {_worker_name(model, int(stands.worker[0]))}{after}"


def _failed(model: Model, session: SessionLog, stands: Standing, time: float | None) -> str:
    failure, local_id = session.failure, int(session.tasks["ids"][int(stands.rows[0])])
    if failure is None or failure.task != make_uid(session.session_id, local_id):
        return "failed"
    return f"failed: {headline(failure.message)}"


def _cancelled(model: Model, session: SessionLog, stands: Standing, time: float | None) -> str:
    return f"cancelled: {why_cancelled(session.state, session.failure)}"


_SENTENCES = {
    WAITING: _waiting,
    READY: _ready,
    ASSIGNED: _assigned,
    RUNNING: _running,
    FINISHED: _finished,
    FAILED: _failed,
    CANCELLED: _cancelled,
}


# Helpers.


def _now(model: Model, time: float | None) -> float:
    return model.now if time is None else time


def _worker_name(model: Model, number: int) -> str:
    return model.worker_id(number) or "a worker that is not known"


def _named(session: SessionLog, row: int) -> str:
    return f"task {task_id(session, row)} ({session.task_name(row)})"


def _for(model: Model, since: float, time: float | None) -> str:
    return f" for {format_duration(max(0.0, _now(model, time) - since))}" if since == since else ""


def _ago(model: Model, since: float, time: float | None) -> str:
    return (
        f"{format_duration(max(0.0, _now(model, time) - since))} ago" if since == since else "some time ago"
    )


def _missing(session: SessionLog, row: int, time: float | None) -> list[int]:
    """Rows of the inputs of a task that are not finished, in order, each once."""
    rows = session.objects.rows(session.input_ids(row))
    rows = rows[rows >= 0]
    finished = session.objects["finished"][rows]
    lacking = rows[~(finished <= (np.inf if time is None else time))]
    return list(dict.fromkeys(lacking.tolist()))


_MOST_HOPS = 1000
"""So far up a chain of waiting tasks it is looked for the one that all wait for: some 30 ms."""


def _root(session: SessionLog, row: int, time: float | None) -> int:
    """The task that `row` waits for in the end: the first one up the graph that does not wait itself."""
    for _ in range(min(len(session.tasks), _MOST_HOPS)):
        missing = _missing(session, row, time)
        producer = int(session.objects["producer"][missing[0]]) if missing else -1
        if producer < 0:
            break
        row = producer
    return row


def _brief(model: Model, session: SessionLog, row: int, time: float | None) -> str:
    stands = standing(session, np.array([row]), time)
    code, worker = int(stands.state[0]), _worker_name(model, int(stands.worker[0]))
    if code == RUNNING:
        return f"runs on {worker}{_for(model, float(stands.started[0]), time)}"
    if code == ASSIGNED:
        return f"is assigned to {worker}"
    if code == WAITING:
        missing = len(_missing(session, row, time))
        return f"waits for {missing} input{'s' * (missing != 1)} itself"
    if code == READY:
        return "is ready to run"
    return f"is {STATES[code]}" if code < len(STATES) else "is not submitted yet"


_ENDED = {AttemptState.LOST: "was lost with", AttemptState.UNABLE: "could not be run on"}


def _earlier_attempts(model: Model, session: SessionLog, row: int, time: float | None) -> str:
    """What became of the attempt before, when that explains why the task is not done yet."""
    past = [item for item in past_of(session, row, time) if item.outcome is not AttemptState.RETRACTED]
    if not past:
        return ""
    last = past[-1]
    note = f": {headline(last.note)}" if last.note else ""
    where = _worker_name(model, last.worker)
    if last.outcome is AttemptState.FINISHED:
        return f"; it had finished on {where} before{note}"
    what = _ENDED.get(last.outcome, f"{last.outcome} on")
    return f"; before that it {what} {where}{note}"


def _ready_since(session: SessionLog, row: int, time: float | None) -> float:
    rows = session.objects.rows(session.input_ids(row))
    times = session.objects["finished"][rows[rows >= 0]]
    submitted = float(session.tasks["submitted"][row])
    latest: float = max([submitted, *times[times <= (np.inf if time is None else time)].tolist()])
    ends = [past.until for past in past_of(session, row, time)]
    return max(latest, *ends) if ends else latest


def _busy_cpus(model: Model, time: float | None) -> dict[int, int]:
    """Cpus that running and assigned tasks take, by number of the worker."""
    busy: dict[int, int] = {}
    for session in model.sessions.values():
        if session.state is not SessionState.OPEN and (time is None or session.ended <= time):
            continue
        stands = _on_workers(session, time)
        bodies, workers = session.tasks["body"][stands.rows].astype(np.int64), stands.worker.astype(np.int64)
        kinds, counts = np.unique(bodies << 32 | workers, return_counts=True)
        for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True):
            body = session.bodies.get(kind >> 32)
            worker = kind & 0xFFFFFFFF
            busy[worker] = busy.get(worker, 0) + count * (body.cpus if body is not None else 1)
    return busy


def _on_workers(session: SessionLog, time: float | None) -> Standing:
    """Tasks that are assigned or run."""
    codes = session.tasks["state"] if time is None else session.states(time)
    held = np.flatnonzero((codes == ASSIGNED) | (codes == RUNNING))
    return standing(session, held, time, codes[held])


def _assigned_before(model: Model, worker: int, since: float, time: float | None) -> int:
    """Tasks that wait on the same worker and came there before."""
    count = 0
    for session in model.sessions.values():
        stands = _on_workers(session, time)
        waits = (stands.state == ASSIGNED) & (stands.worker == worker)
        count += int((waits & (stands.assigned < since)).sum())
    return count
