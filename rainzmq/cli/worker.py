"""`rainzmq worker`: the process on each node that runs tasks."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import click

from rainzmq.cli.config import read_config
from rainzmq.cli.logs import start_logging
from rainzmq.cli.options import (
    cpu_count,
    listen_address,
    pin_option,
    process_options,
    ready_place,
    too_many_cpus,
    writable_directory,
)
from rainzmq.common.errors import RainException

_FROM_LIFELINE = "-"
"""As SERVER: the parent writes it into the lifeline as one line, once it knows it."""


@click.command(short_help="Run a worker for a server.")
@click.argument("server")
@click.option(
    "--cpus",
    type=cpu_count,
    metavar="N|-N|detect",
    default="detect",
    show_default=True,
    help="Cpus that tasks may use; -N is all but N.",
)
@click.option(
    "--listen",
    type=listen_address,
    metavar="[HOST:]PORT",
    help="Where other workers fetch data from.  [default: any free port of the address that reaches SERVER]",
)
@click.option(
    "--workdir",
    type=click.Path(path_type=Path),
    help="Directory for data and running tasks.  [default: a private one, on a RAM disk that has room]",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help='TOML file; [subworkers.NAME] command = "..." registers a subworker.',
)
@pin_option
@click.option("--die-with-server", is_flag=True, hidden=True)
@process_options
def worker(
    server: str,
    cpus: int,
    listen: tuple[str, int] | None,
    workdir: Path | None,
    config: Path | None,
    pin: str | None,
    die_with_server: bool,
    logdir: Path | None,
    ready_file: Path | None,
    access_file: Path | None,
    lifeline_fd: int | None,
) -> int:
    """Runs a worker in the foreground until Ctrl-C or SIGTERM, or until its terminal is closed.

    SERVER is "host", "host:port" or the path of the server's access file.
    """
    parsed = read_config(config)
    if pin is not None:
        parsed["pin"] = pin
    if server == _FROM_LIFELINE and lifeline_fd is None:
        raise click.UsageError("SERVER cannot be '-': give host, host:port or the path of an access file")
    logdir = start_logging("worker", logdir)
    if problem := too_many_cpus(cpus):
        logging.getLogger(__name__).warning("%s", problem)
    from rainzmq.worker.worker import WorkerOptions, run_worker

    if server == _FROM_LIFELINE and lifeline_fd is not None:
        # Imports come first: they take their time while the server does the same.
        server = _read_line(lifeline_fd)
    host, port = listen if listen is not None else (None, 0)
    with ready_place(ready_file) as ready:
        return run_worker(
            WorkerOptions(
                server=server,
                cpus=cpus,
                host=host,
                port=port,
                workdir=None if workdir is None else writable_directory(workdir, "--workdir"),
                logdir=logdir,
                ready_file=ready,
                config=parsed,
                access_file=None if access_file is None else str(access_file),
                lifeline_fd=lifeline_fd,
                dies_with_server=die_with_server,
            )
        )


def _read_line(lifeline_fd: int) -> str:
    line = b""
    while not line.endswith(b"\n"):
        # One byte at a time: what follows the line belongs to whoever watches the lifeline next.
        byte = os.read(lifeline_fd, 1)
        if not byte:
            raise RainException("the process that started this worker ended before it named a server")
        line += byte
    return line[:-1].decode()
