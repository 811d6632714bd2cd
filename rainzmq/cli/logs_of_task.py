"""`rainzmq logs`: the end of what a task wrote to its standard streams."""

from __future__ import annotations

from pathlib import Path

import click

from rainzmq.cli.source import Item, full_task_id
from rainzmq.cli.source_options import open_source, source_options
from rainzmq.common.states import UNENDED

STREAMS = ("stdout", "stderr")
"""What a task writes to, in the order in which it is shown."""

_SHOWN = ("id", "name", "state", "attempt", "error", *STREAMS, "stdout_bytes", "stderr_bytes")


@click.command(short_help="Show what a task printed.")
@click.argument("task")
@click.option("--stream", type=click.Choice(STREAMS), help="Only this one, without a heading.")
@source_options
def logs(
    task: str,
    stream: str | None,
    server: str | None,
    access_file: Path | None,
    replay: Path | None,
    as_json: bool,
) -> int:
    """Shows the ends of what a task wrote to its stdout and stderr.

    Those of a running task are looked at ever more seldom: after some minutes once a minute.

    TASK is SESSION/NUMBER, such as 3/17; the number alone where there is only one session.
    """
    from rainzmq.cli.terminal import note, print_json

    source = open_source(server, access_file, replay)
    item = source.task(full_task_id(source, task))
    if as_json:
        print_json({name: item[name] for name in _SHOWN})
        return 0
    shown = [name for name in STREAMS if stream in (None, name) and item[f"{name}_bytes"]]
    for name in shown:
        show_stream(item, name, with_heading=stream is None)
    if not shown:
        wrote = "wrote nothing" if stream is None else f"wrote nothing to {stream}"
        if item["state"] in UNENDED:
            wrote = f"is {item['state']} and {wrote} so far"
        note(f"task {item['id']} {item['name']!r} {wrote}")
    return 0


def show_stream(item: Item, name: str, *, with_heading: bool = True) -> None:
    """Prints what is kept of the stream `name` of a task."""
    from rainzmq.cli.terminal import clean, console, note, size

    text, whole = item[name], item[f"{name}_bytes"]
    kept = len(text.encode(errors="replace"))
    extent = size(whole)
    if not text:
        extent = f"none of its {size(whole)} is kept any more"
    elif kept < whole:
        extent = f"the last {size(kept)} of {size(whole)}"
    if with_heading:
        click.echo(f"==> {name} of {item['id']} {clean(item['name'])} ({extent}) <==")
    elif kept < whole:
        note(f"{name} of {item['id']}: {extent}")
    shown = clean(text, keep_lines=True)
    console().file.write(shown if shown.endswith("\n") or not shown else shown + "\n")
