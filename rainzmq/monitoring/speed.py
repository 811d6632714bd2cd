"""Why a run took as long as it did, and what twice the workers would make of it.

    cpus that were there, times wall time
        = run + vain                 tasks had them
        + ready + inputs + nothing   idle: although work was ready, since all of it waited, without any

An estimate for other numbers of cpus needs three numbers: the wall time `T`, the work `W` (cpu-seconds of
all attempts), and the longest chain `C` (what it would take with any number of workers). Whoever keeps no cpu
idle while a task is ready needs on p cpus

    max(C, W / p)  <=  T_p  <=  C + (W - C) / p

(R. L. Graham, "Bounds on multiprocessing timing anomalies", 1969; R. P. Brent, "The parallel evaluation of
general arithmetic expressions", 1974). The estimate lies between the bounds of twice the cpus where the run
lay between those of its own; what a run took beyond its upper bound is no matter of cpus and is added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rainzmq.monitoring.analysis import RUN, STORE, TRANSFER, TaskTimes
from rainzmq.monitoring.attempts import attempts
from rainzmq.monitoring.columns import FloatArray, IntArray
from rainzmq.monitoring.dag import task_edges
from rainzmq.monitoring.model import Model
from rainzmq.monitoring.session import FINISHED, SessionLog
from rainzmq.monitoring.summary import cpus_of_attempts, cpus_of_tasks

CPU_PARTS = ("run", "vain", "ready", "inputs", "nothing")
"""What cpus were used for; see the module."""

_PIECES = 20_000
"""The span is looked at in so many equal pieces; within a piece means count."""


@dataclass(slots=True)
class Speed:
    """How fast a run was. All of the span from `begin` to `end`, s since the epoch.

    Attributes:
        cpus: mean number of cpus that were there.
        work_s: cpu-seconds that attempts had.
        parts: cpu-seconds of all cpus that were there, by `CPU_PARTS`.
        chain_s, chain_tasks: length of the longest chain, and how many tasks it has.
        twice_s: estimated wall time with twice the cpus, with its bounds.
    """

    begin: float
    end: float
    cpus: float
    work_s: float
    parts: dict[str, float]
    chain_s: float
    chain_tasks: int
    twice_s: tuple[float, float, float]

    @property
    def wall_s(self) -> float:
        """How long it took."""
        return self.end - self.begin

    @property
    def busy(self) -> float | None:
        """Share of the cpus' time that tasks had, 0 to 1; None when no cpu was there."""
        whole = sum(self.parts.values())
        return (self.parts["run"] + self.parts["vain"]) / whole if whole > 0 else None


def speed(
    model: Model, sessions: Sequence[SessionLog], times: Sequence[TaskTimes], span: tuple[float, float]
) -> Speed:
    """The speed of sessions with tasks, whose times are given, over a span (s since the epoch)."""
    begin, end = span
    parts = _cpu_time(model, sessions, times, span)
    wall, work = end - begin, parts["run"] + parts["vain"]
    cpus = sum(parts.values()) / wall if wall > 0 else 0.0
    chain, count = longest_chain(sessions, times)
    twice = estimate(wall, work, min(chain, wall), cpus, 2 * cpus)
    return Speed(
        begin=begin,
        end=end,
        cpus=cpus,
        work_s=work,
        parts=parts,
        chain_s=min(chain, wall),
        chain_tasks=count,
        twice_s=twice,
    )


def estimate(
    wall_s: float, work_s: float, chain_s: float, cpus: float, wanted: float
) -> tuple[float, float, float]:
    """(about, least, most) wall time on `wanted` cpus of what took `wall_s` on `cpus` (fewer), s."""
    if cpus <= 0 or wanted <= 0:
        return wall_s, chain_s, wall_s
    low, high = _bounds(work_s, chain_s, cpus)
    least, most = _bounds(work_s, chain_s, wanted)
    place = min(1.0, max(0.0, (wall_s - low) / (high - low))) if high > low else 0.0
    beyond = max(0.0, wall_s - high)
    about = least + place * (most - least) + beyond
    return min(wall_s, about), min(wall_s, least), min(wall_s, most + beyond)


def _bounds(work_s: float, chain_s: float, cpus: float) -> tuple[float, float]:
    return max(chain_s, work_s / cpus), chain_s + max(0.0, work_s - chain_s) / cpus


