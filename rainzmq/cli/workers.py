"""`rainzmq workers`: the workers of a server or of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rainzmq.cli.source import Item, open_source, source_options

if TYPE_CHECKING:
    from rich.table import Table


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
        items = [item for item in items if item["state"] == "live"]
    if as_json:
        print_json(items)
    elif items:
        console().print(worker_table(items, with_gone=with_gone or not source.is_live))
    else:
        note("no worker")
    return 0


def worker_table(items: list[Item], *, with_gone: bool = False) -> Table:
    """Workers, a line each; `with_gone` says of each whether it is there."""
    from rainzmq.cli.terminal import cell, size, state_cell, table

    columns = ["worker", "host", "cpus", "running", "queued", "finished", "cpu", "memory", "store"]
    if with_gone:
        columns += ["state", "why"]
    rows = table(*columns, right=("cpus", "running", "queued", "finished", "cpu", "memory", "store"))
    for item in items:
        load, used, whole = item["cpu_percent"], item["memory_used_bytes"], item["memory_total_bytes"]
        cells = [
            cell(item["worker_id"]),
            cell(item["hostname"]),
            cell(item["cpus"]),
            cell(item["running"]),
            cell(item["assigned"]),
            cell(item["finished"]),
            cell("" if load is None else f"{load:.0f} %"),
            cell("" if used is None else f"{size(used)} / {size(whole)}"),
            cell(size(item["store_bytes"])),
        ]
        if with_gone:
            cells += [state_cell(item["state"]), cell(item["why"])]
        rows.add_row(*cells)
    return rows
