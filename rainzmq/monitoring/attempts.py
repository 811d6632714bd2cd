"""Everything that ran, as columns: one row per attempt, those that came to nothing too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from rainzmq.monitoring.columns import FloatArray, IntArray
from rainzmq.monitoring.session import CANCELLED, FAILED, FINISHED, RUNNING, SessionLog

LOST = 7
"""Code of an attempt that was not its task's last one; those below are the codes of `session.STATES`."""

OUTCOMES = {RUNNING: "running", FINISHED: "finished", FAILED: "failed", CANCELLED: "cancelled", LOST: "lost"}
"""What an attempt came to, for people."""


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
        columns = [getattr(self, column.name) for column in fields(self)[:-1]]
        return Attempts(*(column[which] for column in columns), self.names)


def attempts(
    sessions: Sequence[SessionLog], until: float, span: tuple[float, float] | None = None
) -> Attempts:
    """What had begun before `until`, as it was then. `span`: only what overlaps it (s since the epoch)."""
    names: dict[str, int] = {}
    parts: list[list[NDArray[np.float64]]] = []
    low, high = span or (-np.inf, np.inf)
    for session in sessions:
        own = [names.setdefault(name, len(names)) for name in session.names]
        numbers = np.array(own or [0], dtype=np.int64)
        parts.append(_last(session, numbers, until, low, high))
        past = _past(session, numbers, until, low, high)
        if past is not None:
            parts.append(past)
    columns = (
        [np.concatenate([part[i] for part in parts]) for i in range(10)] if parts else [np.empty(0)] * 10
    )
    whole = [column.astype(np.int64) for column in columns[:6]]
    return Attempts(*whole, *columns[6:9], columns[9].astype(np.int64), list(names))


def _last(
    session: SessionLog, numbers: IntArray, until: float, low: float, high: float
) -> list[NDArray[np.float64]]:
    """Columns of the last attempts of all tasks."""
    tasks = session.tasks
    start, end = tasks["started"], tasks["ended"]
    began = (start <= min(until, high)) & ~(end < low)
    rows = np.flatnonzero(began)
    start, end, state = start[rows], end[rows], tasks["state"][rows].astype(np.int64)
    runs = ~(end <= until)
    end = np.where(runs, until, end)
    outcome = np.where(runs, RUNNING, state)
    return [
        np.full(len(rows), session.session_id),
        rows,
        tasks["ids"][rows],
        numbers[tasks["name"][rows]] if len(rows) else rows,
        tasks["worker"][rows],
        tasks["cpu"][rows],
        tasks["assigned"][rows],
        start,
        end,
        outcome,
    ]


def _past(
    session: SessionLog, numbers: IntArray, until: float, low: float, high: float
) -> list[NDArray[np.float64]] | None:
    """Columns of the attempts that had a successor; None without one."""
    wanted = [
        past
        for past in session.past
        if past.started <= min(until, high) and not past.ended < low and past.outcome != "retracted"
    ]
    if not wanted:
        return None
    rows = np.array([past.row for past in wanted], dtype=np.int64)
    ended = np.array([past.ended for past in wanted])
    done = np.array([past.outcome == "finished" for past in wanted])
    return [
        np.full(len(rows), session.session_id),
        rows,
        session.tasks["ids"][rows],
        numbers[session.tasks["name"][rows]],
        np.array([past.worker for past in wanted]),
        np.array([past.cpu for past in wanted]),
        np.array([past.assigned for past in wanted]),
        np.array([past.started for past in wanted]),
        np.minimum(ended, until),
        np.where(ended > until, RUNNING, np.where(done, FINISHED, LOST)),
    ]
