"""Workers: those that are there, how busy they are and were, and those that are gone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rainzmq.common.states import WorkerState
from rainzmq.dashboard.charts import Heat
from rainzmq.dashboard.page import Page, PageQuery
from rainzmq.dashboard.page_overview import RECENT_S
from rainzmq.dashboard.palette import Theme
from rainzmq.monitoring.series import edges, loads, rate, span_of

_COUNTERS = ("net_received_bytes", "net_sent_bytes", "disk_read_bytes", "disk_written_bytes")

_MOST_ROWS = 60
_MOST_GONE = 100


class WorkersPage(Page):
    """See the module."""

    path, title = "workers", "Workers"

    def start(self, ask: PageQuery, again: Callable[[], None]) -> None:
        """Make the figure."""
        self._heat = Heat(ask.theme, "Cpu load of each worker over time", "%")
        self.figures = {"heat": self._heat.plot}

    def fragments(self, ask: PageQuery) -> dict[str, str]:
        """Tables of those that are there and those that are gone."""
        views = ask.worker_views()
        live = [view for view in views if view.state is WorkerState.LIVE]
        gone = [view for view in views if view.state is WorkerState.GONE][::-1]
        return {
            "live": ask.render(self.parts, "live", workers=live, rates=self._rates(ask)),
            "gone": ask.render(self.parts, "gone", workers=gone[:_MOST_GONE], more=len(gone) - _MOST_GONE),
        }

    @staticmethod
    def _rates(ask: PageQuery) -> dict[int, list[float | None]]:
        """Bytes per second by number of the worker: received, sent, read, written."""
        return ask.once(
            "rates",
            lambda: {
                worker.number: [rate(worker, column, ask.time) for column in _COUNTERS]
                for worker in ask.model.workers.values()
                if worker.is_there(ask.time)
            },
        )

    def draw(self, ask: PageQuery) -> None:
        """Bring the figure up to date."""
        until = ask.model.now if ask.hub.is_replay else ask.until
        times = edges(span_of(ask.model, until, None if ask.hub.is_replay else RECENT_S), 120)
        there = [worker for worker in ask.model.workers.values() if worker.came <= ask.until]
        live = [worker for worker in there if worker.is_there(ask.time)]
        # At the end of a run all have left, and how busy they were is what one looks for.
        shown = (there if ask.hub.is_replay and not live else live)[:_MOST_ROWS]
        cpu = ask.once("heat", lambda: loads(shown, "cpu_percent", times))
        self._heat.draw(
            times, [worker.worker_id for worker in shown], np.where(times <= ask.until + 1, cpu, np.nan)
        )

    def recolor(self, theme: Theme) -> None:
        """Another theme."""
        self._heat.recolor(theme)
