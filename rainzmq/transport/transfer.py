"""One transfer of one object, without sockets, clocks or threads: what the receiver and the sender of it do.

The receiver drives. It asks one holder (`FetchData`) for the bytes from an offset on and grants credit; it
grants more only after it has written what came. Without progress for `STALL_S` it asks the next holder, or
the same one when there is no other, from where it is, under a new transfer id, so that whatever the old try
still brings is dropped; a holder that was silent `TRIES` times is asked no more. At the end it checks size
and SHA-256; when they differ it begins again with another holder. So nothing depends on any message arriving.
What would be refused again (an archive that holds what a tree may not, no room) ends the transfer at once.

The sender holds no more state than offset and credit, and forgets it when the last byte has left: a
receiver that missed something asks again.

Methods of `Receiver` return what to send, as pairs of holder and message, and change nothing outside but
the sink.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

from rainzmq.common.archive import ArchiveError, DamagedArchive
from rainzmq.common.limits import CHUNK_BYTES, CREDIT_BYTES
from rainzmq.protocol.messages.data import CancelTransfer, Credit, Data, End, FetchData
from rainzmq.protocol.messages.shared import Endpoint

_log = logging.getLogger(__name__)

STALL_S = 5.0
"""Without progress for so long, the receiver asks another holder, or again."""

TRIES = 3
"""So often one holder is asked without any progress, and so often an object may arrive damaged."""

UNCONNECTED_TRIES = 2
"""A holder that was silent or without a connection so often, the latter at last, is given up."""

MAX_GRANT_BYTES = 8 * CREDIT_BYTES
"""A sender believes in no more credit than this."""

Peer = Hashable
"""Whom to send to; `str` of it is human-readable."""

Outgoing = list[tuple[Peer, Any]]


class SourceLike(Protocol):
    """A stored object as a stream of `size` bytes."""

    size: int

    def digest(self) -> bytes:
        """SHA-256 of the stream; may take long."""

    def read(self, offset: int, count: int) -> bytes | memoryview:
        """Up to `count` bytes from `offset` on; raises `OSError`, `ArchiveError`."""

    def close(self) -> None:
        """Let go of it."""


class SinkLike(Protocol):
    """Takes the stream of one object; `position` bytes so far. `abort` must follow any error."""

    position: int

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes; raises when there is no room for them, `ArchiveError` for a bad archive."""

    def finish(self, size: int, digest: bytes) -> int:
        """Store the object, its size; `ValueError` when size or digest differ, `ArchiveError` as `write`."""

    def abort(self) -> None:
        """Leave nothing."""


class StoreLike(Protocol):
    """Where objects come from and go to (`rainzmq.store.ObjectStore`)."""

    def has(self, uid: int) -> bool:
        """Whether the object is here."""

    def open_source(self, uid: int) -> SourceLike:
        """Its stream; `KeyError` when it is not here. May be called from any thread."""

    def open_sink(self, uid: int, is_directory: bool, executable: bool = False) -> SinkLike:
        """A place for it; raises when there is no room."""


