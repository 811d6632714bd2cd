"""The control connection, against a server that is a function."""

from __future__ import annotations

import gc
import os
import threading
import time
from typing import Any

import pytest
from client_wire import SERVER_HEADER, FakeControl, Wire, failure, polite, welcome

import rainzmq
from rainzmq import RainException, SessionException
from rainzmq.client.connection import Connection
from rainzmq.protocol.codec import Header, encode
from rainzmq.protocol.messages.client import (
    AskProgress,
    AskServerInfo,
    CancelWait,
    ClientBye,
    ClientHeartbeat,
    ClientHello,
    ClientRefused,
    ClientResume,
    ClientResumed,
    Knock,
    News,
    NewSession,
    Progress,
    RequestFailed,
    ServerInfo,
    SessionOpened,
    Unkeep,
    Wait,
)
from rainzmq.protocol.version import PROTOCOL_VERSION


def new(control: FakeControl) -> Connection:
    return Connection(control, "server:1")  # type: ignore[arg-type]


def connected(control: FakeControl) -> Connection:
    connection = new(control)
    connection.greet()
    return connection


def greeting(control: FakeControl, *frames: bytes) -> None:
    control.answer = lambda message: None
    control.push_raw(*frames)


def test_greeting_tells_who_asks_and_learns_the_epochs(control: FakeControl) -> None:
    connection = new(control)
    assert connection.greet() == welcome()
    (hello,) = control.of(ClientHello)
    assert (hello.software, hello.pid) == (rainzmq.__version__, os.getpid())
    assert connection.header == Header(cluster_id=7, server_epoch=8, sender_epoch=5)
    connection.close()


def test_refusal_is_told(control: FakeControl) -> None:
    greeting(control, encode(ClientRefused("9.9", "too old"), Header(version=99)))
    with pytest.raises(RainException, match=r"server:1 \(rainzmq 9\.9\) refused this client .*too old"):
        new(control).greet()


def test_other_version_is_told(control: FakeControl) -> None:
    greeting(control, encode(welcome(), Header(version=99)))
    with pytest.raises(RainException, match=f"protocol version 99, this client {PROTOCOL_VERSION}"):
        new(control).greet()


def test_silence_at_the_greeting_is_told(control: FakeControl) -> None:
    greeting(control)
    with pytest.raises(RainException, match="did not answer in time"):
        new(control).greet(timeout_s=0.01)


def test_end_at_the_greeting_is_told(control: FakeControl) -> None:
    greeting(control)
    control.lost = True
    with pytest.raises(RainException, match="ended the connection"):
        new(control).greet()


def test_nonsense_at_the_greeting_is_told(control: FakeControl) -> None:
    greeting(control, b"nonsense")
    with pytest.raises(RainException, match="does not speak this protocol"):
        new(control).greet()


def test_request_gets_its_answer(wire: Wire) -> None:
    wire.answer(lambda message: SessionOpened(message.request, 42))
    assert wire.connection.ask(lambda number: NewSession(number, "n")).session_id == 42


def test_answer_may_have_parts(wire: Wire) -> None:
    wire.answer(
        lambda m: [ServerInfo(m.request, True, [], {"a": 1}), ServerInfo(m.request, False, [], {"b": 2})]
    )
    assert [part.facts for part in wire.connection.ask_all(AskServerInfo)] == [{"a": 1}, {"b": 2}]


def test_refused_request_is_an_error(wire: Wire) -> None:
    wire.answer(lambda message: RequestFailed(message.request, "request", "no such thing"))
    with pytest.raises(RainException, match="no such thing") as caught:
        wire.connection.ask(AskServerInfo)
    assert not isinstance(caught.value, SessionException)
    wire.answer(lambda message: RequestFailed(message.request, "session", "it is closed"))
    with pytest.raises(SessionException, match="it is closed"):
        wire.connection.ask(AskServerInfo)


def test_waiting_has_a_time_limit(wire: Wire) -> None:
    pending = wire.connection.request(AskServerInfo)
    assert pending.wait(0.01) is None
    wire.control.push(ServerInfo(pending.number, False, [], {}))
    assert pending.wait(10) is not None


def test_answer_that_comes_later_ends_the_wait(wire: Wire) -> None:
    pending = wire.connection.request(AskServerInfo)
    timer = threading.Timer(0.02, wire.control.push, [ServerInfo(pending.number, False, [], {})])
    timer.start()
    assert pending.wait(10) is not None
    timer.join()


def test_wait_that_is_given_up_is_taken_back_and_its_answer_dropped(wire: Wire) -> None:
    pending = wire.connection.request(lambda number: Wait(number, 1, [1], "all"))
    pending.cancel()
    pending.cancel()
    assert wire.control.of(CancelWait) == [CancelWait(pending.number)]
    wire.control.push(News(pending.number, False, [], []))
    wire.connection.check()


