"""Where the time of tasks went.

    submitted ---- ready ------------------------------------ start ---- end ---- committed
             inputs      lost, transfer, and else resources        run       store

Every moment of a task from its submit until its commit belongs to exactly one part, so the parts of a task
sum to its time. A task that is not over yet, or was cancelled, is taken until then. Clocks of workers may be
off and a worker starts tasks that were sent ahead before the server hears that their inputs are there, so
each time is held between its neighbours; the start and the end of the run count most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rainzmq.common.ids import make_uid
from rainzmq.common.states import AttemptState
from rainzmq.monitoring.columns import FloatArray, IntArray, ranges
from rainzmq.monitoring.model import Model
from rainzmq.monitoring.session import CANCELLED, SessionLog

PARTS = ("client", "inputs", "resources", "transfer", "run", "lost", "store")
"""What time goes into: nothing was submitted, waiting for inputs, waiting for a worker and its cpus, bringing
inputs to the worker, running, attempts that came to nothing, keeping the results until they are committed.
"""

CLIENT, INPUTS, RESOURCES, TRANSFER, RUN, LOST, STORE = range(7)

PART_TITLES = (
    "nothing submitted",
    "waiting for inputs",
    "waiting for resources",
    "transfer",
    "run",
    "lost attempts",
    "store",
)
"""`PARTS` human-readable."""


@dataclass(slots=True)
class TaskTimes:
    """Times of all tasks of a session, s since the epoch, and what they were spent on. Arrays by row.

    Attributes:
        submitted, ready, assigned, start, end, until: in this order for each task; `until` is the commit, or
            the end of the session or of what is known for a task that was not committed.
        committed: whether it was.
        binding: row of the task that made the last input to be there, -1 when it was submitted later than
            that.
        parts: shape (tasks, 7), s, columns as `PARTS`; the first is 0.
    """

    submitted: FloatArray
    ready: FloatArray
    assigned: FloatArray
    start: FloatArray
    end: FloatArray
    until: FloatArray
    committed: NDArray[np.bool_]
    binding: IntArray
    parts: FloatArray


def task_times(model: Model, session: SessionLog) -> TaskTimes:
    """The times of a session's tasks, each split into `PARTS`."""
    tasks = session.tasks
    submitted = tasks["submitted"].astype(np.float64)
    over = session.ended if session.ended == session.ended else max(model.now, session.came)
    committed = ~np.isnan(tasks["committed"])
    cancelled = (tasks["state"] == CANCELLED) & ~committed
    until = np.where(committed, tasks["committed"], np.where(cancelled, tasks["ended"], over))
    until = np.fmax(until, submitted)
    end = np.where(committed & ~np.isnan(tasks["ended"]), tasks["ended"], until)
    end = np.clip(end, submitted, until)
    start = np.clip(np.where(np.isnan(tasks["started"]), end, tasks["started"]), submitted, end)
    assigned = np.where(np.isnan(tasks["assigned"]), start, tasks["assigned"])
    assigned = np.clip(assigned, submitted, start)
    there, binding = _inputs_there(session, start)
    binding[there <= submitted] = -1
    ready = np.clip(there, submitted, start)

    parts = np.zeros((len(tasks), len(PARTS)))
    parts[:, INPUTS] = ready - submitted
    parts[:, TRANSFER] = _transfer(model, session, np.fmax(ready, assigned), start)
    before = start - ready - parts[:, TRANSFER]
    parts[:, LOST] = np.clip(_lost(session, ready, np.fmax(ready, assigned)), 0.0, before)
    parts[:, RESOURCES] = before - parts[:, LOST]
    parts[:, RUN] = end - start
    parts[:, STORE] = until - end
    return TaskTimes(
        submitted=submitted,
        ready=ready,
        assigned=assigned,
        start=start,
        end=end,
        until=until,
        committed=committed,
        binding=binding,
        parts=parts,
    )


def totals(times: TaskTimes) -> dict[str, float]:
    """Task-seconds of all tasks by part; without `client`, which is no task's."""
    sums = times.parts.sum(axis=0)
    return {name: float(sums[at]) for at, name in enumerate(PARTS) if at != CLIENT}