class Receiver:
    """Gets one object from one of its holders.

    Attributes:
        uid: the object.
        transfer: id of the current try; messages of others are not for this receiver.
        done: it ended, one way or the other.
        error: why it ended without the object; None when it has it, or is not done.
        silent: holders that did not answer, or could not be reached, and were given up.
        refused: it ended because of what the object is: it would be refused from any holder.
        size: size of the object in the store once it is there.
        source: the holder that gave the last of it; None before it is there.
        received_bytes: bytes of the whole stream once it is there; of a directory, of its archive.
        outstanding: bytes that may be under way to here.
        last_progress: when it was started or asked, or bytes came, on the caller's clock.
    """

    def __init__(
        self,
        uid: int,
        holders: Sequence[Peer],
        open_sink: Callable[[], SinkLike],
        new_transfer: Callable[[], int],
        *,
        credit: int = CREDIT_BYTES,
        reply_to: Endpoint | None = None,
        ticket: bytes = b"",
        size_limit: int | None = None,
    ) -> None:
        """`credit` is how many bytes may be under way at a time; more than `size_limit` bytes in all are
        refused.
        """
        self.uid = uid
        self.transfer = 0
        self.done = False
        self.error: str | None = None
        self.silent: list[Peer] = []
        self.refused = False
        self.size = 0
        self.source: Peer | None = None
        self.received_bytes = 0
        self.last_progress = 0.0
        self._holders = deque(holders)
        self._open_sink = open_sink
        self._new_transfer = new_transfer
        self._credit = credit
        self._reply_to = reply_to
        self._ticket = ticket
        self._size_limit = size_limit
        self._sink: SinkLike | None = None
        self.outstanding = 0
        self._tries: Counter[Peer] = Counter()
        self._damaged = 0
        self._reasons: list[str] = []

    @property
    def position(self) -> int:
        """Bytes of the stream that are here."""
        return self._sink.position if self._sink is not None else 0

    @property
    def holder(self) -> Peer | None:
        """Who is being asked, None when it is done or nobody is left."""
        return self._holders[0] if self._holders and not self.done else None

    def start(self, now: float) -> Outgoing:
        """Ask the first holder."""
        return self._reopen(now)

    def on_data(self, offset: int, data: bytes | memoryview, now: float) -> Outgoing:
        """A piece of the current try came. An empty one says that the sender is still preparing."""
        if self._sink is None or self.done:
            return []
        if offset > self._sink.position:
            return self._ask_again("a piece is missing", now)
        self.last_progress = now
        if offset < self._sink.position or not len(data):
            return []
        self.outstanding -= len(data)
        if self.outstanding < 0:
            return self._next_holder("it sent more than was asked for", now)
        if self._size_limit is not None and self._sink.position + len(data) > self._size_limit:
            return self._fail(f"it is larger than the {self._size_limit} bytes that were announced")
        try:
            self._sink.write(data)
        except DamagedArchive as error:
            return self._on_damaged(str(error), now)
        except Exception as error:  # whatever ails the disk ends this transfer, never the loop
            return self._refuse(error)
        del self._tries[self._holders[0]]
        return self._grant()

    def on_end(self, size: int, digest: bytes, now: float) -> Outgoing:
        """The holder says that all of the current try was sent."""
        if self._sink is None or self.done:
            return []
        self.last_progress = now
        if size != self._sink.position:
            return self._ask_again(f"only {self._sink.position} of {size} bytes came", now)
        try:
            self.size = self._sink.finish(size, digest)
        except (ValueError, DamagedArchive) as error:
            return self._on_damaged(str(error), now)
        except Exception as error:  # as in `on_data`
            return self._refuse(error)
        self._sink = None
        self.source, self.received_bytes = self._holders[0], size
        self.done = True
        return []

    def on_error(self, reason: str, now: float) -> Outgoing:
        """The holder cannot send it."""
        return [] if self.done else self._next_holder(reason, now)

    def on_stalled(self, now: float) -> Outgoing:
        """There was no progress for too long."""
        return self._on_silent("it did not answer", TRIES, now)

    def on_unconnected(self, reason: str, now: float) -> Outgoing:
        """No connection to the holder could be made in time."""
        return self._on_silent(reason, UNCONNECTED_TRIES, now)

    def _on_silent(self, reason: str, tries: int, now: float) -> Outgoing:
        if self.done:
            return []
        holder = self._holders[0]
        self._tries[holder] += 1
        if self._tries[holder] >= tries:
            self.silent.append(holder)
            return self._next_holder(f"{reason} ({tries} times)", now)
        stop = self._stop_holder()
        self._holders.rotate(-1)
        return [*stop, *self._ask(now)]

    def on_lost(self, peer: Peer, reason: str, now: float) -> Outgoing:
        """There is no way to a peer: it is not to be asked, or not any more."""
        if self.done or peer not in self._holders:
            return []
        self.silent.append(peer)
        if self._holders[0] == peer:
            return self._next_holder(reason, now)
        self._holders.remove(peer)
        self._reasons.append(f"{peer}: {reason}")
        return []

    def on_moved(self, holder: Peer, now: float) -> Outgoing:
        """The only holder is another peer from now on: it is asked for the rest."""
        if self._sink is None or self.done:
            return []
        self._holders = deque([holder])
        self._tries.clear()
        return self._ask(now)

    def cancel(self, reason: str) -> Outgoing:
        """Give up."""
        return [] if self.done else self._fail(reason)

    def _grant(self) -> Outgoing:
        if self.outstanding > self._credit // 2:
            return []
        more = self._credit - self.outstanding
        self.outstanding = self._credit
        return [(self._holders[0], Credit(self.transfer, more))]

    def _reopen(self, now: float) -> Outgoing:
        if not self._holders:
            return self._fail("nobody has it")
        try:
            self._sink = self._open_sink()
        except Exception as error:  # as in `on_data`
            return self._fail(_text(error))
        return self._ask(now)

    def _ask(self, now: float) -> Outgoing:
        self.transfer = self._new_transfer()
        self.last_progress = now
        self.outstanding = self._credit
        message = FetchData(
            self.transfer, self.uid, self.position, self._credit, self._reply_to, self._ticket
        )
        return [(self._holders[0], message)]

    def _ask_again(self, reason: str, now: float) -> Outgoing:
        self._tries[self._holders[0]] += 1
        if self._tries[self._holders[0]] >= TRIES:
            return self._next_holder(f"{reason} ({TRIES} times)", now)
        return [*self._stop_holder(), *self._ask(now)]

    def _next_holder(self, reason: str, now: float) -> Outgoing:
        stop = self._stop_holder()
        self._reasons.append(f"{self._holders.popleft()}: {reason}")
        if not self._holders:
            return [*stop, *self._fail("; ".join(self._reasons[-TRIES:]))]
        return [*stop, *self._ask(now)]

    def _on_damaged(self, reason: str, now: float) -> Outgoing:
        self._damaged += 1
        _log.warning("object %d came damaged from %s: %s", self.uid, self._holders[0], reason)
        stop = self._stop_holder()
        self._abort()
        self._reasons.append(f"{self._holders[0]}: {reason}")
        if self._damaged >= TRIES:
            return [*stop, *self._fail("; ".join(self._reasons[-TRIES:]))]
        self._holders.rotate(-1)
        return [*stop, *self._reopen(now)]

    def _stop_holder(self) -> Outgoing:
        return [(self._holders[0], CancelTransfer(self.transfer))] if self.transfer and self._holders else []

    def _refuse(self, error: Exception) -> Outgoing:
        self.refused = isinstance(error, ArchiveError)
        return self._fail(_text(error))

    def _fail(self, reason: str) -> Outgoing:
        stop = self._stop_holder()
        self._abort()
        self.done = True
        self.error = reason
        return stop

    def _abort(self) -> None:
        if self._sink is not None:
            self._sink.abort()
            self._sink = None


