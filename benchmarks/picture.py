"""The picture of a run: `python -m benchmarks.picture FIGURES.json PICTURE.png`, where matplotlib is.

One panel for each workload that has peers: bars of the medians on a logarithmic scale, whiskers from the
minimum to the maximum, the figure and the ratio to rainzmq behind the bar.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter

Row = dict[str, Any]

COLOURS = {
    "rainzmq": "#1b6ca8",
    "dask": "#e8a33d",
    "ray": "#6fb1a0",
    "parsl": "#b07aa1",
    "hyperqueue": "#c8553d",
    "ipyparallel": "#9c9c9c",
}
INK, FAINT, LIMIT, BEHIND = "#222222", "#777777", "#444444", "#a03020"
COLUMNS = 3
_PANEL_WIDTH, _BAR_HEIGHT, _PANEL_MARGIN = 4.9, 0.33, 1.15
_ROOM = 14.0
"""How many times longer than the longest bar the axis is, so that labels fit behind the bars."""


def draw(results: dict[str, Any], target: Path) -> None:
    """Write the picture of a run as PNG; ValueError when no workload has figures."""
    panels = _panels(results["results"])
    if not panels:
        raise ValueError("there is nothing to draw: no workload has figures")
    limits = {row["workload"]: row for row in results["results"] if row["system"] == "limits"}
    plt.rcParams.update({"font.family": "DejaVu Sans", "font.size": 9, "text.color": INK})
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    heights = [
        max(len(panel) for panel in panels[line * columns : (line + 1) * columns]) * _BAR_HEIGHT
        + _PANEL_MARGIN
        for line in range(lines)
    ]
    figure, axes = plt.subplots(
        lines,
        columns,
        figsize=(_PANEL_WIDTH * columns, sum(heights) + 1.1),
        gridspec_kw={"height_ratios": heights},
        squeeze=False,
    )
    for index, axis in enumerate(axes.flat):
        if index < len(panels):
            line = panels[index - index % columns :][:columns]
            _draw_panel(axis, panels[index], limits, max(map(len, line)))
        else:
            axis.set_visible(False)
    _title(figure, results, sum(heights) + 1.1)
    figure.savefig(target, dpi=140, facecolor="white")


def _panels(rows: list[Row]) -> list[list[Row]]:
    """The rows of each workload that more than one system did."""
    shown = [row for row in rows if row["median"] and row["system"] != "limits"]
    by_name: dict[str, list[Row]] = {}
    for row in shown:
        by_name.setdefault(row["workload"], []).append(row)
    return [group for group in by_name.values() if len(group) > 1]


def _draw_panel(axis: Any, rows: list[Row], limits: dict[str, Row], places_in_line: int) -> None:
    """One workload; `places_in_line` bars of equal height fit into each panel of its line."""
    first = rows[0]
    places = range(len(rows))
    for place, row in zip(places, rows, strict=True):
        ours = row["system"] == "rainzmq"
        colour = COLOURS.get(row["system"], FAINT)
        axis.barh(place, row["median"], height=0.66, color=colour, alpha=1.0 if ours else 0.8, zorder=2)
        axis.errorbar(
            row["median"],
            place,
            xerr=[[row["median"] - row["minimum"]], [row["maximum"] - row["median"]]],
            color=INK,
            elinewidth=1.1,
            capsize=2.5,
            alpha=0.75,
            zorder=3,
        )
        _write_label(axis, row, place)
    low = min(row["minimum"] for row in rows)
    high = max(row["maximum"] for row in rows)
    limit = limits.get(first["limit"] or "")
    if limit and limit["median"] and limit["unit"] == _comparable(first["unit"]):
        low, high = min(low, limit["median"]), max(high, limit["median"] / _ROOM * 1.2)
        axis.axvline(limit["median"], color=LIMIT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    if first["bar"]:
        axis.axvline(first["bar"], color=COLOURS["rainzmq"], linewidth=1, linestyle=":", zorder=1)
        low, high = min(low, first["bar"]), max(high, first["bar"])
    axis.set_xscale("log")
    axis.set_xlim(low / 2.5, high * _ROOM)
    axis.set_yticks(list(places), [row["system_title"] for row in rows])
    axis.set_ylim(places_in_line - 0.5, -0.6)
    better = "more is better" if first["higher_is_better"] else "less is better"
    axis.set_title(first["title"], loc="left", fontsize=10, fontweight="bold", pad=16)
    axis.text(
        0, 1.0, f"{first['unit']}, {better}", transform=axis.transAxes, fontsize=8, color=FAINT, va="bottom"
    )
    _plain(axis)


def _write_label(axis: Any, row: Row, place: int) -> None:
    """The figure and the ratio behind a bar, with a halo against the lines that cross them."""
    ours, behind = row["system"] == "rainzmq", (row["ratio"] or 1.0) < 1
    label = axis.annotate(
        _label(row),
        (row["maximum"], place),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        fontweight="bold" if ours else "normal",
        color=BEHIND if behind else INK,
        zorder=5,
    )
    label.set_path_effects([withStroke(linewidth=3, foreground="white")])


def _comparable(unit: str) -> str:
    return "us" if unit == "us/task" else unit


def _plain(axis: Any) -> None:
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color("#cccccc")
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", which="both", color="#cccccc", labelsize=7.5, labelcolor=FAINT)
    axis.minorticks_off()
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
    axis.grid(axis="x", color="#eeeeee", zorder=0)
    axis.set_axisbelow(True)


def _label(row: Row) -> str:
    text = _number(row["median"])
    if row["ratio"] is None:
        return text
    ratio = row["ratio"]
    return f"{text}   {_number(ratio)}x" if ratio >= 1 else f"{text}   rainzmq {_number(1 / ratio)}x behind"


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 10 else f"{value:.2g}"


def _title(figure: Any, results: dict[str, Any], height: float) -> None:
    figure.subplots_adjust(
        left=0.075, right=0.985, top=1 - 1.25 / height, bottom=0.75 / height, wspace=0.33, hspace=0.62
    )
    figure.text(0.015, 1 - 0.32 / height, "rainzmq beside its peers", fontsize=16, fontweight="bold")
    figure.text(
        0.015,
        1 - 0.56 / height,
        "Bars: medians, logarithmic. Whiskers: minimum to maximum. 12x: rainzmq is 12 times better. "
        "Dotted: what rainzmq shall reach. Dashed: limit of the machine.",
        fontsize=9,
        color=FAINT,
    )
    scale = "" if results["scale"] == 1 else f" of only {results['scale']:g} of the sizes"
    versions = {row["system_title"]: row["version"] for row in results["results"] if row["version"]}
    versions.pop("the machine", None)
    figure.text(
        0.015,
        0.12 / height,
        f"{results['date']}; {results['machine']}; {results['workers']} one-cpu workers; "
        f"{results['rounds']} rounds{scale}; " + ", ".join(f"{name} {of}" for name, of in versions.items()),
        fontsize=7.5,
        color=FAINT,
    )


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
