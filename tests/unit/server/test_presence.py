"""Whether clients are alive: connections that break and are taken up again, one event at a time."""

from __future__ import annotations

import pytest

from rainzmq.common.limits import CLIENT_GRACE_S, HOST_SILENT_S
from rainzmq.protocol.messages import client as c
from rainzmq.server.core.events import (
    ClientJoined,
    ClientProcessSeen,
    ClientReturned,
    ClientSaid,
    Log,
    PeerGone,
    ReturnDue,
    Send,
    SessionOwner,
    Tick,
    UnwatchProcess,
    WatchProcess,
)
from rainzmq.server.core.presence import RETURN_S
from rainzmq.testing.server_core import ServerUnderTest

SPACE = "boot:1"
NEW = b"new connection"


@pytest.fixture
def server() -> ServerUnderTest:
    return ServerUnderTest(process_space=SPACE)


def break_connection(server: ServerUnderTest) -> None:
    server.event(PeerGone(server.client, "its connection is gone"))
    server.turn()


def come_back(server: ServerUnderTest, epoch: int, received: int) -> list[object]:
    """What the client is sent on its new connection."""
    server.event(ClientReturned(NEW, epoch, received))
    server.turn()
    return server.take(NEW)


def epoch_of(server: ServerUnderTest) -> int:
    return server.engine.state.clients[server.client].epoch


def watch(server: ServerUnderTest) -> None:
    """The client's process is on the server's machine."""
    server.say(c.ClientProcess(SPACE, 77, 5))
    server.event(ClientProcessSeen(epoch_of(server), True))


def test_silence_ends_no_client(server):
    session = server.session()
    server.pass_time(3600)
    assert session.session_id in server.engine.state.sessions
    assert {type(message) for message in server.take(server.client)} >= {c.ClientHeartbeat}


def test_a_client_whose_connection_was_closed_is_given_a_moment_to_come_back(server):
    session = server.session()
    break_connection(server)
    server.now += RETURN_S - 0.1
    server.event(ReturnDue())
    assert session.session_id in server.engine.state.sessions
    server.now += 0.1
    server.event(ReturnDue())
    assert not server.engine.state.sessions
    assert SessionOwner(session.session_id, None) in server.effects


def test_a_client_whose_process_lives_has_all_of_the_grace(server):
    session = server.session()
    watch(server)
    break_connection(server)
    server.pass_time(CLIENT_GRACE_S - 0.5)
    assert session.session_id in server.engine.state.sessions
    server.pass_time(2.5)
    assert not server.engine.state.sessions
    assert UnwatchProcess(1000) in server.effects


def test_a_client_whose_process_ended_is_gone_at_once_whatever_its_connection(server):
    server.session()
    watch(server)
    server.event(ClientProcessSeen(epoch_of(server), False))
    assert not server.engine.state.sessions
    assert not server.engine.state.clients


def test_only_a_process_of_the_same_machine_is_watched(server):
    server.say(c.ClientProcess("another boot:1", 77, 5))
    server.say(c.ClientProcess("", 77, 5))
    assert not [effect for effect in server.effects if isinstance(effect, WatchProcess)]
    server.say(c.ClientProcess(SPACE, 77, 5))
    assert server.effects[-1] == WatchProcess(epoch_of(server), 77, 5)


def test_a_host_that_does_not_answer_is_waited_for_until_the_grace_is_over(server):
    session = server.session()
    for silence_s in (HOST_SILENT_S, HOST_SILENT_S + CLIENT_GRACE_S - 0.1, 0.0):
        server.event(Tick({server.client: silence_s}))
        assert session.session_id in server.engine.state.sessions
    server.event(Tick({server.client: HOST_SILENT_S + CLIENT_GRACE_S}))
    assert not server.engine.state.sessions


