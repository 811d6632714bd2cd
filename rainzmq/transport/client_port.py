"""The relay's socket for clients: a ROUTER, so that answers go back on the connection that asked.

Clients listen nowhere. Which request is granted is for the owner to say: `on_request` gets every
`FetchData` and `Offer` and answers with `exchange.serve`, `exchange.fetch` or `send`.
"""

from __future__ import annotations

import errno
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import zmq

from rainzmq.common.limits import CHUNK_BYTES
from rainzmq.protocol.codec import Header
from rainzmq.protocol.messages.data import Data, FetchData, Offer, TransferError
from rainzmq.protocol.schema import ProtocolError
from rainzmq.transport.carrier import PeerLostError
from rainzmq.transport.keys import KeyPair
from rainzmq.transport.listener import Listener
from rainzmq.transport.loop import DRAIN_LIMIT, Loop, Timer
from rainzmq.transport.port import (
    BAD_FRAMES_LIMIT,
    HIGH_WATER,
    TURN_BYTES,
    Port,
    frames_of,
    parse,
    receive,
    send_now,
)
from rainzmq.transport.sockets import Context, make_curve_server, set_common
from rainzmq.transport.transfer import Peer, StoreLike

OnRequest = Callable[["ClientPeer", Header, FetchData | Offer], None]

_RETRY_S = 0.002
_MAX_WAITING = 10_000
_MAX_FORGOTTEN = 10_000

NO_TRANSFER = 0
"""The id of no transfer: who gets a message with it drops it."""


class ClientPeer(bytes):
    """The routing id of a client's connection."""

    def __str__(self) -> str:
        return "the client"


class ClientPort(Port):
    """Takes uploads of clients into a store, and gives them the store's objects, as far as `on_request`
    lets it.
    """

    def __init__(
        self,
        context: Context,
        loop: Loop,
        store: StoreLike,
        keys: KeyPair,
        domain: str,
        on_request: OnRequest,
    ) -> None:
        super().__init__(loop, store)
        self._on_request = on_request
        self._waiting: dict[Peer, deque[list[Any]]] = {}
        self._full: set[Peer] = set()
        self._retry: Timer | None = None
        self._bad: OrderedDict[Peer, int] = OrderedDict()
        self._header = Header()
        self._socket = context.socket(zmq.ROUTER)
        set_common(self._socket, frame_limit=CHUNK_BYTES, linger_ms=0, high_water=HIGH_WATER)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        make_curve_server(self._socket, keys, domain)
        self._listener = Listener(self._socket, loop)

    def bind(self, host: str, port: int = 0) -> int:
        """Listen on host and port (0: any free one); the port. RainException when that is not possible."""
        port = self._listener.bind(host, port)
        self.loop.add_reader(self._socket, self._on_readable)
        return port

    def close(self) -> None:
        """End all transfers and connections. The store must stay until this returns."""
        super().close()
        if self._retry is not None:
            self._retry.cancel()
        self.loop.remove_reader(self._socket)
        self._listener.close()
        self._socket.close()

    def send(self, peer: Peer, message: Any) -> None:
        """See `carrier.Carrier`."""
        frames = frames_of(message, self._header)
        waiting = self._waiting.get(peer)
        if waiting is None:
            if self._send_now(peer, frames):
                return
            waiting = self._waiting[peer] = deque()
        if len(waiting) >= _MAX_WAITING:
            raise PeerLostError
        waiting.append(frames)
        self._retry_later()

    def try_send(self, peer: Peer, message: Data, piece: bytes | memoryview) -> bool:
        """See `carrier.Carrier`."""
        if peer not in self._waiting and self._send_now(peer, frames_of(message, self._header, piece)):
            return True
        self._full.add(peer)
        self._retry_later()
        return False

    def is_gone(self, peer: Peer) -> bool:
        """See `carrier.Carrier`. A ROUTER tells only when it is to send something."""
        if peer in self._waiting:
            return False  # it is being tried
        try:
            self._send_now(peer, frames_of(TransferError(NO_TRANSFER, ""), self._header))
        except PeerLostError:
            return True
        return False

    def renew(self, peer: Peer) -> None:
        """See `carrier.Carrier`. Clients make their connections themselves."""

    def _send_now(self, peer: Peer, frames: list[Any]) -> bool:
        assert isinstance(peer, bytes)
        try:
            send_now(self._socket, [bytes(peer), *frames])
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != errno.EHOSTUNREACH:
                raise
            raise PeerLostError from None
        return True

    def _retry_later(self) -> None:
        # A ROUTER is writable as soon as any peer is, so there is nothing to wait on for one that is full.
        if self._retry is None:
            self._retry = self.loop.call_later(_RETRY_S, self._on_retry)

    def _on_retry(self) -> None:
        self._retry = None
        for peer, waiting in list(self._waiting.items()):
            try:
                while waiting and self._send_now(peer, waiting[0]):
                    waiting.popleft()
            except PeerLostError:
                waiting.clear()
                self.exchange.forget_peer(peer)
            if not waiting:
                del self._waiting[peer]
        full, self._full = self._full, set()
        for peer in full:
            self.exchange.on_writable(peer)
        if self._waiting:
            self._retry_later()

    def _on_readable(self) -> None:
        taken = 0
        for _ in range(DRAIN_LIMIT):
            try:
                first, *frames = receive(self._socket)
            except zmq.Again:
                return
            peer = ClientPeer(first.bytes)
            if self._bad.get(peer, 0) >= BAD_FRAMES_LIMIT:
                continue
            try:
                taken += self._on_frames(peer, str(first.get("User-Id")), frames)
            except ProtocolError as error:
                self._on_bad(peer, str(first.get("Peer-Address")), error)
            if taken >= TURN_BYTES:
                return

    def _on_frames(self, peer: ClientPeer, role: str, frames: list[zmq.Frame]) -> int:
        header, message, piece = parse(frames, role)
        if isinstance(message, FetchData | Offer):
            if message.transfer <= 0:
                raise ProtocolError("a transfer id that is none")
            self._on_request(peer, header, message)
        else:
            self.exchange.handle(message, piece, peer)
        return len(piece)

    def _on_bad(self, peer: ClientPeer, address: str, error: ProtocolError) -> None:
        self.note_bad_frame(address, error)
        self._bad[peer] = self._bad.get(peer, 0) + 1
        if len(self._bad) > _MAX_FORGOTTEN:
            self._bad.popitem(last=False)
        if self._bad[peer] == BAD_FRAMES_LIMIT:
            self.exchange.forget_peer(peer)
