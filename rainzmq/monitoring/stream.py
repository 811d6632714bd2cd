"""The task stream: which bars to draw for what ran on each cpu of each worker, and never too many of them.

attempts -> lanes (worker, cpu) -> bars: those wider than a pixel as they are, the others merged
        \\-> uses: what is said of each name in numbers, which does not depend on what is drawn

A lane holds intervals that do not overlap, so at most as many of them are wider than a pixel as there are
pixels. The others are gathered by the pixel they begin in; neighbours in which the same name took most of
the time become one bar. When that is still too much, pixels are taken wider. Names are folded by their `/`
when there are too many to tell them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rainzmq.monitoring.attempts import Attempts, attempts
from rainzmq.monitoring.columns import FloatArray, IntArray
from rainzmq.monitoring.groups import shown_names
from rainzmq.monitoring.model import Model, WorkerLog
from rainzmq.monitoring.session import SessionLog

MOST_BARS = 4000
"""Bars that are drawn at once; a browser stays fluid with so many."""

PIXELS = 1200
"""Width that spans are cut into at first."""

_DENSE = 8_000_000
"""Cells that are counted in an array with a place for each; of more only those that occur are sorted."""

_MOST_SEARCHED = 5000
"""Attempts of unknown cpu whose lane is searched for; those beyond are dealt out in turn."""


@dataclass(slots=True)
class Lanes:
    """Rows of the stream, from above. Lane numbers count cpus of all workers, in order of the workers."""

    workers: list[WorkerLog]
    first: dict[int, int]
    """Lane of cpu 0 of each worker, by its number."""
    count: int


@dataclass(slots=True)
class Bars:
    """What to draw, as columns of equal length.

    Attributes:
        lane: as in `Lanes`.
        left, right: s since the epoch.
        name: index into `names`: of the task, or what took most of the time of merged ones.
        task_name: index into `task_names`; -1 for merged ones.
        outcome: as in `attempts.OUTCOMES`; that of merged ones is the highest, so that failures show.
        count: tasks in it.
        session, task: ids of the task, 0 for merged ones.
        busy: s in which tasks of it ran.
        names: names of tasks, folded when there are many (see `groups.folded_names`).
        task_names: whole names of tasks.
    """

    lane: IntArray
    left: FloatArray
    right: FloatArray
    name: IntArray
    task_name: IntArray
    outcome: IntArray
    count: IntArray
    session: IntArray
    task: IntArray
    busy: FloatArray
    names: list[str]
    task_names: list[str]

    def __len__(self) -> int:
        return len(self.lane)


@dataclass(slots=True)
class NameUse:
    """What ran under a name within a span.

    Attributes:
        name: folded when there are many (see `groups.folded_names`).
        busy_s: how long its attempts ran within the span, those that came to nothing too.
        tasks: how many tasks that were.
        attempts: how many attempts.
    """

    name: str
    busy_s: float
    tasks: int
    attempts: int


def lanes(model: Model, until: float) -> Lanes:
    """A lane for each cpu of each worker that had come before a time."""
    workers = [worker for worker in model.workers.values() if worker.came <= until]
    first, count = {}, 0
    for worker in workers:
        first[worker.number] = count
        count += max(1, worker.cpus)
    return Lanes(workers, first, count)


def bars(
    model: Model,
    sessions: Sequence[SessionLog],
    span: tuple[float, float],
    until: float,
    most: int = MOST_BARS,
) -> tuple[Lanes, Bars, list[NameUse]]:
    """Lanes, at most `most` bars of what ran within `span` (s since the epoch) as seen at `until`, and what
    ran under each name, the busiest first.
    """
    rows = lanes(model, until)
    ran = attempts(sessions, until, span)
    shown = _shown(ran, sessions)
    uses = _uses(ran, shown, span)
    known = np.isin(ran.worker, np.array(list(rows.first), dtype=np.int64))
    if not known.all():
        ran, shown = ran.pick(known), _Shown(shown.name[known], shown.names)
    lane = place(ran, rows)
    pixel = max(span[1] - span[0], 1e-6) / PIXELS
    made = _merge(ran, shown, lane, pixel)
    while len(made) > most:
        # Bars are at best as many fewer as pixels are wider: this does not go too far.
        pixel *= max(1.5, len(made) / most)
        made = _merge(ran, shown, lane, pixel)
    return rows, made, uses


@dataclass(slots=True)
class _Shown:
    """What attempts are shown as: `name` of each, an index into `names`."""

    name: IntArray
    names: list[str]


def _shown(ran: Attempts, sessions: Sequence[SessionLog]) -> _Shown:
    shown = shown_names(sessions)
    order = {name: at for at, name in enumerate(dict.fromkeys(shown.values()))}
    of_name = np.array([order[shown[name]] for name in ran.names], dtype=np.int64)
    return _Shown(of_name[ran.name] if len(ran) else np.empty(0, dtype=np.int64), list(order))


def _uses(ran: Attempts, shown: _Shown, span: tuple[float, float]) -> list[NameUse]:
    size = len(shown.names)
    length = np.clip(np.fmin(ran.end, span[1]) - np.fmax(ran.start, span[0]), 0.0, None)
    busy = np.bincount(shown.name, length, size)
    counts = np.bincount(shown.name, minlength=size)
    # A task has one name: its attempts are beside each other, whatever else is.
    order = np.lexsort((ran.task, ran.session))
    is_new = np.ones(len(ran), dtype=bool)
    is_new[1:] = (np.diff(ran.task[order]) != 0) | (np.diff(ran.session[order]) != 0)
    tasks = np.bincount(shown.name[order[is_new]], minlength=size)
    return [
        NameUse(shown.names[at], float(busy[at]), int(tasks[at]), int(counts[at]))
        for at in np.argsort(-busy, kind="stable").tolist()
        if counts[at]
    ]


def place(ran: Attempts, rows: Lanes) -> IntArray:
    """The lane of each attempt. One of unknown cpu gets the first lane of its worker that is free then."""
    lane = np.zeros(len(ran), dtype=np.int64)
    for worker in rows.workers:
        mine = np.flatnonzero(ran.worker == worker.number)
        if not len(mine):
            continue
        cpus = max(1, worker.cpus)
        cpu = np.minimum(ran.cpu[mine], cpus - 1)
        unknown = np.flatnonzero(cpu < 0)
        if len(unknown) > _MOST_SEARCHED:
            cpu[unknown[_MOST_SEARCHED:]] = np.arange(len(unknown) - _MOST_SEARCHED) % cpus
            unknown = unknown[:_MOST_SEARCHED]
        if len(unknown):
            _search(ran, mine, cpu, unknown, cpus)
        lane[mine] = rows.first[worker.number] + cpu
    return lane


def _search(ran: Attempts, mine: IntArray, cpu: IntArray, unknown: IntArray, cpus: int) -> None:
    """Set `cpu` of those that have none, in order of their start."""
    start, end = ran.start[mine], ran.end[mine]
    known = []
    for index in range(cpus):
        on_it = np.flatnonzero(cpu == index)
        on_it = on_it[np.argsort(start[on_it], kind="stable")]
        known.append((start[on_it], end[on_it]))
    added: list[float] = [-np.inf] * cpus
    for at in unknown[np.argsort(start[unknown], kind="stable")].tolist():
        begin, over = start[at], end[at]
        chosen = int(np.argmin(added))
        for index in range(cpus):
            starts, ends = known[index]
            after = int(np.searchsorted(starts, over, side="left"))
            free = after == 0 or ends[after - 1] <= begin
            if free and added[index] <= begin:
                chosen = index
                break
        cpu[at] = chosen
        added[chosen] = max(added[chosen], over)


def _merge(ran: Attempts, shown: _Shown, lane: IntArray, pixel: float) -> Bars:
    wide = ran.end - ran.start >= pixel
    own = np.flatnonzero(wide)
    single = Bars(
        lane=lane[own],
        left=ran.start[own],
        right=ran.end[own],
        name=shown.name[own],
        task_name=ran.name[own],
        outcome=ran.outcome[own],
        count=np.ones(len(own), dtype=np.int64),
        session=ran.session[own],
        task=ran.task[own],
        busy=ran.end[own] - ran.start[own],
        names=shown.names,
        task_names=ran.names,
    )
    small = np.flatnonzero(~wide)
    if not len(small):
        return single
    return _join(single, _gather(ran, shown, lane, small, pixel))


def _gather(ran: Attempts, shown: _Shown, lane: IntArray, small: IntArray, pixel: float) -> Bars:
    """Bars of attempts that are narrower than a pixel."""
    base = float(ran.start[small].min())
    place_in = ((ran.start[small] - base) / pixel).astype(np.int64)
    cells = int(place_in.max()) + 2
    cell = lane[small] * cells + place_in
    duration = ran.end[small] - ran.start[small]
    cell_ids, dominant = _dominant(cell, shown.name[small], duration, len(shown.names))
    # Neighbours of one name become one run.
    runs = np.append(False, (np.diff(cell_ids) == 1) & (dominant[1:] == dominant[:-1]))
    run_of_cell = np.cumsum(~runs) - 1
    if cell_ids[-1] < _DENSE:
        run_of = np.zeros(int(cell_ids[-1]) + 1, dtype=np.int64)
        run_of[cell_ids] = run_of_cell
        run = run_of[cell]
    else:
        run = run_of_cell[np.searchsorted(cell_ids, cell)]
    total = int(run_of_cell[-1]) + 1
    left, right = np.full(total, np.inf), np.full(total, -np.inf)
    np.minimum.at(left, run, ran.start[small])
    np.maximum.at(right, run, ran.end[small])
    outcome = np.zeros(total, dtype=np.int64)
    np.maximum.at(outcome, run, ran.outcome[small])
    first_cell = np.flatnonzero(~runs)
    count = np.bincount(run, minlength=total)
    alone = count == 1
    session, task = np.zeros(total, dtype=np.int64), np.zeros(total, dtype=np.int64)
    task_name = np.zeros(total, dtype=np.int64)
    session[run], task[run], task_name[run] = ran.session[small], ran.task[small], ran.name[small]
    session[~alone] = task[~alone] = 0
    task_name[~alone] = -1
    return Bars(
        lane=cell_ids[first_cell] // cells,
        left=left,
        right=right,
        name=dominant[first_cell],
        task_name=task_name,
        outcome=outcome,
        count=count,
        session=session,
        task=task,
        busy=np.bincount(run, weights=duration, minlength=total).astype(np.float64),
        names=shown.names,
        task_names=ran.names,
    )


def _dominant(cell: IntArray, name: IntArray, duration: FloatArray, names: int) -> tuple[IntArray, IntArray]:
    """(cells that have something, in order; the name that took most of the time of each)."""
    present, name = np.unique(name, return_inverse=True) if names > 64 else (np.arange(names), name)
    width = len(present)
    key, weight = cell * width + name, duration + 1e-12
    if (int(cell.max()) + 1) * width <= _DENSE:
        taken = np.bincount(key, weight)
        pairs = np.flatnonzero(taken)
        taken = taken[pairs]
    else:
        pairs, pair_of = np.unique(key, return_inverse=True)
        taken = np.bincount(pair_of, weight, len(pairs))
    pair_cell, pair_name = pairs // width, pairs % width
    order = np.lexsort((taken, pair_cell))
    last = np.append(pair_cell[order][1:] != pair_cell[order][:-1], True)
    return pair_cell[order][last], present[pair_name[order][last]]


def _join(one: Bars, other: Bars) -> Bars:
    columns = ("lane", "left", "right", "name", "task_name", "outcome", "count", "session", "task", "busy")
    parts: dict[str, Any] = {
        column: np.concatenate([getattr(one, column), getattr(other, column)]) for column in columns
    }
    return Bars(**parts, names=one.names, task_names=one.task_names)


@dataclass(slots=True)
class Strip:
    """How much of something there was on each worker over time.

    Attributes:
        worker: number of the worker of each piece.
        left, right: s since the epoch.
        amount: mean number of things under way in it; pieces of none are left out.
    """

    worker: IntArray
    left: FloatArray
    right: FloatArray
    amount: FloatArray


def occupancy(
    worker: IntArray, start: FloatArray, end: FloatArray, span: tuple[float, float], pieces: int
) -> Strip:
    """Mean number of intervals under way per worker in each of `pieces` equal parts of a span."""
    low, high = span
    width = max(high - low, 1e-9) / pieces
    numbers, index = np.unique(worker, return_inverse=True)
    begin = np.clip((start - low) / width, 0, pieces)
    over = np.clip((end - low) / width, 0, pieces)
    size = pieces + 2
    level, slope = np.zeros(len(numbers) * size), np.zeros(len(numbers) * size)
    # The integral of the count up to x is a sum of ramps; a ramp is a step of slope and a correction.
    for edge, sign in ((begin, 1.0), (over, -1.0)):
        cell = np.minimum(edge.astype(np.int64), pieces)
        np.add.at(level, index * size + cell, sign * (cell + 1 - edge))
        np.add.at(slope, index * size + cell + 1, sign)
    amount = (level.reshape(-1, size) + np.cumsum(slope.reshape(-1, size), axis=1))[:, :pieces]
    which, piece = np.nonzero(amount > 1e-6)
    edges: FloatArray = low + np.arange(pieces + 1, dtype=np.float64) * width
    return Strip(numbers[which], edges[piece], edges[piece + 1], amount[which, piece])


def transfers(model: Model, span: tuple[float, float], until: float, pieces: int) -> Strip:
    """How many objects were on their way to each worker."""
    moves = model.moves
    start = moves["start"]
    end = np.minimum(start + moves["duration"], until)
    seen = (start < min(until, span[1])) & (end > span[0])
    return occupancy(moves["worker"][seen].astype(np.int64), start[seen], end[seen], span, pieces)


def queued(sessions: Sequence[SessionLog], span: tuple[float, float], until: float, pieces: int) -> Strip:
    """How many tasks had been assigned to each worker and had not begun."""
    workers, starts, ends = [], [], []
    for session in sessions:
        tasks = session.tasks
        start, begun = tasks["assigned"], np.fmin(tasks["started"], tasks["ended"])
        end = np.where(begun <= until, begun, until)
        seen = (start < min(until, span[1])) & (end > max(span[0], -np.inf)) & (tasks["worker"] > 0)
        workers.append(tasks["worker"][seen].astype(np.int64))
        starts.append(start[seen])
        ends.append(end[seen])
    if not workers:
        return occupancy(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0), span, pieces)
    return occupancy(np.concatenate(workers), np.concatenate(starts), np.concatenate(ends), span, pieces)
