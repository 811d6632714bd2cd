"""The connection of a watcher: what it says, takes in, and passes over."""

from __future__ import annotations

from typing import Any

import pytest

from rainzmq.common.limits import SERVER_LOST_AFTER_S
from rainzmq.monitoring.link import EventLink
from rainzmq.protocol.codec import Header, decode, encode
from rainzmq.protocol.messages import client as m
from rainzmq.protocol.messages import events as e
from rainzmq.testing.loop import ManualLoop

EPOCHS = Header(cluster_id=5, server_epoch=6, sender_epoch=7)


class FakeControl:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[Header, Any]] = []
        self.closed = False

    def attach(self, loop: Any, on_frames: Any, on_connection: Any) -> None:
        self.on_frames, self.on_connection = on_frames, on_connection

    def send(self, frames: list[bytes]) -> None:
        self.sent += [decode(frame, m.CONVERSATION, "client") for frame in frames]

    def break_if_unanswered(self, limit_s: float) -> bool:
        return False

    def close(self) -> None:
        self.closed = True

    def take(self) -> list[Any]:
        sent, self.sent = self.sent, []
        return [message for _, message in sent]


class Case:
    """A link and the server at its other end."""

    def __init__(self) -> None:
        self.loop, self.control = ManualLoop(), FakeControl()
        self.events: list[Any] = []
        self.headers: list[Header] = []
        self.states: list[bool] = []
        self.ended: list[str] = []
        self.link = EventLink(self.loop, self.control, self._take, self.states.append, self.ended.append)
        self.link.start()

    def _take(self, header: Header, events: list[Any], frames: list[bytes]) -> None:
        assert [decode(frame, m.CONVERSATION, "server")[1] for frame in frames] == events
        self.headers.append(header)
        self.events += events

    def says(self, *messages: Any) -> None:
        """The server says something."""
        self.control.on_frames([encode(message, EPOCHS) for message in messages])

    def welcome(self) -> int:
        """The server welcomes the link; the number of the request for a snapshot."""
        self.says(m.ClientWelcome("1", 7, 1, 2.0, 10.0, 60.0))
        (watch,) = [message for message in self.control.take() if isinstance(message, e.Watch)]
        return watch.request

    def begin(self, request: int, number: int = 0) -> None:
        """An empty snapshot."""
        self.says(*snapshot(request, number))


def snapshot(request: int, number: int = 0) -> list[Any]:
    return [e.SnapshotBegin(number, 1.0, request, "1", 1.0), e.SnapshotEnd(number, 1.0, request)]


def came(number: int) -> Any:
    return e.SessionCame(number, 2.0, number, "s", "c")


@pytest.fixture
def case():
    return Case()


@pytest.fixture
def watching(case):
    case.begin(case.welcome())
    case.events.clear()
    return case


def test_it_says_hello_and_then_asks_for_a_snapshot(case):
    assert [type(message) for message in case.control.take()] == [m.ClientHello]
    case.welcome()
    assert case.states == [True]


def test_events_are_handed_on_in_order_with_their_frames(watching):
    watching.says(came(1), came(2))
    watching.says(came(3))
    assert [event.number for event in watching.events] == [1, 2, 3]
    assert watching.headers[-1].server_epoch == EPOCHS.server_epoch


def test_what_comes_before_the_snapshot_is_passed_over(case):
    request = case.welcome()
    case.says(came(8))
    case.begin(request, number=9)
    case.says(came(10))
    assert [event.number for event in case.events] == [9, 9, 10]


def test_a_gap_is_noticed_and_healed_by_a_snapshot(watching):
    watching.says(came(1))
    watching.says(came(3), came(4))
    (watch,) = watching.control.take()
    assert isinstance(watch, e.Watch)
    watching.says(came(5))
    assert [event.number for event in watching.events] == [1]
    watching.begin(watch.request, number=5)
    watching.says(came(6))
    assert [event.number for event in watching.events] == [1, 5, 5, 6]


def test_a_snapshot_of_an_earlier_request_is_passed_over(watching):
    watching.link.watch_again()
    watching.link.watch_again()
    first, second = [message.request for message in watching.control.take()]
    watching.begin(first, number=7)
    assert watching.events == []
    watching.begin(second, number=7)
    assert len(watching.events) == 2


def test_heartbeats_are_sent_as_often_as_the_server_wants(watching):
    watching.control.take()
    watching.loop.pass_time(4.5)
    assert [type(message) for message in watching.control.take()] == [m.ClientHeartbeat] * 2


def test_silence_means_that_the_server_is_not_there(watching):
    watching.loop.pass_time(SERVER_LOST_AFTER_S + 4)
    assert watching.states == [True, False]
    assert m.ClientHello in [type(message) for message in watching.control.take()]


def test_a_process_that_was_stopped_does_not_hold_that_against_the_server(watching):
    watching.loop.time += 60.0
    watching.loop.pass_time(4.0)
    assert watching.states == [True]
    watching.says(m.ClientHeartbeat(0))
    watching.loop.pass_time(4.0)
    assert watching.states == [True]


def test_a_server_that_is_heard_again_is_greeted_until_it_answers(watching):
    watching.loop.pass_time(SERVER_LOST_AFTER_S + 3)
    watching.control.take()
    for _ in range(4):
        watching.says(m.ClientHeartbeat(0))
        watching.loop.pass_time(2.0)
    assert m.ClientHello in [type(message) for message in watching.control.take()]


def test_a_knock_is_answered_at_once(watching):
    watching.control.take()
    watching.says(m.Knock())
    assert watching.control.take() == [m.ClientHeartbeat(0)]


def test_a_connection_that_is_made_again_begins_anew(watching):
    watching.control.on_connection(False)
    assert watching.states == [True, False]
    watching.control.take()
    watching.control.on_connection(True)
    assert [type(message) for message in watching.control.take()] == [m.ClientHello]
    watching.begin(watching.welcome(), number=4)
    assert watching.states == [True, False, True]
    assert [event.number for event in watching.events] == [4, 4]


def test_a_server_that_does_not_know_us_is_greeted_again(watching):
    watching.says(m.ClientBye("the server does not know this client"))
    assert watching.states == [True, False]
    watching.control.take()
    watching.loop.pass_time(5.0)
    assert m.ClientHello in [type(message) for message in watching.control.take()]
    assert watching.ended == []


def test_a_refusal_is_the_end(case):
    case.says(m.ClientRefused("2", "wrong version"))
    assert "wrong version" in case.ended[0]


def test_bad_frames_are_passed_over(watching):
    watching.control.on_frames([b"\xff", encode(came(1), EPOCHS)])
    assert [event.number for event in watching.events] == [1]


def test_a_session_can_be_cancelled(watching):
    watching.control.take()
    watching.link.cancel_session(3, "lunch")
    (cancel,) = watching.control.take()
    assert (cancel.session_id, cancel.reason) == (3, "lunch")


def test_it_says_goodbye(watching):
    watching.control.take()
    watching.link.close("it ends")
    assert watching.control.take() == [m.ClientBye("it ends")]
    assert watching.control.closed
