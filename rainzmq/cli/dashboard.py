"""`rainzmq dashboard`: opens the dashboard of a server, or shows a finished run."""

from __future__ import annotations

import secrets
import sys
import webbrowser
from pathlib import Path

import click

from rainzmq.cli.choice import choose_server
from rainzmq.cli.extra import EXTRA, need_extra
from rainzmq.cli.options import listen_address
from rainzmq.cli.runs import HELP, find_events
from rainzmq.common.errors import RainException


@click.command(short_help="Open the dashboard of a server, or show a finished run.")
@click.argument("server", required=False)
@click.option("--url", is_flag=True, help="Only print the link, which is a secret: it has the token.")
@click.option(
    "--replay",
    type=click.Path(path_type=Path),
    metavar="EVENTS",
    help=f"Show a finished run: {HELP}.",
)
@click.option(
    "--http-listen",
    type=listen_address,
    metavar="[HOST:]PORT",
    default="127.0.0.1:0",
    help="With --replay: where to serve the pages.  [default: any free port on loopback]",
)
@click.option(
    "--http-allow",
    multiple=True,
    metavar="HOST:PORT",
    help="With --replay: a further address by which browsers may call, as through a tunnel. Repeatable.",
)
@click.option("--no-browser", is_flag=True, help="Print the link, and open no browser.")
@click.option(
    "--access-file",
    type=click.Path(path_type=Path),
    help="The server's access file.  [default: found by SERVER]",
)
def dashboard(
    server: str | None,
    url: bool,
    replay: Path | None,
    http_listen: tuple[str, int],
    http_allow: tuple[str, ...],
    no_browser: bool,
    access_file: Path | None,
) -> int:
    """Opens the dashboard of a running server (SERVER, or the newest one here) in a browser.

    With --replay: serves the same pages over a finished run, with a slider for the time, until Ctrl-C.
    """
    if replay is not None:
        if server is not None or url or access_file is not None:
            raise click.UsageError("--replay shows a finished run: give no SERVER, --url or --access-file")
        return _replay(replay, http_listen, http_allow, no_browser)
    access = choose_server(server, access_file)
    if access.http is None:
        raise RainException(
            f"the server at {access.address}:{access.port} serves no dashboard: it was started with "
            f"--no-dashboard, or the packages for it are missing there ({EXTRA})"
        )
    click.echo(access.http.link)
    if not url:
        _open(access.http.link, no_browser)
    return 0


def _replay(path: Path, listen: tuple[str, int], allow: tuple[str, ...], no_browser: bool) -> int:
    need_extra("the dashboard")
    from rainzmq.dashboard.process import run_replay
    from rainzmq.monitoring.hub import Hub
    from rainzmq.server.web import bind_http
    from rainzmq.transport.access import HttpAccess
    from rainzmq.transport.net import advertised_host

    path = find_events(path)
    sockets = bind_http(*listen)
    http = HttpAccess(advertised_host(listen[0]), sockets[0].getsockname()[1], secrets.token_urlsafe(24))

    def ready(hub: Hub) -> None:
        for note in hub.notes:
            click.echo(f"rainzmq: note: {note}", err=True)
        click.echo(http.link)
        click.echo("The run can be looked at until Ctrl-C.", err=True)
        _open(http.link, no_browser)

    return run_replay(path, sockets, http, allow, ready)


def _open(link: str, no_browser: bool) -> None:
    """Open a browser, where there is a person in front of one."""
    if not no_browser and sys.stdout.isatty():
        webbrowser.open(link)
