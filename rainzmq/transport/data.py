"""The data plane between workers, and between workers and the relay: one PULL bound, one PUSH per peer.

A PUSH with several peers would spread messages over them and lose what a dead one had; so there is one for
each, and what is lost is asked for again (`transport.transfer`). Everything about a transfer is in
`transport.exchange`; here are the sockets. A PUSH takes nothing before its connection stands (`IMMEDIATE`),
so that a peer that cannot be reached is known as such after `CONNECT_S`.
"""

from __future__ import annotations

import ipaddress
import re
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import zmq

from rainzmq.common.limits import CHUNK_BYTES
from rainzmq.protocol.codec import Header
from rainzmq.protocol.messages.data import Data, FetchData
from rainzmq.protocol.messages.shared import Endpoint
from rainzmq.protocol.schema import ProtocolError
from rainzmq.transport.carrier import Arrived, Failed, PeerLostError
from rainzmq.transport.keys import KeyPair, is_key
from rainzmq.transport.listener import Listener
from rainzmq.transport.loop import DRAIN_LIMIT, Loop, Timer
from rainzmq.transport.net import advertised_host, format_address
from rainzmq.transport.port import HIGH_WATER, TURN_BYTES, Port, frames_of, parse, receive, send_now
from rainzmq.transport.sockets import (
    Context,
    Socket,
    make_curve_client,
    make_curve_server,
    set_common,
    use_family_of,
)
from rainzmq.transport.transfer import Peer, StoreLike

MAX_PEERS = 4096
IDLE_LINK_S = 60.0
"""A connection that carried nothing for so long is closed."""

CONNECT_S = 3.0
"""A connection that does not stand after so long is given up, and made again when its peer is asked again."""

_MAX_WAITING = 10_000
_RECONNECT_MAX_MS = 2000
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")


class DataPeer(NamedTuple):
    """Another process's data endpoint."""

    host: str
    port: int
    public_key: bytes

    def __str__(self) -> str:
        return format_address(self.host, self.port)


def peer_of(endpoint: Endpoint) -> DataPeer:
    """The peer at an endpoint; ProtocolError when the endpoint cannot be one."""
    host = endpoint.host
    if not _HOST_NAME.fullmatch(host):
        # A scope (fe80::1%eth0) names an interface of one host and means nothing on another; `ip_address`
        # takes any text for one.
        if "%" in host:
            raise ProtocolError(f"{host!r:.60} has a scope, so it is no address for other hosts")
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise ProtocolError(f"{host!r:.60} is not a host") from None
    if not 0 < endpoint.port < 65536 or not is_key(endpoint.public_key):
        raise ProtocolError("an endpoint with an impossible port or key")
    return DataPeer(host, endpoint.port, endpoint.public_key)


class _Link:
    """The PUSH to one peer. Small messages that it does not take at once wait in `waiting`; `stood`: it has
    been connected.
    """

    __slots__ = ("last_used", "socket", "stood", "waiting")

    def __init__(self, socket: Socket, now: float) -> None:
        self.socket = socket
        self.waiting: deque[list[Any]] = deque()
        self.stood = False
        self.last_used = now

    def send(self, frames: list[Any]) -> None:
        """Send without waiting; raises `zmq.Again` when nothing was sent."""
        send_now(self.socket, frames)
        self.stood = True