def test_other_requests_are_given_up_silently(wire: Wire) -> None:
    wire.connection.request(lambda number: Unkeep(number, 1, [1])).cancel()
    assert wire.control.of(CancelWait) == []


def test_threads_ask_at_once(wire: Wire) -> None:
    results: list[Any] = []

    def ask(number: int) -> None:
        for _ in range(20):
            reply = wire.connection.ask(lambda request: NewSession(request, str(number)))
            results.append(reply.session_id == number)

    def answer(message: Any) -> Any:
        return SessionOpened(message.request, int(message.name)) if isinstance(message, NewSession) else None

    wire.answer(answer)
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 100


def test_thread_that_takes_in_an_answer_wakes_the_one_that_waits_for_it(wire: Wire) -> None:
    waiting = wire.connection.request(AskServerInfo)
    done = threading.Event()

    def wait() -> None:
        waiting.wait(10)
        done.set()

    thread = threading.Thread(target=wait)
    thread.start()
    # The answer to the other's request comes together with that to ours, without a signal of its own.
    time.sleep(0.02)
    wire.answer(
        lambda m: (
            [ServerInfo(waiting.number, False, [], {}), Progress(m.request, 0, 0, 0, [], [])]
            if isinstance(m, AskProgress)
            else None
        )
    )
    wire.connection.ask(lambda number: AskProgress(number, 1))
    assert done.wait(5)
    thread.join()


def test_connection_to_a_server_whose_process_ended_ends_every_wait(wire: Wire) -> None:
    pending = wire.connection.request(AskServerInfo)
    wire.control.ended = True
    timer = threading.Timer(0.02, wire.control.cut)
    timer.start()
    with pytest.raises(SessionException, match="server:1 has ended: its process has ended"):
        pending.wait(10)
    timer.join()
    assert not wire.connection.connected
    assert not wire.session.active
    with pytest.raises(SessionException, match="has ended"):
        wire.connection.ask(AskServerInfo)


def test_wait_does_not_notice_that_the_connection_broke_and_was_taken_up_again(wire: Wire) -> None:
    control, connection = wire.control, wire.connection
    pending = connection.request(AskServerInfo)
    control.cut()
    assert pending.wait(0.01) is None
    during = connection.request(AskServerInfo)
    assert control.of(AskServerInfo) == [AskServerInfo(pending.number)], (
        "nothing is sent without a connection"
    )
    control.sent.clear()
    control.answer = lambda message: ClientResumed(1) if isinstance(message, ClientResume) else None
    control.back()
    assert pending.wait(0.01) is None
    assert control.sent == [ClientResume(0), AskServerInfo(pending.number), AskServerInfo(during.number)]
    control.push(ServerInfo(pending.number, False, [], {}), ServerInfo(during.number, False, [], {}))
    assert pending.wait(10)
    assert during.wait(10)


def test_what_the_server_confirmed_is_not_sent_again(wire: Wire) -> None:
    control, connection = wire.control, wire.connection
    first, second = (connection.request(AskServerInfo) for _ in range(2))
    control.push(ServerInfo(first.number, False, [], {}), ClientHeartbeat(2))
    assert first.wait(10)
    control.cut()
    assert second.wait(0.01) is None
    control.sent.clear()
    control.answer = lambda message: ClientResumed(2) if isinstance(message, ClientResume) else None
    control.back()
    assert second.wait(0.01) is None
    assert control.sent == [ClientResume(1), AskServerInfo(second.number)]


def test_server_that_ended_the_sessions_meanwhile_says_why(wire: Wire) -> None:
    wire.control.cut()
    wire.control.answer = lambda message: ClientBye(
        "its connection was closed and it was last heard 70.0 s ago"
    )
    assert wire.connection.end_of(1) is None
    wire.control.back()
    with pytest.raises(SessionException, match=r"last heard 70.* s ago"):
        wire.connection.check()


def test_knock_is_answered_at_once(wire: Wire) -> None:
    wire.control.push(Knock())
    wire.connection.check()
    assert wire.control.of(ClientHeartbeat) == [ClientHeartbeat(0)]


def test_many_messages_are_confirmed_without_waiting_for_a_heartbeat(wire: Wire) -> None:
    wire.control.push(*[failure(item << 32 | 5) for item in range(1, 300)])
    wire.connection.check()
    assert wire.control.of(ClientHeartbeat) == [ClientHeartbeat(299)]


def test_what_comes_while_a_heartbeat_is_sent_is_taken_in_with_it(wire: Wire) -> None:
    pending = wire.connection.request(AskServerInfo)
    reply = ServerInfo(pending.number, False, [], {})
    wire.control.answer = lambda message: reply if isinstance(message, ClientHeartbeat) else None
    wire.connection.beat(0.0, 0.0)
    assert pending.done


