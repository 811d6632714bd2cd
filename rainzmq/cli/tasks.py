"""`rainzmq tasks`: the tasks of a server or of a finished run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from rainzmq.cli.source import Item, Page, Source, open_source, session_number, source_options

_STATES = ("waiting", "ready", "assigned", "running", "finished", "failed", "cancelled")
_ALL = sys.maxsize

_WIDE = 100
"""Columns of a terminal that has room for everything."""


@click.command(short_help="List tasks.")
@click.option("--session", metavar="NUMBER|NAME", help="Only tasks of this session.")
@click.option("--failed", is_flag=True, help="Only failed tasks, with their errors.")
@click.option("--state", type=click.Choice(_STATES), help="Only tasks in this state.")
@click.option("--name", metavar="NAME|PREFIX/", help="Only tasks of this name, or whose names begin so.")
@click.option(
    "--limit",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    help="Most tasks to list; 0 lists all.",
)
@source_options
def tasks(
    session: str | None,
    failed: bool,
    state: str | None,
    name: str | None,
    limit: int,
    server: str | None,
    access_file: Path | None,
    replay: Path | None,
    as_json: bool,
) -> int:
    """Lists tasks of all sessions, in order of their submission."""
    from rainzmq.cli.terminal import note, print_json

    if failed and state not in (None, "failed"):
        raise click.UsageError("--failed and --state contradict each other")
    source = open_source(server, access_file, replay)
    wanted: dict[str, str] = {}
    if session is not None:
        wanted["session"] = str(session_number(source, session))
    if failed or state is not None:
        wanted["state"] = "failed" if failed else str(state)
    if name is not None:
        wanted["name"] = name
    page = source.tasks(wanted, limit or _ALL)
    if as_json:
        print_json(page.items)
    else:
        _show(source, page, failed)
    if len(page.items) < page.total:
        note(f"these are {len(page.items)} of {page.total} tasks; --limit 0 lists all")
    return 0


def _show(source: Source, page: Page, with_errors: bool) -> None:
    from rainzmq.cli.terminal import cell, console, duration, moment, note, state_cell, table

    if not page.items:
        note("no task")
        return
    out = console()
    columns = ["task", "name", "type", "state", "attempt", "worker", "started", "duration"]
    if out.width < _WIDE:
        columns = [name for name in columns if name not in ("type", "attempt")]
    rows = table(*columns, right=("attempt", "duration"), wide="name")
    now = source.server().get("now")
    for item in page.items:
        cells = {
            "task": item["id"],
            "name": item["name"],
            "type": item["task_type"],
            "attempt": item["attempt"] + 1,
            "worker": item["worker"],
            "started": moment(item["started"], now),
            "duration": duration(item["duration_s"]),
        }
        rows.add_row(
            *(state_cell(item["state"]) if name == "state" else cell(cells[name]) for name in columns)
        )
    out.print(rows)
    if with_errors:
        _show_errors(source, page.items, out)


def _show_errors(source: Source, items: list[Item], out: Any) -> None:
    """Why they failed: a session says so of the one task that ended it."""
    from rainzmq.cli.terminal import cell, clean

    failures = {
        item["failure"]["task"]: item["failure"]
        for item in source.sessions()
        if item["failure"] is not None and item["failure"]["task"] is not None
    }
    for item in items:
        failure = failures.get(item["id"])
        if failure is not None:
            out.print()
            out.print(cell(f"{item['id']} {item['name']}", "bold red"))
            out.print(clean(failure["message"].rstrip(), keep_lines=True), soft_wrap=True)
