"""Workers that cannot run tasks, through faults of their own: tasks run elsewhere and have not failed."""

from __future__ import annotations

import pytest

from rainzmq.protocol.messages import client as c
from rainzmq.protocol.messages import worker as w
from rainzmq.server.core import states
from rainzmq.server.core.events import WorkerSaid
from rainzmq.server.core.liveness import KIND_GRACE_S
from rainzmq.server.core.reasons import why_tasks_wait
from rainzmq.server.core.tasks import UNABLE_LIMIT
from rainzmq.testing.server_core import ServerUnderTest


@pytest.fixture
def server() -> ServerUnderTest:
    return ServerUnderTest()


def in_trouble(server: ServerUnderTest, worker, **kinds: str) -> None:
    server.event(WorkerSaid(worker.peer, worker.epoch, w.WorkerTrouble(sorted(kinds.items()))))


def test_a_task_that_its_worker_was_unable_to_run_runs_again_as_another_attempt(server):
    worker = server.worker(b"w")
    session = server.session()
    server.submit(session, {1: []})
    task = server.task(session, 1)
    server.reports(worker, unable=[(task.uid, 0, "no directory")])
    assert (task.state, task.attempt, task.crashes) == (states.ASSIGNED, 1, 0)
    server.finishes(worker, task)
    assert server.take(server.client, c.SessionFailed) == []


def test_a_worker_in_trouble_gets_no_tasks_of_that_kind_until_it_is_well(server):
    ill, well = server.worker(b"ill"), server.worker(b"well")
    in_trouble(server, ill, python="no process can be started")
    session = server.session()
    server.submit(session, {1: []})
    first = server.task(session, 1)
    assert first.worker is well
    server.submit(session, {3: []})
    in_trouble(server, ill)
    server.finishes(well, first)
    server.submit(session, {5: [], 7: [], 9: []})
    assert ill in {server.task(session, number).worker for number in (5, 7, 9)}


def test_tasks_wait_with_the_reason_while_all_workers_are_in_trouble():
    server = ServerUnderTest(suspect_after_s=1000.0, dead_after_s=1000.0)
    worker = server.worker(b"w")
    session = server.session()
    server.submit(session, {1: []})
    task = server.task(session, 1)
    in_trouble(server, worker, python="the disk is full")
    server.reports(worker, unable=[(task.uid, 0, "the disk is full")])
    assert task.state == states.READY
    (reason,) = why_tasks_wait(server.engine.state, session)
    assert "no worker takes 'python' tasks" in reason
    assert f"{worker.name}: the disk is full" in reason
    server.pass_time(2 * KIND_GRACE_S)
    assert task.state == states.READY, "a kind that is offered is not given up"
    in_trouble(server, worker)
    server.turn()
    assert task.state == states.ASSIGNED
    assert why_tasks_wait(server.engine.state, session) == []


def test_a_task_that_no_worker_is_ever_able_to_run_fails_in_the_end_with_all_reasons(server):
    workers = [server.worker(b"a"), server.worker(b"b")]
    session = server.session()
    server.submit(session, {1: []})
    task = server.task(session, 1)
    for attempt in range(UNABLE_LIMIT):
        assert task.worker in workers
        server.reports(task.worker, unable=[(task.uid, attempt, f"reason {attempt}")])
    (failed,) = server.take(server.client, c.SessionFailed)
    assert f"unable to run it {UNABLE_LIMIT} times" in failed.failure.message
    assert "reason 0" in failed.failure.message
    assert f"reason {UNABLE_LIMIT - 1}" in failed.failure.message


def test_an_input_that_is_gone_is_made_again_before_its_reader_runs(server):
    worker = server.worker(b"w")
    session = server.session()
    server.submit(session, {1: [], 3: [2]}, keep=(4,))
    maker, reader = server.task(session, 1), server.task(session, 3)
    server.finishes(worker, maker, size=1 << 20)
    uid = maker.outputs[0].uid
    server.reports(worker, started=[(reader.uid, 0)])
    server.reports(worker, unable=[(reader.uid, 0, "its input is gone")], lost=[uid])
    assert maker.state == states.ASSIGNED
    server.finishes(worker, maker, size=1 << 20)
    server.finishes(worker, reader)
    assert reader.state == states.FINISHED


def test_who_begins_to_watch_is_told_of_workers_in_trouble(server):
    worker = server.worker(b"w")
    in_trouble(server, worker, python="why", nonsense="of no kind that it offers")
    assert worker.troubles == {"python": "why"}
    assert worker.kinds == {"builtin"}
