"""The web process's ear: a thread that receives all events, keeps them, and hands them on to be shown.

    server ==events==> Recorder (its own loop) --> event log (SQLite, or in memory)
                                               '--> `listen`: whoever shows them, once somebody looks

Until somebody looks, nothing is computed from the events: they are only kept.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rainzmq.common.errors import RainException
from rainzmq.monitoring.link import EventLink
from rainzmq.monitoring.search import EventRing
from rainzmq.monitoring.store import EventStore
from rainzmq.protocol.codec import Header
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.schema import ProtocolError
from rainzmq.transport.access import Access
from rainzmq.transport.control import ControlClient
from rainzmq.transport.loop import Loop
from rainzmq.transport.sockets import new_context

_log = logging.getLogger(__name__)

LAST_EVENTS_S = 1.0
"""How long the last events are waited for when the server ends."""

RETRY_S = 10.0
"""After so long it is tried again to write to a log that could not be written."""

OnEvents = Callable[[list[Any]], None]


class Recorder:
    """Receives and keeps events, in a thread.

    Args:
        access: of the server.
        store: where events are kept: a database, memory, or nowhere.
        on_state: called, in the thread, with whether the server is there.
        lifeline_fd: a pipe whose end of file says that the server ended; None without one.
        on_end: called, in the thread, when all is received after the server's end.
    """

    def __init__(
        self,
        access: Access,
        store: EventStore | EventRing | None,
        on_state: Callable[[bool], None],
        lifeline_fd: int | None,
        on_end: Callable[[], None],
    ) -> None:
        self.loop = Loop()
        self._store = store
        self._on_state = on_state
        self._on_end = on_end
        self._listener: OnEvents | None = None
        self._context = new_context()
        control = ControlClient(self._context, access, "client")
        control.connect()
        self._link = EventLink(self.loop, control, self._on_events, self._on_link_state, self._on_refused)
        self._lifeline_fd = lifeline_fd
        self._ending = self._has_left = False
        if lifeline_fd is not None:
            self.loop.add_reader(lifeline_fd, self._on_lifeline)
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        """Begin to receive."""
        self._thread.start()

    def listen(self, listener: OnEvents) -> Iterable[Any]:
        """Have all events from now on handed to `listener` (in the thread), and get those from before, as far
        as they are kept. What is not kept comes by a snapshot.
        """
        done = threading.Event()
        marker: list[int] = [0]

        def switch() -> None:
            self._listener = listener
            marker[0] = self._store.last_row() if isinstance(self._store, EventStore) else 0
            if not isinstance(self._store, EventStore):
                self._link.watch_again()
            done.set()

        self.loop.call_threadsafe(switch)
        done.wait()
        if isinstance(self._store, EventRing):
            return self._store.events()
        if not isinstance(self._store, EventStore) or not marker[0]:
            return []
        return self._read(self._store, marker[0])

    def watch_again(self) -> None:
        """Ask the server for a snapshot; from any thread."""
        self.loop.call_threadsafe(self._link.watch_again)

    def cancel_session(self, session_id: int, reason: str) -> None:
        """Ask the server to end a session; from any thread."""
        self.loop.call_threadsafe(lambda: self._link.cancel_session(session_id, reason))

    def stop(self) -> None:
        """End, and write out what there is; from another thread than its own."""
        self.loop.call_threadsafe(self.loop.stop)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._link.start()
            self.loop.run()
        except Exception:  # the edge of the thread: the process ends and is started again
            _log.exception("the recorder failed")
        finally:
            self._link.close("it ends")
            self._context.term()
            if self._store is not None:
                self._store.close()
            self._on_end()

    def _read(self, store: EventStore, last_row: int) -> Iterator[Any]:
        try:
            yield from store.past(last_row)
        except (RainException, sqlite3.Error, ProtocolError) as error:
            _log.warning("the event log cannot be read (%s); a snapshot is shown", error)
            self.loop.call_threadsafe(self._link.watch_again)

    def _on_events(self, header: Header, events: list[Any], frames: list[bytes]) -> None:
        store = self._store
        if isinstance(store, EventStore):
            for event in events:
                if isinstance(event, e.SnapshotBegin):
                    self._begin(store, header, event)
        if store is not None:
            problem = store.problem if isinstance(store, EventStore) else None
            store.add(events, frames)
            if isinstance(store, EventStore) and problem is not None and store.problem is None:
                self._link.watch_again()  # what could not be written is lost; a snapshot makes up for it
        if self._listener is not None:
            self._listener(events)

    def _begin(self, store: EventStore, header: Header, event: e.SnapshotBegin) -> None:
        try:
            store.begin(header, event)
        except RainException as error:
            if store.problem is None:
                _log.warning("%s", error)
            store.problem = str(error)
            self.loop.call_later(RETRY_S, self._link.watch_again)

    def _on_link_state(self, connected: bool) -> None:
        self._has_left = not connected
        self._on_state(connected)
        if self._ending and not connected:
            self.loop.stop()

    def _on_refused(self, reason: str) -> None:
        _log.error("%s", reason)
        self.loop.stop()

    def _on_lifeline(self) -> None:
        assert self._lifeline_fd is not None
        self.loop.remove_reader(self._lifeline_fd)
        self._ending = True
        # After the server's goodbye, which may be read first, there are no more events.
        self.loop.call_later(0.0 if self._has_left else LAST_EVENTS_S, self.loop.stop)
