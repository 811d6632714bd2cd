"""Smaller figures: throughput, load, workers over time, what moved."""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, FixedTicker, HoverTool, NumeralTickFormatter, Range1d
from numpy.typing import NDArray

from rainzmq.common.states import TaskState
from rainzmq.dashboard.palette import Theme
from rainzmq.dashboard.plots import base_figure, paint, pan_range, plain, put, time_axis, wall
from rainzmq.dashboard.site import clock_text
from rainzmq.monitoring.columns import FloatArray

CHART_PX = 165
"""Height of a chart of the overview: both are in sight on a screen of 1280 x 800, below failures too."""


class Throughput:
    """Finished and failed tasks per second over time, stacked columns."""

    def __init__(self, theme: Theme) -> None:
        keys = ("left", "right", "done", "top", "when")
        self._source = ColumnDataSource(data={key: [] for key in keys})
        self._x, self._y = Range1d(start=0, end=1), Range1d(start=0, end=1)
        self.plot = base_figure(CHART_PX, "Throughput", x_range=self._x, y_range=self._y, tools="")
        self.plot.yaxis.axis_label = "tasks per second"
        self.plot.xgrid.visible = False
        box: dict[str, Any] = {"left": "left", "right": "right", "line_color": None, "source": self._source}
        self._done = self.plot.quad(top="done", bottom=0, **box)
        self._failed = self.plot.quad(top="top", bottom="done", **box)
        told = [("at", "@when"), ("finished", "@done{0.[00]} per s")]
        self.plot.add_tools(HoverTool(tooltips=told, renderers=[self._done]))
        time_axis(self.plot)
        self.recolor(theme)

    def draw(self, times: FloatArray, done: FloatArray, failed: FloatArray) -> None:
        """Show the rates (tasks per second) between times."""
        width = times[1] - times[0]
        data = {
            "left": wall(times[:-1] + 0.08 * width),
            "right": wall(times[1:] - 0.08 * width),
            "done": done,
            "top": done + failed,
            "when": [clock_text(value) for value in times[:-1].tolist()],
        }
        put(self._source, data)
        pan_range(self._x, *wall(times[[0, -1]]).tolist())
        pan_range(self._y, 0, max(1.0, float((done + failed).max()) * 1.1))

    def recolor(self, theme: Theme) -> None:
        """Another theme."""
        paint(self.plot, theme)
        self._done.glyph.fill_color = theme.states[TaskState.FINISHED]
        self._failed.glyph.fill_color = theme.states[TaskState.FAILED]


class LoadChart:
    """Cpu and memory of the workers over time: means, and for the cpus the range over the workers."""

    def __init__(self, theme: Theme) -> None:
        keys = ("x", "cpu", "low", "high", "memory", "when")
        self._source = ColumnDataSource(data={key: [] for key in keys})
        self._x = Range1d(start=0, end=1)
        self.plot = base_figure(
            CHART_PX, "Cpu and memory of the workers", x_range=self._x, y_range=(0, 103), tools=""
        )
        self.plot.yaxis.formatter = NumeralTickFormatter(format="0")
        self.plot.yaxis.axis_label = "%"
        self.plot.xgrid.visible = False
        source = self._source
        self._band = self.plot.varea(x="x", y1="low", y2="high", fill_alpha=0.18, source=source)
        self._cpu = self.plot.line(x="x", y="cpu", line_width=2, source=source)
        self._memory = self.plot.line(x="x", y="memory", line_width=2, line_dash=[6, 3], source=source)
        told = [("at", "@when"), ("cpu", "@cpu{0} %"), ("memory", "@memory{0} %")]
        self.plot.add_tools(HoverTool(tooltips=told, renderers=[self._cpu], mode="vline"))
        time_axis(self.plot)
        self.recolor(theme)

    def draw(self, times: FloatArray, cpu: NDArray[np.float64], memory: NDArray[np.float64]) -> None:
        """`cpu`, `memory`: percent, shape (workers, times), NaN where nothing is known. All of `times` is in
        view.
        """
        known = ~np.isnan(cpu)
        any_known = known.any(axis=0)
        low = np.where(any_known, np.where(known, cpu, np.inf).min(axis=0, initial=np.inf), np.nan)
        high = np.where(any_known, np.where(known, cpu, -np.inf).max(axis=0, initial=-np.inf), np.nan)
        put(
            self._source,
            {
                "x": wall(times),
                "cpu": _mean(cpu),
                "low": low,
                "high": high,
                "memory": _mean(memory),
                "when": [clock_text(value) for value in times.tolist()],
            },
        )
        pan_range(self._x, *wall(times[[0, -1]]).tolist())

    def recolor(self, theme: Theme) -> None:
        """Another theme."""
        paint(self.plot, theme)
        self._band.glyph.fill_color = self._cpu.glyph.line_color = theme.states[TaskState.RUNNING]
        self._memory.glyph.line_color = theme.states[TaskState.READY]


class Heat:
    """A grid of rows over time, darker where there is more: how busy each worker was."""

    def __init__(self, theme: Theme, title: str, unit: str) -> None:
        keys = ("left", "right", "y", "alpha", "value", "name", "when")
        self._source = ColumnDataSource(data={key: [] for key in keys})
        self._x, self._ticker = Range1d(start=0, end=1), FixedTicker(ticks=[])
        self.plot = base_figure(200, title, x_range=self._x, y_range=Range1d(start=1, end=0), tools="")
        self.plot.grid.visible = False
        self.plot.yaxis.ticker = self._ticker
        self._cells = self.plot.hbar(
            y="y",
            left="left",
            right="right",
            height=0.86,
            fill_alpha="alpha",
            line_color=None,
            source=self._source,
        )
        told = [("", "@name"), ("at", "@when"), ("", f"@value{{0}} {unit}")]
        self.plot.add_tools(HoverTool(tooltips=told))
        time_axis(self.plot)
        self.recolor(theme)

    def draw(self, times: FloatArray, names: list[str], values: NDArray[np.float64]) -> None:
        """`values`: percent, shape (names, times), NaN where nothing is known."""
        row, column = np.nonzero(~np.isnan(values))
        width = times[1] - times[0]
        value = values[row, column]
        words = [clock_text(at) for at in times.tolist()]
        data: dict[str, Any] = {
            "left": wall(times[column] - width),
            "right": wall(times[column]),
            "y": row + 0.5,
            "alpha": 0.06 + 0.94 * np.clip(value / 100, 0, 1),
            "value": value,
            "name": [names[at] for at in row.tolist()],
            "when": [words[at] for at in column.tolist()],
        }
        put(self._source, data)
        pan_range(self._x, *wall(times[[0, -1]]).tolist())
        pan_range(self.plot.y_range, max(1, len(names)), 0)
        self.plot.height = 60 + max(2, len(names)) * int(max(6, min(28, 700 / max(1, len(names)))))
        ticks = [at + 0.5 for at in range(len(names))]
        overrides: dict[float | str, Any] = {
            tick: plain(name) for tick, name in zip(ticks, names, strict=True)
        }
        if self._ticker.ticks != ticks:
            self._ticker.ticks = ticks
            self.plot.yaxis.major_label_overrides = overrides

    def recolor(self, theme: Theme) -> None:
        """Another theme."""
        paint(self.plot, theme)
        self._cells.glyph.fill_color = theme.states[TaskState.RUNNING]


def _mean(values: NDArray[np.float64]) -> FloatArray:
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    sums = np.where(known, values, 0.0).sum(axis=0)
    made: FloatArray = np.where(count > 0, sums / np.maximum(count, 1), np.nan)
    return made
