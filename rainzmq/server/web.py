"""The web process: started by the server, watched, and started again when it ends.

The server only binds the HTTP sockets and never reads from them: the web process inherits them. So the port
is known at once, a port that is taken is told at the start, and whoever connects while the web process is
being started again waits in the sockets' queues instead of being refused. The server never depends on it.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rainzmq.common.errors import RainException
from rainzmq.common.limits import DEFAULT_HTTP_PORT
from rainzmq.transport.access import HttpAccess
from rainzmq.transport.loop import Loop
from rainzmq.transport.net import advertised_host, format_address, is_loopback, resolve

_log = logging.getLogger(__name__)

EVENT_MODES = ("none", "memory", "sqlite")
"""Where events are kept: nowhere, the last ones in memory, all in `LOGDIR/events.db`."""

NEEDED = ("numpy", "bokeh", "tornado", "pydantic", "networkx", "jinja2")
"""What the extra `dashboard` installs."""

_BACKLOG = 128
_FIRST_RETRY_S = 0.2
_LAST_RETRY_S = 10.0
_LIVED_WELL_S = 30.0
"""After so long the next restart is fast again."""

_STOP_S = 1.5


@dataclass
class WebOptions:
    """How the web process is started.

    Attributes:
        host, port: where it listens; port None is 7222 if that is free, else any; 0 is any.
        events: one of `EVENT_MODES`.
        allowed_hosts: further "host:port" by which browsers may call it, as through a proxy or tunnel.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    events: str = "sqlite"
    allowed_hosts: tuple[str, ...] = ()


def missing_packages() -> list[str]:
    """Which of the packages that the web process needs are not installed."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


class WebChild:
    """Binds the sockets when it is made, starts the process with `start`.

    Args:
        loop: the server's loop.
        options: where it listens, and what it keeps.
        logdir: where it logs and keeps events; None: no log, and events in memory only.

    Raises:
        RainException: the address cannot be bound.
    """

    def __init__(self, loop: Loop, options: WebOptions, logdir: Path | None) -> None:
        self._loop = loop
        self._options = options
        self._logdir = logdir
        self._sockets = bind_http(options.host, options.port)
        self._popen: subprocess.Popen[bytes] | None = None
        self._pidfd = self._lifeline = -1
        self._retry_s = _FIRST_RETRY_S
        self._started_at = 0.0
        self._closed = False
        self._access_file: Path | None = None
        port = self._sockets[0].getsockname()[1]
        self.access = HttpAccess(advertised_host(options.host), port, secrets.token_urlsafe(24))
        if not is_loopback(options.host):
            _log.warning("the dashboard listens on %s without encryption: use a tunnel", options.host)

    def start(self, access_file: Path) -> None:
        """Start the process; it finds the server and its token in the access file."""
        self._access_file = access_file
        self._spawn()

    @property
    def pid(self) -> int | None:
        """The process, None while there is none."""
        return None if self._popen is None else self._popen.pid

    def close(self) -> None:
        """End the process: it writes out what it has. Killed when that takes too long."""
        self._closed = True
        self._unwatch()
        if self._popen is not None:
            try:
                self._popen.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
            self._popen = None
        for item in self._sockets:
            item.close()

    def _spawn(self) -> None:
        assert self._access_file is not None, "it was started"
        if self._closed:
            return
        options = self._options
        reading, self._lifeline = os.pipe()
        descriptors = [item.fileno() for item in self._sockets]
        # -P: a file in the current directory must not stand in for a module of the standard library.
        command = [sys.executable, "-P", "-m", "rainzmq", "web", "--access-file", str(self._access_file)]
        command += ["--lifeline-fd", str(reading), "--events", options.events]
        for descriptor in descriptors:
            command += ["--socket-fd", str(descriptor)]
        for host in options.allowed_hosts:
            command += ["--allow", host]
        if self._logdir is not None:
            command += ["--logdir", str(self._logdir)]
        try:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=(reading, *descriptors),
                start_new_session=True,
            )
        except OSError as error:
            _log.warning("the web process cannot be started: %s", error)
            os.close(self._lifeline)
            self._again()
            return
        finally:
            os.close(reading)
        _log.info("the web process is %d; it connects as a client", self._popen.pid)
        self._started_at = time.monotonic()
        self._pidfd = os.pidfd_open(self._popen.pid)
        self._loop.add_reader(self._pidfd, self._on_exit)

    def _on_exit(self) -> None:
        assert self._popen is not None
        code = self._popen.wait()
        self._unwatch()
        self._popen = None
        lived_s = time.monotonic() - self._started_at
        if lived_s > _LIVED_WELL_S:
            self._retry_s = _FIRST_RETRY_S
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        _log.warning("the web process ended (%s); it is started again in %.1f s", how, self._retry_s)
        self._again()

    def _again(self) -> None:
        self._loop.call_later(self._retry_s, self._spawn)
        self._retry_s = min(2 * self._retry_s, _LAST_RETRY_S)

    def _unwatch(self) -> None:
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


def bind_http(host: str, port: int | None) -> list[socket.socket]:
    """Listening sockets on the addresses of a host, all with one port."""
    if port is None:
        with contextlib.suppress(RainException):
            return bind_http(host, DEFAULT_HTTP_PORT)
        port = 0
    bound: list[socket.socket] = []
    for address in resolve(host):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            bound.append(socket.create_server((address, port), family=family, backlog=_BACKLOG))
            bound[-1].setblocking(False)
        except OSError as error:
            if bound and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                continue  # a name with an IPv6 address where there is no IPv6
            for item in bound:
                item.close()
            raise RainException(
                f"the dashboard cannot listen on {format_address(address, port)}: {error.strerror}; "
                f"choose another port with --http-listen (or --http-port)"
            ) from None
        port = bound[0].getsockname()[1]
    return bound
