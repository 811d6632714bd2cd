"""`rainzmq server`: the one process that clients and workers connect to."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rainzmq.cli.extra import EXTRA, not_installed
from rainzmq.cli.logs import start_logging
from rainzmq.cli.options import (
    LOOPBACK,
    check_file_place,
    client_grace_option,
    listen_address,
    process_options,
    ready_place,
    web_options,
)
from rainzmq.common.limits import DEFAULT_PORT

if TYPE_CHECKING:
    from rainzmq.server.web import WebOptions

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
    "--advertise",
    metavar="HOST",
    help="Name or address by which other machines reach this one, for the access file.  [default: the host "
    "of --listen, or for all interfaces this machine's name or address]",
)
@click.option(
    "--http-listen",
    type=listen_address,
    metavar="[HOST:]PORT",
    help="Address of the dashboard and REST.  [default: 127.0.0.1:7222, or any port if that is taken]",
)
@client_grace_option
@web_options
@process_options
def server(
    listen: tuple[str, int],
    advertise: str | None,
    http_listen: tuple[str, int] | None,
    client_grace: float,
    http_allow: tuple[str, ...],
    events: str,
    no_dashboard: bool,
    logdir: Path | None,
    ready_file: Path | None,
    access_file: Path | None,
    lifeline_fd: int | None,
) -> int:
    """Runs a server in the foreground until Ctrl-C or SIGTERM, or until its terminal is closed.

    Clients and workers of the same user on this machine find its keys by themselves. Elsewhere, give them a
    copy of its access file, whose path is logged.
    """
    logdir = start_logging("server", logdir)
    from rainzmq.server.server import ServerOptions, run_server

    if no_dashboard and (http_listen is not None or http_allow):
        _log.warning("there is no dashboard, so --http-listen and --http-allow have no effect")
    host, http_port = http_listen or (LOOPBACK, None)
    with ready_place(ready_file) as ready:
        return run_server(
            ServerOptions(
                host=listen[0],
                port=listen[1],
                advertise=advertise,
                logdir=logdir,
                ready_file=ready,
                access_file=check_file_place(access_file, "--access-file"),
                lifeline_fd=lifeline_fd,
                client_grace_s=client_grace,
                web=None if no_dashboard else _web_options(host, http_port, events, http_allow),
            )
        )


def _web_options(host: str, port: int | None, events: str, allow: tuple[str, ...]) -> WebOptions | None:
    from rainzmq.server.web import WebOptions, missing_packages

    missing = missing_packages()
    if missing:
        _log.warning("no dashboard, and no event log: %s; %s", not_installed(missing), EXTRA)
        return None
    return WebOptions(host, port, events, allow)
