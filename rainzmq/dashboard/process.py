"""The web process: keeps the event log, and serves the dashboard and REST to those who have the token.

    Recorder (a thread): server --events--> event log
    main thread: sleeps until the first connection; then tornado serves pages from a model of the events

It runs at a lower priority than everything else, and imports what draws pages only when somebody looks: a
dashboard that nobody looks at shall cost next to nothing.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rainzmq.common.errors import RainException
from rainzmq.dashboard.recorder import Recorder
from rainzmq.monitoring.hub import Hub
from rainzmq.monitoring.search import EventRing
from rainzmq.monitoring.store import EventStore, open_replay
from rainzmq.transport.access import HttpAccess, read_access
from rainzmq.transport.net import format_address, is_loopback

if TYPE_CHECKING:
    from tornado.ioloop import IOLoop

_log = logging.getLogger(__name__)

NICENESS = 10
"""How much the web process steps back behind others."""

EVENTS_AT_ONCE = 1000
"""Events of the past that are taken in at once."""

SNAPSHOT_S = 5.0
"""How long who looks first waits at most until it is known how things are."""

DATABASE = "events.db"
"""Name of the event log in the server's directory of logs."""

_END_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass
class WebProcessOptions:
    """How the web process is started.

    Attributes:
        access_file: of the server, with the token.
        sockets: descriptors of listening sockets.
        events: "none", "memory" or "sqlite": see `server.web.EVENT_MODES`.
        logdir: where the database goes; None: events are kept in memory.
        allowed_hosts: further "host:port" by which it may be called.
        lifeline_fd: a pipe whose end of file says that the server ended.
    """

    access_file: Path
    sockets: list[int]
    events: str
    logdir: Path | None = None
    allowed_hosts: tuple[str, ...] = ()
    lifeline_fd: int | None = None


def allowed_hosts(http: HttpAccess, further: tuple[str, ...] = ()) -> frozenset[str]:
    """The values of the Host header that are let in: the names of this address, and what the user adds."""
    names = {http.host}
    if is_loopback(http.host):
        names |= {"127.0.0.1", "localhost", "::1"}
    else:
        names |= {"127.0.0.1", "localhost", socket.gethostname(), socket.getfqdn()}
    return frozenset(
        {format_address(name, http.port).lower() for name in names} | {h.lower() for h in further}
    )