def test_heartbeat_that_fails_ends_the_connection_instead_of_leaving_all_waiting(wire: Wire) -> None:
    def no_descriptor() -> bool:
        raise OSError(24, "Too many open files")

    wire.control.host_answers = no_descriptor  # type: ignore[method-assign]
    wire.control.cut()
    pending = wire.connection.request(AskServerInfo)
    with pytest.raises(SessionException, match=r"error of rainzmq itself: OSError.*Too many open files"):
        pending.wait(10)


def test_goodbye_of_the_server_ends_the_connection(wire: Wire) -> None:
    wire.control.push(ClientBye("going down"))
    with pytest.raises(SessionException, match="says goodbye: going down"):
        wire.connection.ask(AskServerInfo)


def test_new_life_of_the_server_ends_the_connection(wire: Wire) -> None:
    wire.control.push(ClientHeartbeat(0), header=SERVER_HEADER._replace(server_epoch=9))
    with pytest.raises(SessionException, match="restarted"):
        wire.connection.check()


def test_bad_messages_are_dropped_until_there_are_too_many(wire: Wire) -> None:
    wire.control.push_raw(*[b"nonsense"] * 19)
    wire.connection.check()
    wire.control.push_raw(b"nonsense")
    with pytest.raises(SessionException, match="20 bad messages"):
        wire.connection.check()


def test_failure_of_a_session_is_remembered_and_ends_its_waits(wire: Wire) -> None:
    pending = wire.connection.request(AskServerInfo, session_id=1)
    other = wire.connection.request(AskServerInfo, session_id=2)
    wire.control.push(failure(1 << 32 | 5, "first"), failure(1 << 32 | 6, "second"))
    with pytest.raises(SessionException):
        pending.wait(10)
    end = wire.connection.ends.get(1)
    assert end is not None
    assert end.failure.message == "first"
    assert other.wait(0.001) is None
    assert wire.connection.end_of(2) is None


def test_too_large_message_is_refused(wire: Wire) -> None:
    with pytest.raises(RainException, match="limit of 1048576"):
        wire.connection.send(Unkeep(1, 1, [1 << 40] * 200_000))


def test_heartbeats_are_sent_when_nobody_else_sends(control: FakeControl) -> None:
    connection = connected(control)
    connection._last_sent_s -= 100
    connection.beat(1.0, 0.0)
    connection.beat(1.0, 0.0)
    assert len(control.of(ClientHeartbeat)) == 1
    connection.close()


def test_silent_server_is_given_up(control: FakeControl) -> None:
    connection = connected(control)
    connection._last_heard_s -= 98
    connection.beat(1.0, 0.0)
    assert connection.connected
    connection._last_heard_s -= 2
    control.answer = lambda message: None
    connection._last_heard_s = time.monotonic() - 100
    connection.beat(1.0, 0.0)
    with pytest.raises(SessionException, match="nothing was heard from it for 100 s"):
        connection.check()
    connection.close()


def test_own_standstill_is_not_held_against_the_server(control: FakeControl) -> None:
    connection = connected(control)
    control.answer = lambda message: None
    connection._last_heard_s -= 100
    connection.beat(1.0, 98.0)
    assert connection.connected
    connection.close()


def test_heartbeat_thread_does_its_work_and_ends_with_the_connection(control: FakeControl) -> None:
    def answer(message: Any) -> Any:
        return welcome(heartbeat_interval_s=0.01) if isinstance(message, ClientHello) else polite(message)

    control.answer = answer
    connection = connected(control)
    (thread,) = [t for t in threading.enumerate() if t.name == "rainzmq-heartbeat" and t.is_alive()][-1:]
    deadline = time.monotonic() + 5
    while not control.of(ClientHeartbeat) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert control.of(ClientHeartbeat)
    del connection
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()


def test_close_says_goodbye_and_can_be_repeated(control: FakeControl) -> None:
    connection = connected(control)
    connection.close("done")
    connection.close()
    assert control.of(ClientBye) == [ClientBye("done")]
    assert control.socket.closed
    with pytest.raises(SessionException, match="client was closed"):
        connection.request(AskServerInfo)


def test_close_ends_the_waits_of_other_threads(control: FakeControl) -> None:
    connection = connected(control)
    pending = connection.request(AskServerInfo)
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            pending.wait(10)
        except SessionException as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.02)
    connection.close()
    thread.join(5)
    assert "client was closed" in str(errors[0])


def test_forked_process_can_not_use_the_connection(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire.connection, "_pid", 1)
    with pytest.raises(SessionException, match="forked process"):
        wire.connection.ask(AskServerInfo)
    monkeypatch.undo()


def test_goodbyes_do_not_fail(wire: Wire) -> None:
    wire.control.cut()
    assert wire.connection.ask_in_parting(AskServerInfo) is None
    wire.control.push(ClientBye("going down"))
    assert wire.connection.ask_in_parting(AskServerInfo) is None
