"""Who may connect: the ZeroMQ authentication (ZAP) handler, inside the process's own loop.

libzmq asks `inproc://zeromq.zap.01` about every CURVE handshake of the context's sockets. The answer names
the role that the public key belongs to in that socket's domain; it comes with each message of the
connection as its `User-Id`. There is no thread that could die unnoticed: the handler lives and dies with
the loop, and an exception in it ends the process.
"""

from __future__ import annotations

import logging

import zmq
from zmq.utils import z85

from rainzmq.common.tally import Tally
from rainzmq.transport.loop import DRAIN_LIMIT, Loop

_log = logging.getLogger(__name__)

_ENDPOINT = "inproc://zeromq.zap.01"
_VERSION = b"1.0"
_REQUEST_FRAMES = 9
"""Routing id, empty, version, request id, domain, address, identity, mechanism, key."""


class Authenticator:
    """Answers libzmq's questions about connections. Make it before any socket of the context is bound."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], loop: Loop) -> None:
        self._loop = loop
        self._roles: dict[tuple[bytes, bytes], bytes] = {}
        self.refused = Tally()
        """How many connections were refused, by address of the peer."""
        self._socket = context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.bind(_ENDPOINT)
        loop.add_reader(self._socket, self._on_request)

    def allow(self, domain: str, public_key: bytes, role: str) -> None:
        """Let the owner of a key (Z85) connect to sockets of a domain, as `role`."""
        self._roles[domain.encode(), z85.decode(public_key)] = role.encode()

    def close(self) -> None:
        """No connection is accepted any more."""
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _on_request(self) -> None:
        for _ in range(DRAIN_LIMIT):
            try:
                request = self._socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            self._socket.send_multipart(self._answer(request))

    def _answer(self, request: list[bytes]) -> list[bytes]:
        routing_id, request_id = request[0], request[3]
        role = None
        if len(request) == _REQUEST_FRAMES and request[2] == _VERSION and request[7] == b"CURVE":
            role = self._roles.get((request[4], request[8]))
        answer = [routing_id, b"", _VERSION, request_id]
        if role is not None:
            return [*answer, b"200", b"OK", role, b""]
        self._note_refused(request[5].decode("ascii", "replace"), request[4].decode("utf-8", "replace"))
        return [*answer, b"400", b"unknown key", b"", b""]

    def _note_refused(self, address: str, domain: str) -> None:
        times = self.refused.note(address)
        if times:
            _log.warning(
                "refused a connection from %s to %s: unknown key (%d times so far)", address, domain, times
            )
