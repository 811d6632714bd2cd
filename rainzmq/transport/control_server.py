"""The server's end of the control plane: a ROUTER for all workers and clients.

A message is one or more frames, and a loop turn sends at most one per peer. Nothing here blocks a loop:
what a peer does not take at once waits in a bounded queue of its own, and a peer whose queue overflows is
given up.

libzmq has no call to cut a single connection of a ROUTER. `ControlServer.disconnect` therefore forgets the
peer (what it still sends is dropped unread, and nothing more is sent to it) and has the kernel cut it.
"""

from __future__ import annotations

import errno
import logging
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import zmq

from rainzmq.common.limits import CONTROL_FRAME_LIMIT_BYTES
from rainzmq.common.tally import Tally
from rainzmq.transport.connections import EVENTS, Connections
from rainzmq.transport.keys import KeyPair
from rainzmq.transport.listener import Listener
from rainzmq.transport.loop import DRAIN_LIMIT, Loop, Timer
from rainzmq.transport.outbox import HIGH_WATER, LINGER_MS, MAX_QUEUED_BYTES, Outbox
from rainzmq.transport.sockets import Context, make_curve_server, set_common

_log = logging.getLogger(__name__)

OnMessage = Callable[[bytes, str, list[bytes]], None]
"""Called with the peer's routing id, its role by ZAP, and the frames it sent."""

MAX_QUEUED_TOTAL_BYTES = 512 << 20
MAX_FRAMES = 4096
MAX_MESSAGE_BYTES = 64 << 20
"""Frames and bytes of one message; a peer that sends a longer one is cut off."""

TURN_BYTES = 64 << 10
"""When so much was read in a turn, the rest is left for the next: what others ask is answered in between."""

_MAX_FORGOTTEN = 10_000
_FIRST_RETRY_S = 0.002
_LAST_RETRY_S = 0.05


def _ignore(*_: object) -> None:
    """Nobody wants to know."""


class ControlServer:
    """The server's end of the control plane, in the server's loop. An `Authenticator` must be there first."""

    def __init__(
        self,
        context: Context,
        loop: Loop,
        keys: KeyPair,
        domain: str,
        on_message: OnMessage,
        *,
        on_closed: Callable[[bytes], None] = _ignore,
        on_doubt: Callable[[], None] = _ignore,
    ) -> None:
        """`on_closed`, `on_doubt`: see `Connections`."""
        self._loop = loop
        self._connections = Connections(loop, on_closed, on_doubt)
        self._on_message = on_message
        self._outboxes: dict[bytes, Outbox] = {}
        self._queued_bytes = 0
        self._beyond_limits = Tally()
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
        self._listener = Listener(self._socket, loop, EVENTS, self._connections.on_event)

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
                outbox = self._outboxes[peer] = Outbox()
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

    def unanswered_s(self, peer: bytes) -> float:
        """For how long the peer's host has answered nothing that the kernel sent it; 0.0 while it answers."""
        return self._connections.unanswered_s(peer)

    def address_of(self, peer: bytes) -> str:
        """The host that a peer's connection comes from; see `Connections`."""
        return self._connections.address_of(peer)

    def disconnect(self, peer: bytes) -> None:
        """Have nothing to do with this connection any more, in both directions."""
        self._drop_outbox(peer)
        self._connections.cut(peer)
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
            self._connections.note(peer, first)
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
                address = self.address_of(peer)
                times = self._beyond_limits.note(address)
                if times:
                    _log.warning(
                        "a peer at %s sent a message beyond all limits (%d so far): it is cut off",
                        address,
                        times,
                    )
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
                outbox = Outbox()
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