def test_a_client_that_comes_back_has_its_sessions_and_gets_what_it_missed(server):
    worker = server.worker(b"w")
    session = server.session()
    server.submit(session, {1: []}, keep=(2,))
    server.say(c.Wait(7, session.session_id, [1], "all"))
    server.say(c.Fetch(8, session.session_id, 2))
    epoch, task = epoch_of(server), server.task(session, 1)
    break_connection(server)
    server.take(server.client)
    server.finishes(worker, task, inline=[(task.outputs[0].uid, b"abc")], size=3)
    assert server.take(server.client) == [], "nothing is sent into a closed connection"
    resumed, *missed = come_back(server, epoch, received=1)
    assert resumed == c.ClientResumed(4), "new_session, submit, wait, fetch"
    assert sorted(type(message).__name__ for message in missed) == ["Fetched", "News"]
    assert server.engine.state.clients[NEW].sessions == {session.session_id}
    assert server.client not in server.engine.state.clients


def test_waits_of_a_client_that_came_back_are_answered_on_its_new_connection(server):
    worker = server.worker(b"w")
    session = server.session()
    server.submit(session, {1: []}, keep=(2,))
    server.say(c.Wait(7, session.session_id, [1], "all"))
    server.say(c.Wait(8, session.session_id, [], "session"))
    server.say(c.Fetch(9, session.session_id, 2))
    come_back(server, epoch_of(server), received=1)
    task = server.task(session, 1)
    server.finishes(worker, task, inline=[(task.outputs[0].uid, b"abc")], size=3)
    assert {message.request for message in server.take(NEW)} == {7, 8, 9}
    assert server.take(server.client) == []


def test_what_is_confirmed_is_not_sent_again(server):
    server.session()
    server.say(c.NewSession(9, "second"))
    server.turn()
    epoch = epoch_of(server)
    server.say(c.ClientHeartbeat(1))
    assert len(server.engine.state.clients[server.client].unconfirmed) == 1
    assert [type(message) for message in come_back(server, epoch, received=2)] == [c.ClientResumed]


def test_what_still_comes_over_the_old_connection_is_dropped(server):
    session = server.session()
    epoch, old = epoch_of(server), server.client
    come_back(server, epoch, received=1)
    server.event(ClientSaid(old, epoch, c.NewSession(9, "sent again")))
    server.turn()
    assert list(server.engine.state.sessions) == [session.session_id]
    assert server.take(old) == []


def test_a_client_that_comes_back_too_late_is_told_why_and_how_long_it_was_silent(server):
    server.session()
    epoch = epoch_of(server)
    server.pass_time(20)
    break_connection(server)
    server.pass_time(4)
    (bye,) = come_back(server, epoch, received=1)
    assert "its connection was closed and it did not come back within 3.5 s" in bye.reason
    assert "last heard 24.0 s ago" in bye.reason
    (line,) = [effect.text for effect in server.effects if isinstance(effect, Log) and "gone" in effect.text]
    assert bye.reason.removeprefix("its sessions were ended: ") in line
    assert "with 1 sessions" in line


def test_a_claim_to_have_got_more_than_was_sent_ends_the_client(server):
    server.session()
    epoch = epoch_of(server)
    (bye,) = come_back(server, epoch, received=5)
    assert "claims to have got 5 messages" in bye.reason
    assert not server.engine.state.clients
    server.event(ClientJoined(b"other", c.ClientHello("test", "host", 3), False))
    server.say(c.ClientHeartbeat(3), b"other")
    assert not server.engine.state.clients


def test_a_client_that_is_cut_off_may_not_come_back(server):
    server.session()
    epoch = epoch_of(server)
    server.event(PeerGone(server.client, "it sent 20 bad messages", cut_off=True))
    assert not server.engine.state.sessions
    (bye,) = come_back(server, epoch, received=1)
    assert "20 bad messages" in bye.reason


def test_a_viewer_has_nothing_to_come_back_to(server):
    server.event(ClientJoined(b"viewer", c.ClientHello("test", "host", 3), True))
    server.event(PeerGone(b"viewer", "its connection is gone"))
    assert list(server.engine.state.clients) == [server.client]


def test_messages_of_the_turn_in_which_a_client_comes_back_follow_those_it_missed(server):
    session = server.session()
    server.say(c.AskProgress(5, session.session_id))
    server.turn()
    epoch = epoch_of(server)
    server.say(c.AskProgress(6, session.session_id))
    effects = server.event(ClientReturned(NEW, epoch, 1))
    server.turn()
    assert isinstance(effects[-1], Send)
    assert [getattr(message, "request", None) for message in server.take(NEW)] == [None, 5, 6]
