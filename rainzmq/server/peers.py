"""From frames to events: versions, epochs, and peers that send nonsense."""

from __future__ import annotations

import logging
from collections.abc import Callable

from rainzmq.common.tally import Tally
from rainzmq.protocol.codec import Header, decode, peek_header
from rainzmq.protocol.messages import client as client_messages
from rainzmq.protocol.messages import worker as worker_messages
from rainzmq.protocol.schema import ProtocolError
from rainzmq.protocol.version import PROTOCOL_VERSION
from rainzmq.server.core.events import (
    ClientJoined,
    ClientReturned,
    ClientSaid,
    Event,
    WorkerJoined,
    WorkerSaid,
)

_log = logging.getLogger(__name__)

BAD_MESSAGE_LIMIT = 20
"""A peer that sent so many bad messages is cut off."""

CONVERSATIONS = {
    "client": client_messages.CONVERSATION,
    "viewer": client_messages.CONVERSATION,
    "worker": worker_messages.CONVERSATION,
}


class FrameReader:
    """Turns frames of authenticated peers into events.

    Args:
        cluster_id, server_epoch: what headers must carry after the handshake.
        refuse: called with (peer, role, reason) for a hello of another version, or with the key of
            another role; `role` is the one whose conversation the peer understands.
        deny: called with (peer, request, reason) for a client's request that a viewer may not make.
        cut_off: called with (peer, reason) when a peer sent too many bad messages.
        name_of: who a peer is, for the log: a name that it has after a new connection, too.
    """

    def __init__(
        self,
        cluster_id: int,
        server_epoch: int,
        refuse: Callable[[bytes, str, str], None],
        deny: Callable[[bytes, int, str], None],
        cut_off: Callable[[bytes, str], None],
        name_of: Callable[[bytes, str], str],
    ) -> None:
        self._life = (cluster_id, server_epoch)
        self._refuse = refuse
        self._deny = deny
        self._cut_off = cut_off
        self._name_of = name_of
        self._bad: dict[bytes, int] = {}
        self._bad_by_name, self._refused = Tally(), Tally()

    def read(self, peer: bytes, role: str, frame: bytes) -> Event | None:
        """The event of one frame; None when it was bad or refused, which has been dealt with."""
        conversation = CONVERSATIONS.get(role)
        try:
            if conversation is None:
                raise ProtocolError(f"the role {role!r} may not speak here")
            header, message = decode(frame, conversation, role)
            if header.version != PROTOCOL_VERSION:
                raise ProtocolError(f"protocol version {header.version} instead of {PROTOCOL_VERSION}")
        except ProtocolError as error:
            self._on_bad(peer, role, frame, error)
            return None
        if isinstance(message, client_messages.ClientHello):
            return ClientJoined(peer, message, role == "viewer")
        if isinstance(message, worker_messages.WorkerHello):
            return WorkerJoined(peer, message)
        if isinstance(message, client_messages.ClientResume):
            return ClientReturned(peer, self._epoch_in(header), message.received)
        epoch = self._epoch_in(header)
        return WorkerSaid(peer, epoch, message) if role == "worker" else ClientSaid(peer, epoch, message)

    def _epoch_in(self, header: Header) -> int:
        """The sender's epoch; 0 when it speaks to another life of the server."""
        return header.sender_epoch if (header.cluster_id, header.server_epoch) == self._life else 0

    def forget(self, peer: bytes) -> None:
        """A connection is gone, and with it what it did wrong."""
        self._bad.pop(peer, None)

    def _on_bad(self, peer: bytes, role: str, frame: bytes, error: ProtocolError) -> None:
        try:
            tag, header = peek_header(frame)
        except ProtocolError:
            tag, header = "", Header()
        if tag == "hello" and header.version != PROTOCOL_VERSION:
            reason = (
                f"it speaks protocol version {header.version}, this server {PROTOCOL_VERSION}; "
                "install the same version of rainzmq on both"
            )
            self._note_refused(peer, role, role, reason)
            self._refuse(peer, role, reason)
            return
        meant = "client" if role == "worker" else "worker"
        if tag == "hello" and _is_hello_of(frame, meant):
            reason = (
                f"its key is for the role {role!r}, but a {meant}'s is due; use the access file as the "
                "server wrote it"
            )
            self._note_refused(peer, role, meant, reason)
            self._refuse(peer, meant, reason)
            return
        request = _request_of(frame) if role == "viewer" else None
        if request is not None:
            # It waits for an answer: without one it would wait for ever.
            self._deny(peer, request, f"a viewer's key may only look: {error}")
            return
        count = self._bad.get(peer, 0) + 1
        self._bad[peer] = count
        name = self._name_of(peer, role)
        times = self._bad_by_name.note(name)
        if times:
            _log.warning("bad message of %s (%d so far): %s", name, times, error)
        if count >= BAD_MESSAGE_LIMIT:
            self._cut_off(peer, f"it sent {count} bad messages, the last one: {error}")

    def _note_refused(self, peer: bytes, role: str, meant: str, reason: str) -> None:
        times = self._refused.note(f"{self._name_of(peer, role)}, {reason}")
        if times:
            _log.warning("a %s was refused (%d times so far): %s", meant, times, reason)


def _request_of(frame: bytes) -> int | None:
    """The number of the request in a client's message; None without one."""
    try:
        message = decode(frame, CONVERSATIONS["client"], "client")[1]
    except ProtocolError:
        return None
    request: int | None = getattr(message, "request", None)
    return request


def _is_hello_of(frame: bytes, role: str) -> bool:
    try:
        decode(frame, CONVERSATIONS[role], role)
    except ProtocolError:
        return False
    return True
