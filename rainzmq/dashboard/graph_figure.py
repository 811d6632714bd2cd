"""The graph of a session as a Bokeh figure: live pages update it, reports embed it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from bokeh.core.properties import value
from bokeh.models import ColumnDataSource, HoverTool, Range1d, TapTool
from bokeh.plotting import figure

from rainzmq.dashboard.palette import LIGHT, Theme
from rainzmq.dashboard.plots import FONT, base_figure, paint, pan_range, put
from rainzmq.monitoring.dag import Dag, Node, graph
from rainzmq.monitoring.session import (
    ASSIGNED,
    CANCELLED,
    FAILED,
    FINISHED,
    READY,
    RUNNING,
    STATES,
    SessionLog,
)

_MOST_PX = 7800
"""Most height of the figure: browsers draw no canvas of over 16384 px, on fine screens half as many."""

_ROW_PX = {True: 62, False: 26}
"""Height of a row of groups, and of tasks. The page scrolls within a figure of many rows; where even that is
not enough, rows are lower and have no labels.
"""

_LABEL_PX = 13
"""Labels need rows of this height."""

_LETTERS = 26
_BOX = 275
"""Least width of a column, px; the page scrolls within the figure when there is less room."""

_WIDEST = 360
"""Most width of a column of labelled boxes, px: small graphs are not stretched."""

_ORDER = (FINISHED, RUNNING, ASSIGNED, READY, FAILED, CANCELLED)
"""States in a group's bar from the left; the rest of it waits."""

_BOXES = ("left", "right", "y", "height", "color", "line")
_NODE_KEYS = (*_BOXES, "text_x", "text_y", "label", "full", "told", "share", "href")


class GraphFigure:
    """A figure and its sources. `draw` shows a graph; `recolor` gives it another theme.

    Attributes:
        plot: the Bokeh figure.
        nodes: its source: `href` is where a click leads.
    """

    def __init__(self, theme: Theme, link: Callable[[Node], str] | None = None) -> None:
        """`link`: the URL that a node leads to; None for no links."""
        self._theme, self._link = theme, link
        self.nodes = ColumnDataSource(data={key: [] for key in _NODE_KEYS}, name="nodes")
        self._parts = ColumnDataSource(data={key: [] for key in ("left", "right", "y", "height", "color")})
        edge_keys = ("x0", "y0", "x1", "y1", "c0", "c1", "width")
        self._edges = ColumnDataSource(data={key: [] for key in edge_keys})
        self.plot = self._figure()
        self._graph: Dag | None = None
        paint(self.plot, theme)

    def _figure(self) -> figure:
        plot = base_figure(
            300,
            "Graph",
            x_range=Range1d(start=-0.6, end=1),
            y_range=Range1d(start=1, end=0),
            tools="pan,wheel_zoom,reset",
            toolbar_location="above",
        )
        plot.axis.visible = False
        plot.grid.visible = False
        self._lines = plot.bezier(
            x0="x0",
            y0="y0",
            x1="x1",
            y1="y1",
            cx0="c0",
            cy0="y0",
            cx1="c1",
            cy1="y1",
            line_width="width",
            line_alpha=0.4,
            source=self._edges,
        )
        box: dict[str, Any] = {"left": "left", "right": "right", "y": "y", "height": "height"}
        self._boxes = plot.hbar(**box, line_color="line", line_width=1.5, source=self.nodes)
        self._boxes.nonselection_glyph = self._boxes.selection_glyph = None
        plot.hbar(**box, fill_color="color", fill_alpha=0.9, line_color=None, source=self._parts)
        self._texts = plot.text(
            x="text_x",
            y="text_y",
            text="label",
            text_font=value(FONT),
            text_font_size="12px",
            text_align="left",
            text_baseline="middle",
            x_offset=6,
            source=self.nodes,
        )
        self._texts.nonselection_glyph = self._texts.selection_glyph = None
        told = [("", "@full"), ("tasks", "@share"), ("state", "@told")]
        plot.add_tools(HoverTool(renderers=[self._boxes], tooltips=told, visible=False))
        if self._link is not None:
            plot.add_tools(TapTool(renderers=[self._boxes], visible=False))
        return plot

    def draw(self, shown: Dag) -> None:
        """Show a graph."""
        self._graph = shown
        theme = self._theme
        x, y, columns, rows = _places(shown)
        row_px = min(_ROW_PX[shown.is_folded], (_MOST_PX - 70) / rows)
        widths, labelled = 0.68, columns <= 12 and row_px >= _LABEL_PX
        thin = 0.3 if shown.is_folded else 0.72
        right = x + (widths if labelled else 0.5)
        states = [_main_state(node) for node in shown.nodes]
        color = [theme.states[STATES[state]] for state in states]
        put(
            self.nodes,
            {
                "left": x,
                "right": right,
                "text_x": x if shown.is_folded else x + 0.05 * (right - x),
                "text_y": y - 0.07 if shown.is_folded else y,
                "y": y,
                "height": np.full(len(x), 0.78 if shown.is_folded else thin),
                "color": color,
                "line": color,
                "label": [_short(node, shown.is_folded) if labelled else "" for node in shown.nodes],
                "full": [
                    node.name if not node.is_task else f"{node.name} ({node.key})" for node in shown.nodes
                ],
                "told": [states_text(node) for node in shown.nodes],
                "share": [f"{node.count:,}" for node in shown.nodes],
                "href": [self._link(node) if self._link is not None else "" for node in shown.nodes],
            },
        )
        put(self._parts, _bars(shown, x, right, y, theme))
        put(self._edges, _curves(shown, x, right, y))
        pan_range(self.plot.x_range, -0.15, max(1.0, float(columns) - 0.2))
        pan_range(self.plot.y_range, max(2, rows) - 0.4, -0.6)
        self.plot.min_width = columns * (_BOX if labelled else 40)
        self.plot.max_width = columns * _WIDEST if labelled else None
        self.plot.height = round(70 + max(2, rows) * row_px)
        self._shade()

    def recolor(self, theme: Theme) -> None:
        """Another theme."""
        self._theme = theme
        paint(self.plot, theme)
        if self._graph is not None:
            self.draw(self._graph)

    def _shade(self) -> None:
        theme = self._theme
        for renderer, values in (
            (self._lines, {"line_color": theme.faint}),
            (self._boxes, {"fill_color": theme.page}),
            (self._texts, {"text_color": theme.text}),
        ):
            renderer.glyph.update(**values)


