"""`rainzmq tasks`: the tasks of a server or of a finished run."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from rainzmq.cli.source import FirstTasks, Item, ItemSource, session_number
from rainzmq.cli.source_options import open_source, same_source, source_options
from rainzmq.common.states import TaskState

_STATES = tuple(state.value for state in TaskState)
_ALL = sys.maxsize

_WIDE = 140
_MEDIUM = 100
"""Columns of a terminal that has room for everything, and for most of it."""

_WAIT = (TaskState.WAITING, TaskState.READY, TaskState.ASSIGNED)
_MOST_WHYS = 50
_WHYS_S = 1.0
"""Why tasks do not run yet is asked for one by one: of so many at most, and for so long."""


@click.command(short_help="List tasks.")
@click.option("--session", metavar="NUMBER|NAME", help="Only tasks of this session.")
@click.option("--failed", is_flag=True, help="Only failed tasks.")
@click.option("--state", type=click.Choice(_STATES), help="Only tasks in this state.")
@click.option("--name", metavar="NAME|PREFIX/", help="Only tasks of this name, or of this group of names.")
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
    """Lists tasks of all sessions, in order of their submission; why they failed, or do not run yet."""
    from rainzmq.cli.terminal import note, print_json

    if failed and state not in (None, TaskState.FAILED):
        raise click.UsageError("--failed and --state contradict each other")
    source = open_source(server, access_file, replay)
    wanted: dict[str, str] = {}
    if session is not None:
        wanted["session"] = str(session_number(source, session))
    if failed or state is not None:
        wanted["state"] = TaskState.FAILED if failed else str(state)
    if name is not None:
        wanted["name"] = name
    page = _find(source, wanted, limit or _ALL)
    if as_json:
        print_json(page.items)
    else:
        _show(source, page, wanted, same_source(server, access_file, replay))
    if len(page.items) < page.total:
        note(f"these are {len(page.items)} of {page.total} tasks; --limit 0 lists all")
    return 0


def _find(source: ItemSource, wanted: dict[str, str], limit: int) -> FirstTasks:
    """The tasks that are wanted; where none has the name, those of the group of that name."""
    page = source.tasks(wanted, limit)
    name = wanted.get("name", "")
    if not page.items and name and not name.endswith("/"):
        page = source.tasks({**wanted, "name": f"{name}/"}, limit)
    return page


def _none(source: ItemSource, wanted: dict[str, str]) -> str:
    """What to say when no task is like what is wanted."""
    where = f"of session {wanted['session']} {source.place}" if "session" in wanted else source.place
    total = source.tasks({key: wanted[key] for key in ("session",) if key in wanted}, 1).total
    if not total:
        return f"no task {where}"
    is_like = []
    if "state" in wanted:
        is_like.append("has failed" if wanted["state"] == TaskState.FAILED else f"is {wanted['state']}")
    if "name" in wanted:
        is_like.append(f"has the name {wanted['name']!r}, or one that begins with it and a /")
    return f"no task {where} {' and '.join(is_like)} (of {total})"


def _show(source: ItemSource, page: FirstTasks, wanted: dict[str, str], options: str) -> None:
    """The table. `options`: those that lead another command to the same source."""
    from rainzmq.cli.terminal import cell, console, duration, moment, note, state_cell, table

    if not page.items:
        note(_none(source, wanted))
        return
    out = console()
    whys = _whys(source, page.items)
    columns = _columns(out.width, whys, page.items)
    rows = table(*columns, right=("attempt", "duration"), wide="why" if "why" in columns else "name")
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
            "why": whys.get(item["id"]),
        }
        rows.add_row(
            *(state_cell(item["state"]) if name == "state" else cell(cells[name]) for name in columns)
        )
    out.print(rows)
    failed = [item["id"] for item in page.items if item["state"] == TaskState.FAILED]
    if failed:
        note(f"all about one, its whole error too: rainzmq task {failed[0]}{options}")


def _columns(width: int, whys: dict[str, str], items: list[Item]) -> list[str]:
    """What there is room for; `width`: of the terminal."""
    columns = ["task", "name", "type", "state", "attempt", "worker", "started", "duration"]
    if whys:
        columns.append("why")
    left_out: set[str] = set()
    if width < _MEDIUM:
        left_out = {"type", "attempt", *(("worker", "started") if whys else ())}
    elif width < _WIDE and whys:
        left_out = {"type", "attempt", "started"}
    if width < _WIDE:
        # Of tasks that did not run there is nothing to say in them.
        fields = {"worker": "worker", "started": "started", "duration": "duration_s"}
        left_out |= {name for name, field in fields.items() if all(item[field] is None for item in items)}
    return [name for name in columns if name not in left_out]


def _whys(source: ItemSource, items: list[Item]) -> dict[str, str]:
    """By the ids of tasks: why they failed, and what others wait for."""
    found = {item["id"]: item["reason"] for item in items if item["reason"]}
    deadline = time.monotonic() + _WHYS_S
    for item in [item for item in items if item["state"] in _WAIT][:_MOST_WHYS]:
        if time.monotonic() > deadline:
            break
        found[item["id"]] = source.task(item["id"])["why"]
    return found
