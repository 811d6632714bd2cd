"""The control plane over real sockets: authentication, limits, errors of connecting."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import zmq

from rainzmq.common.errors import RainException
from rainzmq.common.limits import CONTROL_FRAME_LIMIT_BYTES
from rainzmq.transport.access import Access
from rainzmq.transport.control import ControlClient
from rainzmq.transport.control_server import ControlServer
from rainzmq.transport.keys import KeyPair
from rainzmq.transport.loop import Loop
from rainzmq.transport.outbox import MAX_QUEUED_BYTES
from rainzmq.transport.sockets import make_curve_client, make_curve_server, new_context
from rainzmq.transport.zap import Authenticator

DOMAIN = "control"


class Server:
    """A control server in a thread that records what it gets and echoes `echo` messages."""

    def __init__(self, keys: KeyPair, roles: dict[str, KeyPair], port: int = 0) -> None:
        self.context = new_context()
        self.loop = Loop()
        self.received: list[tuple[str, list[bytes]]] = []
        self.peers: list[bytes] = []
        self.authenticator = Authenticator(self.context, self.loop)
        for role, pair in roles.items():
            self.authenticator.allow(DOMAIN, pair.public, role)
        self.control = ControlServer(self.context, self.loop, keys, DOMAIN, self._on_message)
        self.port = self.control.bind("127.0.0.1", port)
        self.thread = threading.Thread(target=self.loop.run)
        self.thread.start()

    def _on_message(self, peer: bytes, role: str, frames: list[bytes]) -> None:
        self.received.append((role, frames))
        self.peers.append(peer)
        if frames[0] == b"echo":
            self.control.send(peer, frames)

    def call(self, function: Callable[[], object]) -> object:
        """Run a function in the server's loop; its result."""
        results: list[object] = []
        done = threading.Event()

        def run() -> None:
            results.append(function())
            done.set()

        self.loop.call_threadsafe(run)
        assert done.wait(10)
        return results[0]

    def close(self) -> None:
        self.loop.stop()
        self.thread.join()
        self.control.close()
        self.authenticator.close()
        self.context.destroy(linger=0)
        self.loop.close()


class Cluster:
    def __init__(self) -> None:
        self.keys = KeyPair.new()
        self.roles = {"client": KeyPair.new(), "worker": KeyPair.new()}
        self.context = new_context()
        self.server = Server(self.keys, self.roles)

    def access(self, **changes: object) -> Access:
        values: dict[str, object] = {
            "address": "127.0.0.1",
            "port": self.server.port,
            "server_public": self.keys.public,
            "keys": self.roles,
            "cluster_id": 1,
            "pid": os.getpid(),
            "started": 0.0,
        }
        return Access(**{**values, **changes})  # type: ignore[arg-type]

    @contextmanager
    def client(self, role: str = "client", **changes: object) -> Iterator[ControlClient]:
        client = ControlClient(self.context, self.access(**changes), role)
        try:
            yield client
        finally:
            client.close()

    def close(self) -> None:
        self.server.close()
        self.context.destroy(linger=0)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.close()


def wait_until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.005)


def test_message_arrives_with_the_role_of_its_key_and_is_answered(cluster: Cluster) -> None:
    for role in ("client", "worker"):
        with cluster.client(role) as client:
            client.connect()
            client.send([b"echo", b"x" * 1000])
            assert client.receive(5) == [[b"echo", b"x" * 1000]]
            assert not client.disconnected()
    assert [role for role, _ in cluster.server.received] == ["client", "worker"]


def test_messages_keep_their_order(cluster: Cluster) -> None:
    with cluster.client() as client:
        client.connect()
        for number in range(500):
            client.send([b"echo", b"%d" % number])
        received: list[bytes] = []
        while len(received) < 500:
            messages = client.receive(5)
            assert messages
            received += [frames[1] for frames in messages]
    assert received == [b"%d" % number for number in range(500)]


def test_flush_waits_until_the_server_took_all(cluster: Cluster) -> None:
    with cluster.client() as client:
        client.connect()
        for number in range(5000):
            client.send([b"%d" % number])
        assert client.flush(10)
        wait_until(lambda: len(cluster.server.received) == 5000)
    assert [frames for _, frames in cluster.server.received] == [[b"%d" % number] for number in range(5000)]


def test_receive_returns_empty_when_nothing_came_in_time(cluster: Cluster) -> None:
    with cluster.client() as client:
        client.connect()
        assert client.receive(0) == []
        assert client.receive(0.01) == []


