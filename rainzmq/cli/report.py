"""`rainzmq report`: a finished run as one HTML file."""

from __future__ import annotations

import os
import secrets
import sys
from contextlib import suppress
from pathlib import Path

import click

from rainzmq.cli.extra import need_extra
from rainzmq.cli.runs import LAST, find_events
from rainzmq.common.errors import RainException

_STDOUT = "-"


@click.command(short_help="Make one HTML file of a run: where its time went, what failed.")
@click.argument("events", type=click.Path(path_type=Path), default=LAST)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="Where it goes, replacing what is there; - is stdout.  [default: NAME.html here, of NAME.db]",
)
def report(events: Path, output: str | None) -> int:
    """Makes a report of the run EVENTS: its database (events.db), a directory of logs that has it, or `last`,
    the newest run, which is the default.

    The file needs nothing else: it opens in any browser, without a network.
    """
    need_extra("a report")
    events = find_events(events)
    if output is None:
        output = f"{events.stem}.html"
    if output != _STDOUT:
        # Before the work rather than after it.
        _check_place(Path(output), events)
    from rainzmq.cli.terminal import note
    from rainzmq.dashboard.report.report import make_report
    from rainzmq.monitoring.store import open_replay

    hub = open_replay(events)
    for text in hub.notes:
        note(text)
    content = make_report(hub).encode()
    if output == _STDOUT:
        sys.stdout.buffer.write(content)
        return 0
    write_whole(Path(output), content)
    click.echo(f"wrote {output}")
    return 0


def _check_place(path: Path, events: Path) -> None:
    if path.is_dir():
        raise RainException(f"{path} is a directory; name a file with -o")
    if not path.absolute().parent.is_dir():
        raise RainException(f"there is no directory {path.absolute().parent} to write {path.name} to")
    if path.exists() and events.exists() and path.samefile(events):
        raise RainException(f"{path} is the database itself; name another file with -o")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that there never is a half one; RainException when it cannot be written."""
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError as error:
        raise RainException(f"the report cannot be written to {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
