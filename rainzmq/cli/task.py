"""`rainzmq task`: all about one task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rainzmq.cli.logs_of_task import STREAMS, show_stream
from rainzmq.cli.source import Item, full_task_id
from rainzmq.cli.source_options import open_source, source_options

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_MOST_PARTS = 20
"""Inputs, and outputs, that are shown."""

_LONGEST_LINE = 80
"""Values of more characters are spread over lines."""


@click.command(short_help="Show all about one task.")
@click.argument("task")
@source_options
def task(task: str, server: str | None, access_file: Path | None, replay: Path | None, as_json: bool) -> int:
    """Shows all about a task: why it is where it is, attempts, error, inputs and outputs, what it printed.

    TASK is SESSION/NUMBER, such as 3/17; the number alone where there is only one session.
    """
    from rainzmq.cli.terminal import console, print_json

    source = open_source(server, access_file, replay)
    item = source.task(full_task_id(source, task))
    if as_json:
        print_json(item)
        return 0
    out = console()
    out.print(_summary(item, source.server().get("now")))
    for title, text in _texts(item):
        _heading(out, title)
        _print(out, text)
    for title in ("inputs", "outputs"):
        _show_parts(out, item[title], item[f"{title[:-1]}_count"], title)
    if item["attempts"]:
        _heading(out, "attempts")
        out.print(_attempts(item["attempts"], source.server().get("now")))
    for name in STREAMS:
        if item[f"{name}_bytes"]:
            out.print()
            show_stream(item, name)
    return 0


def _summary(item: Item, now: float | None) -> Table:
    from rich.table import Table

    from rainzmq.cli.terminal import cell, clean, count, duration, moment, state_cell

    rows = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")

    where = item["worker"]
    if where is not None and item["cpu"] is not None:
        where += f", cpu {item['cpu']}" if item["cpus"] == 1 else f", from cpu {item['cpu']} on"
    for what, value in (
        ("task", item["id"]),
        ("name", item["name"]),
        ("type", item["task_type"]),
        ("state", None),
        ("why", item["why"]),
        ("worker", where),
        ("needs", count(item["cpus"], "cpu")),
        ("submitted", moment(item["submitted"], now)),
        ("assigned", moment(item["assigned"], now)),
        ("started", moment(item["started"], now)),
        ("ended", moment(item["ended"], now)),
        ("duration", duration(item["duration_s"])),
    ):
        if what == "state":
            rows.add_row("state", state_cell(item["state"]))
        elif value:
            shown = cell(clean(value))
            # Nothing of a sentence is cut.
            shown.no_wrap, shown.overflow = False, "fold"
            rows.add_row(what, shown)
    return rows


def _texts(item: Item) -> list[tuple[str, str]]:
    """(heading, text) of what takes lines of its own, those of which there is something."""
    named = (
        ("error", item["error"]),
        ("debug", item["debug"]),
        ("what it was told", item["config"]),
        ("spec.user", item["user"]),
        ("info.user", item["info_user"]),
    )
    return [(title, _text(value)) for title, value in named if value not in (None, "", {}, [])]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    line = json.dumps(value, ensure_ascii=False)
    return line if len(line) <= _LONGEST_LINE else json.dumps(value, indent=2, ensure_ascii=False)


def _show_parts(out: Console, parts: list[Item], total: int, title: str) -> None:
    from rainzmq.cli.terminal import cell, size, state_cell, table

    if not parts:
        return
    _heading(out, title if total == 1 else f"{title} ({total})")
    columns = ["object", "label", "state", "size"] + (["of task"] if title == "inputs" else [])
    rows = table(*columns, right=("size",), wide="label")
    for part in parts[:_MOST_PARTS]:
        cells = [cell(part["id"]), cell(part["label"]), state_cell(part["state"])]
        cells.append(cell(size(part["size_bytes"])))
        if title == "inputs":
            cells.append(cell(part["from_task"] or "(constant)"))
        rows.add_row(*cells)
    out.print(rows)
    if total > _MOST_PARTS:
        out.print(cell(f"and {total - _MOST_PARTS} more", "dim"))


def _attempts(items: list[Item], now: float | None) -> Table:
    from rainzmq.cli.terminal import cell, duration, moment, state_cell, table

    rows = table("attempt", "worker", "assigned", "started", "ran", "outcome", "note", wide="note")
    for item in items:
        ran = None if None in (item["started"], item["ended"]) else item["ended"] - item["started"]
        rows.add_row(
            cell(item["attempt"] + 1),
            cell(item["worker"]),
            cell(moment(item["assigned"], now)),
            cell(moment(item["started"], now)),
            cell(duration(ran)),
            state_cell(item["outcome"]),
            cell(item["note"]),
        )
    return rows


def _heading(out: Console, title: str) -> None:
    from rainzmq.cli.terminal import cell

    out.print()
    out.print(cell(title, "bold"))


def _print(out: Console, text: str) -> None:
    from rainzmq.cli.terminal import clean

    out.print(clean(text.rstrip(), keep_lines=True), soft_wrap=True)
