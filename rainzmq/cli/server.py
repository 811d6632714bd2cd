"""`rainzmq server`: the one process that clients and workers connect to."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from rainzmq.cli.logs import start_logging
from rainzmq.cli.options import LOOPBACK, check_file_place, listen_address, process_options, ready_place
from rainzmq.common.limits import DEFAULT_HTTP_PORT, DEFAULT_PORT

_log = logging.getLogger("rainzmq.cli.server")


@click.command(short_help="Run a server that clients and workers connect to.")
@click.option(
    "--listen",
    type=listen_address,
    metavar="[HOST:]PORT",
    default=f"{LOOPBACK}:{DEFAULT_PORT}",
    show_default=True,
    help="Where clients and workers connect; PORT alone is on loopback, port 0 any free one.",
)
@click.option(
    "--http-listen",
    type=listen_address,
    metavar="[HOST:]PORT",
    default=f"{LOOPBACK}:{DEFAULT_HTTP_PORT}",
    show_default=True,
    help="Address of the dashboard, which this version does not serve yet.",
)
@process_options
@click.pass_context
def server(
    ctx: click.Context,
    listen: tuple[str, int],
    http_listen: tuple[str, int],
    logdir: Path | None,
    ready_file: Path | None,
    access_file: Path | None,
    lifeline_fd: int | None,
) -> int:
    """Runs a server in the foreground until Ctrl-C or SIGTERM.

    Clients and workers of the same user on this machine find its keys by themselves. Elsewhere, give them a
    copy of its access file, whose path is logged.
    """
    logdir = start_logging("server", logdir)
    if ctx.get_parameter_source("http_listen") is not click.core.ParameterSource.DEFAULT:
        _log.warning("--http-listen %s:%s: the dashboard is not part of this version", *http_listen)
    from rainzmq.server.server import ServerOptions, run_server

    with ready_place(ready_file) as ready:
        return run_server(
            ServerOptions(
                host=listen[0],
                port=listen[1],
                logdir=logdir,
                ready_file=ready,
                access_file=check_file_place(access_file, "--access-file"),
                lifeline_fd=lifeline_fd,
            )
        )
