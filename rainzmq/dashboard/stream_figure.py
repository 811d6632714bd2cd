"""The task stream as a Bokeh figure: live pages update it, reports embed it."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from bokeh.models import BoxZoomTool, ColumnDataSource, FixedTicker, HoverTool, Range1d, TapTool
from bokeh.plotting import figure

from rainzmq.common.states import TaskState
from rainzmq.common.units import format_duration
from rainzmq.dashboard.palette import Theme, name_colors
from rainzmq.dashboard.plots import base_figure, paint, pan_range, plain, put, time_axis, wall
from rainzmq.monitoring.attempts import LOST, OUTCOMES
from rainzmq.monitoring.columns import FloatArray, IntArray
from rainzmq.monitoring.model import Model
from rainzmq.monitoring.session import CANCELLED, FAILED, SessionLog
from rainzmq.monitoring.stream import MOST_BARS, Bars, Lanes, NameUse, Strip, bars, queued, transfers

_STRIP, _GAP = 0.6, 0.5
_PIECES = 4000
"""Pieces of all strips of one kind together."""

_BAR_KEYS = ("left", "right", "y", "height", "color", "line", "width", "alpha", "href")
_WORDS = ("label", "note", "begin", "took", "where")
_STRIP_KEYS = ("left", "right", "y", "height", "alpha", "color", "label", "where")


@dataclass(slots=True)
class StreamData:
    """What a stream shows: computed once for all that look at the same. `uses`: what ran under each name."""

    lanes: Lanes
    bars: Bars
    uses: list[NameUse]
    transfers: Strip
    queued: Strip
    span: tuple[float, float]


def stream_data(
    model: Model,
    sessions: Sequence[SessionLog],
    span: tuple[float, float],
    until: float,
    most: int = MOST_BARS,
) -> StreamData:
    """What to show of a span (s since the epoch) as it was at `until`."""
    rows, made, uses = bars(model, sessions, span, until, most)
    pieces = max(60, min(600, _PIECES // max(1, len(rows.workers))))
    return StreamData(
        rows,
        made,
        uses,
        transfers(model, span, until, pieces),
        queued(sessions, span, until, pieces),
        span,
    )


class StreamFigure:
    """A figure and its sources. `draw` shows data; `recolor` gives it another theme.

    Attributes:
        plot: the Bokeh figure.
        bars: its source: `href` is where a click leads, empty for merged bars.
    """

    def __init__(self, theme: Theme, link: Callable[[str], str] | None = None) -> None:
        """`link`: the URL of a task, by its id such as `3/17`; None for no links."""
        self._theme, self._link = theme, link
        self.bars = ColumnDataSource(data={key: [] for key in _BAR_KEYS + _WORDS}, name="bars")
        self._strips = ColumnDataSource(data={key: [] for key in _STRIP_KEYS})
        self.range = Range1d(start=0, end=1, name="stream-range")
        self._ticker = FixedTicker(ticks=[])
        self.plot = self._figure()
        self._data: StreamData | None = None
        paint(self.plot, theme)

    def _figure(self) -> figure:
        zoom = BoxZoomTool(dimensions="width")
        plot = base_figure(
            200,
            "Task stream",
            x_range=self.range,
            y_range=Range1d(start=1, end=0),
            tools="xpan,xwheel_zoom,xzoom_in,xzoom_out,reset",
            toolbar_location="above",
        )
        plot.add_tools(zoom)
        plot.toolbar.active_drag = zoom
        box: dict[str, Any] = {"y": "y", "left": "left", "right": "right", "height": "height"}
        look: dict[str, Any] = {"fill_color": "color", "fill_alpha": "alpha"}
        strips = plot.hbar(**box, **look, line_color=None, source=self._strips)
        main = plot.hbar(**box, **look, line_color="line", line_width="width", source=self.bars)
        main.nonselection_glyph = main.selection_glyph = None
        told = [("task", "@label"), ("", "@note"), ("from", "@begin"), ("ran", "@took"), ("on", "@where")]
        plot.add_tools(
            HoverTool(renderers=[main], tooltips=told, visible=False),
            HoverTool(renderers=[strips], tooltips=[("", "@label"), ("on", "@where")], visible=False),
        )
        if self._link is not None:
            plot.add_tools(TapTool(renderers=[main], visible=False))
        time_axis(plot)
        plot.ygrid.visible = False
        plot.yaxis.ticker = self._ticker
        return plot

    def draw(self, data: StreamData, follow: bool = True) -> None:
        """Show data; `follow`: with just its span, else what is zoomed to stays."""
        self._data = data
        theme, made, rows = self._theme, data.bars, data.lanes
        tops, height = _tops(rows)
        centre, where = _lane_places(rows, tops)
        failed = made.outcome == FAILED
        put(
            self.bars,
            {
                "left": wall(made.left),
                "right": wall(made.right),
                "y": centre[made.lane] if len(made) else np.empty(0),
                "height": np.full(len(made), 0.86),
                "color": _pick(name_colors(made.names, theme), made.name),
                "line": [theme.states[TaskState.FAILED] if bad else theme.panel for bad in failed.tolist()],
                "width": np.where(failed, 2.0, np.where(made.count == 1, 0.5, 0.0)),
                "alpha": np.where(np.isin(made.outcome, (LOST, CANCELLED)), 0.45, 1.0),
                "href": self._hrefs(made),
                **_words(made, [where[lane] for lane in made.lane.tolist()]),
            },
        )
        put(self._strips, self._strip_data(data, tops))
        pixels = max(4, min(20, round(700 / max(1.0, height))))
        self.plot.height = 90 + round(max(4.0, height) * pixels)
        pan_range(self.plot.y_range, max(4.0, height), 0)
        self._name_rows(rows, tops)
        if follow:
            pan_range(self.range, *wall(np.array(data.span)).tolist())
            self.range.update(reset_start=self.range.start, reset_end=self.range.end)

    def recolor(self, theme: Theme) -> None:
        """Another theme."""
        self._theme = theme
        paint(self.plot, theme)
        if self._data is not None:
            self.draw(self._data, follow=False)

    def _hrefs(self, made: Bars) -> list[str]:
        if self._link is None:
            return [""] * len(made)
        pairs = zip(made.session.tolist(), made.task.tolist(), strict=True)
        return [self._link(f"{session}/{task}") if task else "" for session, task in pairs]

    def _name_rows(self, rows: Lanes, tops: list[float]) -> None:
        ticks = [top + max(1, worker.cpus) / 2 for top, worker in zip(tops, rows.workers, strict=True)]
        names = [worker.worker_id for worker in rows.workers]
        if self._ticker.ticks != ticks:
            self._ticker.ticks = ticks
            self.plot.yaxis.major_label_overrides = {
                tick: plain(name) for tick, name in zip(ticks, names, strict=True)
            }

    def _strip_data(self, data: StreamData, tops: list[float]) -> dict[str, Any]:
        theme, parts = self._theme, []
        kinds = (
            (data.transfers, theme.faint, 0, "objects on their way"),
            (data.queued, theme.states[TaskState.ASSIGNED], 1, "tasks assigned here"),
        )
        place = {worker.number: at for at, worker in enumerate(data.lanes.workers)}
        for strip, color, offset, label in kinds:
            known = np.array([number in place for number in strip.worker.tolist()], dtype=bool)
            workers = [data.lanes.workers[place[number]] for number in strip.worker[known].tolist()]
            amount = strip.amount[known]
            base = [tops[place[worker.number]] + max(1, worker.cpus) for worker in workers]
            parts.append(
                {
                    "left": wall(strip.left[known]),
                    "right": wall(strip.right[known]),
                    "y": np.array(base) + _STRIP * (offset + 0.5),
                    "height": np.full(len(workers), _STRIP * 0.75),
                    "alpha": 0.25 + 0.65 * np.minimum(1.0, amount / max(1.0, float(amount.max(initial=0)))),
                    "color": [color] * len(workers),
                    "label": [f"{value:.3g} {label}" for value in amount.tolist()],
                    "where": [worker.worker_id for worker in workers],
                }
            )
        first, second = parts
        return {
            key: first[key] + second[key]
            if isinstance(first[key], list)
            else np.concatenate([first[key], second[key]])
            for key in _STRIP_KEYS
        }


def stream_figure(
    model: Model,
    session: SessionLog | None,
    span: tuple[float, float] | None = None,
    theme: Theme | None = None,
    most: int = MOST_BARS,
) -> figure:
    """A figure of what ran in a session (None: in all), for a document of its own.

    Args:
        span: what of it, s since the epoch; None: all.
        theme: its colours; None: the light ones.
        most: bars to draw at most, about; zooming in does not show more.
    """
    from rainzmq.dashboard.palette import LIGHT

    sessions = list(model.sessions.values()) if session is None else [session]
    whole = whole_span(model, sessions, model.now) if span is None else span
    made = StreamFigure(theme or LIGHT)
    made.draw(stream_data(model, sessions, whole, model.now, most))
    return made.plot


def whole_span(model: Model, sessions: Sequence[SessionLog], until: float) -> tuple[float, float]:
    """From the first start (or coming, when nothing began) of sessions to the last end, or to `until` while
    something runs or is to run.
    """
    begins, ends = [], []
    for session in sessions:
        started, ended = session.tasks["started"], session.tasks["ended"]
        begun, over = started[started <= until], ended[ended <= until]
        before = [past.started for past in session.past if past.started <= until]
        first = float(begun.min(initial=np.inf))
        begins.append(min([first, *before]) if len(begun) or before else session.came)
        ends.append(float(over.max()) if len(over) == len(ended) and len(over) else until)
    low, high = min(begins, default=until - 60), max(ends, default=until)
    return low, max(high, low + 0.1)


def _tops(rows: Lanes) -> tuple[list[float], float]:
    """Where each worker's rows begin, and the height of all."""
    tops, top = [], 0.0
    for worker in rows.workers:
        tops.append(top)
        top += max(1, worker.cpus) + 2 * _STRIP + _GAP
    return tops, top


