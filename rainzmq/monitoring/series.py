"""Curves over time: how much was done per second, how busy workers were."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rainzmq.monitoring.columns import FloatArray
from rainzmq.monitoring.model import Model, WorkerLog
from rainzmq.monitoring.session import FAILED, FINISHED, SessionLog

STALE_S = 10.0
"""A sample says nothing of a time that is so much later, s."""

_WIDTHS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)


def edges(span: tuple[float, float], most: int = 150, least_s: float = 0.1) -> FloatArray:
    """Times that cut a span into at most about `most` pieces of a round width of at least `least_s` seconds,
    whole pieces only at its begin. Times in s since the epoch.
    """
    low, high = span
    length = max(high - low, 0.1)
    width = next((width for width in _WIDTHS if width >= least_s and length / width <= most), length / most)
    start = np.floor(low / width) * width
    count = max(2, int(np.ceil((high - start) / width)) + 1)
    made: FloatArray = start + np.arange(count) * width
    return made


def throughput(
    sessions: Sequence[SessionLog], times: FloatArray, until: float
) -> tuple[FloatArray, FloatArray]:
    """(finished, failed) tasks per second in each piece between `times`, as it was at `until`."""
    done = np.zeros(len(times) - 1)
    failed = np.zeros(len(times) - 1)
    width = times[1] - times[0]
    for session in sessions:
        tasks = session.tasks
        ended, state = tasks["ended"], tasks["state"]
        seen = (ended >= times[0]) & (ended <= min(until, times[-1]))
        rows = np.flatnonzero(seen)
        for code, sums in ((FINISHED, done), (FAILED, failed)):
            sums += np.histogram(ended[rows[state[rows] == code]], times)[0] / width
    return done, failed


def loads(workers: Sequence[WorkerLog], column: str, times: FloatArray) -> NDArray[np.float64]:
    """A column of the samples of each worker at each time; NaN where there was none.

    Shape (workers, times).
    """
    found = np.full((len(workers), len(times)), np.nan)
    width = max(STALE_S, float(times[1] - times[0]) * 1.5) if len(times) > 1 else STALE_S
    for row, worker in enumerate(workers):
        samples = worker.samples
        if not len(samples):
            continue
        at = np.searchsorted(samples["time"], times, side="right") - 1
        known = at >= 0
        known &= times - samples["time"][np.maximum(at, 0)] <= width
        if worker.went == worker.went:
            known &= times <= worker.went
        found[row, known] = samples[column][at[known]]
    return found


def rate(worker: WorkerLog, column: str, time: float | None = None) -> float | None:
    """How fast a counter of a worker's samples grew between the last two, now or before a time: per second.

    None when there are not two samples, or the counter began again.
    """
    samples = worker.samples
    last = samples.at(time)
    if last < 1:
        return None
    grown = float(samples[column][last] - samples[column][last - 1])
    seconds = float(samples["time"][last] - samples["time"][last - 1])
    return grown / seconds if grown >= 0 and seconds > 0 else None


def span_of(model: Model, until: float, most_s: float | None) -> tuple[float, float]:
    """From the first thing that happened to `until`, at most the last `most_s` seconds of it."""
    first = model.first_time()
    if most_s is not None:
        first = max(first, until - most_s)
    return min(first, until - 1.0), until
