"""`rainzmq cancel`: ends a session, whoever opened it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from rainzmq.cli.source import Item, ItemSource, session_number
from rainzmq.cli.source_options import open_server
from rainzmq.common.errors import RainException
from rainzmq.common.states import UNENDED, SessionState

_END_S = 5.0
"""So long the end of the session is waited for."""

_PAUSE_S = 0.1


@click.command(short_help="Cancel a session: its tasks stop, its results are freed.")
@click.argument("session")
@click.option("--reason", metavar="TEXT", default="", help="Why: its client and all who look get to read it.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask, which is only done in a terminal.")
@click.option(
    "--server",
    metavar="ADDRESS",
    help="host, host:port or access file of the server.  [default: as Client() finds it]",
)
@click.option("--access-file", type=click.Path(path_type=Path), help="The server's access file.")
def cancel(session: str, reason: str, yes: bool, server: str | None, access_file: Path | None) -> int:
    """Cancels the session SESSION, a number or a name. Its client gets an error that says so."""
    from rainzmq.cli.terminal import note

    source = open_server(server, access_file)
    number = session_number(source, session, prefer_open=True)
    item = _session(source.sessions(), number)
    if item["state"] != SessionState.OPEN:
        raise RainException(f"{_named(item)} is over: it is {item['state']} already")
    if not yes and sys.stdin.isatty() and not click.confirm(_question(item, source.place), err=True):
        note("nothing was cancelled")
        return 1
    source.cancel(number, reason)
    state = _wait_for_end(source, number)
    click.echo(f"{_named(item)} is {'being cancelled' if state == SessionState.OPEN else state}")
    return 0


def _wait_for_end(source: ItemSource, number: int) -> str:
    """The state of a session that is being cancelled, once it has ended or after `_END_S`."""
    deadline = time.monotonic() + _END_S
    while time.monotonic() < deadline:
        try:
            state = str(_session(source.sessions(), number)["state"])
        except RainException:
            break  # its program ended because of it, and the server of `rainzmq local` with that
        if state != SessionState.OPEN:
            return state
        time.sleep(_PAUSE_S)
    return SessionState.OPEN


def _session(sessions: list[Item], number: int) -> Item:
    for item in sessions:
        if item["session_id"] == number:
            return item
    raise RainException(f"session {number} is not there any more")


def _named(item: Item) -> str:
    from rainzmq.cli.terminal import clean

    return f"session {item['session_id']} {clean(item['name'])!r}"


def _question(item: Item, place: str) -> str:
    from rainzmq.cli.terminal import clean, count

    counts = item["counts"]
    left = sum(counts[state] for state in UNENDED)
    return clean(
        f"Cancel {_named(item)} of {item['client']} {place}? {count(left, 'task')} "
        f"of {item['total']} {'is' if left == 1 else 'are'} not done"
    )
