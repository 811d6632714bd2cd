"""`LocalCluster`: a server and workers on this machine, on loopback, for as long as a program needs them."""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rainzmq.common.errors import RainException, RainWarning
from rainzmq.common.limits import CLIENT_GRACE_S, DEFAULT_PORT
from rainzmq.common.room import check_writable
from rainzmq.common.tracebacks import at_border
from rainzmq.deploy.cpus import share_cpus
from rainzmq.deploy.process import ChildProcess
from rainzmq.store import default_workdir, release_workdir
from rainzmq.transport.access import HOME_HINT, home, read_access
from rainzmq.transport.net import format_address

if TYPE_CHECKING:
    from rainzmq.client import Client

_log = logging.getLogger(__name__)

HOST = "127.0.0.1"
START_TIMEOUT_S = 30.0
"""A server or worker that is not ready by then counts as failed."""

_WATCH_S = 0.2
"""How often the processes are looked at while a client may wait for them."""

_WORKER_STOP_S = 2.0
_SERVER_STOP_S = 0.8

_numbers = itertools.count(1)


class LocalCluster:
    """A server and its workers as child processes, on loopback; the same as `rainzmq local`.

    Ends with `close()`, at the end of its `with` block, or with this interpreter, however that ends. Any
    number of clusters may run at once on a machine. Its logs are kept in `$RAINZMQ_HOME/logs`. From the first
    `client()` on, a process that ends before its time gives a `RainWarning` with what it last said.

    Attributes:
        logdir: directory of the logs, one directory in it for each process.
        access_file: the server's access file, which `Client` takes as an address.
    """

    @at_border
    def __init__(
        self,
        workers: int | Sequence[int] | None = None,
        cpus: int | None = None,
        *,
        port: int | None = None,
        config: str | os.PathLike[str] | None = None,
        dashboard: bool = True,
        http_port: int | None = None,
        http_allow: Sequence[str] = (),
        events: str = "sqlite",
        pin: str | None = None,
        client_grace: float = CLIENT_GRACE_S,
    ) -> None:
        """Starts the processes and returns when all of them accept work.

        Args:
            workers: how many workers share `cpus`, or a list of the cpus of each; None is one worker. (The
                command line differs: its `--workers 2` is the list [2], one worker with two cpus.)
            cpus: cpus of all workers together; None is all cpus of this machine.
            port: the server's port, 0 for any free one; None is 7210 if that is free, else any.
            config: TOML file for the workers (foreign subworkers); None for none.
            dashboard: serve the dashboard and REST, and keep an event log.
            http_port: the dashboard's port, 0 for any free one; None is 7222 if that is free, else any.
            http_allow: further "host:port" by which browsers may call it, as through a tunnel.
            events: where events are kept: "none", "memory", or "sqlite" (`events.db` in the server's logs).
            pin: "auto" binds tasks to the cpus they were given when no other worker on this machine can have
                the same, "none" never; None is what the configuration file says, else "auto".
            client_grace: how long the sessions of a client outlive its connection, when that broke, seconds.

        Raises:
            RainException: a bad argument, or a process that did not start, with what it said.
        """
        counts = share_cpus(workers, cpus)
        if pin not in (None, "auto", "none"):
            raise RainException(f"pin={pin!r} is neither 'auto' nor 'none'")
        self._pin = pin
        self._client_grace = client_grace
        self._address = "(not started)"
        self._config = None if config is None else Path(config).absolute()
        self._web_arguments = _web_arguments(dashboard, http_port, http_allow, events)
        self._dashboard_url: str | None = None
        self._owner_pid = os.getpid()
        self._server: ChildProcess | None = None
        self._workers: list[ChildProcess] = []
        self._worker_numbers = itertools.count(1)
        self._closed = False
        self._ending = threading.Event()
        self._watch: threading.Thread | None = None
        # With the time, because process ids come again and logs are kept.
        name = f"local-{socket.gethostname()}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{next(_numbers)}"
        self.logdir = home() / "logs" / name
        self.access_file = home() / "servers" / f"{name}.json"
        atexit.register(self.close)
        try:
            self._start(counts, port)
        except BaseException:
            self.close()
            raise

    def _start(self, counts: list[int], port: int | None) -> None:
        try:
            self.logdir.parent.mkdir(mode=0o700, exist_ok=True)
            self.logdir.mkdir(mode=0o700)
            check_writable(self.logdir)
        except OSError as error:
            raise RainException(f"cannot log to {self.logdir}: {error.strerror}; {HOME_HINT}") from error
        wanted = port if port is not None else DEFAULT_PORT if _port_is_free(DEFAULT_PORT) else 0
        self._server = self._start_server(wanted)
        for count in counts:
            self._workers.append(self._start_worker(count))
        try:
            self._server.wait_ready(START_TIMEOUT_S)
        except RainException:
            # Another cluster may have taken the default port since it was looked at.
            if port is not None or wanted == 0 or _port_is_free(wanted):
                raise
            self._server.stop(time.monotonic())
            self._server = self._start_server(0)
            self._server.wait_ready(START_TIMEOUT_S)
        access = read_access(self.access_file)
        self._address = format_address(access.address, access.port)
        self._dashboard_url = None if access.http is None else access.http.link
        for worker in self._workers:
            worker.tell(str(self.access_file))
        for worker in self._workers:
            worker.wait_ready(START_TIMEOUT_S)

    def _start_server(self, port: int) -> ChildProcess:
        arguments = ["server", "--listen", f"{HOST}:{port}", "--access-file", str(self.access_file)]
        arguments += ["--client-grace", str(self._client_grace), *self._web_arguments]
        return ChildProcess("the server", arguments, self.logdir / "server")

    def _start_worker(self, cpus: int) -> ChildProcess:
        name = f"worker-{next(self._worker_numbers)}"
        arguments = ["worker", "-", "--cpus", str(cpus), "--listen", f"{HOST}:0", "--die-with-server"]
        if self._pin is not None:
            arguments += ["--pin", self._pin]
        if self._config is not None:
            arguments += ["--config", str(self._config)]
        return ChildProcess(name, arguments, self.logdir / name)

    @property
    def address(self) -> str:
        """The server's "host:port", which `Client` and `rainzmq worker` take."""
        return self._address

    @property
    def dashboard_url(self) -> str | None:
        """The link that opens the dashboard in a browser; None when there is none. It is a secret: it has the
        token.
        """
        return self._dashboard_url

    @at_border
    def client(self) -> Client:
        """A new client of this cluster. The caller closes it."""
        from rainzmq.client import Client

        self._check_open()
        self._start_watch()
        return Client(str(self.access_file))

    @at_border
    def add_worker(self, cpus: int = 1) -> None:
        """Starts one more worker and returns when the server knows it.

        Raises:
            RainException: `cpus` is under 1, the cluster is closed, or the worker did not start.
        """
        self._check_open()
        [count] = share_cpus([cpus], None)
        worker = self._start_worker(count)
        self._workers.append(worker)  # now, so that a close() in another thread stops it
        worker.tell(str(self.access_file))
        try:
            worker.wait_ready(START_TIMEOUT_S)
        except BaseException:
            self._workers.remove(worker)
            worker.stop(time.monotonic())
            raise

    def failures(self) -> list[str]:
        """What to tell people of each process that ended though the cluster is open; mostly empty."""
        return [child.failure() for child in self._children() if child.ended()]

    def is_usable(self) -> bool:
        """Whether the server and at least one worker are running."""
        if self._closed or self._server is None or self._server.ended():
            return False
        return any(not worker.ended() for worker in self._workers)

    def close(self) -> None:
        """Stops the workers, then the server, within 3 s. Closing twice is allowed.

        Does nothing in a forked child of the process that made the cluster.
        """
        if self._closed or os.getpid() != self._owner_pid:
            return
        self._closed = True
        self._ending.set()
        for worker in self._workers:
            worker.terminate()
        deadline = time.monotonic() + _WORKER_STOP_S
        for worker in self._workers:
            worker.stop(deadline)
        if self._server is not None:
            self._server.stop(time.monotonic() + _SERVER_STOP_S)
            self.access_file.unlink(missing_ok=True)  # a killed server left it
        atexit.unregister(self.close)
        if any(child.was_killed() for child in self._children()):
            _sweep_workdirs()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._workers)} workers"
        return f"<LocalCluster {self._address}: {state}>"

    def _children(self) -> list[ChildProcess]:
        return [*([] if self._server is None else [self._server]), *self._workers]

    def _check_open(self) -> None:
        if self._closed:
            raise RainException(f"the cluster {self._address} is closed; make a new LocalCluster")

    def _start_watch(self) -> None:
        if self._watch is not None:
            return
        self._watch = threading.Thread(target=self._warn_of_failures, name="rainzmq-watch", daemon=True)
        # The thread inherits the mask: signals are for the threads of the program.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._watch.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _warn_of_failures(self) -> None:
        """Says once of each process that it ended, until the cluster is closed or its server is gone."""
        told: set[ChildProcess] = set()
        while not self._ending.wait(_WATCH_S):
            # Workers end with their server, so it is the one to tell of.
            ended = [child for child in self._children() if child.ended()]
            ended = [self._server] if self._server in ended else [c for c in ended if c not in told]
            if self._ending.is_set():
                return
            for child in ended:
                told.add(child)
                left = "" if self.is_usable() else self._what_now(child)
                warnings.warn(child.failure() + left, RainWarning)
            if self._server in told:
                return

    def _what_now(self, child: ChildProcess) -> str:
        if child is self._server:
            return "\nThe cluster is lost; make a new LocalCluster."
        return "\nThe cluster has no worker left, so tasks wait; add_worker() starts another."


def _web_arguments(
    dashboard: bool, http_port: int | None, http_allow: Sequence[str], events: str
) -> list[str]:
    if events not in ("none", "memory", "sqlite"):
        raise RainException(f"events={events!r} is none of 'none', 'memory', 'sqlite'")
    if not dashboard:
        if http_port is not None or http_allow:
            text = "there is no dashboard, so http_port and http_allow have no effect"
            warnings.warn(text, RainWarning, stacklevel=4)  # of who makes the cluster
        return ["--no-dashboard"]
    arguments = ["--events", events]
    if http_port is not None:
        arguments += ["--http-listen", f"{HOST}:{http_port}"]
    for host in http_allow:
        arguments += ["--http-allow", host]
    return arguments


def _sweep_workdirs() -> None:
    """Removes the data of killed workers and servers, as making a working directory again does."""
    try:
        release_workdir(default_workdir())
    except RainException as error:
        _log.warning("the data of a killed process may be left: %s", error)


def _port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
