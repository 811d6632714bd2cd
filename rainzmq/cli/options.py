"""What several commands ask for in the same way: addresses, cpus, directories."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from rainzmq.common.errors import RainException
from rainzmq.common.limits import CLIENT_GRACE_S
from rainzmq.common.room import check_writable
from rainzmq.deploy.cpus import available_cpus

LOOPBACK = "127.0.0.1"

_Command = TypeVar("_Command", bound=Callable[..., Any])


def listen_address(text: str) -> tuple[str, int]:
    """Host and port of `[HOST:]PORT`. A port alone means loopback; an IPv6 host stands in brackets.

    Raises:
        click.BadParameter: not a host and a port from 0 (any free one) to 65535.
    """
    host, colon, port_text = text.rpartition(":")
    if not colon:
        host = LOOPBACK
    elif host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise click.BadParameter(f"{text!r}: write an IPv6 address in brackets, such as [::1]:7210")
    if not host:
        raise click.BadParameter(f"{text!r}: there is no host before the colon")
    if not port_text.isdecimal() or int(port_text) > 65535:
        raise click.BadParameter(f"{text!r}: the port must be a number from 0 to 65535")
    return host, int(port_text)


def cpu_count(text: str) -> int:
    """Cpus that `N`, `-N` (all but N) or `detect` (all that this process may use) stands for, at least 1.

    Raises:
        click.BadParameter: something else, or none is left.
    """
    if text == "detect":
        return available_cpus()
    try:
        number = int(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a number of cpus, -N (all but N) or 'detect'") from None
    if number == 0:
        raise click.BadParameter("0 cpus can run nothing; give at least 1")
    if number < 0:
        there = available_cpus()
        if there + number < 1:
            raise click.BadParameter(f"all but {-number} of {there} cpus leaves none")
        return there + number
    return number


def too_many_cpus(count: int) -> str | None:
    """What to say when more cpus are offered than this process may use; None when that is not so."""
    there = available_cpus()
    if count <= there:
        return None
    return f"{count} cpus are offered, but there are {there} here: up to {count} tasks share them at a time"


def cpu_list(text: str) -> list[int]:
    """Cpus of each worker from a list such as `2,2`.

    Raises:
        click.BadParameter: an entry is not a number of at least 1.
    """
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if not part.isdecimal() or int(part) < 1:
            raise click.BadParameter(
                f"{part!r} in {text!r} is not a number of cpus of at least 1; "
                "'2,2' means two workers with two cpus each"
            )
    return [int(part) for part in parts]


def pin_option(command: _Command) -> _Command:
    """Adds whether workers bind tasks to their cpus; None when it is not given."""
    return click.option(
        "--pin",
        type=click.Choice(["auto", "none"]),
        help="Bind tasks to the cpus they were given, when no other worker on this machine can have the same "
        "(auto), or never.  [default: auto]",
    )(command)


def client_grace_option(command: _Command) -> _Command:
    """Adds how long the server waits for clients whose connections broke."""
    return click.option(
        "--client-grace",
        type=click.FloatRange(min=0),
        metavar="S",
        default=CLIENT_GRACE_S,
        show_default=True,
        help="How long the sessions of a client outlive its connection, when that broke.",
    )(command)


def web_options(command: _Command) -> _Command:
    """Adds what commands that start a server say about its dashboard."""
    for decorate in reversed(
        (
            click.option(
                "--http-allow",
                multiple=True,
                metavar="HOST:PORT",
                help="A further address by which browsers may call the dashboard, as through a proxy or a "
                "tunnel. Repeatable.",
            ),
            click.option(
                "--events",
                type=click.Choice(["none", "memory", "sqlite"]),
                default="sqlite",
                show_default=True,
                help="Where events are kept: nowhere, the last ones in memory, all in LOGDIR/events.db.",
            ),
            click.option(
                "--no-dashboard", is_flag=True, help="Serve no dashboard and no REST, and keep no events."
            ),
        )
    ):
        command = decorate(command)
    return command


def process_options(command: _Command) -> _Command:
    """Adds what `server` and `worker` share: where they log, say that they are ready, and find their keys."""
    path = click.Path(path_type=Path)
    for decorate in reversed(
        (
            click.option(
                "--logdir",
                type=path,
                help="Directory for the logs.  [default: $RAINZMQ_HOME/logs/NAME-HOST-PID]",
            ),
            click.option(
                "--ready-file",
                type=path,
                help="Write 'ready' to this file once connections are accepted, not before.",
            ),
            click.option(
                "--access-file",
                type=path,
                help="The server's access file (address and keys).  [default: in $RAINZMQ_HOME/servers]",
            ),
            click.option("--lifeline-fd", type=int, hidden=True),
        )
    ):
        command = decorate(command)
    return command


def writable_directory(path: Path, option: str, hint: str = "") -> Path:
    """`path` as an absolute directory that exists and can be written to; made if need be. `hint`: what else
    than another `option` helps when it cannot.

    What is made, missing directories above it included, is for the owner only (mode 0700).

    Raises:
        RainException: it cannot; says why and names the option to change.
    """
    from rainzmq.transport.access import make_private

    path = path.absolute()
    try:
        make_private(path)
        check_writable(path)
    except OSError as error:
        raise RainException(
            f"cannot write to {path}: {error.strerror}; {hint and hint + ', or '}choose another directory "
            f"with {option}"
        ) from error
    return path


def check_file_place(path: Path | None, option: str) -> Path | None:
    """`path` made absolute; None stays None.

    Raises:
        RainException: a file cannot be put there; says why and names the option to change.
    """
    if path is None:
        return None
    if path.is_dir():
        raise RainException(f"{option}: {path} is a directory, not a file")
    writable_directory(path.absolute().parent, option)
    return path.absolute()


@contextlib.contextmanager
def ready_place(path: Path | None) -> Iterator[Path | None]:
    """The ready file's path, absolute, while a process runs; None stays None.

    What an earlier process left there is removed before, what this one writes there after.

    Raises:
        RainException: a file cannot be put there.
    """
    path = check_file_place(path, "--ready-file")
    if path is None:
        yield None
        return
    path.unlink(missing_ok=True)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
