"""What running jobs have written so far, told while they run: soon at first, then ever more seldom.

A task that runs for hours can be looked at, and a talkative one does not fill the event log: it is told of
after 1, 2, 4, ... seconds, at most once a minute, and only when it wrote more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rainzmq.protocol.messages.worker import Report
from rainzmq.protocol.schema import empty
from rainzmq.worker.core.jobs import Job, Printed

MAX_INTERVAL_S = 60.0
"""A running job is told of at least so often when it goes on to write, seconds."""

_FIRST_S = 1.0
_MOST_JOBS = 20
"""Jobs told of at once; the others come next time."""

Look = Callable[[], Iterable[tuple[Job, Printed | None]]]


@dataclass(slots=True)
class _Told:
    """What was told of a job: how much it had written, and when there may be more."""

    sizes: tuple[int, int]
    due: float
    delay_s: float


class RunningOutput:
    """Remembers what was told. `look` gives running jobs with their output so far."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._told: dict[tuple[int, int], _Told] = {}

    def reports(self, now: float) -> list[Report]:
        """Reports with what is due at a time, s of any clock that does not go back; mostly none."""
        running: dict[tuple[int, int], _Told] = {}
        report = empty(Report)
        for job, printed in self._look():
            key = (job.uid, job.attempt)
            told = self._told.get(key)
            if told is not None:
                running[key] = told
            if printed is None or len(report.printed) >= _MOST_JOBS:
                continue
            sizes = (printed.stdout_bytes, printed.stderr_bytes)
            if told is not None and (told.sizes == sizes or now < told.due):
                continue
            delay_s = _FIRST_S if told is None else min(2 * told.delay_s, MAX_INTERVAL_S)
            running[key] = _Told(sizes, now + delay_s, delay_s)
            report.printed.append((job.uid, job.attempt, printed.stdout, printed.stderr, *sizes))
        self._told = running
        return [report] if report.printed else []
