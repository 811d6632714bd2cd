"""The TCP connections behind the peers of a ROUTER: which has ended, which host answers, which is stuck.

libzmq knows peers by their routing ids and tells of ends by descriptors; messages carry both, so the first
one of a peer joins them. A number may be taken for another connection as soon as one has ended, before we
hear of the end. So what is said here of a peer is a hint, to be tried by sending it something: a ROUTER
refuses to send to a peer whose connection is gone.

A connection whose bytes were changed on their way is the worst case: libzmq (4.3.5) finds that they cannot be
decrypted, says so without saying where, reads no more from there, and closes nothing; what we send arrives,
what the peer sends never does. That one is found by its symptom: asked to say something, its peer does, and
what it said stays unread in the kernel. Then we cut it, and the peer makes a new one.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

import zmq

from rainzmq.transport import tcp
from rainzmq.transport.loop import Loop

_log = logging.getLogger(__name__)

EVENTS = zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL

LOOK_INTERVAL_S = 0.2
LOOKS = 12
"""How often it is looked for a stuck connection after something could not be decrypted. Who has nothing to
say sends its heartbeat in this time.
"""

STUCK_LOOKS = 3
"""A connection is stuck when the same bytes wait at so many looks and nothing came from its peer."""

MAX_CLOSED = 1000
NO_DESCRIPTOR = -1
_PEEK_BYTES = 64


class Connections:
    """Of one ROUTER, in its loop. Feed it `note` with each message and `on_event` with the events `EVENTS`.

    Args:
        loop: has the timers.
        on_closed: called with a peer whose connection was closed, as far as is known.
        on_doubt: called when one may be stuck: every peer should be asked to say something.
    """

    def __init__(self, loop: Loop, on_closed: Callable[[bytes], None], on_doubt: Callable[[], None]) -> None:
        self._loop = loop
        self._on_closed = on_closed
        self._on_doubt = on_doubt
        self._descriptors: dict[bytes, int] = {}
        self._peers: dict[int, bytes] = {}
        self._hosts: dict[bytes, str] = {}
        self._closed: deque[bytes] = deque()
        self._looks = 0
        self._waiting: dict[bytes, tuple[bytes, int]] = {}

    def note(self, peer: bytes, frame: zmq.Frame) -> None:
        """A message came from a peer; `frame` is one of its frames."""
        if peer not in self._descriptors:
            self._hosts[peer] = str(frame.get("Peer-Address"))
            self._learn(peer, int(frame.get(zmq.SRCFD)))
        elif self._looks:
            self._waiting.pop(peer, None)

    def on_event(self, event: int, value: int) -> None:
        """libzmq says something of a connection, which `value` may name."""
        if event == zmq.EVENT_DISCONNECTED:
            peer = self._peers.pop(value, None)
            if peer is not None:
                self._close(peer)
                self._on_closed(peer)
            return
        if not self._looks:
            self._waiting.clear()
            self._loop.call_later(LOOK_INTERVAL_S, self._look)
            self._on_doubt()
        self._looks = LOOKS

    def unanswered_s(self, peer: bytes) -> float:
        """See `tcp.unanswered_s`."""
        return tcp.unanswered_s(self._descriptors.get(peer, NO_DESCRIPTOR))

    def address_of(self, peer: bytes) -> str:
        """The host that a peer's connection comes from, or came from a moment ago; else "?"."""
        return self._hosts.get(peer, "?")

    def cut(self, peer: bytes) -> None:
        """End a peer's connection; it notices, and may make a new one."""
        tcp.cut(self._descriptors.get(peer, NO_DESCRIPTOR))

    def _learn(self, peer: bytes, descriptor: int) -> None:
        before = self._peers.get(descriptor)
        if before is not None:
            self._close(before)
        self._descriptors[peer] = descriptor
        self._peers[descriptor] = peer

    def _close(self, peer: bytes) -> None:
        # Remembered for a while: what it sent before may still be read, and must not be joined to a number
        # that is another connection's by now.
        self._descriptors[peer] = NO_DESCRIPTOR
        self._closed.append(peer)
        if len(self._closed) > MAX_CLOSED:
            oldest = self._closed.popleft()
            del self._descriptors[oldest], self._hosts[oldest]

    def _look(self) -> None:
        self._looks -= 1
        for descriptor, peer in self._peers.items():
            unread = tcp.unread(descriptor, _PEEK_BYTES)
            before, times = self._waiting.get(peer, (b"", 0))
            if not unread:
                self._waiting.pop(peer, None)
                continue
            times = times + 1 if before and unread.startswith(before) else 1
            self._waiting[peer] = (unread, times)
            if times == STUCK_LOOKS:
                _log.warning("the connection of a peer was damaged and is cut: what came cannot be decrypted")
                self.cut(peer)
        if self._looks:
            self._loop.call_later(LOOK_INTERVAL_S, self._look)
