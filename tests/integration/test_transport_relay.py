"""The relay between clients and workers, over real sockets: who gets what, and what is left afterwards."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from data_peers import MIB, Peer, SecondLoop, warm_up_zero_copy

from rainzmq.client.datalink import DataLink, Sink
from rainzmq.common.archive import Unpacker, pack_tree
from rainzmq.common.errors import RainException
from rainzmq.common.ids import make_uid
from rainzmq.protocol.codec import Header, decode, encode
from rainzmq.protocol.messages.data import CONVERSATION, CancelTransfer, Data, FetchData, Offer, TransferError
from rainzmq.protocol.messages.shared import Endpoint
from rainzmq.server.relay import CLIENT_DOMAIN, Relay
from rainzmq.store import streams
from rainzmq.transport.access import Access
from rainzmq.transport.control import ControlClient
from rainzmq.transport.keys import KeyPair
from rainzmq.transport.loop import Loop
from rainzmq.transport.port import BAD_FRAMES_LIMIT
from rainzmq.transport.sockets import new_context
from rainzmq.transport.zap import Authenticator

EPOCH = 4711
CONSTANT = make_uid(1, 5)
RESULT = make_uid(1, 6)
OTHERS = make_uid(2, 5)
TICKET = b"t" * 16


@pytest.fixture(autouse=True, scope="module")
def _warm_up() -> None:
    warm_up_zero_copy()


class Server:
    """What the relay needs of a server: a loop with the authenticator, and who owns which session."""

    def __init__(self) -> None:
        self.context = new_context()
        self.loop = Loop()
        self.keys = KeyPair.new()
        self.roles = {role: KeyPair.new() for role in ("client", "worker", "viewer")}
        self.owners = {1: EPOCH, 2: 1234}
        self.uploaded: list[tuple[int, int, bool]] = []
        self.missed: list[tuple[int, str, list[str]]] = []
        self.authenticator = Authenticator(self.context, self.loop)
        self.relay = Relay(
            self.context,
            self.authenticator,
            self.keys,
            self.roles,
            "127.0.0.1",
            owner_of=lambda session_id: self.owners.get(session_id),
            on_uploaded=lambda *item: self.uploaded.append(item),
            on_missed=lambda *item: self.missed.append(item),
        )
        self.endpoint, self.client_port = self.relay.start()
        self.thread = threading.Thread(target=self.loop.run)
        self.thread.start()
        self.client_context = new_context()
        self.channels: list[ControlClient] = []

    def channel(self, role: str = "client") -> ControlClient:
        access = Access("127.0.0.1", self.client_port, self.keys.public, self.roles, 1, os.getpid(), 0.0)
        channel = ControlClient(self.client_context, access, role)
        self.channels.append(channel)
        channel.connect()
        return channel

    def link(self, epoch: int = EPOCH) -> DataLink:
        return DataLink(self.channel, Header(sender_epoch=epoch), lambda: None)

    def upload(self, uid: int, content: bytes, epoch: int = EPOCH, is_directory: bool = False) -> None:
        self.link(epoch).upload(uid, is_directory, io.BytesIO(content), len(content))

    def download(self, uid: int, ticket: bytes = TICKET) -> bytes:
        sink = Sink()
        self.link().download(uid, ticket, sink)
        return bytes(sink.view())

    def close(self) -> None:
        for channel in self.channels:
            channel.close()
        self.client_context.destroy(linger=0)
        self.relay.close()
        self.loop.stop()
        self.thread.join()
        self.authenticator.close()
        self.context.destroy(linger=0)
        self.loop.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def worker(server: Server, tmp_path: Path) -> Iterator[Peer]:
    peer = Peer(tmp_path / "worker", server.roles["worker"])
    peer.authenticator.allow("data", server.keys.public, "server")
    running = SecondLoop(peer)
    yield peer
    running.close()


def message_of(frames: list[bytes]) -> object:
    return decode(frames[0], CONVERSATION, "server")[1]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.005)


@pytest.mark.parametrize("size", [0, 1000, 20 * MIB + 1])
def test_uploaded_constant_is_stored_told_and_given_to_workers(
    server: Server, tmp_path: Path, size: int
) -> None:
    content = os.urandom(size)
    server.upload(CONSTANT, content)
    assert server.uploaded == [(CONSTANT, size, False)]
    worker = Peer(tmp_path / "reader", server.roles["worker"])
    worker.authenticator.allow("data", server.keys.public, "server")
    try:
        assert worker.fetch(CONSTANT, [server.endpoint]) is None
        assert bytes(worker.store.read(CONSTANT)) == content
    finally:
        worker.close()


def test_directory_is_uploaded_as_an_archive(server: Server, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(b"content")
    archive = io.BytesIO()
    pack_tree(tree, archive)
    server.upload(CONSTANT, archive.getvalue(), is_directory=True)
    assert server.uploaded == [(CONSTANT, 7, True)]
    path = server.relay.store.path(CONSTANT)
    assert path is not None
    assert (Path(path) / "file").read_bytes() == b"content"


def test_second_upload_of_the_same_constant_is_answered_at_once(server: Server) -> None:
    for _ in range(2):
        server.upload(CONSTANT, b"content")
    assert len(server.uploaded) == 1


def test_upload_for_a_session_of_another_client_is_refused(server: Server) -> None:
    for uid, epoch in ((OTHERS, EPOCH), (CONSTANT, 999), (make_uid(3, 1), EPOCH), (make_uid(3, 1), 0)):
        with pytest.raises(RainException, match="not of a session of this client"):
            server.upload(uid, b"content", epoch)
    assert server.uploaded == []
    assert list(server.relay.store.uids()) == []


def test_damaged_archive_is_refused(server: Server) -> None:
    with pytest.raises(RainException, match="cannot take the constant"):
        server.upload(CONSTANT, b"no archive" * 1000, is_directory=True)
    assert not server.relay.store.has(CONSTANT)


@pytest.mark.parametrize("size", [0, 1000, 20 * MIB + 1])
def test_result_comes_from_its_worker_through_the_relay_and_does_not_stay_there(
    server: Server, worker: Peer, size: int
) -> None:
    content = os.urandom(size)
    worker.store.put(RESULT, content)
    server.relay.add_ticket(TICKET, RESULT, False, [worker.endpoint])
    assert server.download(RESULT) == content
    wait_until(lambda: not server.relay.store.has(RESULT))
    assert server.download(RESULT) == content, "a ticket may be shown again"


def test_constant_is_given_to_its_client_and_stays(server: Server) -> None:
    server.relay.store.put(CONSTANT, b"content")
    server.relay.add_ticket(TICKET, CONSTANT, False, [])
    assert server.download(CONSTANT) == b"content"
    time.sleep(0.05)
    assert server.relay.store.has(CONSTANT)


def test_several_clients_get_the_same_result_at_once(server: Server, worker: Peer) -> None:
    content = os.urandom(5 * MIB)
    worker.store.put(RESULT, content)
    results: list[bool] = []

    def download(ticket: bytes) -> None:
        results.append(server.download(RESULT, ticket) == content)

    threads = []
    for number in range(4):
        ticket = bytes([number]) * 16
        server.relay.add_ticket(ticket, RESULT, False, [worker.endpoint])
        threads.append(threading.Thread(target=download, args=(ticket,)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 4
    wait_until(lambda: not server.relay.store.has(RESULT))


def test_ticket_is_needed_and_names_its_object(server: Server) -> None:
    server.relay.store.put(CONSTANT, b"content")
    server.relay.store.put(OTHERS, b"secret")
    server.relay.add_ticket(TICKET, CONSTANT, False, [])
    for uid, ticket in ((CONSTANT, b""), (CONSTANT, b"x" * 16), (OTHERS, TICKET)):
        with pytest.raises(RainException, match="ticket is unknown"):
            server.download(uid, ticket)


def test_a_request_that_overtakes_its_ticket_is_granted(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.relay.store.put(CONSTANT, b"content")
    answer = server.relay._clients._on_request

    def offered_meanwhile(*request: Any) -> None:
        server.relay.add_ticket(TICKET, CONSTANT, False, [])
        answer(*request)

    monkeypatch.setattr(server.relay._clients, "_on_request", offered_meanwhile)
    assert server.download(CONSTANT) == b"content"


def test_ticket_expires(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rainzmq.server.relay.TICKET_S", 0.1)
    server.relay.store.put(CONSTANT, b"content")
    server.relay.add_ticket(TICKET, CONSTANT, False, [])
    wait_until(lambda: TICKET in server.relay._tickets)
    wait_until(lambda: not server.relay._tickets)
    with pytest.raises(RainException, match="ticket is unknown"):
        server.download(CONSTANT)


def test_a_ticket_that_is_in_use_lasts_for_a_new_connection(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rainzmq.server.relay.TICKET_S", 0.05)
    content = os.urandom(1000) * 4000
    server.relay.store.put(CONSTANT, content)
    server.relay.add_ticket(TICKET, CONSTANT, False, [])
    first = server.channel()
    first.send([encode(FetchData(9, CONSTANT, 0, MIB, None, TICKET), Header())])
    [[head, piece]] = first.receive(5)
    time.sleep(0.3)  # longer than the ticket lasts when it is not used
    monkeypatch.setattr("rainzmq.server.relay.TICKET_S", 60)
    second = server.channel()
    second.send([encode(FetchData(10, CONSTANT, len(piece), MIB, None, TICKET), Header())])
    [[head, more]] = second.receive(5)
    assert message_of([head]) == Data(10, len(piece))
    assert piece + more == content[: len(piece) + len(more)]


def test_an_upload_is_offered_again_on_a_new_connection(server: Server) -> None:
    offer = encode(Offer(3, CONSTANT, False, 10), Header(sender_epoch=EPOCH))
    first, second, third = server.channel(), server.channel(), server.channel()
    first.send([offer])
    assert isinstance(message_of(first.receive(5)[0]), FetchData)
    second.send([offer])
    assert isinstance(message_of(second.receive(5)[0]), FetchData)
    third.send([encode(Offer(3, make_uid(1, 99), False, 10), Header(sender_epoch=EPOCH))])
    assert isinstance(message_of(third.receive(5)[0]), TransferError)


def test_a_transfer_id_of_another_client_leaves_nothing_behind(server: Server, worker: Peer) -> None:
    worker.store.put(RESULT, bytes(4 * MIB))
    server.relay.add_ticket(TICKET, RESULT, False, [worker.endpoint])
    first, second = server.channel(), server.channel()
    request = encode(FetchData(9, RESULT, 0, 10, None, TICKET), Header())
    first.send([request])
    assert first.receive(5)
    second.send([request])
    assert second.receive(0.2) == []
    first.send([encode(CancelTransfer(9), Header())])
    wait_until(lambda: not server.relay.store.has(RESULT))


def test_archive_that_is_refused_is_asked_for_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Unpacker] = []

    def unpacker(target: str) -> Unpacker:
        opened.append(Unpacker(target, max_entries=3))
        return opened[-1]

    monkeypatch.setattr(streams, "Unpacker", unpacker)
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in "abcd":
        (tree / name).touch()
    archive = io.BytesIO()
    pack_tree(tree, archive)
    with pytest.raises(RainException, match="more than 3 entries, which is the limit"):
        server.upload(CONSTANT, archive.getvalue(), is_directory=True)
    assert len(opened) == 1


def test_result_that_no_worker_has_is_told_to_client_and_server(server: Server, worker: Peer) -> None:
    server.relay.add_ticket(TICKET, RESULT, False, [worker.endpoint])
    with pytest.raises(RainException, match="it is not here"):
        server.download(RESULT)
    wait_until(lambda: bool(server.missed))
    name = f"{worker.endpoint.host}:{worker.endpoint.port}"
    assert [(uid, holders) for uid, _, holders in server.missed] == [(RESULT, [name])]


def test_client_hears_that_a_slow_result_is_on_its_way(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rainzmq.server.relay.SIGN_OF_LIFE_S", 0.02)
    silent = Endpoint("127.0.0.1", 1, KeyPair.new().public)
    server.relay.add_ticket(TICKET, RESULT, False, [silent])
    channel = server.channel()
    channel.send([encode(FetchData(9, RESULT, 0, 100, None, TICKET), Header())])
    for _ in range(2):
        [[head, piece]] = channel.receive(5)
        assert message_of([head]) == Data(9, 0)
        assert piece == b""
    server.relay.drop_session(1)
    wait_until(
        lambda: isinstance(decode(channel.receive(5)[-1][0], CONVERSATION, "server")[1], TransferError)
    )


def test_end_of_a_session_frees_all_of_it_and_stops_its_uploads(server: Server) -> None:
    server.upload(CONSTANT, b"content")
    server.relay.store.put(OTHERS, b"kept")
    server.relay.add_ticket(TICKET, CONSTANT, False, [])
    channel = server.channel()
    offered = make_uid(1, 99)
    channel.send([encode(Offer(3, offered, False, 10), Header(sender_epoch=EPOCH))])
    assert channel.receive(5)
    del server.owners[1]
    server.relay.drop_session(1)
    wait_until(lambda: isinstance(message_of(channel.receive(5)[-1]), TransferError))
    wait_until(lambda: list(server.relay.store.uids()) == [OTHERS])
    assert server.relay._offers == {}
    with pytest.raises(RainException, match="ticket is unknown"):
        server.download(CONSTANT)


def test_dropped_constants_are_gone(server: Server) -> None:
    server.upload(CONSTANT, b"content")
    server.relay.drop([CONSTANT])
    wait_until(lambda: not server.relay.store.has(CONSTANT))


def test_client_that_vanishes_in_an_upload_leaves_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rainzmq.transport.exchange.STALL_S", 0.1)
    monkeypatch.setattr("rainzmq.transport.port.CHECK_INTERVAL_S", 0.05)
    channel = server.channel()
    channel.send([encode(Offer(3, CONSTANT, False, 10), Header(sender_epoch=EPOCH))])
    assert channel.receive(5)
    channel.close()
    wait_until(lambda: not server.relay._offers and not server.relay._clients.exchange.busy)
    assert not server.relay.store.has(CONSTANT)


def test_client_that_sends_rubbish_is_not_heard_any_more_and_others_are(server: Server) -> None:
    channel = server.channel()
    for _ in range(BAD_FRAMES_LIMIT):
        channel.send([os.urandom(50)])
    channel.send([encode(FetchData(9, CONSTANT, 0, 100, None, TICKET), Header())])
    assert channel.receive(0.2) == []
    server.upload(CONSTANT, b"content")


@pytest.mark.parametrize("role", ["worker", "viewer"])
def test_only_clients_get_in_at_the_clients_port(server: Server, role: str) -> None:
    with pytest.raises(RainException, match="refused this key"):
        server.channel(role)
    assert CLIENT_DOMAIN != "data"


def test_relay_that_was_never_started_can_be_closed() -> None:
    context, loop = new_context(), Loop()
    authenticator = Authenticator(context, loop)
    roles = {role: KeyPair.new() for role in ("client", "worker")}
    relay = Relay(
        context,
        authenticator,
        KeyPair.new(),
        roles,
        "127.0.0.1",
        owner_of=lambda session_id: None,
        on_uploaded=lambda uid, size, is_directory: None,
        on_missed=lambda *missed: None,
    )
    relay.close()
    authenticator.close()
    loop.close()
    context.destroy(linger=0)
