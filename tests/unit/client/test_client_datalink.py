"""Uploads and downloads, against a relay that is a script."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import rainzmq.client.datalink
from rainzmq import RainException
from rainzmq.client.datalink import DataLink, Sink
from rainzmq.common.limits import CHUNK_BYTES, CREDIT_BYTES
from rainzmq.protocol.codec import Header, decode, encode
from rainzmq.protocol.messages.data import (
    CONVERSATION,
    CancelTransfer,
    Credit,
    Data,
    End,
    FetchData,
    Offer,
    Stored,
    TransferError,
)

UID = 1 << 32 | 7


class Relay:
    """A channel whose other end is a function from (message, bytes) to messages or (message, bytes)."""

    def __init__(self, answer: Callable[[Any, bytes], list[Any]]) -> None:
        self.answer = answer
        self.got: list[tuple[Any, bytes]] = []
        self.closed = 0
        self.lost = False
        self._incoming: list[list[bytes]] = []

    def send(self, frames: list[bytes]) -> None:
        _, message = decode(frames[0], CONVERSATION, "client")
        data = frames[1] if len(frames) > 1 else b""
        self.got.append((message, data))
        for reply in self.answer(message, data):
            head, *tail = reply if isinstance(reply, tuple) else (reply,)
            self._incoming.append([encode(head, Header()), *tail])

    def receive(self, timeout_s: float | None = None) -> list[list[bytes]]:
        taken, self._incoming = self._incoming, []
        return taken

    def disconnected(self) -> bool:
        return self.lost

    def close(self) -> None:
        self.closed += 1

    def of(self, kind: type) -> list[Any]:
        return [message for message, _ in self.got if type(message) is kind]


def link(relay: Relay, check: Callable[[], None] = lambda: None) -> DataLink:
    return DataLink(lambda: relay, Header(sender_epoch=5), check)


def serving(content: bytes, chunk: int = CHUNK_BYTES) -> Callable[[Any, bytes], list[Any]]:
    """A relay that gives out `content` as the credit allows."""
    state = {"offset": 0, "credit": 0, "transfer": 0}

    def answer(message: Any, _: bytes) -> list[Any]:
        if isinstance(message, FetchData):
            state.update(offset=message.offset, credit=message.credit, transfer=message.transfer)
        elif isinstance(message, Credit):
            state["credit"] += message.credit
        else:
            return []
        replies: list[Any] = []
        while state["offset"] < len(content) and state["credit"] > 0:
            piece = content[state["offset"] :][: min(chunk, state["credit"])]
            replies.append((Data(state["transfer"], state["offset"]), piece))
            state["offset"] += len(piece)
            state["credit"] -= len(piece)
        if state["offset"] == len(content):
            replies.append(End(state["transfer"], len(content), hashlib.sha256(content).digest()))
        return replies

    return answer


def taking(
    offset: int = 0, credit: int = CREDIT_BYTES
) -> tuple[bytearray, Callable[[Any, bytes], list[Any]]]:
    """A relay that fetches what is offered, and where that goes."""
    taken = bytearray(offset)

    def answer(message: Any, data: bytes) -> list[Any]:
        if isinstance(message, Offer):
            return [FetchData(message.transfer, message.uid, offset, credit, None, b"")]
        if isinstance(message, Data):
            assert message.offset == len(taken)
            taken.extend(data)
            return [Credit(message.transfer, len(data))]
        if isinstance(message, End):
            return [Stored(message.transfer)]
        return []

    return taken, answer


def test_download_into_memory() -> None:
    content = bytes(range(256)) * 50_000
    relay = Relay(serving(content))
    sink = Sink(len(content))
    link(relay).download(UID, b"ticket", sink)
    assert sink.view() == content
    assert sink.view().readonly
    (fetch,) = relay.of(FetchData)
    assert (fetch.uid, fetch.offset, fetch.credit, fetch.ticket) == (UID, 0, CREDIT_BYTES, b"ticket")
    assert sum(message.credit for message in relay.of(Credit)) >= len(content) - CREDIT_BYTES


def test_download_of_nothing() -> None:
    sink = Sink(0)
    link(Relay(serving(b""))).download(UID, b"", sink)
    assert sink.view() == b""


def test_download_into_a_file(tmp_path: Path) -> None:
    with open(tmp_path / "x", "wb") as file:
        link(Relay(serving(b"abc" * 1000, chunk=7))).download(UID, b"", Sink(file=file))
    assert (tmp_path / "x").read_bytes() == b"abc" * 1000


def test_damaged_download_is_repeated(tmp_path: Path) -> None:
    good = serving(b"good")
    fetches: list[Any] = []

    def answer(message: Any, data: bytes) -> list[Any]:
        replies = good(message, data)
        if isinstance(message, FetchData):
            fetches.append(message)
            if len(fetches) == 1:
                replies[0] = (replies[0][0], b"evil")
        return replies

    with open(tmp_path / "x", "w+b") as file:
        link(Relay(answer)).download(UID, b"", Sink(file=file))
    assert (tmp_path / "x").read_bytes() == b"good"
    assert [fetch.offset for fetch in fetches] == [0, 0]
    assert fetches[0].transfer != fetches[1].transfer


def test_lost_piece_is_asked_for_again() -> None:
    good = serving(b"abcdef", chunk=2)
    fetches: list[Any] = []

    def answer(message: Any, data: bytes) -> list[Any]:
        replies = good(message, data)
        if isinstance(message, FetchData):
            fetches.append(message)
            if len(fetches) == 1:
                del replies[1]
        return replies

    relay, sink = Relay(answer), Sink(6)
    link(relay).download(UID, b"", sink)
    assert sink.view() == b"abcdef"
    assert [fetch.offset for fetch in fetches] == [0, 2]
    assert relay.of(CancelTransfer) == [CancelTransfer(fetches[0].transfer)]


def test_silent_relay_is_asked_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rainzmq.client.datalink, "RETRY_AFTER_S", 0.005)
    relay = Relay(lambda message, data: [])
    with pytest.raises(RainException, match=r"1/7 could not be fetched.*nothing came"):
        link(relay).download(UID, b"", Sink(6))
    assert len(relay.of(FetchData)) == 3
    assert relay.closed == 1


def test_refusal_is_told() -> None:
    def answer(message: Any, _: bytes) -> list[Any]:
        return [TransferError(message.transfer, "no such ticket")]

    with pytest.raises(RainException, match=r"1/7 could not be fetched: no such ticket"):
        link(Relay(answer)).download(UID, b"", Sink())
    with pytest.raises(RainException, match="cannot take the constant 1/7: no such ticket"):
        link(Relay(answer)).upload(UID, False, io.BytesIO(b"abc"), 3)


def test_messages_of_other_transfers_are_ignored() -> None:
    good = serving(b"abc")
    late = (Data(123, 0), b"evil")
    sink = Sink(3)
    link(Relay(lambda message, data: [late, *good(message, data)])).download(UID, b"", sink)
    assert sink.view() == b"abc"


def test_upload() -> None:
    content = bytes(range(256)) * 50_000
    taken, answer = taking()
    relay = Relay(answer)
    link(relay).upload(UID, False, io.BytesIO(content), len(content))
    assert taken == content
    (offer,) = relay.of(Offer)
    assert (offer.uid, offer.is_directory, offer.size) == (UID, False, len(content))
    (end,) = relay.of(End)
    assert (end.size, end.digest) == (len(content), hashlib.sha256(content).digest())


def test_upload_of_nothing() -> None:
    _, answer = taking()
    relay = Relay(answer)
    link(relay).upload(UID, True, io.BytesIO(), 0)
    assert relay.of(End)[0].size == 0


def test_upload_sends_no_more_than_was_granted() -> None:
    taken, answer = taking(credit=1000)
    relay = Relay(answer)
    link(relay).upload(UID, False, io.BytesIO(b"x" * 3500), 3500)
    assert taken == b"x" * 3500
    assert max(len(data) for _, data in relay.got) == 1000


def test_upload_goes_on_where_the_relay_asks() -> None:
    taken, answer = taking(offset=2)
    link(Relay(answer)).upload(UID, False, io.BytesIO(b"abcd"), 4)
    assert taken[2:] == b"cd"


def test_upload_that_nobody_takes_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rainzmq.client.datalink, "GIVE_UP_AFTER_S", 0.005)
    with pytest.raises(RainException, match="did not take the constant 1/7"):
        link(Relay(lambda message, data: [])).upload(UID, False, io.BytesIO(b"x"), 1)


def test_lost_control_connection_ends_a_transfer() -> None:
    def check() -> None:
        raise RainException("the server is gone")

    with pytest.raises(RainException, match="the server is gone"):
        link(Relay(lambda message, data: []), check).download(UID, b"", Sink(1))


def links_to(*relays: Relay) -> DataLink:
    """A link whose connections are these, one after the other."""
    made = iter(relays)
    return DataLink(lambda: next(made), Header(), lambda: None)


def breaking(relay: Relay, kind: type, number: int) -> Relay:
    """The relay, whose connection breaks instead of taking the message of this kind and number."""
    inner = relay.answer

    def answer(message: Any, data: bytes) -> list[Any]:
        if type(message) is kind and len(relay.of(kind)) == number:
            relay.lost = True
            return []
        return inner(message, data)

    relay.answer = answer
    return relay


def test_download_goes_on_from_where_its_connection_broke() -> None:
    content = bytes(range(256)) * 100_000
    first, second = breaking(Relay(serving(content)), Credit, 2), Relay(serving(content))
    sink = Sink(len(content))
    links = links_to(first, second)
    links.download(UID, b"ticket", sink)
    assert sink.view() == content
    (fetch,) = second.of(FetchData)
    assert fetch.offset >= CREDIT_BYTES
    assert fetch.ticket == b"ticket"
    links.close()
    assert (first.closed, second.closed) == (1, 1)


def test_upload_is_offered_again_when_its_connection_broke() -> None:
    content = bytes(range(256)) * 50_000
    first = breaking(Relay(taking()[1]), Data, 3)
    taken, answer = taking()
    second = Relay(answer)
    links_to(first, second).upload(UID, False, io.BytesIO(content), len(content))
    assert taken == content
    assert first.of(Offer) == second.of(Offer)


def test_upload_that_gets_on_may_break_as_often_as_it_likes() -> None:
    content = bytes(range(256)) * 50_000

    def asking_from(offset: int) -> Callable[[Any, bytes], list[Any]]:
        def answer(message: Any, data: bytes) -> list[Any]:
            is_offer = isinstance(message, Offer)
            return [FetchData(message.transfer, UID, offset, CREDIT_BYTES, None, b"")] if is_offer else []

        return answer

    broken = [breaking(Relay(asking_from(number * CHUNK_BYTES)), Data, 2) for number in range(6)]
    taken, answer = taking()
    links_to(*broken, Relay(answer)).upload(UID, False, io.BytesIO(content), len(content))
    assert taken == content
    stuck = [breaking(Relay(asking_from(CHUNK_BYTES)), Data, 2) for _ in range(5)]
    with pytest.raises(RainException, match="the connection broke 3 times"):
        links_to(*stuck).upload(UID, False, io.BytesIO(content), len(content))


def test_connection_that_breaks_again_and_again_ends_a_transfer() -> None:
    def broken(kind: type) -> list[Relay]:
        return [breaking(Relay(lambda message, data: []), kind, 1) for _ in range(3)]

    with pytest.raises(RainException, match=r"1/7 could not be fetched.*the data connection broke again"):
        links_to(*broken(FetchData)).download(UID, b"", Sink(3))
    with pytest.raises(RainException, match=r"constant 1/7 could not be sent.*the connection broke 3 times"):
        links_to(*broken(Offer)).upload(UID, False, io.BytesIO(b"abc"), 3)


def test_connection_that_broke_is_made_anew_for_the_next_transfer() -> None:
    relays = [Relay(serving(b"abc")), Relay(serving(b"def"))]
    links = links_to(*relays)
    links.download(UID, b"", Sink(3))
    relays[0].lost = True
    sink = Sink(3)
    links.download(UID, b"", sink)
    assert sink.view() == b"def"
    assert [relay.closed for relay in relays] == [1, 0]


def test_nonsense_is_told() -> None:
    relay = Relay(lambda message, data: [])
    relay._incoming.append([b"nonsense"])
    with pytest.raises(RainException, match="does not speak this protocol"):
        link(relay).download(UID, b"", Sink(3))


def test_upload_that_was_given_up_while_this_process_stood_still_is_offered_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]

    class Stopping(Relay):
        def receive(self, timeout_s: float | None = None) -> list[list[bytes]]:
            clock[0] += 20.0
            return super().receive(timeout_s)

    monkeypatch.setattr(rainzmq.client.datalink, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    first = Stopping(lambda message, data: [TransferError(message.transfer, "it did not answer (3 times)")])
    taken, answer = taking()
    links_to(first, Relay(answer)).upload(UID, False, io.BytesIO(b"abc"), 3)
    assert taken == b"abc"
