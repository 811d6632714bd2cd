"""The options that say where a command looks, and the source that they mean.

What reads HTTP or a database is imported only when it is needed: commands start in a moment.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rainzmq.cli.extra import EVENTS, need_extra
from rainzmq.cli.runs import HELP, find_events
from rainzmq.cli.source import ItemSource

if TYPE_CHECKING:
    from rainzmq.cli.rest_client import RestSource

_Command = TypeVar("_Command", bound=Callable[..., Any])


def source_options(command: _Command) -> _Command:
    """Adds the options that say where to look, and `--json`; `open_source` takes the first three."""
    path = click.Path(path_type=Path)
    for decorate in reversed(
        (
            click.option(
                "--server",
                metavar="ADDRESS",
                help="host, host:port or access file of the server.  [default: as Client() finds it]",
            ),
            click.option("--access-file", type=path, help="The server's access file."),
            click.option(
                "--replay", type=path, metavar="EVENTS", help=f"Look at a run that is over: {HELP}."
            ),
            click.option("--json", "as_json", is_flag=True, help="Print JSON, as the REST interface has it."),
        )
    ):
        command = decorate(command)
    return command


def open_source(server: str | None, access_file: Path | None, replay: Path | None) -> ItemSource:
    """Where the items come from that the options of `source_options` mean.

    Raises:
        click.UsageError: they contradict each other.
        RainException: there is no such server or database.
    """
    if replay is not None:
        if server is not None or access_file is not None:
            raise click.UsageError("give either a server or --replay, not both")
        need_extra("an event log", EVENTS)
        from rainzmq.cli.hub_source import HubSource
        from rainzmq.cli.terminal import note
        from rainzmq.monitoring.store import open_replay

        hub = open_replay(find_events(replay))
        for text in hub.notes:
            note(text)
        return HubSource(hub)
    return open_server(server, access_file)


def same_source(server: str | None, access_file: Path | None, replay: Path | None) -> str:
    """The options, with a space before each, that lead another command to the same source."""
    options = {"--server": server, "--access-file": access_file, "--replay": replay}
    return "".join(f" {name} {shlex.quote(str(value))}" for name, value in options.items() if value)


def open_server(server: str | None, access_file: Path | None) -> RestSource:
    """The running server that was named, or the newest one here.

    Raises:
        RainException: there is no such server, or it has no dashboard.
    """
    from rainzmq.cli.choice import choose_server
    from rainzmq.cli.rest_client import RestSource

    return RestSource(choose_server(server, access_file))
