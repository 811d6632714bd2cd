"""The data plane between processes: real sockets, real stores."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq
from data_peers import MIB, Holder, Peer, SecondLoop, warm_up_zero_copy

from rainzmq.common.limits import CHUNK_BYTES
from rainzmq.protocol.codec import Header, encode
from rainzmq.protocol.messages.data import CancelTransfer, Data, FetchData
from rainzmq.protocol.messages.shared import Endpoint
from rainzmq.protocol.schema import ProtocolError
from rainzmq.transport.data import DataPeer, peer_of
from rainzmq.transport.keys import KeyPair
from rainzmq.transport.sockets import Context, make_curve_client, new_context

MakeHolder = Callable[[dict[int, int]], Holder]


@pytest.fixture(autouse=True, scope="module")
def _warm_up() -> None:
    warm_up_zero_copy()


@pytest.fixture
def worker_keys() -> KeyPair:
    return KeyPair.new()


@pytest.fixture
def make_holder(tmp_path: Path, worker_keys: KeyPair) -> Iterator[MakeHolder]:
    holders: list[Holder] = []

    def make(objects: dict[int, int]) -> Holder:
        holders.append(Holder(tmp_path / f"holder{len(holders)}", worker_keys, objects))
        return holders[-1]

    yield make
    for holder in holders:
        holder.close()


@pytest.fixture
def peer(tmp_path: Path, worker_keys: KeyPair) -> Iterator[Peer]:
    peer = Peer(tmp_path / "peer", worker_keys)
    yield peer
    peer.close()


def test_objects_of_all_sizes_arrive_from_another_process(peer: Peer, make_holder: MakeHolder) -> None:
    sizes = {1: 0, 2: 1, 3: 100_000, 4: MIB, 5: 40 * MIB + 1}
    holder = make_holder(sizes)
    for uid, size in sizes.items():
        assert peer.fetch(uid, [holder.endpoint]) is None
        assert peer.store.size(uid) == size
        assert peer.store.verify(uid)


def test_directory_arrives_with_its_files(tmp_path: Path, worker_keys: KeyPair, peer: Peer) -> None:
    source = tmp_path / "tree"
    (source / "empty").mkdir(parents=True)
    (source / "big").write_bytes(os.urandom(3 * MIB))
    (source / "run").write_text("x")
    (source / "run").chmod(0o755)
    other = Peer(tmp_path / "other", worker_keys)
    other.store.adopt(1, str(source), True)
    run_in = SecondLoop(other)
    try:
        assert peer.fetch(1, [other.endpoint], is_directory=True) is None
    finally:
        run_in.close()
    path = peer.store.path(1)
    assert path is not None
    assert sorted(os.listdir(path)) == ["big", "empty", "run"]
    assert os.access(Path(path) / "run", os.X_OK)
    assert peer.store.size(1) == 3 * MIB + 1


def test_many_objects_at_once_arrive(peer: Peer, make_holder: MakeHolder) -> None:
    holder = make_holder(dict.fromkeys(range(1, 301), 30000))
    results: list[str | None] = []

    def done(error: str | None) -> None:
        results.append(error)
        if len(results) == 300:
            peer.loop.stop()

    for uid in range(1, 301):
        peer.port.fetch(uid, False, [holder.endpoint], done)
    peer.loop.call_later(30, peer.loop.stop)
    peer.loop.run()
    assert results == [None] * 300


def test_holder_that_has_it_not_is_left_for_the_next(peer: Peer, make_holder: MakeHolder) -> None:
    empty, full = make_holder({}), make_holder({1: 5 * MIB})
    assert peer.fetch(1, [empty.endpoint, full.endpoint]) is None
    assert peer.fetch(2, [empty.endpoint]) == f"127.0.0.1:{empty.endpoint.port}: it is not here"


def test_killed_holder_is_replaced_in_the_middle(
    peer: Peer, make_holder: MakeHolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rainzmq.transport.exchange.STALL_S", 0.2)
    monkeypatch.setattr("rainzmq.transport.exchange.CHECK_INTERVAL_S", 0.1)
    monkeypatch.setattr("rainzmq.transport.port.CHECK_INTERVAL_S", 0.1)
    dying, other = make_holder({1: 200 * MIB}), make_holder({1: 200 * MIB})

    def kill() -> None:
        if peer.port.exchange.received_bytes:
            dying.process.kill()
        else:
            peer.loop.call_later(0.005, kill)

    peer.loop.call_later(0, kill)
    assert peer.fetch(1, [dying.endpoint, other.endpoint]) is None
    assert peer.store.size(1) == 200 * MIB
    assert other.close() < 200 * MIB, "it went on where the dead one stopped"


def test_full_store_ends_the_fetch_and_later_ones_pass(
    peer: Peer, make_holder: MakeHolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = make_holder({1: 10 * MIB})
    original = os.write

    def write(descriptor: int, data: bytes) -> int:
        if len(data) > 1000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        error = peer.fetch(1, [holder.endpoint])
    assert error is not None
    assert "need" in error
    assert peer.fetch(1, [holder.endpoint]) is None


def raw_push(peer: Peer, keys: KeyPair | None, context: Context) -> zmq.Socket[bytes]:
    push = context.socket(zmq.PUSH)
    push.linger = 0
    if keys is not None:
        make_curve_client(push, keys, peer.keys.public)
    push.connect(f"tcp://127.0.0.1:{peer.number}")
    return push


@pytest.fixture
def context() -> Iterator[Context]:
    context = new_context()
    yield context
    context.destroy(linger=0)


def test_without_a_workers_key_nothing_reaches_the_port(
    peer: Peer, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[object] = []
    monkeypatch.setattr(peer.port, "_on_frames", lambda frames: reached.append(frames) or 0)
    client_key = KeyPair.new()
    peer.authenticator.allow("client-data", client_key.public, "client")
    pushes = [raw_push(peer, keys, context) for keys in (None, KeyPair.new(), client_key)]
    for push in pushes:
        push.send(encode(CancelTransfer(1), Header()))
    peer.run_for(0.3)
    assert reached == []
    assert peer.authenticator.refused.total() == 2


def test_frames_that_are_no_messages_are_dropped_and_counted(
    peer: Peer, worker_keys: KeyPair, context: Context, make_holder: MakeHolder
) -> None:
    push = raw_push(peer, worker_keys, context)
    good = encode(CancelTransfer(1), Header())
    fetch = FetchData(1, 1, 0, 10, None, b"")
    impossible = FetchData(1, 1, 0, 10, Endpoint("a;b", 1, b"x"), b"")
    bad: list[list[bytes]] = [
        [b""],
        [b"\xc1"],
        [os.urandom(1000)],
        [b"\x91" * 100_000],
        [b"\xdd\xff\xff\xff\xff"],
        [good, b"extra"],
        [good, b"", b""],
        [encode(Data(1, 0), Header())],
        [encode(fetch, Header())],
        [encode(impossible, Header())],
        [encode(CancelTransfer(1), Header(version=99))],
    ]
    for frames in bad:
        push.send_multipart(frames)
    push.send(good)
    peer.run_for(0.3)
    assert peer.port.bad_frames == {"127.0.0.1": len(bad)}
    # The port is well.
    assert peer.fetch(1, [make_holder({1: 1000}).endpoint]) is None


def test_oversize_piece_cuts_the_connection_and_does_not_arrive(
    peer: Peer, worker_keys: KeyPair, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[int] = []
    monkeypatch.setattr(peer.port, "_on_frames", lambda frames: reached.append(len(frames[-1].buffer)) or 0)
    push = raw_push(peer, worker_keys, context)
    push.send_multipart([encode(Data(1, 0), Header()), bytes(CHUNK_BYTES)])
    push.send_multipart([encode(Data(1, 0), Header()), bytes(2 * CHUNK_BYTES)])
    peer.run_for(0.5)
    assert reached == [CHUNK_BYTES]


def test_dead_peers_take_no_connection_for_long(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rainzmq.transport.data.IDLE_LINK_S", 0.1)
    nobody = Endpoint("127.0.0.1", 1, KeyPair.new().public)
    peer.port.fetch(1, False, [nobody], lambda error: None)
    peer.run_for(0.05)
    assert len(peer.port._links) == 1
    peer.port.cancel(1)
    peer.run_for(0.4)
    assert peer.port._links == {}


def test_a_holder_that_can_not_be_connected_to_is_passed_over(
    peer: Peer, make_holder: MakeHolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # libzmq refuses some host names that a hostile worker may give; here is one that `peer_of` lets pass.
    monkeypatch.setattr(
        "rainzmq.transport.data.peer_of", lambda item: DataPeer(item.host, item.port, item.public_key)
    )
    refused = Endpoint("fe80::1%a b", 4000, KeyPair.new().public)
    holder = make_holder({1: 1000})
    assert peer.fetch(1, [refused, holder.endpoint]) is None
    assert peer.fetch(2, [refused], limit_s=3) == "[fe80::1%a b]:4000: its connection is gone"


@pytest.mark.parametrize("host", ["fe80::1%a b", "fe80::1%eth0", "a b", "::1 ", ""])
def test_an_endpoint_that_is_no_address_for_other_hosts_is_refused(host: str) -> None:
    with pytest.raises(ProtocolError):
        peer_of(Endpoint(host, 4000, KeyPair.new().public))
