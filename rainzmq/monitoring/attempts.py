"""Everything that ran, as columns: one row per attempt, those that came to nothing too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rainzmq.common.states import AttemptState
from rainzmq.monitoring.columns import FloatArray, IntArray
from rainzmq.monitoring.session import CANCELLED, FAILED, FINISHED, RUNNING, SessionLog

LOST = 7
"""Code of an attempt that was not its task's last one; those below are the codes of `session.STATES`."""

OUTCOMES = {
    RUNNING: AttemptState.RUNNING,
    FINISHED: AttemptState.FINISHED,
    FAILED: AttemptState.FAILED,
    CANCELLED: AttemptState.CANCELLED,
    LOST: AttemptState.LOST,
}
"""What an attempt came to, human-readable."""


_KINDS: dict[str, type] = {
    "session": np.int64,
    "row": np.int64,
    "task": np.int64,
    "name": np.int64,
    "worker": np.int64,
    "cpu": np.int64,
    "assigned": np.float64,
    "start": np.float64,
    "end": np.float64,
    "outcome": np.int64,
}
"""Columns of `Attempts`."""

_Columns = dict[str, Any]


@dataclass(slots=True)
class Attempts:
    """Attempts that had begun, as columns of equal length.

    Attributes:
        session, row, task: id of the session, row and local id of the task.
        name: index into `names`.
        worker, cpu: number of the worker, lowest index of its cpus (-1 unknown).
        assigned, start, end: s since the epoch; the end of one that runs is the time that was asked for.
        outcome: a key of `OUTCOMES`.
        names: names of tasks.
    """

    session: IntArray
    row: IntArray
    task: IntArray
    name: IntArray
    worker: IntArray
    cpu: IntArray
    assigned: FloatArray
    start: FloatArray
    end: FloatArray
    outcome: IntArray
    names: list[str]

    def __len__(self) -> int:
        return len(self.row)

    def pick(self, which: IntArray | NDArray[np.bool_]) -> Attempts:
        """Some rows of all columns."""
        columns: dict[str, Any] = {name: getattr(self, name)[which] for name in _KINDS}
        return Attempts(**columns, names=self.names)


def attempts(
    sessions: Sequence[SessionLog], until: float, span: tuple[float, float] | None = None
) -> Attempts:
    """What had begun before `until`, as it was then. `span`: only what overlaps it (s since the epoch)."""
    names: dict[str, int] = {}
    parts: list[_Columns] = []
    low, high = span or (-np.inf, np.inf)
    for session in sessions:
        own = [names.setdefault(name, len(names)) for name in session.names]
        numbers = np.array(own or [0], dtype=np.int64)
        parts.append(_last(session, numbers, until, low, high))
        past = _past(session, numbers, until, low, high)
        if past is not None:
            parts.append(past)
    columns: _Columns = {
        name: np.concatenate([np.empty(0, dtype=kind), *(part[name] for part in parts)]).astype(kind)
        for name, kind in _KINDS.items()
    }
    return Attempts(**columns, names=list(names))


def _last(session: SessionLog, numbers: IntArray, until: float, low: float, high: float) -> _Columns:
    """Columns of the last attempts of all tasks."""
    tasks = session.tasks
    start, end = tasks["started"], tasks["ended"]
    began = (start <= min(until, high)) & ~(end < low)
    rows = np.flatnonzero(began)
    start, end, state = start[rows], end[rows], tasks["state"][rows].astype(np.int64)
    runs = ~(end <= until)
    end = np.where(runs, until, end)
    outcome = np.where(runs, RUNNING, state)
    return {
        "session": np.full(len(rows), session.session_id),
        "row": rows,
        "task": tasks["ids"][rows],
        "name": numbers[tasks["name"][rows]],
        "worker": tasks["worker"][rows],
        "cpu": tasks["cpu"][rows],
        "assigned": tasks["assigned"][rows],
        "start": start,
        "end": end,
        "outcome": outcome,
    }


def _past(session: SessionLog, numbers: IntArray, until: float, low: float, high: float) -> _Columns | None:
    """Columns of the attempts that had a successor; None without one."""
    wanted = [
        past
        for past in session.past
        if past.started <= min(until, high)
        and not past.ended < low
        and past.outcome is not AttemptState.RETRACTED
    ]
    if not wanted:
        return None
    rows = np.array([past.row for past in wanted], dtype=np.int64)
    ended = np.array([past.ended for past in wanted])
    done = np.array([past.outcome is AttemptState.FINISHED for past in wanted])
    return {
        "session": np.full(len(rows), session.session_id),
        "row": rows,
        "task": session.tasks["ids"][rows],
        "name": numbers[session.tasks["name"][rows]],
        "worker": np.array([past.worker for past in wanted]),
        "cpu": np.array([past.cpu for past in wanted]),
        "assigned": np.array([past.assigned for past in wanted]),
        "start": np.array([past.started for past in wanted]),
        "end": np.minimum(ended, until),
        "outcome": np.where(ended > until, RUNNING, np.where(done, FINISHED, LOST)),
    }
