"""What a run came to, in numbers: how its workers were used, what was tried in vain, what moved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from rainzmq.common.ids import make_uid
from rainzmq.common.states import AttemptState
from rainzmq.monitoring.attempts import Attempts, attempts
from rainzmq.monitoring.columns import FloatArray, IntArray
from rainzmq.monitoring.model import Model
from rainzmq.monitoring.session import SessionLog
from rainzmq.monitoring.standing import cpus_of

OUTCOMES_IN_VAIN = (
    AttemptState.CRASHED,
    AttemptState.UNABLE,
    AttemptState.LOST,
    AttemptState.FINISHED,
)
"""Outcomes of attempts that came to nothing; a retracted one was never begun, so it is none of them."""


@dataclass(slots=True)
class WorkerUse:
    """How a worker was used while tasks ran.

    Attributes:
        number, worker_id, hostname, cpus: the worker.
        there_s: how long it was there between the first submit and the last commit.
        busy_cpu_s: cpus times seconds that tasks had; each second of each cpu counts.
        utilisation: share of its cpus that tasks had while it was there, 0 to 1; None when it was not.
        attempts: how many ran there.
        received_bytes: what came to it from others.
    """

    number: int
    worker_id: str
    hostname: str
    cpus: int
    there_s: float
    busy_cpu_s: float
    utilisation: float | None
    attempts: int
    received_bytes: int


def run_span(model: Model) -> tuple[float, float]:
    """First submit and last commit of all sessions, s since the epoch; of a session without a commit its end
    counts, of an open one the present. Equal when nothing was submitted.
    """
    begins, ends = [], []
    for session in model.sessions.values():
        tasks = session.tasks
        if not len(tasks):
            continue
        begins.append(float(tasks["submitted"].min()))
        committed = tasks["committed"][~np.isnan(tasks["committed"])]
        if session.is_open():
            ends.append(model.now)
        else:
            ends.append(float(committed.max()) if len(committed) else session.ended)
    if not begins:
        return model.now, model.now
    return min(begins), max(max(ends), min(begins))


def worker_use(model: Model) -> list[WorkerUse]:
    """How each worker was used, in order of their coming."""
    begin, end = run_span(model)
    ran = attempts(list(model.sessions.values()), end)
    cpus = cpus_of_attempts(model.sessions.values(), ran)
    length = np.clip(np.fmin(ran.end, end) - np.fmax(ran.start, begin), 0.0, None)
    top = max(model.workers, default=0) + 1
    known = (ran.worker > 0) & (ran.worker < top)
    busy = np.bincount(ran.worker[known], (length * cpus)[known], top)
    counts = np.bincount(ran.worker[known], minlength=top)
    moved = np.zeros(top, dtype=np.int64)
    to = model.moves["worker"]
    inside = (to > 0) & (to < top)
    np.add.at(moved, to[inside], model.moves["bytes"][inside])
    found = []
    for worker in model.workers.values():
        went = worker.went if worker.went == worker.went else end
        there = max(0.0, min(went, end) - max(worker.came, begin))
        used = float(busy[worker.number])
        room = there * worker.cpus
        found.append(
            WorkerUse(
                number=worker.number,
                worker_id=worker.worker_id,
                hostname=worker.hostname,
                cpus=worker.cpus,
                there_s=there,
                busy_cpu_s=used,
                utilisation=min(1.0, used / room) if room > 0 else None,
                attempts=int(counts[worker.number]),
                received_bytes=int(moved[worker.number]),
            )
        )
    return found


def in_vain(session: SessionLog) -> dict[str, int]:
    """How many attempts at tasks of a session came to nothing, by outcome as in `OUTCOMES_IN_VAIN`; those
    that finished are such whose outputs were lost.
    """
    counts = {str(outcome): 0 for outcome in OUTCOMES_IN_VAIN}
    for past in session.past:
        if past.outcome in counts:
            counts[past.outcome] += 1
    return counts


def moved_bytes(model: Model, session: SessionLog | None = None) -> int:
    """Bytes that moved between processes, of a session's objects or of all."""
    moves = model.moves
    if session is None:
        return int(moves["bytes"].sum())
    low, high = make_uid(session.session_id, 0), make_uid(session.session_id + 1, 0)
    return int(moves["bytes"][(moves["uid"] >= low) & (moves["uid"] < high)].sum())


def cpus_of_attempts(sessions: Iterable[SessionLog], ran: Attempts) -> FloatArray:
    """Cpus of each attempt at tasks of these sessions."""
    cpus = np.ones(len(ran))
    for session in sessions:
        mine = np.flatnonzero(ran.session == session.session_id)
        cpus[mine] = cpus_of_tasks(session, ran.row[mine])
    return cpus


def cpus_of_tasks(session: SessionLog, rows: IntArray) -> FloatArray:
    """Cpus that each task of `rows` needs."""
    if not len(rows):
        return np.empty(0)
    _, first, which = np.unique(session.tasks["body"][rows], return_index=True, return_inverse=True)
    of_body = [cpus_of(session, row) for row in rows[first].tolist()]
    return np.array(of_body, dtype=np.float64)[which]
