"""Whose fault it is when a worker vanishes."""

from __future__ import annotations

import pytest

from rainzmq.protocol.messages import client as c
from rainzmq.protocol.messages import worker as w
from rainzmq.protocol.messages.shared import Endpoint
from rainzmq.server.core import states
from rainzmq.server.core.deaths import MAX_DEATHS, MAX_REMEMBERED, STORM_S, Death, Deaths
from rainzmq.server.core.events import PeerGone, WorkerJoined
from rainzmq.testing.server_core import ServerUnderTest, body


@pytest.fixture
def server():
    return ServerUnderTest()


def dies(server: ServerUnderTest, worker, *running) -> None:
    """Some of its tasks run when the connection of a worker breaks."""
    server.reports(worker, started=[(task.uid, task.attempt) for task in running])
    server.event(PeerGone(worker.peer, "its connection is gone"))


def test_a_task_that_was_alone_on_three_workers_when_they_died_is_blamed(server):
    session = server.session()
    server.submit(session, {1: []})
    task = server.task(session, 1)
    for number in range(3):
        assert task.attempt == number
        dies(server, server.worker(b"w%d" % number), task)
    server.turn()
    (failed,) = server.take(server.client, c.SessionFailed)
    assert failed.failure.message.startswith(
        "crash limit: 3 workers died while it alone ran on them, and no other worker died"
    )
    assert [line[:20] for line in failed.failure.message.splitlines()[1:]] == [
        f"attempt {attempt} on 127.0.0" for attempt in (1, 2, 3)
    ]


def test_none_of_several_tasks_is_blamed_for_the_death_of_their_worker(server):
    session = server.session()
    server.submit(session, {1: [], 3: []})
    tasks = [server.task(session, item) for item in (1, 3)]
    for number in range(10):
        dies(server, server.worker(b"w%d" % number, cpus=2), *tasks)
    assert [task.state for task in tasks] == [states.READY] * 2
    assert [task.attempt for task in tasks] == [10, 10]


def test_a_task_is_not_blamed_while_workers_without_it_die_as_well(server):
    session = server.session()
    server.submit(session, {1: []})
    task = server.task(session, 1)
    for number in range(5):
        dies(server, server.worker(b"w%d" % number), task)
        task = server.task(session, 1)
        if number == 0:
            idle = server.worker(b"idle", kinds=("builtin",))
            server.event(PeerGone(idle.peer, "its connection is gone"))
    assert task.state == states.READY


def test_a_silent_worker_blames_none(server):
    session = server.session()
    server.submit(session, {1: []})
    task = server.task(session, 1)
    for number in range(4):
        worker = server.worker(b"w%d" % number)
        server.reports(worker, started=[(task.uid, task.attempt)])
        for _ in range(2):
            server.pass_time(6)
            server.say(c.ClientHeartbeat(0))
    assert (task.state, task.attempt) == (states.READY, 4)
    assert worker.state == states.GONE


def test_a_worker_that_comes_back_was_not_killed_by_its_task(server):
    session = server.session()
    server.submit(session, {1: []})
    task = server.task(session, 1)
    worker = server.worker(b"w0")
    for number in range(1, 5):
        dies(server, worker, task)
        hello = w.WorkerHello(
            "test", "host", 2, 1, Endpoint("127.0.0.1", 7, b"W" * 40), ["python"], worker.epoch
        )
        server.event(WorkerJoined(b"w%d" % number, hello))
        server.turn()
        worker = server.engine.state.workers[b"w%d" % number]
    assert (task.state, task.worker) == (states.ASSIGNED, worker)


def test_a_crash_of_its_own_process_counts_apart_from_deaths_of_its_workers(server):
    session = server.session()
    server.submit(session, {1: []}, bodies=[body()])
    task = server.task(session, 1)
    for number in range(2):
        dies(server, server.worker(b"w%d" % number), task)
    worker = server.worker(b"w")
    for attempt in (2, 3):
        server.reports(worker, crashed=[(task.uid, attempt, "signal SIGSEGV")])
    assert task.state == states.ASSIGNED


def death(time: float, *uids: int) -> Death:
    return Death(time, 1, "w:1", "gone", dict.fromkeys(uids, 0))


def test_a_death_long_before_is_no_excuse():
    deaths = Deaths()
    deaths.add(death(0.0))
    for number in range(3):
        deaths.add(death(STORM_S + 1 + number, 7))
    assert deaths.verdict(7, 3) is not None


def test_a_task_ends_at_some_time_whatever_else_dies():
    deaths = Deaths()
    for number in range(MAX_DEATHS - 1):
        deaths.add(death(number, 7, 8))
        deaths.add(death(number))
    assert deaths.verdict(7, 3) is None
    deaths.add(death(1000.0, 7))
    verdict = deaths.verdict(7, 3)
    assert verdict is not None
    assert verdict.startswith(f"{MAX_DEATHS} workers died while it ran on them")
    assert f"({MAX_DEATHS - 5} more)" in verdict
    assert deaths.verdict(8, 3) is None


def test_what_is_remembered_is_bounded():
    deaths = Deaths()
    for number in range(MAX_REMEMBERED + 10):
        deaths.add(death(number, 7))
    assert len(deaths._deaths) == MAX_REMEMBERED