def test_wrong_key_is_refused_and_nothing_reaches_the_handler(cluster: Cluster) -> None:
    with (
        cluster.client(keys={"client": KeyPair.new()}) as client,
        pytest.raises(RainException, match="refused this key"),
    ):
        client.connect()
    assert cluster.server.received == []
    assert sum(cluster.server.authenticator.refused.values()) == 1


def test_key_of_another_server_is_told_quickly(cluster: Cluster) -> None:
    start = time.monotonic()
    with (
        cluster.client(server_public=KeyPair.new().public) as client,
        pytest.raises(RainException, match="not the rainzmq server that the access file"),
    ):
        client.connect()
    assert time.monotonic() - start < 3
    assert cluster.server.received == []


def test_nobody_listening_is_told_at_once(cluster: Cluster) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with cluster.client(port=port) as client, pytest.raises(RainException, match="nothing listens there"):
            client.connect()


def test_name_that_does_not_resolve_is_told(cluster: Cluster) -> None:
    with (
        cluster.client(address="no-such-host.invalid") as client,
        pytest.raises(RainException, match="not resolve"),
    ):
        client.connect()


def test_something_that_accepts_and_says_nothing_is_told_within_the_timeout(cluster: Cluster) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        start = time.monotonic()
        with (
            cluster.client(port=silent.getsockname()[1]) as client,
            pytest.raises(RainException, match="did not answer within"),
        ):
            client.connect(0.5)
        assert time.monotonic() - start < 2


def test_unencrypted_peer_reaches_nothing(cluster: Cluster) -> None:
    dealer = cluster.context.socket(zmq.DEALER)
    dealer.linger = 0
    dealer.connect(f"tcp://127.0.0.1:{cluster.server.port}")
    dealer.send(b"hello")
    assert not dealer.poll(300)
    dealer.close()
    assert cluster.server.received == []


def test_without_a_living_authenticator_nobody_gets_in() -> None:
    context = new_context()
    keys, mine = KeyPair.new(), KeyPair.new()
    router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    make_curve_server(router, keys, DOMAIN)
    make_curve_client(dealer, mine, keys.public)
    dealer.connect(f"tcp://127.0.0.1:{router.bind_to_random_port('tcp://127.0.0.1')}")
    dealer.send(b"hello")
    assert not router.poll(300)
    context.destroy(linger=0)


def test_port_in_use_names_the_port_and_who_has_it(cluster: Cluster) -> None:
    loop = Loop()
    other = ControlServer(cluster.context, loop, KeyPair.new(), DOMAIN, lambda peer, role, frames: None)
    with pytest.raises(
        RainException, match=rf"port {cluster.server.port} of 127.0.0.1 is in use by pid {os.getpid()}"
    ):
        other.bind("127.0.0.1", cluster.server.port)
    with pytest.raises(RainException, match="does not resolve"):
        other.bind("no-such-host.invalid", 0)
    with pytest.raises(RainException, match="not an address of this machine"):
        other.bind("192.0.2.7", 0)
    other.close()
    loop.close()


def test_oversize_frame_cuts_the_connection_and_does_not_arrive(cluster: Cluster) -> None:
    with cluster.client() as client:
        client.connect()
        client.send([b"x" * (2 * CONTROL_FRAME_LIMIT_BYTES)])
        wait_until(client.disconnected)
    with cluster.client() as client:
        client.connect()
        client.send([b"x" * CONTROL_FRAME_LIMIT_BYTES])
        wait_until(lambda: len(cluster.server.received) == 1)
    assert len(cluster.server.received[0][1][0]) == CONTROL_FRAME_LIMIT_BYTES


@pytest.mark.parametrize(("count", "size"), [(4097, 1), (65, 1 << 20)])
def test_peer_is_cut_off_in_the_middle_of_a_message_that_is_too_long(
    cluster: Cluster, count: int, size: int
) -> None:
    server = cluster.server
    with cluster.client() as client, cluster.client() as other:
        client.connect()
        client.send([b"hello"])
        wait_until(lambda: server.received == [("client", [b"hello"])])
        client.send([bytes(size)] * count)
        wait_until(lambda: server.call(lambda: server.control.send(server.peers[0], [b"x"])) is False)
        client.send([b"echo"])
        other.connect()
        other.send([b"echo"])
        assert other.receive(5) == [[b"echo"]]
    assert server.received == [("client", [b"hello"]), ("client", [b"echo"])]


def test_disconnected_peer_is_not_heard_and_not_spoken_to(cluster: Cluster) -> None:
    server = cluster.server
    with cluster.client() as client:
        client.connect()
        client.send([b"echo"])
        assert client.receive(5) == [[b"echo"]]
        peer = server.peers[0]
        server.call(lambda: server.control.disconnect(peer))
        client.send([b"echo"])
        assert client.receive(0.1) == []
        assert server.call(lambda: server.control.send(peer, [b"x"])) is False
    assert len(server.received) == 1