def graph_figure(session: SessionLog, time: float | None = None, theme: Theme | None = None) -> figure:
    """A figure of the graph of a session at a time (None: now), for a document of its own."""
    made = GraphFigure(theme or LIGHT)
    made.draw(graph(session, time))
    return made.plot


def _places(shown: Dag) -> tuple[Any, Any, int, int]:
    """(x, y, columns, rows): a layer is a column, in the middle of the height of the largest."""
    x = np.array([node.x for node in shown.nodes])
    sizes = np.bincount(x.astype(np.int64)) if len(x) else np.zeros(1, dtype=np.int64)
    rows = int(sizes.max())
    y = np.zeros(len(x))
    for layer in range(len(sizes)):
        members = np.flatnonzero(x == layer)
        order = np.argsort([shown.nodes[index].y for index in members.tolist()], kind="stable")
        y[members[order]] = (rows - len(members)) / 2 + np.arange(len(members))
    return x, y, len(sizes), max(1, rows)


def _curves(shown: Dag, x: Any, right: Any, y: Any) -> dict[str, Any]:
    source = np.array([edge[0] for edge in shown.edges], dtype=np.int64)
    target = np.array([edge[1] for edge in shown.edges], dtype=np.int64)
    count = np.array([edge[2] for edge in shown.edges], dtype=np.float64)
    begin, over = right[source], x[target]
    bend = np.maximum(0.25, np.abs(over - begin) / 2)
    width = 1 + 0.4 * np.log10(np.maximum(1.0, count))
    c0, c1 = begin + bend, over - bend
    return {"x0": begin, "y0": y[source], "x1": over, "y1": y[target], "c0": c0, "c1": c1, "width": width}


def _bars(shown: Dag, x: Any, right: Any, y: Any, theme: Theme) -> dict[str, Any]:
    """What is done of each node: a strip at the bottom of a group, an edge on the left of a task."""
    rows: list[tuple[float, float, float, float, str]] = []
    for index, node in enumerate(shown.nodes):
        at, width = float(x[index]), float(right[index] - x[index])
        if not shown.is_folded:
            rows.append(
                (at, at + width * 0.05, float(y[index]), 0.72, theme.states[STATES[_main_state(node)]])
            )
            continue
        for state in _ORDER:
            part = width * node.counts[state] / max(1, node.count)
            if part > 0:
                rows.append((at, at + part, float(y[index]) + 0.33, 0.12, theme.states[STATES[state]]))
                at += part
    columns = list(zip(*rows, strict=True)) or [()] * 5
    names = ("left", "right", "y", "height")
    data: dict[str, Any] = {name: np.array(column) for name, column in zip(names, columns[:4], strict=True)}
    return {**data, "color": list(columns[4])}


def _main_state(node: Node) -> int:
    """The state that says most about a node."""
    counts = node.counts
    for state in (FAILED, RUNNING):
        if counts[state]:
            return state
    if counts[FINISHED] == node.count:
        return FINISHED
    return max(range(len(STATES)), key=lambda state: (counts[state], -state))


def _short(node: Node, folded: bool) -> str:
    """A label that fits: of a long name the end, which tells it from those beside it."""
    before = "" if node.is_leaf else "+ "
    after = f"\n{node.counts[FINISHED]:,}/{node.count:,}" if folded else ""
    room = _LETTERS - len(before)
    name = node.name if len(node.name) <= room else "…" + node.name[1 - room :]
    return before + name + after


def states_text(node: Node) -> str:
    """The states of a node's tasks, in words."""
    parts = [(node.counts[code], name) for code, name in enumerate(STATES) if node.counts[code]]
    return parts[0][1] if node.is_task else ", ".join(f"{count:,} {name}" for count, name in parts)