class DataPort(Port):
    """Gets objects from other processes' data ports into a store, and gives them the store's."""

    def __init__(
        self,
        context: Context,
        loop: Loop,
        store: StoreLike,
        keys: KeyPair,
        peer_keys: KeyPair,
        domain: str,
    ) -> None:
        """`keys` are this socket's own, `peer_keys` those it shows to others; who may connect is what the
        context's `Authenticator` knows of `domain`.
        """
        super().__init__(loop, store)
        self._context = context
        self._keys = keys
        self._peer_keys = peer_keys
        self._links: dict[DataPeer, _Link] = {}
        self._sweep_timer: Timer | None = None
        self.endpoint: Endpoint | None = None
        """Where peers reach this port, once it is bound."""
        self._pull = context.socket(zmq.PULL)
        set_common(self._pull, frame_limit=CHUNK_BYTES, linger_ms=0, high_water=HIGH_WATER, to_workers=True)
        make_curve_server(self._pull, keys, domain)
        self._listener = Listener(self._pull, loop)

    def bind(self, host: str, port: int = 0, advertise: str | None = None) -> int:
        """Listen on host and port (0: any free one); the port. Peers are told `advertise`, None for what
        `advertised_host` finds. RainException when that is not possible.
        """
        port = self._listener.bind(host, port)
        self.endpoint = Endpoint(advertise or advertised_host(host), port, self._keys.public)
        self.loop.add_reader(self._pull, self._on_readable)
        return port

    def fetch(
        self,
        uid: int,
        is_directory: bool,
        holders: Sequence[Endpoint],
        done: Callable[[str | None], None],
        arrived: Arrived | None = None,
        failed: Failed | None = None,
        *,
        executable: bool = False,
    ) -> None:
        """Get an object into the store from one of its holders, tried in order; as an executable file when
        it is one.

        `done(None)` is called once it is there, `done("why not")` when no holder could give it or it does
        not fit; never from inside this call, and not after `cancel`. `arrived` is called in place of
        `done(None)` with how it came, from a `DataPeer`; not when it was there already. `failed` is called
        in place of `done("why not")`.
        """
        peers = []
        for endpoint in holders:
            # An impossible one is as good as one that does not answer.
            with suppress(ProtocolError):
                peers.append(peer_of(endpoint))
        self.exchange.fetch(
            uid,
            is_directory,
            peers,
            done,
            reply_to=self.endpoint,
            failed=failed,
            executable=executable,
            arrived=arrived,
        )

    def forget(self, endpoint: Endpoint) -> None:
        """The process at an endpoint is gone: nothing more is sent to it or expected of it."""
        with suppress(ProtocolError):
            peer = peer_of(endpoint)
            self._close_link(peer)
            self.exchange.forget_peer(peer, "it is gone")

    def cancel(self, uid: int) -> None:
        """Do not fetch an object any more; `done` is not called."""
        self.exchange.cancel(uid)

    def close(self) -> None:
        """End all transfers and connections. The store must stay until this returns."""
        super().close()
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        for peer in list(self._links):
            self._close_link(peer)
        self.loop.remove_reader(self._pull)
        self._listener.close()
        self._pull.close()

    def send(self, peer: Peer, message: Any) -> None:
        """See `carrier.Carrier`."""
        assert isinstance(peer, DataPeer)
        link = self._link(peer)
        frames = frames_of(message, Header())
        if not link.waiting:
            try:
                link.send(frames)
                return
            except zmq.Again:
                self.loop.add_writer(link.socket, lambda: self._on_writable(peer))
        if len(link.waiting) >= _MAX_WAITING:
            raise PeerLostError
        link.waiting.append(frames)

    def try_send(self, peer: Peer, message: Data, piece: bytes | memoryview) -> bool:
        """See `carrier.Carrier`."""
        assert isinstance(peer, DataPeer)
        link = self._link(peer)
        if not link.waiting:
            try:
                link.send(frames_of(message, Header(), piece))
                return True
            except zmq.Again:
                self.loop.add_writer(link.socket, lambda: self._on_writable(peer))
        return False

    def _on_writable(self, peer: DataPeer) -> None:
        link = self._links[peer]
        link.stood = True
        while link.waiting:
            try:
                link.send(link.waiting[0])
            except zmq.Again:
                return
            link.waiting.popleft()
        self.loop.remove_writer(link.socket)
        self.exchange.on_writable(peer)

    def is_gone(self, peer: Peer) -> bool:
        """See `carrier.Carrier`. The server says when another process is gone: `forget`."""
        return False

    def renew(self, peer: Peer) -> None:
        """See `carrier.Carrier`. The next message makes a new connection."""
        assert isinstance(peer, DataPeer)
        self._close_link(peer)
        self.exchange.on_writable(peer)

    def _check_connected(self, peer: DataPeer, link: _Link) -> None:
        if self._links.get(peer) is link and not link.stood:
            self._close_link(peer)
            self.exchange.on_unconnected(peer, f"no connection to it could be made within {CONNECT_S:g} s")

    def _on_readable(self) -> None:
        taken = 0
        for _ in range(DRAIN_LIMIT):
            try:
                frames = receive(self._pull)
            except zmq.Again:
                return
            try:
                taken += self._on_frames(frames)
            except ProtocolError as error:
                self.note_bad_frame(str(frames[0].get("Peer-Address")), error)
            if taken >= TURN_BYTES:
                return

    def _on_frames(self, frames: list[zmq.Frame]) -> int:
        _, message, piece = parse(frames, str(frames[0].get("User-Id")))
        if type(message) is FetchData:
            if message.reply_to is None:
                raise ProtocolError("a request without a way back")
            self.exchange.serve(peer_of(message.reply_to), message)
        else:
            self.exchange.handle(message, piece)
        return len(piece)

    def _link(self, peer: DataPeer) -> _Link:
        link = self._links.get(peer)
        if link is None:
            if len(self._links) >= MAX_PEERS:
                raise PeerLostError
            link = self._links[peer] = _Link(self._connect(peer), self.loop.now())
            self.loop.call_later(CONNECT_S, partial(self._check_connected, peer, link))
            if self._sweep_timer is None:
                self._sweep_timer = self.loop.call_later(IDLE_LINK_S, self._sweep)
        link.last_used = self.loop.now()
        return link

    def _connect(self, peer: DataPeer) -> Socket:
        try:
            socket = self._context.socket(zmq.PUSH)
        except zmq.ZMQError as error:  # no socket or descriptor is left
            raise PeerLostError from error
        try:
            set_common(socket, frame_limit=CHUNK_BYTES, linger_ms=0, high_water=HIGH_WATER, to_workers=True)
            socket.setsockopt(zmq.IMMEDIATE, 1)
            socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MAX_MS)
            make_curve_client(socket, self._peer_keys, peer.public_key)
            use_family_of(socket, peer.host)
            socket.connect(f"tcp://{peer}")
        except zmq.ZMQError as error:
            socket.close()
            raise PeerLostError from error
        return socket

    def _close_link(self, peer: DataPeer) -> None:
        link = self._links.pop(peer, None)
        if link is not None:
            self.loop.remove_writer(link.socket)
            link.socket.close()

    def _sweep(self) -> None:
        """Close connections that carried nothing for a while; those of dead peers go this way, too."""
        self._sweep_timer = None
        now = self.loop.now()
        for peer, link in list(self._links.items()):
            if now - link.last_used >= IDLE_LINK_S:
                self.renew(peer)
        if self._links:
            self._sweep_timer = self.loop.call_later(IDLE_LINK_S, self._sweep)
