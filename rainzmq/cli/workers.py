"""`rainzmq workers`: the workers of a server or of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rainzmq.cli.source import Item
from rainzmq.cli.source_options import open_source, source_options
from rainzmq.common.states import WorkerState

if TYPE_CHECKING:
    from rich.table import Table

_NUMBERS = ("cpus", "running", "assigned", "finished", "cpu", "memory", "store")

_WIDE = 100
"""Columns of a terminal that has room for everything."""


@click.command(short_help="List workers.")
@click.option("--all", "with_gone", is_flag=True, help="Workers that are gone as well, and why.")
@source_options
def workers(
    with_gone: bool, server: str | None, access_file: Path | None, replay: Path | None, as_json: bool
) -> int:
    """Lists workers, what they do and how busy their machines are. Of a finished run all are listed."""
    from rainzmq.cli.terminal import console, note, print_json

    source = open_source(server, access_file, replay)
    items = source.workers()
    if source.is_live and not with_gone:
        items = [item for item in items if item["state"] == WorkerState.LIVE]
    if as_json:
        print_json(items)
    elif items:
        out = console()
        out.print(worker_table(items, out.width, with_gone=with_gone or not source.is_live))
        for item in items:
            for kind, why in item["troubles"].items():
                note(f"{item['worker_id']} takes no {kind} tasks for now: {why}")
    else:
        note(f"no worker {source.place}")
    return 0


def worker_table(items: list[Item], width: int, *, with_gone: bool = False) -> Table:
    """Workers, a line each; `with_gone` says of each whether it is there. `width`: of the terminal."""
    from rainzmq.cli.terminal import cell, state_cell, table

    columns = ["worker", "host", *_NUMBERS]
    if with_gone:
        columns += ["state", "why"]
    if width < _WIDE:
        columns = [name for name in columns if name not in ("host", "store")]
    rows = table(*columns, right=_NUMBERS, wide="why" if with_gone else "worker")
    for item in items:
        cells = _cells(item)
        rows.add_row(
            *(state_cell(item["state"]) if name == "state" else cell(cells[name]) for name in columns)
        )
    return rows


def _cells(item: Item) -> dict[str, Any]:
    from rainzmq.cli.terminal import size

    load, used, whole = item["cpu_percent"], item["memory_used_bytes"], item["memory_total_bytes"]
    return {
        "worker": item["worker_id"],
        "host": item["hostname"],
        "cpus": item["cpus"],
        "running": item["running"],
        "assigned": item["assigned"],
        "finished": item["finished"],
        "cpu": "" if load is None else f"{load:.0f} %",
        "memory": "" if used is None else f"{size(used)} / {size(whole)}",
        "store": size(item["store_bytes"]),
        "why": item["why"],
    }
