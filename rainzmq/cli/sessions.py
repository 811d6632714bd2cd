"""`rainzmq sessions`: the sessions of a server or of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rainzmq.cli.source import Item
from rainzmq.cli.source_options import open_source, source_options
from rainzmq.common.headline import headline

if TYPE_CHECKING:
    from rich.console import RenderableType

_WIDE = 140
"""Columns of a terminal that has room for everything."""


@click.command(short_help="List sessions.")
@source_options
def sessions(server: str | None, access_file: Path | None, replay: Path | None, as_json: bool) -> int:
    """Lists sessions, how far they are, and what keeps or ended them."""
    from rainzmq.cli.terminal import console, note, print_json

    source = open_source(server, access_file, replay)
    items = source.sessions()
    if as_json:
        print_json(items)
    elif items:
        out = console()
        out.print(session_table(items, source.server().get("now"), out.width))
    else:
        note(f"no session {source.place}")
    return 0


def session_table(items: list[Item], now: float | None, width: int) -> RenderableType:
    """Sessions, a line each. `now`: the time that is shown, s since the epoch; `width`: of the terminal; in
    a narrow one what keeps or ended them stands below.
    """
    from rich.console import Group

    from rainzmq.cli.terminal import cell, state_cell, table

    is_wide = width >= _WIDE
    numbers = ("session", "lasts", "done", "total", "running", "could run", "waiting", "failed")
    columns = ["session", "name", "client", "state", "opened", *numbers[1:], "why"]
    if not is_wide:
        columns = [name for name in columns if name not in ("client", "opened", "why")]
    rows = table(*columns, right=numbers, wide="why" if is_wide else "name")
    told = []
    for item in items:
        cells = _cells(item, now)
        rows.add_row(
            *(state_cell(item["state"]) if name == "state" else cell(cells[name]) for name in columns)
        )
        if cells["why"] and not is_wide:
            told.append(cell(f"session {item['session_id']}: {cells['why']}", "dim"))
    return Group(rows, *told)


def _cells(item: Item, now: float | None) -> dict[str, Any]:
    from rainzmq.cli.terminal import duration, moment

    counts = item["counts"]
    end = now if item["ended"] is None else item["ended"]
    why = "; ".join(item["reasons"])
    if item["failure"] is not None:
        failure = item["failure"]
        named = f"{failure['task']} {failure['name'] or ''}: " if failure["task"] else ""
        why = named + headline(failure["message"])
    return {
        "session": item["session_id"],
        "name": item["name"],
        "client": item["client"],
        "opened": moment(item["came"], now),
        "lasts": "" if end is None else duration(end - item["came"]),
        "done": counts["finished"],
        "total": item["total"],
        "running": counts["running"],
        "could run": counts["ready"] + counts["assigned"],
        "waiting": counts["waiting"],
        "failed": counts["failed"],
        "why": why,
    }
