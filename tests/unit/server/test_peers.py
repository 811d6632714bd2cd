"""From frames to events: who may say what, versions, lives, and nonsense."""

from __future__ import annotations

from typing import Any

import pytest

from rainzmq.protocol.codec import Header, encode, pack
from rainzmq.protocol.messages import client as c
from rainzmq.protocol.messages import worker as w
from rainzmq.protocol.messages.shared import Endpoint
from rainzmq.protocol.version import PROTOCOL_VERSION
from rainzmq.server.core.events import ClientJoined, ClientSaid, WorkerJoined, WorkerSaid
from rainzmq.server.peers import BAD_MESSAGE_LIMIT, FrameReader

LIFE = Header(cluster_id=5, server_epoch=6, sender_epoch=7)


class Reader:
    """A reader under test, and what it called."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.reader = FrameReader(
            5,
            6,
            lambda *call: self.calls.append(("refuse", *call)),
            lambda *call: self.calls.append(("deny", *call)),
            lambda *call: self.calls.append(("cut off", *call)),
            lambda peer, role: f"an unknown {role} at 10.0.0.7",
        )

    def read(self, role: str, message: Any, header: Header = LIFE, peer: bytes = b"peer") -> Any:
        frame = message if isinstance(message, bytes) else encode(message, header)
        return self.reader.read(peer, role, frame)


@pytest.fixture
def reader() -> Reader:
    return Reader()


def test_hellos_are_arrivals(reader):
    client, worker = c.ClientHello("1", "h", 1), w.WorkerHello("1", "h", 1, 1, Endpoint("h", 1, b"k"), [], 0)
    assert reader.read("client", client, Header()) == ClientJoined(b"peer", client, False)
    assert reader.read("viewer", client, Header()) == ClientJoined(b"peer", client, True)
    assert reader.read("worker", worker, Header()) == WorkerJoined(b"peer", worker)


def test_messages_carry_the_epoch_of_their_header(reader):
    assert reader.read("client", c.NewSession(1, "s")) == ClientSaid(b"peer", 7, c.NewSession(1, "s"))
    assert reader.read("worker", w.WorkerHeartbeat()) == WorkerSaid(b"peer", 7, w.WorkerHeartbeat())


@pytest.mark.parametrize("header", [LIFE._replace(cluster_id=1), LIFE._replace(server_epoch=1)])
def test_messages_to_another_life_of_the_server_have_no_epoch(reader, header):
    assert reader.read("worker", w.WorkerHeartbeat(), header).epoch == 0


def test_a_hello_of_another_version_is_refused_with_both(reader):
    assert reader.read("client", pack(["hello", 99, 0, 0, 0, "shape", "of", "later"])) is None
    ((what, peer, role, reason),) = reader.calls
    assert (what, peer, role) == ("refuse", b"peer", "client")
    assert "version 99" in reason
    assert f"this server {PROTOCOL_VERSION}" in reason


def test_a_key_of_another_role_is_refused_at_the_hello(reader):
    assert reader.read("worker", c.ClientHello("1", "h", 1), Header()) is None
    assert reader.calls[0][0] == "refuse"
    assert "its key is for the role 'worker'" in reader.calls[0][3]


def test_a_viewer_is_told_that_it_may_only_look(reader):
    assert reader.read("viewer", c.AskServerInfo(1)) == ClientSaid(b"peer", 7, c.AskServerInfo(1))
    assert reader.read("viewer", c.NewSession(3, "s")) is None
    ((what, _, request, reason),) = reader.calls
    assert (what, request) == ("deny", 3)
    assert "may only look" in reason


def test_a_peer_that_talks_nonsense_is_cut_off_in_the_end(reader):
    for _ in range(BAD_MESSAGE_LIMIT):
        assert reader.calls == []
        assert reader.read("client", b"nonsense") is None
    assert [call[0] for call in reader.calls] == ["cut off"]


def test_an_unknown_role_may_say_nothing(reader):
    assert reader.read("stranger", c.NewSession(1, "s")) is None


def test_bad_messages_are_named_and_counted_over_connections(
    reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1000):
        reader.read("worker", b"nonsense", peer=b"peer %d" % number)
    assert len(caplog.messages) == 10, "the 1st, 2nd, 4th, ... 512th"
    assert caplog.messages[-1].startswith("bad message of an unknown worker at 10.0.0.7 (512 so far): not a")


def test_refusals_are_counted(reader: Reader, caplog: pytest.LogCaptureFixture) -> None:
    hello = encode(c.ClientHello("0", "h", 1), Header(version=PROTOCOL_VERSION + 1))
    for _ in range(100):
        reader.read("client", hello, Header())
    assert len(caplog.messages) == 7
    assert "a client was refused (64 times so far): it speaks protocol version" in caplog.messages[-1]
