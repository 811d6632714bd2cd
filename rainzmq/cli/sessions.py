"""`rainzmq sessions`: the sessions of a server or of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rainzmq.cli.source import Item, open_source, source_options

if TYPE_CHECKING:
    from rich.table import Table


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
        console().print(session_table(items, source.server().get("now")))
    else:
        note("no session")
    return 0


def session_table(items: list[Item], now: float | None) -> Table:
    """Sessions, a line each. `now`: the time that is shown, s since the epoch."""
    from rainzmq.cli.terminal import cell, duration, first_line, moment, state_cell, table

    rows = table(
        "session", "name", "client", "state", "opened", "lasts", "done", "total", "running", "ready",
        "waiting", "failed", "why",
        right=("session", "lasts", "done", "total", "running", "ready", "waiting", "failed"), wide="why",
    )  # fmt: skip
    for item in items:
        counts = item["counts"]
        end = now if item["ended"] is None else item["ended"]
        why = "; ".join(item["reasons"])
        if item["failure"] is not None:
            failure = item["failure"]
            named = f"{failure['task']} {failure['name'] or ''}: " if failure["task"] else ""
            why = named + first_line(failure["message"])
        rows.add_row(
            cell(item["session_id"]),
            cell(item["name"]),
            cell(item["client"]),
            state_cell(item["state"]),
            cell(moment(item["came"], now)),
            cell("" if end is None else duration(end - item["came"])),
            cell(counts["finished"]),
            cell(item["total"]),
            cell(counts["running"]),
            cell(counts["ready"] + counts["assigned"]),
            cell(counts["waiting"]),
            cell(counts["failed"]),
            cell(why),
        )
    return rows
