"""Transfers with a manual clock: what is dropped, repeated, reordered, damaged or never answered."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from rainzmq.common.archive import ArchiveError
from rainzmq.common.limits import CHUNK_BYTES, CREDIT_BYTES
from rainzmq.protocol.messages.data import CancelTransfer, Credit, Data, End, FetchData, Offer, TransferError
from rainzmq.protocol.schema import ProtocolError
from rainzmq.transport.carrier import Arrival, FetchFailure, PeerLostError
from rainzmq.transport.exchange import (
    AVOID_S,
    FULL_CREDIT_INCOMING,
    MAX_INCOMING,
    MAX_OUTGOING,
    MAX_UNCONFIRMED_BYTES,
    PIECES_PER_PUMP,
    SENDER_IDLE_S,
    SENDER_SILENT_S,
    Exchange,
)
from rainzmq.transport.transfer import STALL_S, TRIES, UNCONNECTED_TRIES, Receiver, Sender


class MemorySource:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)
        self.closed = False

    def digest(self) -> bytes:
        return hashlib.sha256(self.data).digest()

    def read(self, offset: int, count: int) -> bytes:
        return self.data[offset : offset + count]

    def close(self) -> None:
        self.closed = True


class MemorySink:
    def __init__(self, store: MemoryStore, uid: int) -> None:
        self.store = store
        self.uid = uid
        self.data = b""
        self.aborted = False

    @property
    def position(self) -> int:
        return len(self.data)

    @position.setter
    def position(self, value: int) -> None:
        raise AssertionError

    def write(self, data: bytes | memoryview) -> None:
        if len(self.data) + len(data) > self.store.room:
            raise OSError("need X, have Y")
        self.data += bytes(data)

    def finish(self, size: int, digest: bytes) -> int:
        if hashlib.sha256(self.data).digest() != digest:
            raise ValueError("the digest differs")
        self.store.objects[self.uid] = self.data
        return size

    def abort(self) -> None:
        self.aborted = True


class MemoryStore:
    def __init__(self, objects: dict[int, bytes] | None = None) -> None:
        self.objects = objects or {}
        self.room = 1 << 40
        self.sinks: list[MemorySink] = []
        self.sources: list[MemorySource] = []

    def has(self, uid: int) -> bool:
        return uid in self.objects

    def open_source(self, uid: int) -> MemorySource:
        source = MemorySource(self.objects[uid])
        self.sources.append(source)
        return source

    def open_sink(self, uid: int, is_directory: bool, executable: bool = False) -> MemorySink:
        self.sinks.append(MemorySink(self, uid))
        return self.sinks[-1]


Filter = Callable[[str, str, Any, bytes], list[tuple[Any, bytes]]]


class Node:
    """A process of the network: an exchange that carries messages through `Network`."""

    def __init__(self, network: Network, name: str, objects: dict[int, bytes] | None = None) -> None:
        self.network = network
        self.name = name
        self.store = MemoryStore(objects)
        self.results: dict[int, str | None] = {}
        self.woken = False
        self.full = False
        self.renewed: list[Any] = []
        numbers = count(network.first_transfer(name))
        self.exchange = Exchange(self.store, self, lambda: network.now, lambda: next(numbers))

    def send(self, peer: Any, message: Any) -> None:
        self.network.post(self.name, peer, message, b"")

    def try_send(self, peer: Any, message: Data, piece: bytes | memoryview) -> bool:
        if self.full:
            return False
        self.network.post(self.name, peer, message, bytes(piece))
        return True

    def compute(self, work: Callable[[], bytes], done: Callable[[bytes | Exception], None]) -> None:
        done(work())

    def is_gone(self, peer: Any) -> bool:
        return peer in self.network.dead

    def renew(self, peer: Any) -> None:
        self.renewed.append(peer)

    def wake(self) -> None:
        self.woken = True

    def fetch(self, uid: int, *holders: str) -> None:
        self.exchange.fetch(uid, False, holders, lambda error: self.results.__setitem__(uid, error))


class Network:
    """Carries messages between nodes in order, through a filter that may drop, repeat or change them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.nodes: dict[str, Node] = {}
        self.dead: set[str] = set()
        self.queue: deque[tuple[str, str, Any, bytes]] = deque()
        self.log: list[tuple[str, str, Any]] = []
        self.filter: Filter = lambda source, target, message, piece: [(message, piece)]

    def first_transfer(self, name: str) -> int:
        return 1000 * (len(self.nodes) + 1)

    def add(self, name: str, objects: dict[int, bytes] | None = None) -> Node:
        self.nodes[name] = node = Node(self, name, objects)
        return node

    def post(self, source: str, target: str, message: Any, piece: bytes) -> None:
        if target == "gone":
            raise PeerLostError
        self.log.append((source, target, message))
        for kept in self.filter(source, target, message, piece):
            self.queue.append((source, target, *kept))

    def run(self) -> None:
        """Until nothing moves any more at this time."""
        while True:
            for node in self.nodes.values():
                if node.woken:
                    node.woken = False
                    node.exchange.pump()
            if self.queue:
                source, target, message, piece = self.queue.popleft()
                node = self.nodes[target]
                if isinstance(message, FetchData):
                    node.exchange.serve(source, message)
                else:
                    node.exchange.handle(message, piece)
            elif not any(node.woken for node in self.nodes.values()):
                return

    def run_for(self, seconds: float) -> None:
        """Let time pass, second by second."""
        self.run()
        for _ in range(int(seconds)):
            self.now += 1
            for node in self.nodes.values():
                node.exchange.check()
            self.run()

    def sent(self, kind: type, target: str | None = None) -> list[Any]:
        return [m for _, to, m in self.log if type(m) is kind and target in (None, to)]


