"""Overview: how far it is, how fast it goes, how busy the workers are, and what waits and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rainzmq.common.headline import headline
from rainzmq.common.states import SessionState, TaskState, WorkerState
from rainzmq.dashboard.charts import LoadChart, Throughput
from rainzmq.dashboard.groups import groups_of
from rainzmq.dashboard.page import Page, PageQuery
from rainzmq.dashboard.palette import Theme
from rainzmq.dashboard.texts import readable
from rainzmq.monitoring.series import edges, loads, span_of, throughput
from rainzmq.monitoring.views import GroupView, SessionView, TaskView, task_view

RECENT_S = 300.0
"""What is shown of the past while it goes on, s."""

_MANY = 1000
"""Of fewer tasks the throughput is counted by whole seconds: in shorter ones a single task is a peak."""

_MOST_GROUPS = 14
_MOST_FAILURES = 20
_MOST_LINKS = 4


@dataclass(slots=True)
class Failures:
    """Failures that say the same.

    Attributes:
        headline: the line that says most.
        message: all that the last one said.
        first, last: when, s since the epoch; None when it is not known.
        count: how many.
        tasks: those that failed last, at most `_MOST_LINKS`.
        sessions: the sessions of those that are no task's.
    """

    headline: str
    message: str
    first: float | None
    last: float | None
    count: int
    tasks: list[TaskView]
    sessions: list[SessionView]


class OverviewPage(Page):
    """See the module."""

    path, title = "overview", "Overview"

    def start(self, ask: PageQuery, again: Callable[[], None]) -> None:
        """Make both charts."""
        self._throughput, self._load = Throughput(ask.theme), LoadChart(ask.theme)
        self.figures = {"throughput": self._throughput.plot, "load": self._load.plot}

    def fragments(self, ask: PageQuery) -> dict[str, str]:
        """Numbers, progress by group, what waits, workers, failures."""
        workers = [worker for worker in ask.worker_views() if worker.state is WorkerState.LIVE]
        views, counts = ask.session_views(), ask.counts()
        shown, found = _top_groups(groups_of(ask)), ask.once("failures", lambda: failures(ask))
        return {
            "tiles": ask.render(self.parts, "tiles", counts=counts, workers=workers, sessions=views),
            "progress": ask.render(
                self.parts, "progress", groups=shown[:_MOST_GROUPS], more=len(shown) - _MOST_GROUPS
            ),
            "waiting": ask.render(self.parts, "waiting", counts=counts, sessions=views, workers=workers),
            "workers": ask.render(self.parts, "workers", workers=workers),
            "failures": ask.render(
                self.parts, "failures", failures=found[:_MOST_FAILURES], more=len(found) - _MOST_FAILURES
            ),
        }

    def draw(self, ask: PageQuery) -> None:
        """Bring both charts up to date."""
        span = span_of(ask.model, ask.model.now if ask.hub.is_replay else ask.until, _recent(ask))
        ended = sum(ask.counts()[state] for state in (TaskState.FINISHED, TaskState.FAILED))
        times = edges(span, least_s=0.1 if ended > _MANY else 1.0)
        rates = ask.once("throughput", lambda: throughput(ask.sessions, times, ask.until))
        self._throughput.draw(times, *rates)
        workers = list(ask.model.workers.values())
        later = times > ask.until + 1

        def load(column: str) -> NDArray[np.float64]:
            found = ask.once(column, lambda: loads(workers, column, times))
            return np.where(later, np.nan, found)

        memory = 100 * load("memory_used_bytes") / load("memory_total_bytes")
        self._load.draw(times, load("cpu_percent"), memory)

    def recolor(self, theme: Theme) -> None:
        """Another theme."""
        self._throughput.recolor(theme)
        self._load.recolor(theme)


def _recent(ask: PageQuery) -> float | None:
    return None if ask.hub.is_replay else RECENT_S


def _top_groups(all_groups: list[GroupView]) -> list[GroupView]:
    """Groups of the first part of names, or of the first two where that fits."""
    two = [group for group in all_groups if group.depth < 2]
    return two if len(two) <= _MOST_GROUPS else [group for group in all_groups if group.depth == 0]


def failures(ask: PageQuery) -> list[Failures]:
    """What failed in the chosen sessions, by what it said and what it is shown as; the last first."""
    found: dict[tuple[str, str], Failures] = {}
    for view, session in zip(ask.session_views(), ask.sessions, strict=True):
        failure = view.failure
        if failure is None or view.state is SessionState.CANCELLED:
            continue
        row = -1 if failure.task is None else session.tasks.row(int(failure.task.partition("/")[2]))
        task = task_view(session, row, ask.model, ask.time) if row >= 0 else None
        when = view.ended if task is None or task.ended is None else task.ended
        message = readable(failure.message)
        key = headline(message), "" if task is None else ask.shown_as(task.name)
        same = found.pop(key, None) or Failures(
            headline=key[0], message=message, first=when, last=when, count=0, tasks=[], sessions=[]
        )
        times = [value for value in (same.first, same.last, when) if value is not None]
        same.first, same.last = min(times, default=None), max(times, default=None)
        same.message, same.count = message, same.count + 1
        if task is None:
            same.sessions.append(view)
        else:
            same.tasks = [*same.tasks, task][-_MOST_LINKS:]
        found[key] = same
    return list(found.values())[::-1]