def _lane_places(rows: Lanes, tops: list[float]) -> tuple[FloatArray, list[str]]:
    """Middle of each lane, and its name."""
    centre, where = [], []
    for top, worker in zip(tops, rows.workers, strict=True):
        for cpu in range(max(1, worker.cpus)):
            centre.append(top + cpu + 0.5)
            where.append(f"{worker.worker_id}, cpu {cpu}")
    return np.array(centre), where


def _pick(colors: list[str], index: IntArray) -> list[str]:
    return [colors[at] for at in index.tolist()]


def _words(made: Bars, where: list[str]) -> dict[str, list[str]]:
    """What is said when one points at a bar."""
    label, note, begin, took = [], [], [], []
    columns = zip(
        made.name.tolist(),
        made.task_name.tolist(),
        made.count.tolist(),
        made.outcome.tolist(),
        made.left.tolist(),
        made.busy.tolist(),
        made.session.tolist(),
        made.task.tolist(),
        strict=True,
    )
    for name, whole, count, outcome, left, busy, session, task in columns:
        label.append(
            f"{made.task_names[whole]} ({session}/{task})"
            if task
            else f"{count} tasks, most of the time {made.names[name]}"
        )
        note.append(OUTCOMES.get(outcome, "") if task else "zoom in to see each")
        begin.append(clock.strftime("%H:%M:%S", clock.localtime(left)) + f"{left % 1:.3f}"[1:5])
        took.append(format_duration(busy))
    return {"label": label, "note": note, "begin": begin, "took": took, "where": where}