def _inputs_there(session: SessionLog, start: FloatArray) -> tuple[FloatArray, IntArray]:
    """When the last input of each task was there (-inf without inputs, inf when one never was), and the row
    of the task that made it (-1: a constant, or unknown).
    """
    tasks, objects = session.tasks, session.objects
    there = np.full(len(tasks), -np.inf)
    maker = np.full(len(tasks), -1, dtype=np.int64)
    counts = tasks["input_count"].astype(np.int64)
    having = np.flatnonzero(counts)
    if not len(having) or not len(objects):
        return there, maker
    wanted = session.inputs.view()[ranges(tasks["first_input"][having], counts[having])]
    at = objects.rows(wanted)
    reader = np.repeat(having, counts[having])
    producer = np.where(at >= 0, objects["producer"][at], -1)
    finished = np.where(at >= 0, objects["finished"][at], -np.inf)
    finished = np.where(np.isnan(finished), np.inf, finished)
    _there_before(session, producer, start[reader], finished)
    firsts = np.cumsum(counts[having]) - counts[having]
    there[having] = np.maximum.reduceat(finished, firsts)
    last = np.flatnonzero((finished == there[reader]) & (producer >= 0))[::-1]
    maker[reader[last]] = producer[last]
    return there, maker


def _there_before(session: SessionLog, producer: IntArray, start: FloatArray, finished: FloatArray) -> None:
    """Set right in `finished` when inputs were there that were lost after they had been read, and made again:
    the end of the last attempt that finished before a reader's `start`.
    """
    made: dict[int, list[float]] = {}
    for past in session.past:
        if past.outcome is AttemptState.FINISHED:
            made.setdefault(past.row, []).append(past.ended)
    if not made:
        return
    again = np.isin(producer, np.array(list(made), dtype=np.int64)) & (finished > start)
    for place in np.flatnonzero(again).tolist():
        before = [end for end in made[int(producer[place])] if end <= start[place]]
        if before:
            finished[place] = max(before)


def _lost(session: SessionLog, ready: FloatArray, assigned: FloatArray) -> FloatArray:
    """How long attempts that came to nothing ran between being ready and the last assignment, s by row."""
    lost = np.zeros(len(ready))
    if not session.past:
        return lost
    rows = np.array([past.row for past in session.past], dtype=np.int64)
    begin = np.array([past.started for past in session.past])
    # What a finished attempt made was there until it was lost; that was for nothing as well.
    end = np.array([past.until for past in session.past])
    length = np.fmin(end, assigned[rows]) - np.fmax(begin, ready[rows])
    ran = ~np.isnan(begin)
    np.add.at(lost, rows[ran], np.clip(length[ran], 0.0, None))
    return lost


def _transfer(model: Model, session: SessionLog, begin: FloatArray, end: FloatArray) -> FloatArray:
    """How long inputs of each task were on their way to its worker between two times, s by row."""
    tasks, moves = session.tasks, model.moves
    total = np.zeros(len(tasks))
    low = make_uid(session.session_id, 0)
    mine = np.flatnonzero((moves["uid"] >= low) & (moves["uid"] < make_uid(session.session_id + 1, 0)))
    rows = np.flatnonzero((tasks["input_count"] > 0) & (end > begin))
    if not len(mine) or not len(rows):
        return total
    keys = (moves["uid"][mine] - low) << 31 | np.fmax(moves["worker"][mine], 0)
    order = np.argsort(keys, kind="stable")
    keys, mine = keys[order], mine[order]
    counts = tasks["input_count"][rows].astype(np.int64)
    wanted = session.inputs.view()[ranges(tasks["first_input"][rows], counts)]
    readers = np.repeat(rows, counts)
    wanted_keys = wanted << 31 | np.fmax(tasks["worker"][readers], 0)
    first = np.searchsorted(keys, wanted_keys, side="left")
    found = np.searchsorted(keys, wanted_keys, side="right") - first
    which, readers = mine[ranges(first, found)], np.repeat(readers, found)
    starts = np.fmax(moves["start"][which], begin[readers])
    ends = np.fmin(moves["start"][which] + moves["duration"][which], end[readers])
    kept = ends > starts
    return _union(total, readers[kept], starts[kept], ends[kept], begin, end)


def _union(
    total: FloatArray,
    readers: IntArray,
    starts: FloatArray,
    ends: FloatArray,
    begin: FloatArray,
    end: FloatArray,
) -> FloatArray:
    """`total` with the length of the union of intervals of each reader, which lie between its begin and end.

    All readers at once: each gets a stretch of length 1 of its own on one line.
    """
    if not len(readers):
        return total
    names, place = np.unique(readers, return_inverse=True)
    window = (end - begin)[readers]
    low = place + np.clip((starts - begin[readers]) / window, 0.0, 1.0)
    high = place + np.clip((ends - begin[readers]) / window, 0.0, 1.0)
    order = np.argsort(low, kind="stable")
    low, high, place, window = low[order], high[order], place[order], window[order]
    covered = np.concatenate([[0.0], np.maximum.accumulate(high)[:-1]])
    new = np.clip(high - np.fmax(low, covered), 0.0, None) * window
    sums = np.bincount(place, weights=new, minlength=len(names))
    total[names] = np.fmin(sums, end[names] - begin[names])
    return total
