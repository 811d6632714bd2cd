"""What all figures have in common: how they look, how times and names stand in them, how data gets in."""

from __future__ import annotations

import time as clock
from typing import Any

import numpy as np
from bokeh.models import (
    ColumnDataSource,
    DatetimeTicker,
    DatetimeTickFormatter,
    NoOverlap,
    PlainText,
    Plot,
)
from bokeh.plotting import figure

from rainzmq.dashboard.palette import Theme

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"

_SCALES: dict[str, Any] = {
    "microseconds": "%H:%M:%S.%f",
    "milliseconds": "%H:%M:%S.%3N",
    "seconds": "%H:%M:%S",
    "minsec": "%H:%M:%S",
    "minutes": "%H:%M",
    "hourmin": "%H:%M",
    "hours": "%H:%M",
    "days": "%d %b",
    "months": "%b %Y",
    "years": "%Y",
}


def wall(seconds: Any) -> Any:
    """Seconds since the epoch as an axis has them: ms, so that what it takes for UTC is local time here."""
    shift = clock.localtime(float(np.max(seconds)) if np.size(seconds) else 0.0).tm_gmtoff
    return (np.asarray(seconds, dtype=np.float64) + shift) * 1000


def from_wall(value: float) -> float:
    """Seconds since the epoch of a place on such an axis."""
    shift = clock.localtime(value / 1000).tm_gmtoff
    return value / 1000 - shift


def plain(text: str) -> PlainText:
    """Text for an axis, title or tick that is not taken for TeX."""
    return PlainText(text=text)


def base_figure(height: int, label: str, **options: Any) -> figure:
    """An empty figure of full width. `label`: what it shows, for its `name` and those who read the page."""
    plot = figure(
        height=height,
        sizing_mode="stretch_width",
        min_width=100,
        output_backend="canvas",
        name=label,
        toolbar_location=options.pop("toolbar_location", None),
        **options,
    )
    plot.toolbar.logo = None
    plot.min_border_right = 12
    plot.border_line_color = None
    return plot


def time_axis(plot: figure) -> None:
    """Let the x axis show the time of day."""
    plot.xaxis.formatter = DatetimeTickFormatter(**_SCALES)
    plot.xaxis.ticker = DatetimeTicker(desired_num_ticks=6)
    plot.xaxis.major_label_policy = NoOverlap(min_distance=12)


def paint(plot: Plot, theme: Theme) -> None:
    """Give a figure the colours of a theme; can be done again with another."""
    plot.background_fill_color = theme.panel
    # The page is seen through it: painted, it would leave a line at its edge.
    plot.border_fill_color = None
    plot.outline_line_color = None
    # `select` would look at all that belongs to the figure, which takes long.
    for axis in [*plot.left, *plot.below]:
        axis.update(
            axis_line_color=theme.line,
            major_tick_line_color=theme.line,
            minor_tick_line_color=None,
            major_label_text_color=theme.faint,
            axis_label_text_color=theme.faint,
            major_label_text_font=FONT,
            axis_label_text_font=FONT,
            major_label_text_font_size="12px",
            axis_label_text_font_size="12px",
            axis_label_text_font_style="normal",
        )
    for grid in plot.center:
        grid.update(grid_line_color=theme.line, grid_line_alpha=0.7)


def put(source: ColumnDataSource, data: dict[str, Any]) -> None:
    """Replace the data of a source when it differs."""
    new = {key: value if isinstance(value, list) else np.asarray(value) for key, value in data.items()}
    old = source.data
    same = old.keys() == new.keys() and all(_equal(old[key], new[key]) for key in new)
    if not same:
        source.data = new


def _equal(one: Any, other: Any) -> bool:
    if len(one) != len(other) or isinstance(one, list) != isinstance(other, list):
        return False
    if isinstance(one, list):
        return bool(one == other)
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f" and other.dtype.kind == "f"))


def pan_range(axis_range: Any, start: float, end: float) -> None:
    """Set both ends of a range when they differ."""
    if axis_range.start != start or axis_range.end != end:
        axis_range.update(start=start, end=end)
