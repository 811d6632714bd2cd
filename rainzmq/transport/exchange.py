"""All transfers of one data socket, in both directions, without sockets, clocks or threads.

    fetch()  --> waiting --> receivers (at most MAX_INCOMING at a time) --> done(None | why not)
    FetchData --> senders (at most MAX_OUTGOING) --pump()--> one piece each, in turn

What is under way is bounded in bytes in both directions: by the credit that receivers here grant, and by
`MAX_UNCONFIRMED_BYTES` over all senders here. The owner of the socket hands in what arrives, calls `pump`
when there may be something to send and `check` every `CHECK_INTERVAL_S` while `busy`, and carries messages
out: `Carrier`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from rainzmq.common.archive import ArchiveError
from rainzmq.common.limits import CREDIT_BYTES
from rainzmq.protocol.messages.data import CancelTransfer, Credit, Data, End, FetchData, TransferError
from rainzmq.protocol.messages.shared import Endpoint
from rainzmq.protocol.schema import ProtocolError
from rainzmq.transport.carrier import Arrival, Arrived, Carrier, Done, Failed, FetchFailure, PeerLostError
from rainzmq.transport.transfer import STALL_S, Outgoing, Peer, Receiver, Sender, SinkLike, StoreLike

MAX_INCOMING = 8
"""Objects that are received at a time; more wait."""

FULL_CREDIT_INCOMING = 4
"""With more than this many at a time each gets half the credit, so that all of it stays under 48 MiB."""

MAX_OUTGOING = 64
"""Objects that are sent at a time; more requests wait, up to `MAX_REQUESTS`, then they are refused."""

MAX_REQUESTS = 10_000
MAX_UNCONFIRMED_BYTES = 64 << 20
SENDER_IDLE_S = 60.0
"""A receiver that was not heard for so long is gone."""

SENDER_SILENT_S = STALL_S + 1.0
"""When senders wait for each other, one whose receiver was not heard for so long is dropped: had it missed
anything, it would have asked again by now."""

PROBE_AFTER_S = 0.9
"""A receiver that was not heard for so long is looked at: is its connection still there?"""

AVOID_S = 15.0
"""A holder that did not answer is asked last for so long."""

PIECES_PER_PUMP = 8
"""Pieces that are sent between looking at what arrives."""

SMALL_BYTES = 256 << 10
"""The digest of an object up to this size is computed on the spot."""

CHECK_INTERVAL_S = 1.0
_RATE_WINDOW = 10
"""Checks over which the rate of all that arrives is taken."""

_REST_CHECKS = 5
"""Checks in a row that see nothing new mean that nothing moves: just under `STALL_S`."""

_MAX_REASON = 1000


class _Incoming:
    """A fetch that was asked for."""

    __slots__ = ("begin", "dones", "is_directory", "key", "make", "receiver", "uid")

    def __init__(self, uid: int, is_directory: bool, make: Callable[[int], Receiver]) -> None:
        self.uid = uid
        self.is_directory = is_directory
        self.make = make
        self.dones: list[tuple[Done, Arrived | None, Failed | None]] = []
        self.receiver: Receiver | None = None
        self.key = 0
        self.begin = 0.0


class Exchange:
    """The transfers of one socket. All methods are called in the thread of the socket's loop."""

    def __init__(
        self, store: StoreLike, carrier: Carrier, now: Callable[[], float], new_transfer: Callable[[], int]
    ) -> None:
        self._store = store
        self._carrier = carrier
        self._now = now
        self._new_transfer = new_transfer
        self._incoming: dict[int, _Incoming] = {}
        self._waiting: deque[_Incoming] = deque()
        self._receivers: dict[int, _Incoming] = {}
        self._senders: dict[int, Sender] = {}
        self._requests: dict[int, tuple[Peer, FetchData, Callable[[bool], None] | None]] = {}
        self._turns: deque[int] = deque()
        self._blocked: set[Peer] = set()
        self._sender_ended: dict[int, Callable[[bool], None]] = {}
        self._avoided: dict[Peer, float] = {}
        self._history: deque[int] = deque([0], maxlen=_RATE_WINDOW + 1)
        self.received_bytes = 0
        self.sent_bytes = 0

    @property
    def busy(self) -> bool:
        """There are transfers, so `check` must be called now and then."""
        return bool(self._incoming or self._senders or self._requests)

    def fetch(
        self,
        uid: int,
        is_directory: bool,
        holders: Sequence[Peer],
        done: Done,
        *,
        reply_to: Endpoint | None = None,
        ticket: bytes = b"",
        transfer: int | None = None,
        size_limit: int | None = None,
        open_sink: Callable[[], SinkLike] | None = None,
        executable: bool = False,
        arrived: Arrived | None = None,
        failed: Failed | None = None,
    ) -> None:
        """Get an object into the store (or `open_sink()`), then `done(None)`; or `done(why not)`. Never
        from inside this.

        While the object is being fetched already, its holders are the ones given first. `transfer` fixes
        the id of all tries. With `executable` it becomes an executable file in the store. `arrived` is called
        in place of `done(None)`, unless the object was there already, `failed` in place of `done(why not)`.
        """
        incoming = self._incoming.get(uid)
        if incoming is None:
            sink = open_sink or (lambda: self._store.open_sink(uid, is_directory, executable))
            new = self._new_transfer if transfer is None else (lambda: transfer)

            def make(credit: int) -> Receiver:
                return Receiver(
                    uid,
                    self._in_order(holders),
                    sink,
                    new,
                    credit=credit,
                    reply_to=reply_to,
                    ticket=ticket,
                    size_limit=size_limit,
                )

            incoming = self._incoming[uid] = _Incoming(uid, is_directory, make)
            self._waiting.append(incoming)
            self._carrier.wake()
        incoming.dones.append((done, arrived, failed))

    def move(self, uid: int, holder: Peer) -> bool:
        """The only holder of an object is another peer from now on; False when its fetch has not begun."""
        incoming = self._incoming.get(uid)
        if incoming is None or incoming.receiver is None:
            return False
        self._follow(incoming, incoming.receiver.on_moved(holder, self._now()))
        return True

    def cancel(self, uid: int) -> None:
        """Do not fetch an object any more; its `done` is not called."""
        incoming = self._incoming.pop(uid, None)
        if incoming is None:
            return
        if incoming.receiver is None:
            self._waiting.remove(incoming)
            return
        self._receivers.pop(incoming.key, None)
        self._send_all(incoming.receiver.cancel("cancelled"))
        self._carrier.wake()

    def serve(self, peer: Peer, request: FetchData, ended: Callable[[bool], None] | None = None) -> None:
        """Send an object of the store to a peer that asked for it; `ended(all was sent)` afterwards.

        A request with the id of a running transfer to the same peer starts that one again at the new offset.
        """
        waiting, known = self._requests.get(request.transfer), self._senders.get(request.transfer)
        refused = (waiting is not None and waiting[0] != peer) or (known is not None and known.peer != peer)
        if not refused:
            self._drop_sender(request.transfer, False)
            refused = len(self._requests) >= MAX_REQUESTS
            if refused:
                self._send(peer, TransferError(request.transfer, "too many requests are waiting here"))
        if refused:
            if ended is not None:
                ended(False)
            return
        self._drop_request(request.transfer)
        self._requests[request.transfer] = (peer, request, ended)
        self._carrier.wake()

    def preparing(self, peer: Peer, transfer: int, offset: int) -> bool:
        """Tell a receiver that what it asked for is not here yet, but being got; whether the peer is still
        there.
        """
        try:
            self._carrier.try_send(peer, Data(transfer, offset), b"")
        except PeerLostError:
            return False
        return True

    def handle(self, message: Any, piece: bytes | memoryview = b"", origin: Peer | None = None) -> None:
        """A message of a peer, other than `FetchData` and `Offer`, which need the owner's decision.

        `origin` is who sent it, where that is known; what does not belong to a transfer with it is dropped,
        as is what comes late for a try that was given up.

        Raises:
            ProtocolError: a message that has no place here.
        """
        now = self._now()
        kind = type(message)
        if kind is Credit or kind is CancelTransfer:
            self._on_receiver_said(message, origin, now)
        elif kind is Data or kind is End or kind is TransferError:
            self._on_sender_said(message, piece, origin, now)
        else:
            raise ProtocolError(f"unexpected message {kind.__name__}")

    def on_writable(self, peer: Peer) -> None:
        """A peer takes pieces again."""
        self._blocked.discard(peer)
        self._carrier.wake()

    def forget_peer(self, peer: Peer, reason: str = "its connection is gone") -> None:
        """A peer is gone: stop sending to it, and ask others for what it was asked for."""
        self._stop_sending(peer)
        for incoming in list(self._receivers.values()):
            if incoming.receiver is not None:
                self._follow(incoming, incoming.receiver.on_lost(peer, reason, self._now()))

    def on_unconnected(self, peer: Peer, reason: str) -> None:
        """No connection to a peer could be made in time: ask others, or again."""
        self._stop_sending(peer)
        for incoming in list(self._receivers.values()):
            if incoming.receiver is not None and incoming.receiver.holder == peer:
                self._follow(incoming, incoming.receiver.on_unconnected(reason, self._now()))

    def _stop_sending(self, peer: Peer) -> None:
        self._avoided[peer] = self._now() + AVOID_S
        self._blocked.discard(peer)
        for transfer in [key for key, (other, _, _) in self._requests.items() if other == peer]:
            self._drop_request(transfer)
        for transfer in [key for key, sender in self._senders.items() if sender.peer == peer]:
            self._drop_sender(transfer, False)

    def pump(self) -> None:
        """Start what may start and send what may be sent, a bounded number of pieces; wakes itself for the
        rest.
        """
        while self._waiting and len(self._receivers) < MAX_INCOMING:
            self._start(self._waiting.popleft())
        while self._requests and len(self._senders) < MAX_OUTGOING:
            self._open_sender(next(iter(self._requests)))
        unconfirmed = sum([sender.unconfirmed_bytes for sender in self._senders.values()])
        pieces, rested = 0, 0
        while self._turns and rested < len(self._turns) and pieces < PIECES_PER_PUMP:
            transfer = self._turns[0]
            self._turns.rotate(-1)
            count = self._send_piece(transfer) if unconfirmed < MAX_UNCONFIRMED_BYTES else 0
            unconfirmed += count
            pieces += count > 0
            rested = 0 if count else rested + 1
        if pieces == PIECES_PER_PUMP:
            self._carrier.wake()

    def check(self) -> None:
        """Judge silence. Call it every `CHECK_INTERVAL_S` while `busy`."""
        now = self._now()
        receivers = [(item, item.receiver) for item in self._receivers.values() if item.receiver is not None]
        limit_s = self._patience_s(sum([receiver.outstanding for _, receiver in receivers]))
        for incoming, receiver in receivers:
            holder = receiver.holder
            if holder is not None and now - receiver.last_progress >= limit_s:
                if self._avoided.get(holder, now) <= now:
                    self._carrier.renew(holder)
                self._avoided[holder] = now + AVOID_S
                self._follow(incoming, receiver.on_stalled(now))
        self._avoided = {peer: until for peer, until in self._avoided.items() if until > now}
        self._check_senders(now)

    def _check_senders(self, now: float) -> None:
        """Bytes to receivers that are gone must not keep back those to others for long."""
        unconfirmed = sum([sender.unconfirmed_bytes for sender in self._senders.values()])
        full = unconfirmed >= MAX_UNCONFIRMED_BYTES or len(self._senders) >= MAX_OUTGOING
        limit_s = SENDER_SILENT_S if full else SENDER_IDLE_S
        quiet: set[Peer] = set()
        for transfer, sender in list(self._senders.items()):
            silence_s = now - sender.last_heard
            if silence_s >= limit_s:
                self._drop_sender(transfer, False)
            elif silence_s >= PROBE_AFTER_S:
                quiet.add(sender.peer)
        for peer in quiet:
            if self._carrier.is_gone(peer):
                self.forget_peer(peer)

    def close(self) -> None:
        """End all transfers without a word to anyone."""
        for incoming in list(self._receivers.values()):
            if incoming.receiver is not None:
                incoming.receiver.cancel("closed")
        for sender in self._senders.values():
            sender.close()
        self._incoming.clear()
        self._waiting.clear()
        self._receivers.clear()
        self._senders.clear()
        self._requests.clear()
        self._turns.clear()

    def _patience_s(self, outstanding: int) -> float:
        """How long a transfer may rest: `STALL_S`, on a slow line as long as all that is under way takes."""
        history = self._history
        history.append(self.received_bytes)
        if history[-1] == history[max(0, len(history) - _REST_CHECKS)]:
            return STALL_S  # nothing moves at all, so nobody holds it up
        rate = (history[-1] - history[0]) / (CHECK_INTERVAL_S * _RATE_WINDOW)
        return max(STALL_S, outstanding / rate)

    def _start(self, incoming: _Incoming) -> None:
        if self._store.has(incoming.uid):
            self._finish(incoming, None)
            return
        few = len(self._receivers) < FULL_CREDIT_INCOMING
        receiver = incoming.receiver = incoming.make(CREDIT_BYTES if few else CREDIT_BYTES // 2)
        incoming.begin = self._now()
        self._follow(incoming, receiver.start(incoming.begin))

    def _follow(self, incoming: _Incoming, outgoing: Outgoing) -> None:
        """Carry out what a receiver wants after an event, and see whether it is done."""
        receiver = incoming.receiver
        assert receiver is not None
        if receiver.done:
            self._receivers.pop(incoming.key, None)
        elif receiver.transfer != incoming.key:
            self._receivers.pop(incoming.key, None)
            incoming.key = receiver.transfer
            self._receivers[incoming.key] = incoming
        self._send_all(outgoing)
        if receiver.done and self._incoming.get(incoming.uid) is incoming:
            self._finish(incoming, receiver.error)
            self._carrier.wake()

    def _in_order(self, holders: Sequence[Peer]) -> list[Peer]:
        """Those that did not answer lately come last."""
        now = self._now()
        return sorted(holders, key=lambda holder: self._avoided.get(holder, now) > now)

    def _finish(self, incoming: _Incoming, error: str | None) -> None:
        del self._incoming[incoming.uid]
        receiver, arrival = incoming.receiver, None
        if error is None and receiver is not None and receiver.source is not None:
            arrival = Arrival(receiver.source, self._now() - incoming.begin, receiver.received_bytes)
        for done, arrived, failed in incoming.dones:
            if arrived is not None and arrival is not None:
                arrived(arrival)
            elif failed is not None and error is not None and receiver is not None:
                failed(FetchFailure(error, receiver.silent, receiver.refused))
            else:
                done(error)

    def _on_receiver_said(self, message: Credit | CancelTransfer, origin: Peer | None, now: float) -> None:
        transfer = message.transfer
        sender, request = self._senders.get(transfer), self._requests.get(transfer)
        peer = sender.peer if sender is not None else request[0] if request is not None else None
        if peer is None or (origin is not None and origin != peer):
            return
        if isinstance(message, Credit):
            if sender is not None:
                sender.on_credit(message.credit, now)
                self._carrier.wake()
            return
        self._drop_request(transfer)
        self._drop_sender(transfer, False)

    def _on_sender_said(
        self, message: Data | End | TransferError, piece: bytes | memoryview, origin: Peer | None, now: float
    ) -> None:
        incoming = self._receivers.get(message.transfer)
        receiver = incoming.receiver if incoming is not None else None
        if incoming is None or receiver is None or (origin is not None and origin != receiver.holder):
            return
        if isinstance(message, Data):
            self.received_bytes += len(piece)
            self._follow(incoming, receiver.on_data(message.offset, piece, now))
        elif isinstance(message, End):
            self._follow(incoming, receiver.on_end(message.size, message.digest, now))
        else:
            self._follow(incoming, receiver.on_error(message.reason[:_MAX_REASON], now))

    def _open_sender(self, transfer: int) -> None:
        peer, request, ended = self._requests.pop(transfer)
        source = None
        try:
            source = self._store.open_source(request.uid)
            sender = Sender(peer, request, source, self._now())
        except (KeyError, OSError, ValueError, ArchiveError) as error:
            if source is not None:
                source.close()
            reason = "it is not here" if isinstance(error, KeyError) else str(error)
            self._send(peer, TransferError(transfer, reason))
            if ended is not None:
                ended(False)
            return
        self._senders[transfer] = sender
        self._turns.append(transfer)
        if ended is not None:
            self._sender_ended[transfer] = ended
        if source.size <= SMALL_BYTES:
            sender.digest = source.digest()
        else:
            self._compute_digest(transfer, request.uid)

    def _compute_digest(self, transfer: int, uid: int) -> None:
        """Away from the loop: a large file takes seconds, in which nobody would hear from this process."""

        def work() -> bytes:
            source = self._store.open_source(uid)
            try:
                return source.digest()
            finally:
                source.close()

        def done(result: bytes | Exception) -> None:
            sender = self._senders.get(transfer)
            if sender is None:
                return
            if isinstance(result, bytes):
                sender.digest = result
                self._carrier.wake()
            else:
                self._send(sender.peer, TransferError(transfer, f"it cannot be read: {result}"))
                self._drop_sender(transfer, False)

        self._carrier.compute(work, done)

    def _send_piece(self, transfer: int) -> int:
        """Send the next piece of a transfer, or its end; how many bytes went."""
        sender = self._senders[transfer]
        if sender.peer in self._blocked:
            return 0
        try:
            end = sender.end()
            if end is not None:
                self._carrier.send(sender.peer, end)
                self._drop_sender(transfer, True)
                return 0
            step = sender.next_piece()
            if step is None:
                return 0
            if not self._carrier.try_send(sender.peer, *step):
                self._blocked.add(sender.peer)
                return 0
        except PeerLostError:
            self.forget_peer(sender.peer)
            return 0
        except (OSError, ArchiveError) as error:
            self._send(sender.peer, TransferError(transfer, f"it cannot be read: {error}"))
            self._drop_sender(transfer, False)
            return 0
        count = len(step[1])
        sender.sent(count)
        self.sent_bytes += count
        return count

    def _drop_request(self, transfer: int) -> None:
        request = self._requests.pop(transfer, None)
        if request is not None and request[2] is not None:
            request[2](False)

    def _drop_sender(self, transfer: int, complete: bool) -> None:
        sender = self._senders.pop(transfer, None)
        if sender is None:
            return
        self._turns.remove(transfer)
        sender.close()
        ended = self._sender_ended.pop(transfer, None)
        if ended is not None:
            ended(complete)
        self._carrier.wake()

    def _send(self, peer: Peer, message: Any) -> None:
        self._send_all([(peer, message)])

    def _send_all(self, outgoing: Outgoing) -> None:
        for peer, message in outgoing:
            try:
                self._carrier.send(peer, message)
            except PeerLostError:
                if type(message) is FetchData:
                    self._lost_holder(message.transfer)

    def _lost_holder(self, transfer: int) -> None:
        incoming = self._receivers.get(transfer)
        if incoming is not None and incoming.receiver is not None:
            holder, reason = incoming.receiver.holder, "its connection is gone"
            self._follow(incoming, incoming.receiver.on_lost(holder, reason, self._now()))