def _cpu_time(
    model: Model, sessions: Sequence[SessionLog], times: Sequence[TaskTimes], span: tuple[float, float]
) -> dict[str, float]:
    """Cpu-seconds by `CPU_PARTS`."""
    begin, end = span
    width = max(end - begin, 1e-9) / _PIECES
    workers = list(model.workers.values())
    came = np.array([worker.came for worker in workers])
    went = np.array([end if worker.is_there() else worker.went for worker in workers])
    there = _levels(came, went, np.array([float(worker.cpus) for worker in workers]), span)
    ran = attempts(sessions, end)
    cpus = cpus_of_attempts(sessions, ran)
    good = np.zeros(len(ran), dtype=bool)
    for session in sessions:
        mine = np.flatnonzero(ran.session == session.session_id)
        rows = ran.row[mine]
        # Of a finished task its last attempt came to something.
        is_last = ran.start[mine] == session.tasks["started"][rows]
        good[mine] = is_last & (session.tasks["state"][rows] == FINISHED)
    run = _levels(ran.start[good], ran.end[good], cpus[good], span)
    vain = _levels(ran.start[~good], ran.end[~good], cpus[~good], span)
    over = np.maximum(run + vain, 1e-300)
    # Clocks are not exact: no more can have been used than was there.
    scale = np.minimum(1.0, there / over)
    run, vain = run * scale, vain * scale
    ready = np.zeros(_PIECES)
    left = np.zeros(_PIECES)
    for session, mine_times in zip(sessions, times, strict=True):
        needed = cpus_of_tasks(session, np.arange(len(session.tasks)))
        ready += _levels(mine_times.ready, mine_times.start, needed, span)
        left += _levels(mine_times.submitted, mine_times.until, np.ones(len(needed)), span)
    free = there - run - vain
    waiting = np.minimum(free, ready)
    idle = free - waiting
    some = np.minimum(1.0, left)
    seconds = {
        "run": run,
        "vain": vain,
        "ready": waiting,
        "inputs": idle * some,
        "nothing": idle * (1 - some),
    }
    return {name: float(level.sum()) * width for name, level in seconds.items()}


def _levels(start: FloatArray, end: FloatArray, weight: FloatArray, span: tuple[float, float]) -> FloatArray:
    """Mean sum of the weights of the intervals under way in each piece of a span."""
    low, high = span
    width = max(high - low, 1e-9) / _PIECES
    size = _PIECES + 2
    level, slope = np.zeros(size), np.zeros(size)
    # The integral up to x is a sum of ramps; a ramp is a step of slope and a correction.
    for edge, sign in ((start, 1.0), (np.fmax(start, end), -1.0)):
        at = np.clip((edge - low) / width, 0, _PIECES)
        cell = np.minimum(at.astype(np.int64), _PIECES)
        level += np.bincount(cell, sign * weight * (cell + 1 - at), size)
        slope += np.bincount(cell + 1, sign * weight, size)
    made: FloatArray = (level + np.cumsum(slope))[:_PIECES]
    return np.maximum(made, 0.0)


def longest_chain(sessions: Sequence[SessionLog], times: Sequence[TaskTimes]) -> tuple[float, int]:
    """(s, tasks) of the longest chain of committed tasks of which each waited for the one before it.

    A task takes what its transfers, its run and its commit took. It waits for those that make its inputs, and
    for its submit: that waits for the last commit that its client can have heard of, and as long after that
    as it took the client.
    """
    chain = _Chain(sessions, times)
    return chain.longest()


class _Chain:
    """Tasks of all sessions in one row of numbers, in the order of their submit: inputs come first."""

    def __init__(self, sessions: Sequence[SessionLog], times: Sequence[TaskTimes]) -> None:
        self._sizes = [len(item.submitted) for item in times]
        offsets = np.cumsum([0, *self._sizes])
        nothing: list[FloatArray] = [np.empty(0)]
        self._submitted = np.concatenate([*nothing, *(item.submitted for item in times)])
        self._until = np.concatenate([*nothing, *(item.until for item in times)])
        self._committed = np.concatenate(
            [np.empty(0, dtype=bool), *(item.committed for item in times)]
        ).astype(bool)
        self._takes = np.concatenate(
            [*nothing, *(item.parts[:, [TRANSFER, RUN, STORE]].sum(axis=1) for item in times)]
        )
        edges = [task_edges(session) for session in sessions]
        none: list[IntArray] = [np.empty(0, dtype=np.int64)]
        producers = np.concatenate([*none, *(e[0] + at for e, at in zip(edges, offsets, strict=False))])
        consumers = np.concatenate([*none, *(e[1] + at for e, at in zip(edges, offsets, strict=False))])
        order = np.argsort(consumers, kind="stable")
        self._producers = producers[order].tolist()
        counts = np.bincount(consumers, minlength=len(self._submitted))
        self._first = np.concatenate([[0], np.cumsum(counts)]).tolist()

    def longest(self) -> tuple[float, int]:
        done = np.flatnonzero(self._committed)
        if not len(done):
            return 0.0, 0
        heard = done[np.argsort(self._until[done], kind="stable")]
        # Of each task the last commit before its submit; -1: none.
        last = np.searchsorted(self._until[heard], self._submitted, side="right") - 1
        before = np.where(last >= 0, heard[np.maximum(last, 0)], -1).tolist()
        submitted, until = self._submitted.tolist(), self._until.tolist()
        takes, committed = self._takes.tolist(), self._committed.tolist()
        begin = float(self._submitted.min())
        end, count = [0.0] * len(submitted), [0] * len(submitted)
        producers, first = self._producers, self._first
        best = 0
        for row in np.argsort(self._submitted, kind="stable").tolist():
            if not committed[row]:
                continue
            at = before[row]
            if at >= 0 and at != row:
                ready, tasks = end[at] + submitted[row] - until[at], count[at]
            else:
                ready, tasks = submitted[row] - begin, 0
            for producer in producers[first[row] : first[row + 1]]:
                if end[producer] > ready:
                    ready, tasks = end[producer], count[producer]
            end[row], count[row] = ready + takes[row], tasks + 1
            if end[row] > end[best]:
                best = row
        return end[best], count[best]
