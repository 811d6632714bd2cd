"""`rainzmq web`: started by the server, not by hand. It keeps the event log and serves the dashboard."""

from __future__ import annotations

from pathlib import Path

import click

from rainzmq.cli.logs import start_logging


@click.command(hidden=True)
@click.option("--access-file", type=click.Path(path_type=Path), required=True)
@click.option("--socket-fd", type=int, multiple=True, required=True)
@click.option("--events", type=click.Choice(["none", "memory", "sqlite"]), required=True)
@click.option("--logdir", type=click.Path(path_type=Path))
@click.option("--allow", multiple=True)
@click.option("--lifeline-fd", type=int)
def web(
    access_file: Path,
    socket_fd: tuple[int, ...],
    events: str,
    logdir: Path | None,
    allow: tuple[str, ...],
    lifeline_fd: int | None,
) -> int:
    """Serves the dashboard of a server, on sockets that it inherits from it."""
    start_logging("web", logdir)
    from rainzmq.dashboard.process import WebProcessOptions, run_web

    return run_web(WebProcessOptions(access_file, list(socket_fd), events, logdir, allow, lifeline_fd))
