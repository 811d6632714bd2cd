"""The control plane from the side of workers and clients: one DEALER to the server (`control_server.py`).

A connection that broke is made again on a new socket: libzmq does not try again after bytes that cannot be
decrypted, and on a new socket nothing is left of the old connection that could be mixed up.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import weakref
from collections.abc import Callable
from contextlib import suppress

import zmq
from zmq.utils.monitor import recv_monitor_message

from rainzmq.common.errors import RainException
from rainzmq.common.limits import CONNECT_TIMEOUT_S, CONTROL_FRAME_LIMIT_BYTES
from rainzmq.transport import tcp
from rainzmq.transport.access import Access, runs
from rainzmq.transport.loop import DRAIN_LIMIT, Loop, Timer
from rainzmq.transport.net import format_address, probe, takes_connections
from rainzmq.transport.outbox import HIGH_WATER, LINGER_MS, MAX_QUEUED_BYTES, Outbox
from rainzmq.transport.sockets import (
    HANDSHAKE_LIMIT_MS,
    Context,
    Socket,
    make_curve_client,
    set_common,
    use_family_of,
)

_log = logging.getLogger(__name__)

_RECONNECT_MS = 100
_RECONNECT_MAX_MS = 1000
_RENEW_AFTER_S = 0.05
"""Before ZeroMQ would connect the old socket again."""

_CONNECT_TRY_MS = 2000
"""A host that has not taken a connection by then is tried again: it may have come back since."""

_CUTS_BEFORE_GIVING_UP = 3
_PROBE_TIMEOUT_S = 5.0
_RETRIED_WITHIN_S = 0.5
_LOOK_MS = 100
_ANSWER_S = 0.5

_EVENTS = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CONNECT_RETRIED
)


class ControlClient:
    """A worker's or client's connection to the server. Not thread-safe.

    `connect` waits for the proof that the server is the right one and takes our key. After that either the
    owner calls `send` and `receive` itself (clients), or it lets a loop do it with `attach` (workers). A
    connection that broke is made again, by `attach`'s loop itself, else when the owner calls `reconnect`; the
    server does not know the new one, so the owner must greet it.
    """

    def __init__(self, context: Context, access: Access, role: str) -> None:
        self._access = access
        self._where = format_address(access.address, access.port)
        self._outbox = Outbox()
        self._connected = False
        self._lost = False
        self._loop: Loop | None = None
        self._on_message: Callable[[list[bytes]], None] | None = None
        self._on_state: Callable[[bool], None] | None = None
        self._context = context
        self._keys = access.key(role)
        self._address = ""
        self._descriptor = -1
        self._seen_running = False
        self._renewal: Timer | None = None
        self._dead_end = False
        self.socket: Socket
        """For polling, besides `monitor`; all else goes through the methods. `reconnect` replaces both."""
        self.monitor: Socket
        """Readable when the connection came or broke; `disconnected` reads it."""
        self._make_socket()
        _clients.add(self)

    def _make_socket(self) -> None:
        self.socket = self._context.socket(zmq.DEALER)
        set_common(
            self.socket, frame_limit=CONTROL_FRAME_LIMIT_BYTES, linger_ms=LINGER_MS, high_water=HIGH_WATER
        )
        # Without it messages queue up while there is no server, and flood the next one.
        self.socket.setsockopt(zmq.IMMEDIATE, 1)
        self.socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MAX_MS)
        self.socket.setsockopt(zmq.CONNECT_TIMEOUT, _CONNECT_TRY_MS)
        make_curve_client(self.socket, self._keys, self._access.server_public)
        self.monitor = self.socket.get_monitor_socket(_EVENTS)

    def connect(self, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Connect, and wait until both sides have proved their keys.

        Raises:
            RainException: within `timeout_s` seconds, saying what is wrong: the name does not resolve,
            nothing listens,
                no answer, the server refused our key, or what listens there is not the server of the access
                file.
        """
        deadline = time.monotonic() + timeout_s
        address = probe(
            self._access.address, self._access.port, min(timeout_s, _PROBE_TIMEOUT_S), self._access.hint
        )
        started = time.monotonic()
        self._address = address
        self._seen_running = self._access.hostname == socket.gethostname() and runs(self._access)
        self._dial()
        cuts, given_up = 0, False
        while not self._connected:
            left_s = deadline - time.monotonic()
            limit_s = min(left_s, _RETRIED_WITHIN_S) if given_up else left_s
            if limit_s <= 0 or not self.monitor.poll(int(limit_s * 1000)):
                raise self._no_server() if given_up else self._no_answer(timeout_s)
            event = self._next_event()
            if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                raise RainException(
                    f"the server at {self._where} refused this key (access file {self._access.path}): it "
                    f"is of an earlier start of the server or of another one; use the access file that the "
                    f"server wrote"
                )
            if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
                # Damaged on its way, or not our server: ZeroMQ does not try again.
                event = zmq.EVENT_DISCONNECTED
                self.reconnect()
            # ZeroMQ tells of a next try at once, unless it heard something that is no greeting of its own.
            given_up = event == zmq.EVENT_DISCONNECTED or (given_up and event != zmq.EVENT_CONNECT_RETRIED)
            cuts += event == zmq.EVENT_DISCONNECTED
            if cuts == _CUTS_BEFORE_GIVING_UP:
                waited_s = time.monotonic() - started
                # After so long it was our side that cut, because nothing came.
                raise self._no_answer(waited_s) if waited_s > HANDSHAKE_LIMIT_MS / 1000 else self._no_server()

    def _no_server(self) -> RainException:
        return RainException(
            f"what listens at {self._where} is not the rainzmq server that the access file "
            f"{self._access.path} belongs to: it broke off the handshake. Another program or another server "
            f"took that port, or the server was restarted with other keys"
        )

    def _no_answer(self, after_s: float) -> RainException:
        return RainException(
            f"what listens at {self._where} did not answer within {after_s:.0f} s: the server is stopped or "
            f"overloaded, or it is not a rainzmq server"
        )

    def _dial(self) -> None:
        use_family_of(self.socket, self._address)
        self.socket.connect(f"tcp://{format_address(self._address, self._access.port)}")

    def attach(
        self, loop: Loop, on_message: Callable[[list[bytes]], None], on_state: Callable[[bool], None]
    ) -> None:
        """Let a loop do the I/O: `on_message(frames)` for each message, `on_state(connected)` when the
        connection broke (False) or was made again (True). `send` then never blocks, and what it queued goes
        out as soon as it can.
        """
        self._loop, self._on_message, self._on_state = loop, on_message, on_state
        self._watch()

    def _watch(self) -> None:
        assert self._loop is not None
        self._loop.add_reader(self.socket, self._on_readable)
        self._loop.add_reader(self.monitor, self._read_monitor)

    def reconnect(self) -> None:
        """Make a new connection in place of the one there was, which need not be broken. It comes when it
        can; `connected` tells.
        """
        if self._renewal is not None:
            self._renewal.cancel()
            self._renewal = None
        self._close_socket(linger_ms=0)
        self._connected = self._lost = self._dead_end = False
        self._descriptor = -1
        self._outbox = Outbox()
        self._make_socket()
        self._dial()
        if self._loop is not None:
            self._watch()

    def break_if_unanswered(self, limit_s: float) -> bool:
        """Take the connection for broken when the server's host has acknowledged nothing for that long;
        returns whether. TCP tries ever less often, up to once in two minutes; a new connection does not wait
        for that.
        """
        unanswered_s = tcp.unanswered_s(self._descriptor) if self._connected else 0.0
        if not unanswered_s or unanswered_s < limit_s:
            return False
        _log.info("the host of the server at %s has not answered for %.1f s", self._where, unanswered_s)
        self._break()
        return True

    def host_answers(self) -> bool:
        """Whether the server's host answers; takes up to half a second. That connections are refused while
        the server's process lives on this machine is the doing of something between us and does not count.
        """
        takes = takes_connections(self._address, self._access.port, _ANSWER_S)
        return takes is True or (takes is False and not self._seen_running)

    def server_lives(self) -> bool:
        """Whether the server was on this machine when we connected, and its process still is."""
        return self._seen_running and runs(self._access)

    def server_ended(self) -> bool:
        """Whether the server was on this machine when we connected, and its process is not any more."""
        return self._seen_running and not runs(self._access)

    def send(self, frames: list[bytes]) -> None:
        """Send frames, now or as soon as the server takes them; never blocks. Without a connection they are
        dropped: a server that is reached later knows nothing of us.

        Raises:
            RainException: the server has not taken `MAX_QUEUED_BYTES` that were sent before.
        """
        if self._loop is None:
            self._read_monitor()
        if not self._connected:
            return
        self._outbox.add(frames)
        self._outbox.flush(self._send_now)
        if not self._outbox.messages:
            return
        if self._loop is not None:
            self._loop.add_writer(self.socket, self._on_writable)
        if self._outbox.size_bytes > MAX_QUEUED_BYTES:
            raise RainException(
                f"the server at {self._where} takes no messages: {self._outbox.size_bytes} bytes wait"
            )

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was sent is on its way; False when the server did not take it in `timeout_s`
        seconds.

        Without it, what the server does not take at once goes out with the next call of `send` or `receive`.
        """
        deadline = time.monotonic() + timeout_s
        while self._outbox.messages:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or self.disconnected():
                return False
            self.socket.poll(min(int(left_s * 1000) + 1, _LOOK_MS), zmq.POLLOUT)
            self._outbox.flush(self._send_now)
        return not self.disconnected()

    def receive(self, timeout_s: float | None = None) -> list[list[bytes]]:
        """All messages that are there, in order; waits for the first for up to `timeout_s` seconds (None:
        without limit).

        Empty when there was none in time, or when the connection broke: see `disconnected`. Also sends what
        is queued.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        poller = zmq.Poller()
        poller.register(self.monitor, zmq.POLLIN)
        while True:
            messages = self._take()
            if messages or self._lost:
                return messages
            self._outbox.flush(self._send_now)
            poller.register(self.socket, zmq.POLLIN | (zmq.POLLOUT if self._outbox.messages else 0))
            left_ms = None if deadline is None else (deadline - time.monotonic()) * 1000
            if left_ms is not None and left_ms < 0:
                return []
            ready = dict(poller.poll(None if left_ms is None else int(left_ms) + 1))
            if self.monitor in ready:
                self._read_monitor()

    def disconnected(self) -> bool:
        """The connection has broken since `connect` returned or `reconnect` was called, and needs the
        latter.
        """
        self._read_monitor()
        return self._lost or self._dead_end

    @property
    def connected(self) -> bool:
        """There is a connection now, as far as is known."""
        self._read_monitor()
        return self._connected

    def close(self) -> None:
        """Send what libzmq still holds, for at most `LINGER_MS` after the context ends, and close.
        Idempotent.
        """
        if not self.socket.closed:
            self._close_socket(LINGER_MS)
        if self._renewal is not None:
            self._renewal.cancel()

    def _close_socket(self, linger_ms: int) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self.socket)
            self._loop.remove_writer(self.socket)
            self._loop.remove_reader(self.monitor)
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close(linger=linger_ms)

    def _take(self) -> list[list[bytes]]:
        messages = []
        with suppress(zmq.Again):
            for _ in range(DRAIN_LIMIT):
                messages.append(self.socket.recv_multipart(zmq.DONTWAIT))
        return messages

    def _on_readable(self) -> None:
        assert self._on_message is not None
        for frames in self._take():
            self._on_message(frames)

    def _on_writable(self) -> None:
        self._outbox.flush(self._send_now)
        if not self._outbox.messages and self._loop is not None:
            self._loop.remove_writer(self.socket)

    def _send_now(self, frames: list[bytes]) -> None:
        self.socket.send_multipart(frames, zmq.DONTWAIT)

    def _read_monitor(self) -> None:
        while not self.monitor.closed and self.monitor.poll(0):
            self._next_event()

    def _next_event(self) -> int:
        found = recv_monitor_message(self.monitor)
        event = int(found["event"])
        if event == zmq.EVENT_CONNECTED:
            self._descriptor = int(found["value"])
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._set_connected(True)
        elif event in (zmq.EVENT_DISCONNECTED, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL) and self._connected:
            self._break()
        elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            self._dead_end = True  # a handshake was damaged: ZeroMQ does not try again
            self._renew_soon()
        return event

    def _break(self) -> None:
        """The connection has broken: not to be used before a new one is there."""
        self._lost = True
        self._outbox = Outbox()
        self._renew_soon()
        self._set_connected(False)

    def _renew_soon(self) -> None:
        # Not at once: this may be called while the sockets are being read.
        if self._loop is not None and self._renewal is None:
            self._renewal = self._loop.call_later(_RENEW_AFTER_S, self.reconnect)

    def _set_connected(self, connected: bool) -> None:
        self._connected = connected
        if self._on_state is not None:
            self._on_state(connected)

    def let_go(self) -> None:
        """In a forked child: do not hold the connection open when our parent ends."""
        if self._descriptor >= 0:
            tcp.silence_in_child(self._descriptor, self._address, self._access.port)


_clients: weakref.WeakSet[ControlClient] = weakref.WeakSet()


def _let_go_of_all() -> None:
    for client in list(_clients):
        client.let_go()


os.register_at_fork(after_in_child=_let_go_of_all)