def test_send_to_an_unknown_peer_says_so(cluster: Cluster) -> None:
    server = cluster.server
    assert server.call(lambda: server.control.send(b"nobody", [b"x"])) is False


def test_peer_that_takes_nothing_is_given_up_before_its_queue_grows_without_bound(cluster: Cluster) -> None:
    server = cluster.server
    with cluster.client() as client:
        client.connect()
        client.send([b"hello"])
        wait_until(lambda: len(server.received) == 1)
        peer = server.peers[0]
        frame = b"x" * CONTROL_FRAME_LIMIT_BYTES
        sent = 0
        # The client does not read: first libzmq's queues fill up on both sides, then ours.
        while sent < 1000 and server.call(lambda: server.control.send(peer, [frame])):
            sent += 1
        assert sent >= MAX_QUEUED_BYTES // len(frame)
        assert sent < 1000
        assert server.control._queued_bytes == 0
        # The loop is well and serves others.
        with cluster.client() as other:
            other.connect()
            other.send([b"echo"])
            assert other.receive(5) == [[b"echo"]]


def test_what_a_slow_peer_did_not_take_at_once_arrives_later_in_order(cluster: Cluster) -> None:
    server = cluster.server
    with cluster.client() as client:
        client.connect()
        client.send([b"hello"])
        wait_until(lambda: len(server.received) == 1)
        peer = server.peers[0]
        count = 20_000

        def flood() -> bool:
            return all(server.control.send(peer, [b"%d" % number, b"x" * 1000]) for number in range(count))

        assert server.call(flood)
        received: list[bytes] = []
        while len(received) < count:
            messages = client.receive(5)
            assert messages
            received += [frames[0] for frames in messages]
    assert received == [b"%d" % number for number in range(count)]


def test_client_notices_that_its_server_is_gone_while_it_waits(cluster: Cluster) -> None:
    with cluster.client() as client:
        client.connect()
        cluster.server.close()
        start = time.monotonic()
        assert client.receive(10) == []
        assert client.disconnected()
        assert time.monotonic() - start < 5
        client.send([b"dropped"])
        assert not client._outbox.messages
        cluster.server = Server(cluster.keys, cluster.roles)


def test_attached_client_hears_that_the_connection_broke_and_was_made_again(cluster: Cluster) -> None:
    loop = Loop()
    states: list[bool] = []
    messages: list[list[bytes]] = []
    with cluster.client("worker") as client:
        client.connect()

        def on_state(connected: bool) -> None:
            states.append(connected)
            if connected:
                client.send([b"echo", b"again"])

        def on_message(frames: list[bytes]) -> None:
            messages.append(frames)
            loop.stop()

        client.attach(loop, on_message, on_state)
        port = cluster.server.port

        def restart() -> None:
            cluster.server.close()
            cluster.server = Server(cluster.keys, cluster.roles, port)

        loop.call_later(0, restart)
        loop.call_later(20, loop.stop)
        loop.run()
        assert states == [False, True]
        assert messages == [[b"echo", b"again"]]
    loop.close()


def test_connection_that_proves_nothing_is_cut_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rainzmq.transport.sockets.HANDSHAKE_LIMIT_MS", 200)
    cluster = Cluster()
    try:
        with socket.create_connection(("127.0.0.1", cluster.server.port), timeout=5) as silent:
            start = time.monotonic()
            while silent.recv(1000):
                continue
            assert time.monotonic() - start < 2
    finally:
        cluster.close()


def test_stranger_that_announces_a_huge_frame_is_cut(cluster: Cluster) -> None:
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)
    with socket.create_connection(("127.0.0.1", cluster.server.port), timeout=5) as stranger:
        stranger.sendall(greeting)
        stranger.sendall(b"\x06" + (2 << 30).to_bytes(8, "big") + bytes(1000))
        start = time.monotonic()
        try:
            while stranger.recv(1000):
                continue
        except ConnectionResetError:
            assert time.monotonic() - start < 2
        assert time.monotonic() - start < 2
    assert cluster.server.received == []


def test_what_is_sent_without_a_connection_does_not_reach_the_next_server(cluster: Cluster) -> None:
    with cluster.client() as client:
        client.connect()
        port = cluster.server.port
        cluster.server.close()
        assert client.receive(5) == []
        for _ in range(10):
            client.send([b"old"])
        cluster.server = Server(cluster.keys, cluster.roles, port)
        wait_until(lambda: client.connected)
        client.send([b"new"])
        wait_until(lambda: bool(cluster.server.received))
    assert [frames for _, frames in cluster.server.received] == [[b"new"]]
