"""What an `Exchange` and the owner of its socket tell each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from rainzmq.protocol.messages.data import Data
from rainzmq.transport.transfer import Peer

Done = Callable[[str | None], None]


class Arrival(NamedTuple):
    """How an object came.

    Attributes:
        source: the holder that gave the last of it.
        duration_s: from when the first holder was asked to when it was in the store, seconds.
        size_bytes: bytes of it that travelled; of a directory, of its archive.
    """

    source: Peer
    duration_s: float
    size_bytes: int


class FetchFailure(NamedTuple):
    """Why an object did not come.

    Attributes:
        reason: human-readable.
        silent: holders that did not answer or could not be reached.
        refused: what the object is was refused, as it would be from any holder.
    """

    reason: str
    silent: Sequence[Peer]
    refused: bool


Arrived = Callable[[Arrival], None]
Failed = Callable[[FetchFailure], None]


class PeerLostError(Exception):
    """The connection to a peer is gone."""


class Carrier(Protocol):
    """Carries messages for an `Exchange`."""

    def send(self, peer: Peer, message: Any) -> None:
        """Send now or, in order, as soon as possible; `PeerLostError` when there is no way to the peer."""

    def try_send(self, peer: Peer, message: Data, piece: bytes | memoryview) -> bool:
        """Send a piece now, or return False and call `Exchange.on_writable(peer)` later; `PeerLostError` as
        `send`.
        """

    def compute(self, work: Callable[[], bytes], done: Callable[[bytes | Exception], None]) -> None:
        """Do work outside of the loop, and call `done` in it with the result or the error."""

    def is_gone(self, peer: Peer) -> bool:
        """Whether the peer's connection is known to have ended."""

    def renew(self, peer: Peer) -> None:
        """A peer did not answer: make the connection to it again, if this side makes it. What waits for the
        peer is lost.
        """

    def wake(self) -> None:
        """Call `Exchange.pump` soon."""
