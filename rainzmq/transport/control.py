"""The control plane: small urgent messages between the server (ROUTER) and its workers and clients (DEALER).

A message is one or more frames, and a loop turn sends at most one per peer. Nothing here blocks a loop:
what a peer does not take at once waits in a bounded queue of its own, and a peer whose queue overflows is
given up.

A ROUTER can not cut a single connection (libzmq has no such call). `ControlServer.disconnect` therefore
forgets the peer: what it still sends is dropped unread, and nothing more is sent to it.
"""

from __future__ import annotations

import errno
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import zmq
from zmq.utils.monitor import recv_monitor_message

from rainzmq.common.errors import RainException
from rainzmq.common.limits import CONNECT_TIMEOUT_S, CONTROL_FRAME_LIMIT_BYTES
from rainzmq.transport.access import Access
from rainzmq.transport.keys import KeyPair
from rainzmq.transport.listener import Listener
from rainzmq.transport.loop import DRAIN_LIMIT, Loop, Timer
from rainzmq.transport.net import format_address, probe
from rainzmq.transport.sockets import (
    HANDSHAKE_LIMIT_MS,
    Context,
    Socket,
    make_curve_client,
    make_curve_server,
    set_common,
    use_family_of,
)

_log = logging.getLogger(__name__)

OnMessage = Callable[[bytes, str, list[bytes]], None]
"""Called with the peer's routing id, its role by ZAP, and the frames it sent."""

LINGER_MS = 1000
HIGH_WATER = 200
"""Messages that libzmq holds per peer and direction. Low, because it counts messages, not their bytes."""

MAX_QUEUED_BYTES = 64 << 20
"""A peer for which more is waiting is given up."""

MAX_QUEUED_TOTAL_BYTES = 512 << 20
MAX_FRAMES = 4096
MAX_MESSAGE_BYTES = 64 << 20
"""Frames and bytes of one message; a peer that sends a longer one is cut off."""

TURN_BYTES = 64 << 10
"""When so much was read in a turn, the rest is left for the next: what others ask is answered in between."""

_MAX_FORGOTTEN = 10_000
_FIRST_RETRY_S = 0.002
_LAST_RETRY_S = 0.05
_RECONNECT_MS = 100
_RECONNECT_MAX_MS = 1000
_CUTS_BEFORE_GIVING_UP = 3
_PROBE_TIMEOUT_S = 5.0
_RETRIED_WITHIN_S = 0.5
_LOOK_MS = 100

_EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CONNECT_RETRIED
)


class _Outbox:
    """Messages that a peer has not taken yet."""

    __slots__ = ("messages", "size_bytes")

    def __init__(self) -> None:
        self.messages: deque[list[bytes]] = deque()
        self.size_bytes = 0

    def add(self, frames: list[bytes]) -> None:
        self.messages.append(frames)
        self.size_bytes += sum(map(len, frames))

    def flush(self, send: Callable[[list[bytes]], None]) -> None:
        """Send from the front until `send` raises `zmq.Again`."""
        with suppress(zmq.Again):
            while self.messages:
                send(self.messages[0])
                self.size_bytes -= sum(map(len, self.messages.popleft()))


