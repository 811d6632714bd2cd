"""What all data sockets of a loop share: when to pump and check, work outside of the loop, refused frames."""

from __future__ import annotations

import logging
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import zmq

from rainzmq.common.limits import CHUNK_BYTES
from rainzmq.common.tally import Tally
from rainzmq.common.workforce import Workforce
from rainzmq.protocol.codec import Header, decode, encode
from rainzmq.protocol.messages.data import CONVERSATION, Data
from rainzmq.protocol.schema import ProtocolError
from rainzmq.protocol.version import PROTOCOL_VERSION
from rainzmq.transport.exchange import CHECK_INTERVAL_S, Exchange
from rainzmq.transport.loop import Loop, Timer
from rainzmq.transport.sockets import Socket
from rainzmq.transport.transfer import Peer, StoreLike

_log = logging.getLogger(__name__)

HIGH_WATER = 32
"""Messages that libzmq holds per peer and direction; a piece is up to 1 MiB."""

TURN_BYTES = 4 << 20
"""A data socket takes no more in one turn, so that the rest of the loop is not kept waiting by disk writes.
"""

BAD_FRAMES_LIMIT = 20
_COPY_BELOW = 64 << 10
_SMALL_FRAME = 1024


def new_transfer() -> int:
    """A transfer id that nobody can guess."""
    return secrets.randbits(61) + 1


def receive(socket: Socket) -> list[zmq.Frame]:
    """One message, without copies of its bytes; raises `zmq.Again` when there is none."""
    frames = [socket.recv(zmq.DONTWAIT, copy=False)]
    while socket.getsockopt(zmq.RCVMORE):
        frames.append(socket.recv(copy=False))
    return frames


def parse(frames: list[zmq.Frame], role: str) -> tuple[Header, Any, memoryview]:
    """Header, message and bytes of what a peer in `role` sent on a data socket.

    Raises:
        ProtocolError: it is not one message, with bytes for `Data` and without for others.
    """
    if not 1 <= len(frames) <= 2:
        raise ProtocolError(f"a data message of {len(frames)} frames")
    if len(frames[0].buffer) > CHUNK_BYTES:
        raise ProtocolError("a data message without a header")
    header, message = decode(frames[0].buffer, CONVERSATION, role)
    if header.version != PROTOCOL_VERSION:
        raise ProtocolError(f"protocol version {header.version} instead of {PROTOCOL_VERSION}")
    if (len(frames) == 2) != (type(message) is Data):
        raise ProtocolError(f"a {type(message).__name__} of {len(frames)} frames")
    return header, message, frames[1].buffer if len(frames) == 2 else memoryview(b"")


def frames_of(message: Any, header: Header, piece: bytes | memoryview | None = None) -> list[Any]:
    """What goes over the wire for a message."""
    first = encode(message, header)
    return [first] if piece is None else [first, piece]


def send_now(socket: Socket, frames: list[Any]) -> None:
    """Send without waiting, and without a copy of large pieces; raises `zmq.Again` when nothing was sent."""
    last = len(frames) - 1
    for index, frame in enumerate(frames):
        more = zmq.SNDMORE if index < last else 0
        socket.send(frame, zmq.DONTWAIT | more, copy=len(frame) < _COPY_BELOW)


class Port(ABC):
    """A data socket with its exchange, in a loop."""

    def __init__(self, loop: Loop, store: StoreLike) -> None:
        self.loop = loop
        self.exchange = Exchange(store, self, loop.now, new_transfer)
        self.bad_frames = Tally()
        """Frames that were no messages, by peer."""
        self._pump_timer: Timer | None = None
        self._check_timer: Timer | None = None
        self._thread = Workforce(1, "digest")
        self._closed = False

    @abstractmethod
    def send(self, peer: Peer, message: Any) -> None:
        """See `carrier.Carrier`."""

    @abstractmethod
    def try_send(self, peer: Peer, message: Data, piece: bytes | memoryview) -> bool:
        """See `carrier.Carrier`."""

    @abstractmethod
    def is_gone(self, peer: Peer) -> bool:
        """See `carrier.Carrier`."""

    @abstractmethod
    def renew(self, peer: Peer) -> None:
        """See `carrier.Carrier`."""

    def compute(self, work: Callable[[], bytes], done: Callable[[bytes | Exception], None]) -> None:
        """See `carrier.Carrier`. One thing at a time, in the order of the calls."""

        def run() -> None:
            try:
                result: bytes | Exception = work()
            except Exception as error:  # it is told to the peer; a thread has nobody else to tell
                result = error
            self.loop.call_threadsafe(lambda: None if self._closed else done(result))

        try:
            self._thread.submit(run)
        except OSError as error:
            no_thread = error
            self.loop.call_soon(lambda: None if self._closed else done(no_thread))

    def wake(self) -> None:
        """See `carrier.Carrier`."""
        if self._pump_timer is None and not self._closed:
            self._pump_timer = self.loop.call_later(0, self._pump)
        if self._check_timer is None and self.exchange.busy and not self._closed:
            self._check_timer = self.loop.call_later(CHECK_INTERVAL_S, self._check)

    def close(self) -> None:
        """End all transfers. The store must stay until this returns."""
        self._closed = True
        for timer in (self._pump_timer, self._check_timer):
            if timer is not None:
                timer.cancel()
        self.exchange.close()
        self._thread.shutdown(cancel=True)

    def note_bad_frame(self, peer: str, error: ProtocolError) -> None:
        """Count a frame that was dropped."""
        count = self.bad_frames.note(peer)
        if count:
            _log.warning("dropped a data message of %s (%d so far): %s", peer, count, error)

    def _pump(self) -> None:
        self._pump_timer = None
        self.exchange.pump()

    def _check(self) -> None:
        self._check_timer = None
        self.exchange.check()
        self.wake()