class WebProcess:
    """The process: made with its options, `run` until the server ends or a signal comes."""

    def __init__(self, options: WebProcessOptions) -> None:
        access = read_access(options.access_file)
        if access.http is None:
            raise RainException(f"the access file {options.access_file} has no token for the dashboard")
        self._http = access.http
        self._options = options
        self._sockets = [socket.socket(fileno=descriptor) for descriptor in options.sockets]
        for item in self._sockets:
            item.setblocking(False)
        self._wake_reading, self._wake_writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._io_loop: IOLoop | None = None
        self._ended = False
        store: EventStore | EventRing | None = None
        if options.events == "sqlite" and options.logdir is not None:
            store = EventStore(options.logdir / DATABASE)
        elif options.events != "none":
            store = EventRing()
        self._store = store
        self._source = format_address(access.address, access.port)
        self._hub: Hub | None = None
        self._is_connected = False
        self._on_complete: Callable[[], object] | None = None
        self._recorder = Recorder(access, store, self._on_state, options.lifeline_fd, self._end)

    def run(self) -> None:
        """Serve until the end."""
        for number in _END_SIGNALS:
            signal.signal(number, lambda *_: self._end())
        self._recorder.start()
        # Not before: what has happened so far waits for the recorder.
        os.nice(NICENESS)
        waiting: list[Any] = [*self._sockets, self._wake_reading]
        ready = select.select(waiting, [], [])[0]
        if self._wake_reading not in ready and not self._ended:
            self._serve()
        self._recorder.stop()

    def _serve(self) -> None:
        """Somebody looks: build the model of all that was, and serve pages."""
        from tornado.ioloop import IOLoop

        from rainzmq.dashboard.application import make_application, serve
        from rainzmq.rest.guard import Guard

        self._io_loop = loop = IOLoop.current()
        hub = self._hub = Hub(log=self._store, source=self._source, is_connected=self._is_connected)
        hub.canceller = self._recorder.cancel_session
        past = iter(self._recorder.listen(self._show_later))
        while events := list(islice(past, EVENTS_AT_ONCE)):
            with suppress(ValueError, LookupError):  # a damaged log; the snapshot that follows sets it right
                hub.model.apply_all(events)
        guard = Guard(self._http.token, allowed_hosts(self._http, self._options.allowed_hosts))
        application = make_application(hub, guard)
        self._on_complete = lambda: serve(application, self._sockets, loop)
        self._serve_when_complete()
        loop.call_later(SNAPSHOT_S, self._serve_now)
        loop.add_handler(self._wake_reading, lambda *_: loop.stop(), loop.READ)
        if not self._ended:
            loop.start()

    def _serve_when_complete(self) -> None:
        """Nobody shall be answered before all is known."""
        if self._hub is not None and self._hub.model.is_complete():
            self._serve_now()

    def _serve_now(self) -> None:
        on_complete, self._on_complete = self._on_complete, None
        if on_complete is not None:
            on_complete()

    def _show_later(self, events: list[Any]) -> None:
        assert self._io_loop is not None, "somebody looks"
        self._io_loop.add_callback(self._show, events)

    def _show(self, events: list[Any]) -> None:
        assert self._hub is not None, "somebody looks"
        try:
            self._hub.show(events)
        except Exception:  # a fault of ours, or events that contradict each other: what is shown may be wrong
            _log.exception("events could not be taken in; a snapshot is asked for")
            self._recorder.watch_again()
        self._serve_when_complete()
        problem = self._store.problem if isinstance(self._store, EventStore) else None
        notes = [] if problem is None else [problem]
        if not self._is_connected:
            notes.append("the server is not connected: what is shown is what was known last")
        self._hub.notes[:] = notes + self._hub.model.gap_notes()

    def _on_state(self, connected: bool) -> None:
        self._is_connected = connected
        if self._hub is not None and self._io_loop is not None:
            self._hub.is_connected = connected
            self._io_loop.add_callback(self._show, [])

    def _end(self) -> None:
        self._ended = True
        os.write(self._wake_writing, b".")


def run_web(options: WebProcessOptions) -> int:
    """Run the web process of a server until the server ends or a signal comes; returns the exit code.

    Raises:
        RainException: the server cannot be reached.
    """
    for name in ("bokeh", "tornado"):
        logging.getLogger(name).setLevel(logging.WARNING)
    WebProcess(options).run()
    logging.shutdown()
    # Not through the interpreter's end: tearing down pages and their threads takes longer than all the rest.
    os._exit(0)


def run_replay(
    path: Path,
    sockets: list[socket.socket],
    http: HttpAccess,
    further: tuple[str, ...],
    ready: Callable[[Hub], None],
) -> int:
    """Serve the pages over a finished run until a signal comes; returns the exit code.

    Args:
        path: the database.
        sockets: listening sockets.
        http: their address, and the token.
        further: further values of the Host header that are let in.
        ready: called once pages are served.

    Raises:
        RainException: the database cannot be opened.
    """
    from tornado.ioloop import IOLoop

    from rainzmq.dashboard.application import make_application, serve
    from rainzmq.rest.guard import Guard

    hub = open_replay(path)
    loop = IOLoop.current()
    serve(make_application(hub, Guard(http.token, allowed_hosts(http, further))), sockets, loop)
    for number in _END_SIGNALS:
        signal.signal(number, lambda *_: loop.add_callback_from_signal(loop.stop))
    loop.add_callback(partial(ready, hub))
    loop.start()
    return 0
