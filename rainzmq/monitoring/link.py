"""The connection of a watcher: hello, heartbeats, events without gaps.

    connecting --Welcome--> watching --a gap in the numbers--> watching again (snapshot)
        ^----------- the connection broke, the server does not know us ------------'

What this process did not do itself, because it was stopped or starved, is not held against the server.

It runs on a loop of its own, usually in a thread, and never gives up: a server that is gone may come back.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from typing import Any

from rainzmq._version import __version__
from rainzmq.common.limits import SERVER_LOST_AFTER_S
from rainzmq.common.tally import Tally
from rainzmq.monitoring.sequence import Sequence
from rainzmq.protocol.codec import Header, decode, encode
from rainzmq.protocol.messages import client as m
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.schema import ProtocolError
from rainzmq.protocol.version import PROTOCOL_VERSION
from rainzmq.transport.control import ControlClient
from rainzmq.transport.loop import Loop

_log = logging.getLogger(__name__)

GIVE_UP_AFTER_S = 20.0
"""After so long without a connection the link is given up."""

_EVENTS = frozenset(e.EVENTS)

OnEvents = Callable[[Header, list[Any], list[bytes]], None]


class EventLink:
    """Watches a server over a connected `ControlClient`.

    Args:
        loop: does the I/O.
        control: connected as "client" or "viewer".
        on_events: called with the header of the events, the events, and their frames.
        on_state: called with whether the server is there, when that changes.
        on_end: called with the reason when the server refused us, or cannot be reached any more.
    """

    def __init__(
        self,
        loop: Loop,
        control: ControlClient,
        on_events: OnEvents,
        on_state: Callable[[bool], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._control = control
        self._on_events = on_events
        self._on_state = on_state
        self._on_end = on_end
        self._header = Header()
        self._bad = Tally()
        self._interval_s = 1.0
        self._last_heard = self._last_tick = self._hello_sent = loop.now()
        self._watching = False
        self._request = 0
        self._sequence = Sequence()

    def start(self) -> None:
        """Say hello and listen."""
        self._control.attach(self._loop, self._on_frames, self._on_connection)
        self._say_hello()
        self._loop.call_later(self._interval_s, self._on_tick)

    def close(self, reason: str) -> None:
        """Say goodbye."""
        if self._watching:
            self._send(m.ClientBye(reason))
        self._control.close()

    def watch_again(self) -> None:
        """Ask for a snapshot: something was missed."""
        if self._watching:
            self._request += 1
            self._sequence.asked(self._request)
            self._send(e.Watch(self._request))

    def cancel_session(self, session_id: int, reason: str) -> None:
        """Ask the server to end a session. What comes of it is in the events."""
        self._request += 1
        self._send(e.CancelSession(self._request, session_id, reason))

    def _say_hello(self) -> None:
        self._set_watching(False)
        self._hello_sent = self._loop.now()
        self._header = Header()
        self._control.send(
            [encode(m.ClientHello(__version__, socket.gethostname(), os.getpid()), self._header)]
        )

    def _send(self, message: Any) -> None:
        self._control.send([encode(message, self._header)])

    def _set_watching(self, watching: bool) -> None:
        if watching != self._watching:
            self._watching = watching
            self._on_state(watching)

    def _on_connection(self, connected: bool) -> None:
        if connected:
            self._say_hello()
        else:
            self._set_watching(False)

    def _on_frames(self, frames: list[bytes]) -> None:
        self._last_heard = self._loop.now()
        events: list[Any] = []
        kept: list[bytes] = []
        for frame in frames:
            try:
                header, message = decode(frame, m.CONVERSATION, "server")
            except ProtocolError as error:
                self._note_bad(error)
                continue
            if type(message) in _EVENTS:
                if self._sequence.takes(message):
                    events.append(message)
                    kept.append(frame)
            else:
                self._on_message(header, message)
        if self._sequence.missed:
            _log.info("events were missed; a snapshot is asked for")
            self.watch_again()
        if events:
            self._on_events(self._header, events, kept)

    def _on_message(self, header: Header, message: Any) -> None:
        if isinstance(message, m.ClientWelcome):
            self._header = Header(PROTOCOL_VERSION, header.cluster_id, header.server_epoch, message.epoch)
            self._interval_s = message.heartbeat_interval_s
            self._set_watching(True)
            self.watch_again()
        elif isinstance(message, m.ClientRefused):
            self._on_end(f"the server (rainzmq {message.software}) refused: {message.reason}")
        elif isinstance(message, m.Knock):
            self._send(m.ClientHeartbeat(0))
        elif isinstance(message, m.ClientBye):
            # It stops, or it does not know us any more: if it stays, it takes our next hello.
            _log.info("the server says goodbye: %s", message.reason)
            self._set_watching(False)
        elif isinstance(message, m.RequestFailed):
            _log.warning("the server refused a request: %s", message.reason)

    def _note_bad(self, error: ProtocolError) -> None:
        times = self._bad.note("the server")
        if times:
            _log.warning("bad message of the server (%d so far): %s", times, error)

    def _on_tick(self) -> None:
        now = self._loop.now()
        if now - self._last_tick > 2 * self._interval_s + 1:
            self._last_heard = max(self._last_heard, now - self._interval_s)
        self._last_tick = now
        silence = now - self._last_heard
        self._control.break_if_unanswered(SERVER_LOST_AFTER_S)
        if self._watching:
            self._send(m.ClientHeartbeat(0))
            if silence > SERVER_LOST_AFTER_S:
                _log.warning("nothing has been heard of the server for %.1f s", silence)
                self._set_watching(False)
        elif silence > GIVE_UP_AFTER_S:
            # A new process finds a server that has been started again, which has other keys.
            self._on_end(f"nothing has been heard of the server for {silence:.0f} s")
        elif now - self._hello_sent > 2 * self._interval_s:
            # Whether or not it is heard: it may believe that it knows us.
            self._say_hello()
        self._loop.call_later(self._interval_s, self._on_tick)
