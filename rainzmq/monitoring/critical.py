"""The critical path of a session: the chain of tasks that its wall time consists of, and what it waited for.

The critical path method (Kelley and Walker, "Critical-path planning and scheduling", 1959) applied to what
was measured, as performance tools for parallel programs do (Yang and Miller, "Critical path analysis for the
execution of parallel and distributed programs", 1988): from the task that was committed last, walk back to
the producer of the input that came last, from there on likewise. A task that was bound by its own submit is
preceded by the client, and the client by the task whose commit it heard of last.

    first submit                                                    last commit
    | run | store | client | resources | transfer | run | resources | run | store |
      \\___ task ___/        \\________ task __________/ \\_________ task _________/

A time is a cursor that only goes back, and each stretch is given to one part, so the parts of the path sum
to the wall time exactly. Waiting for resources stands for whatever else the worker's cpus did meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rainzmq.common.states import AttemptState
from rainzmq.monitoring.analysis import (
    CLIENT,
    INPUTS,
    LOST,
    PARTS,
    RESOURCES,
    RUN,
    STORE,
    TRANSFER,
    TaskTimes,
    task_times,
)
from rainzmq.monitoring.columns import FloatArray, IntArray
from rainzmq.monitoring.model import Model
from rainzmq.monitoring.session import PastAttempt, SessionLog


@dataclass(slots=True)
class CriticalPath:
    """Tasks in order of time. Times in s since the epoch; arrays have one item or row per step.

    Attributes:
        rows: the tasks' rows.
        begin, end: the stretch of wall time that each stands for, with the wait for the client before it.
        parts: shape (steps, 7), s, columns as `PARTS`.
        first, last: first submit and last commit of the session; both 0 when nothing was committed.
    """

    rows: IntArray
    begin: FloatArray
    end: FloatArray
    parts: FloatArray
    first: float = 0.0
    last: float = 0.0

    def wall_split(self) -> dict[str, float]:
        """The wall time by part, s. The values sum to `last - first`."""
        sums = self.parts.sum(axis=0)
        return {name: float(sums[at]) for at, name in enumerate(PARTS)}


def critical_path(model: Model, session: SessionLog, times: TaskTimes | None = None) -> CriticalPath:
    """The critical path of what was committed so far. `times` saves computing them again."""
    times = task_times(model, session) if times is None else times
    done = np.flatnonzero(times.committed)
    if not len(done):
        nothing = np.empty(0)
        return CriticalPath(np.empty(0, dtype=np.int64), nothing, nothing, np.zeros((0, len(PARTS))))
    order = done[np.argsort(times.until[done], kind="stable")]
    first, last = float(times.submitted.min()), float(times.until[order[-1]])
    walk = _Walk(times, order, first)
    walk.back_from(int(order[-1]), last)
    rows = np.array(walk.rows[::-1], dtype=np.int64)
    low, high = np.array(walk.low[::-1]), np.array(walk.high[::-1])
    gaps = np.array(walk.gaps[::-1])
    missing = np.array(walk.missing[::-1])
    parts = _parts(session, times, rows, low, high)
    parts[:, CLIENT] = gaps
    parts[:, INPUTS] = missing
    return CriticalPath(rows, low - gaps - missing, high, parts, first, last)


def wall_split(model: Model, session: SessionLog) -> dict[str, float]:
    """How the wall time of a session, first submit to last commit, splits along its critical path, s by
    part; see `CriticalPath.wall_split`.
    """
    return critical_path(model, session).wall_split()


class _Walk:
    """The way back. Lists have one item per step, the last task first: its row, its stretch from being ready
    (`low`) to the cursor (`high`), and what came before it: the wait for inputs of unknown make (`missing`)
    and for the client (`gaps`), s.
    """

    def __init__(self, times: TaskTimes, order: IntArray, first: float) -> None:
        self.rows: list[int] = []
        self.low: list[float] = []
        self.high: list[float] = []
        self.gaps: list[float] = []
        self.missing: list[float] = []
        self._times = times
        self._order = order
        self._commits = times.until[order]
        self._first = first

    def back_from(self, row: int, cursor: float) -> None:
        """Walk from a task that was over at `cursor` to the first submit."""
        times = self._times
        ready, binding = times.ready.tolist(), times.binding.tolist()
        submitted = times.submitted.tolist()
        seen: set[int] = set()
        while row >= 0:
            seen.add(row)
            self.rows.append(row)
            self.high.append(cursor)
            cursor = min(ready[row], cursor)
            self.low.append(cursor)
            self.missing.append(0.0)
            self.gaps.append(0.0)
            before = binding[row]
            if before < 0 or before in seen:
                came = max(self._first, min(submitted[row], cursor))
                self.missing[-1] = cursor - came
                before, cursor = self._before_submit(came, seen)
                self.gaps[-1] = came - cursor
            row = before

    def _before_submit(self, time: float, seen: set[int]) -> tuple[int, float]:
        """The last task that was over when something was submitted, and when; (-1, the first submit)
        without one.
        """
        at = int(np.searchsorted(self._commits, time, side="right")) - 1
        while at >= 0 and time > self._first:
            row = int(self._order[at])
            if self._times.submitted[row] < time and row not in seen:
                return row, max(self._first, float(self._commits[at]))
            at -= 1
        return -1, self._first


def _parts(
    session: SessionLog, times: TaskTimes, rows: IntArray, low: FloatArray, high: FloatArray
) -> FloatArray:
    """What each task's stretch from `low` to `high` was spent on, shape (steps, 7)."""
    start, end = times.start[rows], times.end[rows]
    lost, transfer = times.parts[rows, LOST], times.parts[rows, TRANSFER]
    early = np.flatnonzero(start > high)
    if len(early):
        earlier = _finished_before(session)
        for step in early.tolist():
            past = _last_before(earlier.get(int(rows[step]), []), float(high[step]))
            if past is not None:
                start[step], end[step], lost[step], transfer[step] = past.started, past.ended, 0.0, 0.0
    start = np.clip(start, low, high)
    end = np.clip(end, start, high)
    parts = np.zeros((len(rows), len(PARTS)))
    before = start - low
    parts[:, TRANSFER] = np.fmin(transfer, before)
    parts[:, LOST] = np.fmin(lost, before - parts[:, TRANSFER])
    parts[:, RESOURCES] = before - parts[:, TRANSFER] - parts[:, LOST]
    parts[:, RUN] = end - start
    parts[:, STORE] = high - end
    return parts


def _finished_before(session: SessionLog) -> dict[int, list[PastAttempt]]:
    """Attempts that finished and whose outputs were lost later, by row."""
    found: dict[int, list[PastAttempt]] = {}
    for past in session.past:
        if past.outcome is AttemptState.FINISHED and past.started == past.started:
            found.setdefault(past.row, []).append(past)
    return found


def _last_before(attempts: list[PastAttempt], time: float) -> PastAttempt | None:
    begun = [past for past in attempts if past.started <= time]
    return max(begun, key=lambda past: past.started) if begun else None