class ControlServer:
    """The server's end of the control plane, in the server's loop. An `Authenticator` must be there first."""

    def __init__(
        self, context: Context, loop: Loop, keys: KeyPair, domain: str, on_message: OnMessage
    ) -> None:
        self._loop = loop
        self._on_message = on_message
        self._outboxes: dict[bytes, _Outbox] = {}
        self._queued_bytes = 0
        self._forgotten: OrderedDict[bytes, None] = OrderedDict()
        self._retry: Timer | None = None
        self._retry_s = _FIRST_RETRY_S
        self._socket = context.socket(zmq.ROUTER)
        set_common(
            self._socket, frame_limit=CONTROL_FRAME_LIMIT_BYTES, linger_ms=LINGER_MS, high_water=HIGH_WATER
        )
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        make_curve_server(self._socket, keys, domain)
        loop.add_reader(self._socket, self._on_readable)
        self._listener = Listener(self._socket, loop)

    def bind(self, host: str, port: int) -> int:
        """Listen on host and port (0: any free one); the port. RainException when that is not possible."""
        return self._listener.bind(host, port)

    def send(self, peer: bytes, frames: list[bytes]) -> bool:
        """Send frames to a peer, now or as soon as it takes them, in order.

        False when the peer is not connected, was disconnected, or does not take what was sent before
        (`MAX_QUEUED_BYTES`); it will get nothing more, and what waited for it is dropped.
        """
        if peer in self._forgotten:
            return False
        outbox = self._outboxes.get(peer)
        if outbox is None:
            try:
                self._socket.send_multipart([peer, *frames], zmq.DONTWAIT)
                return True
            except zmq.Again:
                outbox = self._outboxes[peer] = _Outbox()
            except zmq.ZMQError as error:
                if error.errno != errno.EHOSTUNREACH:
                    raise
                return False
        before = outbox.size_bytes
        outbox.add(frames)
        self._queued_bytes += outbox.size_bytes - before
        if outbox.size_bytes > MAX_QUEUED_BYTES or self._queued_bytes > MAX_QUEUED_TOTAL_BYTES:
            _log.warning("a peer takes no messages: %d bytes wait for it, it is given up", outbox.size_bytes)
            self.disconnect(peer)
            return False
        self._retry_later()
        return True

    def queued_bytes(self, peer: bytes) -> int:
        """How much waits for a peer to take it, beside what libzmq holds."""
        outbox = self._outboxes.get(peer)
        return 0 if outbox is None else outbox.size_bytes

    def disconnect(self, peer: bytes) -> None:
        """Have nothing to do with this connection any more, in both directions."""
        self._drop_outbox(peer)
        self._forgotten[peer] = None
        if len(self._forgotten) > _MAX_FORGOTTEN:
            self._forgotten.popitem(last=False)

    def close(self) -> None:
        """Send what libzmq still holds, for at most `LINGER_MS`, and stop listening."""
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self._socket)
        self._listener.close()
        self._socket.close()

    def _on_readable(self) -> None:
        socket = self._socket
        left_bytes = TURN_BYTES
        for _ in range(DRAIN_LIMIT):
            try:
                # libzmq puts the connection's metadata on the routing id as well, so only this frame costs
                # a Frame.
                first = socket.recv(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                return
            peer = first.bytes
            frames = self._take_frames(peer)
            if frames:
                self._on_message(peer, str(first.get("User-Id")), frames)
                left_bytes -= sum(map(len, frames))
            if socket.closed or left_bytes < 0:
                return

    def _take_frames(self, peer: bytes) -> list[bytes]:
        """The frames of the message that is being read; none when they are not for us. What goes beyond the
        limits is never held here.
        """
        socket = self._socket
        frames: list[bytes] = []
        size = 0
        while socket.getsockopt(zmq.RCVMORE):
            if peer in self._forgotten:
                socket.recv(copy=False)
                continue
            frames.append(socket.recv())
            size += len(frames[-1])
            if len(frames) > MAX_FRAMES or size > MAX_MESSAGE_BYTES:
                frames.clear()
                _log.warning("peer %s sent a message beyond all limits: it is cut off", peer.hex())
                self.disconnect(peer)
        return frames

    def _retry_later(self) -> None:
        # A ROUTER is writable as soon as any peer is, so there is nothing to wait on for one that is full.
        if self._retry is None:
            self._retry = self._loop.call_later(self._retry_s, self._flush)

    def _flush(self) -> None:
        self._retry = None
        queued_before = self._queued_bytes
        for peer, outbox in list(self._outboxes.items()):
            self._queued_bytes -= outbox.size_bytes
            try:
                outbox.flush(partial(self._send_now, peer))
            except zmq.ZMQError as error:
                if error.errno != errno.EHOSTUNREACH:
                    raise
                outbox = _Outbox()
            self._queued_bytes += outbox.size_bytes
            if not outbox.messages:
                del self._outboxes[peer]
        self._retry_s = (
            _FIRST_RETRY_S if self._queued_bytes < queued_before else min(2 * self._retry_s, _LAST_RETRY_S)
        )
        if self._outboxes:
            self._retry_later()

    def _send_now(self, peer: bytes, frames: list[bytes]) -> None:
        self._socket.send_multipart([peer, *frames], zmq.DONTWAIT)

    def _drop_outbox(self, peer: bytes) -> None:
        outbox = self._outboxes.pop(peer, None)
        if outbox is not None:
            self._queued_bytes -= outbox.size_bytes


class ControlClient:
    """A worker's or client's connection to the server. Not thread-safe.

    `connect` waits for the proof that the server is the right one and takes our key. After that either the
    owner calls `send` and `receive` itself (clients), or it lets a loop do it with `attach` (workers).
    ZeroMQ makes a broken connection again by itself; the server then knows nothing of us any more, so the
    owner must greet it anew.
    """

    def __init__(self, context: Context, access: Access, role: str) -> None:
        self._access = access
        self._where = format_address(access.address, access.port)
        self._outbox = _Outbox()
        self._connected = False
        self._lost = False
        self._loop: Loop | None = None
        self._on_message: Callable[[list[bytes]], None] | None = None
        self._on_state: Callable[[bool], None] | None = None
        keys = access.key(role)
        self.socket: Socket = context.socket(zmq.DEALER)
        """For polling, besides `monitor`; all else goes through the methods."""
        set_common(
            self.socket, frame_limit=CONTROL_FRAME_LIMIT_BYTES, linger_ms=LINGER_MS, high_water=HIGH_WATER
        )
        # Without it messages queue up while there is no server, and flood the next one.
        self.socket.setsockopt(zmq.IMMEDIATE, 1)
        self.socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MAX_MS)
        make_curve_client(self.socket, keys, access.server_public)
        self.monitor: Socket = self.socket.get_monitor_socket(_EVENTS)
        """Readable when the connection came or broke; `disconnected` reads it."""

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
        use_family_of(self.socket, address)
        self.socket.connect(f"tcp://{format_address(address, self._access.port)}")
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
            f"took that port, or the server was started anew with other keys"
        )

    def _no_answer(self, after_s: float) -> RainException:
        return RainException(
            f"what listens at {self._where} did not answer within {after_s:.0f} s: the server is stopped or "
            f"overloaded, or it is not a rainzmq server"
        )

    def attach(
        self, loop: Loop, on_message: Callable[[list[bytes]], None], on_state: Callable[[bool], None]
    ) -> None:
        """Let a loop do the I/O: `on_message(frames)` for each message, `on_state(connected)` when the
        connection broke (False) or was made again (True). `send` then never blocks, and what it queued goes
        out as soon as it can.
        """
        self._loop, self._on_message, self._on_state = loop, on_message, on_state
        loop.add_reader(self.socket, self._on_readable)
        loop.add_reader(self.monitor, self._read_monitor)

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
        """The connection has broken since `connect` returned, whether or not there is a new one by now."""
        self._read_monitor()
        return self._lost

    @property
    def connected(self) -> bool:
        """There is a connection now, as far as is known."""
        self._read_monitor()
        return self._connected

    def close(self) -> None:
        """Send what libzmq still holds, for at most `LINGER_MS` after the context ends, and close.
        Idempotent.
        """
        if self.socket.closed:
            return
        if self._loop is not None:
            self._loop.remove_reader(self.socket)
            self._loop.remove_writer(self.socket)
            self._loop.remove_reader(self.monitor)
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close()

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
        event = int(recv_monitor_message(self.monitor)["event"])
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._set_connected(True)
        elif event == zmq.EVENT_DISCONNECTED and self._connected:
            self._lost = True
            self._outbox = _Outbox()
            self._set_connected(False)
        return event

    def _set_connected(self, connected: bool) -> None:
        self._connected = connected
        if self._on_state is not None:
            self._on_state(connected)
