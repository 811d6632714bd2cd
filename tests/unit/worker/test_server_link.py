"""The worker's connection to its server: what it takes, passes on, drops, and when it gives up."""

from __future__ import annotations

from typing import Any

import pytest

from rainzmq.common.limits import SERVER_LOST_AFTER_S
from rainzmq.protocol.codec import Header, decode, encode
from rainzmq.protocol.messages import worker as m
from rainzmq.protocol.messages.shared import Endpoint
from rainzmq.testing.loop import ManualLoop
from rainzmq.worker.link import GIVE_UP_AFTER_S, ServerLink

SERVER = Header(cluster_id=5, server_epoch=6)
ENDPOINT = Endpoint("here", 1, b"K" * 40)
WELCOME = m.WorkerWelcome("0", 7, ENDPOINT, 2.0, 10.0, 0.0)
REGISTERED = Header(cluster_id=5, server_epoch=6, sender_epoch=7)


class Case:
    """A link, its control client, and the server at the other end."""

    def __init__(self) -> None:
        self.loop = ManualLoop()
        self.events: list[Any] = []
        self.sent: list[tuple[Header, Any]] = []
        self.is_idle = True
        self.link = ServerLink(
            self.loop,
            self,
            lambda previous: m.WorkerHello("0", "here", 1, 2, ENDPOINT, ["python"], previous),
            is_idle=lambda: self.is_idle,
            dies_with_server=False,
            on_message=lambda message: self.events.append(message),
            on_welcome=lambda welcome: self.events.append(welcome),
            on_lost=lambda reason: self.events.append(("lost", reason)),
            on_end=lambda reason: self.events.append(("end", reason)),
        )
        self.link.start()

    def attach(self, loop: Any, on_frames: Any, on_connection: Any) -> None:
        self.on_frames, self.on_connection = on_frames, on_connection

    def send(self, frames: list[bytes]) -> None:
        self.sent += [decode(frame, m.CONVERSATION, "worker") for frame in frames]

    def break_if_unanswered(self, limit_s: float) -> bool:
        return False

    def say(self, message: Any, header: Header = SERVER) -> None:
        self.on_frames([encode(message, header)])

    def take_sent(self) -> list[tuple[Header, Any]]:
        sent, self.sent = self.sent, []
        return sent

    def take_events(self) -> list[Any]:
        events, self.events = self.events, []
        return events


@pytest.fixture
def case() -> Case:
    return Case()


@pytest.fixture
def registered(case: Case) -> Case:
    case.say(WELCOME)
    case.take_sent()
    case.take_events()
    return case


def hello(case: Case) -> m.WorkerHello:
    ((header, message),) = case.take_sent()
    assert isinstance(message, m.WorkerHello)
    assert header == Header()
    return message


def test_a_welcome_gives_the_epochs_that_every_message_carries(case: Case):
    assert hello(case).previous_epoch == 0
    case.link.tell([m.WorkerHeartbeat()])
    assert case.take_sent() == []  # the server would not know who says it

    case.say(WELCOME)

    assert case.take_events() == [WELCOME]
    case.link.tell([m.WorkerHeartbeat()])
    assert case.take_sent() == [(REGISTERED, m.WorkerHeartbeat())]


def test_a_second_welcome_changes_nothing(registered: Case):
    registered.say(m.WorkerWelcome("0", 8, ENDPOINT, 2.0, 10.0, 0.0))

    assert registered.take_events() == []
    registered.link.tell([m.WorkerHeartbeat()])
    assert registered.take_sent() == [(REGISTERED, m.WorkerHeartbeat())]


@pytest.mark.parametrize(
    "instruction",
    [m.Retract([1]), m.CancelFetch([1]), m.PeersGone([ENDPOINT]), m.Remove([1]), m.EndSessions([1])],
    ids=lambda message: type(message).__name__,
)
def test_an_instruction_is_passed_on(registered: Case, instruction: Any):
    registered.say(instruction)

    assert registered.take_events() == [instruction]


def test_an_instruction_before_the_welcome_is_dropped(case: Case):
    case.say(m.Remove([1]), Header())

    assert case.take_events() == []


def test_what_another_life_of_the_server_says_is_dropped(registered: Case, caplog: pytest.LogCaptureFixture):
    registered.say(m.Remove([1]), Header(cluster_id=5, server_epoch=9))

    assert registered.take_events() == []
    assert "another life of the server" in caplog.text


def test_a_heartbeat_says_only_that_the_server_is_there(registered: Case):
    registered.say(m.WorkerHeartbeat())

    assert registered.take_events() == []
    assert registered.take_sent() == []


def test_a_knock_is_answered_at_once(registered: Case):
    registered.say(m.WorkerKnock())

    assert registered.take_sent() == [(REGISTERED, m.WorkerHeartbeat())]


def test_a_fenced_worker_stops_its_tasks_and_says_hello_again(registered: Case):
    registered.say(m.Fenced("declared dead"))

    assert registered.take_events() == [("lost", "the server fenced this worker: declared dead")]
    assert hello(registered).previous_epoch == 7


def test_a_fenced_worker_says_hello_once_its_last_job_has_ended(registered: Case):
    registered.is_idle = False
    registered.say(m.Fenced("declared dead"))
    registered.link.greet_if_due()
    assert registered.take_sent() == []

    registered.is_idle = True
    registered.link.greet_if_due()

    assert hello(registered).previous_epoch == 7


def test_being_fenced_while_the_hello_is_under_way_means_nothing(case: Case):
    case.take_sent()

    case.say(m.Fenced("this server does not know you"), SERVER)

    assert case.take_events() == []
    assert case.take_sent() == []


def test_a_refused_worker_ends(case: Case):
    case.say(m.WorkerRefused("2.0", "it offers 0 cpus", False), Header())

    assert case.take_events() == [
        ("end", "the server (rainzmq 2.0) refused this worker: it offers 0 cpus"),
    ]


def test_a_worker_that_is_refused_for_now_asks_again(case: Case):
    hello(case)
    case.say(m.WorkerRefused("2.0", "its name is taken", True), Header())
    assert case.take_events() == []

    case.loop.pass_time(1.0)

    assert hello(case).previous_epoch == 0


def test_a_goodbye_of_the_server_ends_the_worker_in_order(registered: Case):
    registered.say(m.WorkerBye("the server was stopped"))

    assert registered.take_events() == [("end", None)]


def test_a_silent_server_is_lost_and_given_up_later(registered: Case):
    registered.loop.pass_time(SERVER_LOST_AFTER_S + 2.0)
    ((kind, reason),) = registered.take_events()
    assert kind == "lost"
    assert "nothing has been heard of the server" in reason

    registered.loop.pass_time(GIVE_UP_AFTER_S)

    assert registered.take_events() == [("end", "nothing has been heard of the server for 61 s")]


def test_a_server_of_another_version_ends_the_worker(case: Case):
    case.on_frames([b"no frame"])
    assert case.take_events() == []

    case.on_frames([encode(WELCOME, Header(version=1)).replace(b"welcome", b"newcome")])

    ((kind, reason),) = case.take_events()
    assert kind == "end"
    assert reason is not None
    assert "the server speaks protocol version 1, this worker" in reason