UID = 7
CONTENT = bytes(range(256)) * (13 * CHUNK_BYTES // 1024) + b"tail"  # 3.25 pieces


@pytest.fixture
def network() -> Network:
    network = Network()
    network.add("b")
    network.add("a", {UID: CONTENT})
    return network


def test_object_arrives_whole_and_nothing_stays(network: Network) -> None:
    b = network.nodes["b"]
    b.fetch(UID, "a")
    network.run()
    assert b.results == {UID: None}
    assert b.store.objects[UID] == CONTENT
    assert len(network.sent(Data)) == 4
    assert all(source.closed for source in network.nodes["a"].store.sources)
    assert not any(node.exchange.busy for node in network.nodes.values())


@pytest.mark.parametrize("content", [b"", b"x", b"x" * CHUNK_BYTES])
def test_sizes_around_the_piece_size_arrive(network: Network, content: bytes) -> None:
    network.nodes["a"].store.objects[UID] = content
    b = network.nodes["b"]
    b.fetch(UID, "a")
    network.run()
    assert b.store.objects[UID] == content


def test_fetch_of_what_is_here_already_asks_nobody(network: Network) -> None:
    a = network.nodes["a"]
    a.fetch(UID, "b")
    assert a.results == {}, "done is never called from inside fetch"
    network.run()
    assert a.results == {UID: None}
    assert network.log == []


def test_arrival_tells_the_holder_the_time_and_the_bytes(network: Network) -> None:
    network.now = 10.0
    b = network.nodes["b"]
    network.add("empty")
    told: list[Any] = []

    def slowly(source: str, target: str, message: Any, piece: bytes) -> list[tuple[Any, bytes]]:
        network.now += 0.25 if isinstance(message, End) else 0.0
        return [(message, piece)]

    network.filter = slowly
    b.exchange.fetch(UID, False, ["empty", "a"], told.append, arrived=told.append)
    network.run()
    assert told == [Arrival("a", 0.25, len(CONTENT))], "and `done` is not called"


def test_fetch_of_what_is_here_already_has_no_arrival(network: Network) -> None:
    told: list[Any] = []
    network.nodes["a"].exchange.fetch(UID, False, ["b"], told.append, arrived=told.append)
    network.run()
    assert told == [None]


def test_fetch_that_fails_has_no_arrival(network: Network) -> None:
    told: list[Any] = []
    network.nodes["b"].exchange.fetch(UID + 1, False, ["a"], told.append, arrived=told.append)
    network.run()
    assert told == ["a: it is not here"]


def test_second_fetch_of_the_same_object_joins_the_first(network: Network) -> None:
    b = network.nodes["b"]
    answers: list[str | None] = []
    for _ in range(2):
        b.exchange.fetch(UID, False, ["a"], answers.append)
    network.run()
    assert answers == [None, None]
    assert len(network.sent(FetchData)) == 1


def test_lost_piece_is_asked_for_again_where_it_is_missing(network: Network) -> None:
    lost = []

    def lose_second_piece(source: str, target: str, message: Any, piece: bytes) -> list[tuple[Any, bytes]]:
        if isinstance(message, Data) and message.offset == CHUNK_BYTES and not lost:
            lost.append(message)
            return []
        return [(message, piece)]

    network.filter = lose_second_piece
    network.nodes["b"].fetch(UID, "a")
    network.run()
    assert network.nodes["b"].store.objects[UID] == CONTENT
    assert [m.offset for m in network.sent(FetchData)] == [0, CHUNK_BYTES]
    first, second = network.sent(FetchData)
    assert first.transfer != second.transfer


def test_lost_message_of_any_kind_costs_one_stall_at_most(network: Network) -> None:
    for kind in (FetchData, Credit, Data, End):
        fresh = Network()
        b = fresh.add("b")
        fresh.add("a", {UID: CONTENT})
        lost: list[Any] = []

        def lose_first(
            source: str,
            target: str,
            message: Any,
            piece: bytes,
            kind: type = kind,
            lost: list[Any] = lost,
        ) -> list[tuple[Any, bytes]]:
            if type(message) is kind and not lost:
                lost.append(message)
                return []
            return [(message, piece)]

        fresh.filter = lose_first
        b.fetch(UID, "a")
        fresh.run_for(STALL_S)
        assert b.results == {UID: None}, kind
        assert b.store.objects[UID] == CONTENT


def test_repeated_and_reordered_messages_do_no_harm(network: Network) -> None:
    held: list[tuple[Any, bytes]] = []

    def shuffle(source: str, target: str, message: Any, piece: bytes) -> list[tuple[Any, bytes]]:
        if isinstance(message, Data) and message.offset == 0 and len(network.sent(Data)) == 1:
            held.append((message, piece))
            return []
        released = list(held)
        held.clear()
        return [(message, piece), *released, (message, piece)]

    network.filter = shuffle
    b = network.nodes["b"]
    b.fetch(UID, "a")
    network.run_for(3 * STALL_S)
    assert b.results == {UID: None}
    assert b.store.objects[UID] == CONTENT


def test_damaged_object_is_fetched_anew_from_another_replica(network: Network) -> None:
    network.add("c", {UID: CONTENT})

    def flip(source: str, target: str, message: Any, piece: bytes) -> list[tuple[Any, bytes]]:
        if source == "a" and piece:
            piece = bytes([piece[0] ^ 1]) + piece[1:]
        return [(message, piece)]

    network.filter = flip
    b = network.nodes["b"]
    b.fetch(UID, "a", "c")
    network.run()
    assert b.results == {UID: None}
    assert b.store.objects[UID] == CONTENT
    assert [m.offset for m in network.sent(FetchData, "c")] == [0]
    assert b.store.sinks[0].aborted


def test_object_that_always_comes_damaged_fails_after_a_few_tries(network: Network) -> None:
    network.filter = lambda source, target, message, piece: [(message, b"x" * len(piece))]
    b = network.nodes["b"]
    b.fetch(UID, "a")
    network.run()
    assert b.results[UID] is not None
    assert "digest differs" in b.results[UID]
    assert len(network.sent(FetchData)) == TRIES
    assert all(sink.aborted for sink in b.store.sinks)


def test_a_replica_is_asked_as_soon_as_its_holder_is_silent(network: Network) -> None:
    network.add("c", {UID: CONTENT})
    network.filter = lambda source, target, message, piece: [] if target == "a" else [(message, piece)]
    b = network.nodes["b"]
    b.fetch(UID, "a", "c")
    network.run_for(STALL_S - 1)
    assert b.results == {}
    network.run_for(1)
    assert b.results == {UID: None}
    assert len(network.sent(FetchData, "a")) == 1
    assert b.renewed == ["a"], "its connection may be the reason"


def test_the_only_holder_is_asked_a_few_times(network: Network) -> None:
    network.filter = lambda source, target, message, piece: [] if target == "a" else [(message, piece)]
    b = network.nodes["b"]
    failures: list[FetchFailure] = []
    b.exchange.fetch(UID, False, ["a"], lambda error: None, failed=failures.append)
    network.run_for(TRIES * STALL_S)
    assert len(network.sent(FetchData, "a")) == TRIES
    assert failures == [FetchFailure(f"a: it did not answer ({TRIES} times)", ["a"], False)]
    assert b.renewed == ["a"], "once"


def test_a_holder_that_was_silent_is_asked_last_for_a_while(network: Network) -> None:
    network.add("c", {UID: CONTENT, 8: b"other", 9: b"third"})
    network.filter = lambda source, target, message, piece: [] if target == "a" else [(message, piece)]
    b = network.nodes["b"]
    b.fetch(UID, "a", "c")
    network.run_for(STALL_S)
    b.fetch(8, "a", "c")
    network.run()
    assert b.results == {UID: None, 8: None}
    network.run_for(AVOID_S)
    b.exchange.check()
    b.fetch(9, "a", "c")
    network.run()
    assert len(network.sent(FetchData, "a")) == 2, "it may be well by now"


def test_a_holder_that_is_gone_is_not_asked_later_either(network: Network) -> None:
    network.add("c")
    network.filter = lambda source, target, message, piece: [] if target == "c" else [(message, piece)]
    b = network.nodes["b"]
    failures: list[FetchFailure] = []
    b.exchange.fetch(UID, False, ["c", "a"], lambda error: None, failed=failures.append)
    network.run()
    b.exchange.forget_peer("a")
    assert not failures
    b.exchange.forget_peer("c", "no connection")
    assert [(item.reason, item.silent) for item in failures] == [
        ("a: its connection is gone; c: no connection", ["a", "c"])
    ]
    assert not network.sent(FetchData, "a")


def test_a_holder_without_a_connection_is_left_for_another_or_asked_again(network: Network) -> None:
    network.add("c", {8: b"other"})
    network.filter = lambda source, target, message, piece: [] if target == "a" else [(message, piece)]
    b = network.nodes["b"]
    b.fetch(8, "a", "c")
    b.fetch(UID, "a")
    network.run()
    for number in range(1, UNCONNECTED_TRIES + 1):
        assert UID not in b.results
        b.exchange.on_unconnected("a", "no connection")
        network.run()
        assert b.results[8] is None
        assert len(network.sent(FetchData, "a")) == 1 + min(number + 1, UNCONNECTED_TRIES)
    assert b.results[UID] == f"a: no connection ({UNCONNECTED_TRIES} times)"


def test_what_is_refused_is_not_asked_for_again(network: Network) -> None:
    network.add("c", {UID: CONTENT})
    b = network.nodes["b"]
    failures: list[FetchFailure] = []

    def refuse(data: bytes | memoryview) -> None:
        raise ArchiveError("more than 3 entries")

    def open_sink() -> MemorySink:
        sink = b.store.open_sink(UID, True)
        sink.write = refuse  # type: ignore[method-assign]
        return sink

    b.exchange.fetch(UID, True, ["a", "c"], lambda error: None, open_sink=open_sink, failed=failures.append)
    network.run()
    assert failures == [FetchFailure("more than 3 entries", [], True)]
    assert len(network.sent(FetchData)) == 1


def test_next_holder_goes_on_where_the_dead_one_stopped(network: Network) -> None:
    network.add("c", {UID: CONTENT})

    def die_after_two(source: str, target: str, message: Any, piece: bytes) -> list[tuple[Any, bytes]]:
        dead = "a" in (source, target) and len(network.sent(Data)) > 2
        return [] if dead else [(message, piece)]

    network.filter = die_after_two
    b = network.nodes["b"]
    b.fetch(UID, "a", "c")
    network.run_for(STALL_S)
    assert b.store.objects[UID] == CONTENT
    assert [m.offset for m in network.sent(FetchData, "c")] == [2 * CHUNK_BYTES]


def test_holder_without_the_object_is_left_at_once_and_the_error_names_all(network: Network) -> None:
    network.add("c")
    b = network.nodes["b"]
    b.fetch(UID + 1, "c", "a", "gone")
    network.run()
    assert b.results == {UID + 1: "c: it is not here; a: it is not here; gone: its connection is gone"}
    assert b.store.sinks[0].aborted


def test_fetch_from_nobody_fails(network: Network) -> None:
    network.nodes["b"].fetch(UID)
    network.run()
    assert network.nodes["b"].results == {UID: "nobody has it"}


def test_full_disk_ends_the_fetch_with_its_reason_and_stops_the_sender(network: Network) -> None:
    b = network.nodes["b"]
    b.store.room = CHUNK_BYTES
    b.fetch(UID, "a")
    network.run()
    assert b.results == {UID: "need X, have Y"}
    assert b.store.sinks[0].aborted
    assert not network.nodes["a"].exchange.busy


def test_cancelled_fetch_is_not_answered_and_stops_the_sender(network: Network) -> None:
    a, b = network.nodes["a"], network.nodes["b"]
    a.full = True
    b.fetch(UID, "a")
    network.run()
    assert a.exchange.busy
    b.exchange.cancel(UID)
    network.run()
    assert b.results == {}
    assert not a.exchange.busy
    assert not b.exchange.busy


def test_waiting_fetch_can_be_cancelled(network: Network) -> None:
    b = network.nodes["b"]
    b.fetch(UID, "a")
    b.exchange.cancel(UID)
    network.run()
    assert b.results == {}
    assert network.log == []


def test_only_a_bounded_number_of_objects_is_under_way(network: Network) -> None:
    a, b = network.nodes["a"], network.nodes["b"]
    uids = range(100, 130)
    a.store.objects.update((uid, b"x" * 10) for uid in uids)
    a.full = True
    for uid in uids:
        b.fetch(uid, "a")
    network.run()
    requests = network.sent(FetchData)
    assert len(requests) == MAX_INCOMING
    assert sum(m.credit for m in requests) == (MAX_INCOMING + FULL_CREDIT_INCOMING) * CREDIT_BYTES // 2
    a.full = False
    a.exchange.on_writable("b")
    network.run()
    assert all(b.results[uid] is None for uid in uids)


def test_sender_stays_within_the_credit(network: Network) -> None:
    a, b = network.nodes["a"], network.nodes["b"]
    a.store.objects[UID] = bytes(CREDIT_BYTES + CHUNK_BYTES)
    network.filter = lambda source, target, message, piece: (
        [] if type(message) is Credit else [(message, piece)]
    )
    b.fetch(UID, "a")
    network.run()
    assert len(network.sent(Data)) == CREDIT_BYTES // CHUNK_BYTES
    assert b.results == {}


def test_credit_is_granted_only_for_what_was_written() -> None:
    store = MemoryStore()
    receiver = Receiver(UID, ["a"], lambda: store.open_sink(UID, False), lambda: 1, credit=10)
    [(_, request)] = receiver.start(0.0)
    assert request.credit == 10
    assert receiver.on_data(0, b"x" * 4, 1.0) == []
    assert receiver.on_data(4, b"x" * 4, 1.0) == [("a", Credit(1, 8))]


def test_holder_that_sends_more_than_its_credit_is_left() -> None:
    store = MemoryStore()
    receiver = Receiver(UID, ["a"], lambda: store.open_sink(UID, False), lambda: 1, credit=10)
    receiver.start(0.0)
    assert receiver.on_data(0, b"x" * 11, 1.0) == [("a", CancelTransfer(1))]
    assert receiver.error == "a: it sent more than was asked for"
    assert store.sinks[0].aborted


def test_upload_larger_than_announced_is_refused() -> None:
    store = MemoryStore()
    receiver = Receiver(UID, ["a"], lambda: store.open_sink(UID, False), lambda: 1, size_limit=3)
    receiver.start(0.0)
    receiver.on_data(0, b"1234", 1.0)
    assert receiver.error == "it is larger than the 3 bytes that were announced"


def test_preparing_holder_is_not_taken_for_dead(network: Network) -> None:
    a, b = network.nodes["a"], network.nodes["b"]
    requests: list[FetchData] = []
    a.exchange.serve = lambda peer, request, ended=None: requests.append(request)  # type: ignore[method-assign]
    b.fetch(UID, "a")
    for _ in range(10):
        network.run_for(STALL_S - 1)
        a.exchange.preparing("b", requests[0].transfer, 0)
    network.run()
    assert len(requests) == 1


def test_transfers_that_share_a_slow_line_do_not_count_as_stalled(network: Network) -> None:
    a, b = network.nodes["a"], network.nodes["b"]
    a.exchange.serve = lambda peer, request, ended=None: None  # type: ignore[method-assign]
    for uid in (1, 2, 3):
        b.fetch(uid, "a")
    network.run()
    transfers = [m.transfer for m in network.sent(FetchData)]
    for turn in range(12):  # a piece every 3 s, of each transfer every 9 s
        network.run_for(3)
        offset = turn // 3 * CHUNK_BYTES
        b.exchange.handle(Data(transfers[turn % 3], offset), bytes(CHUNK_BYTES))
    assert len(network.sent(FetchData)) == 3


def test_transfer_that_rests_while_others_are_fast_is_stalled(network: Network) -> None:
    a, b = network.nodes["a"], network.nodes["b"]
    a.exchange.serve = lambda peer, request, ended=None: None  # type: ignore[method-assign]
    for uid in (1, 2):
        b.fetch(uid, "a")
    network.run()
    fast = network.sent(FetchData)[0].transfer
    for second in range(int(STALL_S)):
        network.run_for(1)
        for piece in range(8):
            b.exchange.handle(Data(fast, (8 * second + piece) * CHUNK_BYTES), bytes(CHUNK_BYTES))
    network.run_for(1)
    assert [m.uid for m in network.sent(FetchData)] == [1, 2, 2]


def test_many_requests_wait_for_their_turn(network: Network) -> None:
    a = network.nodes["a"]
    a.store.objects[1] = b"x"
    a.full = True
    for transfer in range(1, 2 * MAX_OUTGOING):
        a.exchange.serve("b", FetchData(transfer, 1, 0, 10, None, b""))
    network.run()
    assert len(a.store.sources) == MAX_OUTGOING
    a.full = False
    a.exchange.on_writable("b")
    network.run()
    assert len(network.sent(End)) == 2 * MAX_OUTGOING - 1
    assert not a.exchange.busy


def test_bytes_that_nobody_confirmed_are_bounded_over_all_senders(network: Network) -> None:
    a = network.nodes["a"]
    a.store.objects[1] = bytes(CREDIT_BYTES + 1)
    for transfer in range(1, 30):
        a.exchange.serve("b", FetchData(transfer, 1, 0, CREDIT_BYTES, None, b""))
    network.nodes["b"].exchange.handle = lambda *args, **kwargs: None  # type: ignore[method-assign]
    network.run()
    assert a.exchange.sent_bytes == MAX_UNCONFIRMED_BYTES
    network.run_for(SENDER_IDLE_S + 2 * SENDER_SILENT_S)
    assert not a.exchange.busy, "receivers that are not heard of are forgotten"


def blocked_by_others(network: Network, receivers: int) -> tuple[Node, Node]:
    """(sender, receiver): others asked the sender for all that it may have under way, and confirm nothing."""
    a, b = network.nodes["a"], network.nodes["b"]
    a.store.objects[1] = bytes(CREDIT_BYTES + 1)
    for number in range(receivers):
        other = network.add(f"other{number}")
        other.exchange.handle = lambda *args, **kwargs: None  # type: ignore[method-assign]
        a.exchange.serve(other.name, FetchData(number + 1, 1, 0, CREDIT_BYTES, None, b""))
    network.run()
    assert a.exchange.sent_bytes == MAX_UNCONFIRMED_BYTES
    b.fetch(UID, "a")
    network.run()
    assert not b.results
    return a, b


def test_receivers_that_are_gone_keep_nobody_back(network: Network) -> None:
    _, b = blocked_by_others(network, 9)
    network.dead.update(f"other{number}" for number in range(9))
    network.run_for(1)
    assert b.results == {UID: None}


def test_receivers_that_are_silent_keep_others_back_for_some_seconds_only(network: Network) -> None:
    a, b = blocked_by_others(network, 9)
    network.run_for(SENDER_SILENT_S)
    assert b.results == {UID: None}
    assert not a.exchange.busy


def test_pump_sends_a_bounded_number_of_pieces_in_turn(network: Network) -> None:
    a = network.nodes["a"]
    a.store.objects[1] = bytes(100 * CHUNK_BYTES)
    for transfer in (1, 2):
        a.exchange.serve("b", FetchData(transfer, 1, 0, CREDIT_BYTES, None, b""))
    a.exchange.pump()
    pieces = network.sent(Data)
    assert [m.transfer for m in pieces] == [1, 2] * (PIECES_PER_PUMP // 2)
    assert a.woken


@pytest.mark.parametrize("request_fields", [(-1, 1), (11, 1), (0, 0), (0, -5)])
def test_senseless_request_is_refused(network: Network, request_fields: tuple[int, int]) -> None:
    a = network.nodes["a"]
    a.store.objects[1] = b"x" * 10
    a.exchange.serve("b", FetchData(5, 1, *request_fields, None, b""))
    network.run()
    assert [m.transfer for m in network.sent(TransferError, "b")] == [5]
    assert all(source.closed for source in a.store.sources)


def test_foreign_peer_can_not_touch_a_transfer(network: Network) -> None:
    a = network.nodes["a"]
    a.full = True
    a.exchange.serve("b", FetchData(5, UID, 0, CHUNK_BYTES, None, b""))
    network.run()
    a.exchange.handle(CancelTransfer(5), origin="c")
    a.exchange.serve("c", FetchData(5, UID, 0, CHUNK_BYTES, None, b""))
    network.run()
    assert a.exchange.busy
    a.exchange.handle(CancelTransfer(5), origin="b")
    assert not a.exchange.busy


def test_source_that_shrank_is_told(network: Network) -> None:
    a, b = network.nodes["a"], network.nodes["b"]
    a.full = True
    b.fetch(UID, "a")
    network.run()
    a.store.sources[0].data = b""
    a.full = False
    a.exchange.on_writable("b")
    network.run()
    assert b.results[UID] is not None
    assert "shorter than it was" in b.results[UID]


def test_lost_peer_is_forgotten_in_both_directions(network: Network) -> None:
    a, b = network.nodes["a"], network.nodes["b"]
    a.full = True
    b.fetch(UID, "a")
    network.run()
    a.exchange.forget_peer("b")
    b.exchange.forget_peer("a")
    network.run()
    assert not a.exchange.busy
    assert b.results == {UID: "a: its connection is gone"}


def test_late_messages_of_unknown_transfers_are_dropped(network: Network) -> None:
    a = network.nodes["a"]
    for message in (Data(99, 0), End(99, 1, b""), TransferError(99, ""), Credit(99, 1), CancelTransfer(99)):
        a.exchange.handle(message, b"")
    with pytest.raises(ProtocolError):
        a.exchange.handle(Offer(1, 1, False, 1))
    assert not a.exchange.busy
    assert network.log == []


def test_sender_believes_no_absurd_credit() -> None:
    sender = Sender("b", FetchData(1, 1, 0, 1 << 62, None, b""), MemorySource(b"x"), 0.0)
    sender.on_credit(1 << 62, 1.0)
    sender.on_credit(-5, 1.0)
    assert sender.unconfirmed_bytes == 0


def test_closing_leaves_no_open_source_and_no_half_object(network: Network) -> None:
    a, b = network.nodes["a"], network.nodes["b"]
    a.full = True
    b.fetch(UID, "a")
    network.run()
    a.exchange.close()
    b.exchange.close()
    assert all(source.closed for source in a.store.sources)
    assert all(sink.aborted for sink in b.store.sinks)
    assert not a.exchange.busy
    assert not b.exchange.busy


def test_an_only_holder_that_comes_back_as_another_peer_goes_on_where_it_was(network: Network) -> None:
    network.add("again", {UID: CONTENT})
    b = network.nodes["b"]

    def stops_after_two(source: str, target: str, message: Any, piece: bytes) -> list[tuple[Any, bytes]]:
        lost = source == "a" and isinstance(message, Data) and message.offset >= 2 * CHUNK_BYTES
        return [] if lost or (source == "a" and isinstance(message, End)) else [(message, piece)]

    network.filter = stops_after_two
    assert not b.exchange.move(UID, "again"), "there is no such fetch"
    b.fetch(UID, "a")
    network.run()
    assert b.results == {}
    assert b.exchange.move(UID, "again")
    network.run()
    assert b.results == {UID: None}
    assert b.store.objects[UID] == CONTENT
    assert [fetch.offset for fetch in network.sent(FetchData, "again")] == [2 * CHUNK_BYTES]
