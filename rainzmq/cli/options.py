"""What several commands ask for in the same way: addresses, cpus, directories."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from rainzmq.common.errors import RainException
from rainzmq.deploy.cpus import available_cpus

LOOPBACK = "127.0.0.1"

_Command = TypeVar("_Command", bound=Callable[..., Any])


class ListenAddress(click.ParamType):
    """`[HOST:]PORT` as a pair (host, port); a port alone means loopback, an IPv6 host stands in brackets."""

    name = "[HOST:]PORT"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """The pair; fails for anything else than a host and a port from 0 (any free one) to 65535."""
        if isinstance(value, tuple):
            return value
        text = str(value)
        host, colon, port_text = text.rpartition(":")
        if not colon:
            host = LOOPBACK
        elif host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            self.fail(f"{text!r}: write an IPv6 address in brackets, such as [::1]:7210", param, ctx)
        if not host:
            self.fail(f"{text!r}: there is no host before the colon", param, ctx)
        if not port_text.isdecimal() or int(port_text) > 65535:
            self.fail(f"{text!r}: the port must be a number from 0 to 65535", param, ctx)
        return host, int(port_text)


class CpuCount(click.ParamType):
    """A number of cpus: `N`, `-N` for all but N, or `detect` for all this process may use."""

    name = "N|-N|detect"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The count, at least 1."""
        if isinstance(value, int):
            return value
        text = str(value)
        if text == "detect":
            return available_cpus()
        try:
            number = int(text)
        except ValueError:
            self.fail(f"{text!r} is not a number of cpus, -N (all but N) or 'detect'", param, ctx)
        if number == 0:
            self.fail("0 cpus can run nothing; give at least 1", param, ctx)
        if number < 0:
            there = available_cpus()
            if there + number < 1:
                self.fail(f"all but {-number} of {there} cpus leaves none", param, ctx)
            return there + number
        return number


class CpuList(click.ParamType):
    """Cpus of each worker, separated by commas, such as `2,2`."""

    name = "N,N,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        """The counts, each at least 1."""
        if isinstance(value, list):
            return value
        counts = []
        for part in str(value).split(","):
            if not part.strip().isdecimal() or int(part) < 1:
                self.fail(
                    f"{part!r} in {value!r} is not a number of cpus of at least 1; '2,2' means two workers "
                    "with two cpus each",
                    param,
                    ctx,
                )
            counts.append(int(part))
        return counts


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


def writable_directory(path: Path, option: str) -> Path:
    """`path` as an absolute directory that exists (made with mode 0700 if need be) and can be written to.

    Raises:
        RainException: it can not; says why and names the option to change.
    """
    path = path.absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Only a trial tells for sure: access() knows nothing of read-only and full file systems.
        handle, trial = tempfile.mkstemp(prefix=".rainzmq-", dir=path)
        os.close(handle)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(trial)
    except OSError as error:
        raise RainException(
            f"can not write to {path}: {error.strerror}; choose another directory with {option}"
        ) from error
    return path


def check_file_place(path: Path | None, option: str) -> Path | None:
    """`path` made absolute; None stays None.

    Raises:
        RainException: a file can not be put there; says why and names the option to change.
    """
    if path is None:
        return None
    if path.is_dir():
        raise RainException(f"{option}: {path} is a directory, not a file")
    writable_directory(path.absolute().parent, option)
    return path.absolute()