class Sender:
    """Gives one object to one receiver.

    Attributes:
        peer: the receiver.
        transfer: the receiver's id of this try.
        uid: the object.
        offset: bytes before this one were sent, or were there already.
        digest: SHA-256 of the whole, None until it is known; the end is sent only with it.
        last_heard: when the receiver was last heard, on the caller's clock.
    """

    def __init__(self, peer: Peer, request: FetchData, source: SourceLike, now: float) -> None:
        """`ValueError` for a request that makes no sense."""
        if not 0 <= request.offset <= source.size or request.credit <= 0:
            raise ValueError(
                f"bytes from {request.offset} on of an object of {source.size} bytes were asked for"
            )
        self.peer = peer
        self.transfer = request.transfer
        self.uid = request.uid
        self.offset = request.offset
        self.digest: bytes | None = None
        self.last_heard = now
        self._source = source
        self._credit = min(request.credit, MAX_GRANT_BYTES)
        self._window = self._credit

    @property
    def size(self) -> int:
        """Bytes of the whole stream."""
        return self._source.size

    @property
    def unconfirmed_bytes(self) -> int:
        """Bytes that were sent and for which no new credit came."""
        return max(0, self._window - self._credit)

    def on_credit(self, credit: int, now: float) -> None:
        """The receiver has written some."""
        self.last_heard = now
        self._credit = min(self._credit + max(credit, 0), MAX_GRANT_BYTES)
        self._window = max(self._window, self._credit)

    def next_piece(self) -> tuple[Data, bytes | memoryview] | None:
        """The next piece that may be sent now, None for none; the same again until `sent`. Raises as
        `SourceLike.read`.
        """
        count = min(CHUNK_BYTES, self._credit, self.size - self.offset)
        if count <= 0:
            return None
        piece = self._source.read(self.offset, count)
        if not len(piece):
            raise OSError("the stored object is shorter than it was")
        return Data(self.transfer, self.offset), piece

    def sent(self, count: int) -> None:
        """A piece of `count` bytes has been sent."""
        self.offset += count
        self._credit -= count

    def end(self) -> End | None:
        """What to send last; None while bytes or the digest are missing."""
        if self.offset < self.size or self.digest is None:
            return None
        return End(self.transfer, self.size, self.digest)

    def close(self) -> None:
        """Let go of the object."""
        self._source.close()


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
