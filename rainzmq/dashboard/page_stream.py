"""Task stream: what ran on each cpu of each worker, when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rainzmq.dashboard.page import Page, PageQuery
from rainzmq.dashboard.palette import Theme
from rainzmq.dashboard.plots import from_wall
from rainzmq.dashboard.stream_figure import StreamData, StreamFigure, stream_data, whole_span

SPANS = (("60", "last minute"), ("600", "last 10 minutes"), ("3600", "last hour"), ("all", "the whole run"))
"""Spans to choose from: seconds before the time that is shown."""

_MOST_NAMES = 24


class StreamPage(Page):
    """See the module."""

    path, title = "stream", "Task stream"

    def start(self, ask: PageQuery, again: Callable[[], None]) -> None:
        """Make the figure; zooming it asks for more detail."""
        self._query = ask.query
        self._figure = StreamFigure(ask.theme, lambda task: self._query.link("task", id=task))
        self._zoomed: tuple[float, float] | None = None
        self._span_asked = ask.query.get("span")
        self._again = again
        self._is_drawing = False
        self.figures = {"stream": self._figure.plot}
        for end in ("start", "end"):
            self._figure.range.on_change(end, self._on_zoom)

    def fragments(self, ask: PageQuery) -> dict[str, str]:
        """Choice of the span, and the names with their colours."""
        if ask.query.get("span") != self._span_asked:
            self._span_asked, self._zoomed = ask.query.get("span"), None
        uses = self._data(ask).uses
        whole = sum(use.busy_s for use in uses)
        values = {"uses": uses[:_MOST_NAMES], "whole": whole, "more": max(0, len(uses) - _MOST_NAMES)}
        empty = not ask.model.workers
        return {
            "spans": ask.render(self.parts, "spans", spans=SPANS, chosen=_chosen(ask)),
            "names": ask.render(self.parts, "names", is_empty=empty, **values),
        }

    def draw(self, ask: PageQuery) -> None:
        """Bring the bars up to date; what is zoomed to stays."""
        self._query = ask.query
        self._is_drawing = True
        try:
            self._figure.draw(self._data(ask), follow=self._zoomed is None)
        finally:
            self._is_drawing = False

    def recolor(self, theme: Theme) -> None:
        """Another theme."""
        self._figure.recolor(theme)

    def _data(self, ask: PageQuery) -> StreamData:
        span = self._zoomed or shown_span(ask)
        return ask.once("stream", lambda: stream_data(ask.model, ask.sessions, span, ask.until), span)

    def _on_zoom(self, _name: str, _old: Any, _new: Any) -> None:
        if self._is_drawing:
            return
        axis: Any = self._figure.range
        low, high = float(axis.start), float(axis.end)
        is_reset = abs(low - axis.reset_start) + abs(high - axis.reset_end) < 1
        self._zoomed = None if is_reset else (from_wall(low), from_wall(high))
        self._again()


def shown_span(ask: PageQuery) -> tuple[float, float]:
    """The span that the query asks for, s since the epoch."""
    chosen = _chosen(ask)
    # In a replay the whole run stays in view, whatever time is shown of it.
    until = ask.model.now if ask.hub.is_replay else ask.until
    whole = ask.once("span", lambda: whole_span(ask.model, ask.sessions, until))
    if chosen != "all" and whole[0] < ask.until:
        return max(whole[0], ask.until - float(chosen)), ask.until
    return whole


def _chosen(ask: PageQuery) -> str:
    chosen = ask.query.get("span")
    known = [span for span, _ in SPANS]
    return chosen if chosen in known else "all"
