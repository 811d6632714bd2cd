"""Workers that cannot reach each other, and inputs that cannot be had."""

from __future__ import annotations

import pytest

from rainzmq.protocol.messages import client as c
from rainzmq.protocol.messages import worker as w
from rainzmq.server.core import states
from rainzmq.server.core.events import PeerGone, RelayMissed
from rainzmq.server.core.reach import CUT_S
from rainzmq.testing.server_core import ServerUnderTest


@pytest.fixture
def server():
    return ServerUnderTest()


def merge_of_two(server: ServerUnderTest):
    """(session, merge, its input that is elsewhere, the holder of that): two workers made an input each."""
    session = server.session()
    server.submit(session, {1: [], 3: [], 5: [2, 4]}, keep=(6,))
    for item in (1, 3):
        task = server.task(session, item)
        server.finishes(task.worker, task, size=1 << 20)
    merge = server.task(session, 5)
    missing = next(item for item in merge.inputs if merge.worker not in item.holders)
    server.take(merge.worker.peer)
    return session, merge, missing, missing.holders[0]


def misses(server, task, item, holder=None, why="it did not answer", refused=False):
    """The worker of a task could not get an input, and gives the task back."""
    worker = task.worker
    silent = [holder.name] if holder is not None else []
    server.reports(worker, missing=[(item.uid, why, silent, refused)])
    server.reports(worker, retracted=[(task.uid, task.attempt)])


def test_a_task_goes_to_a_worker_that_reaches_all_holders(server):
    server.worker(b"one"), server.worker(b"two")
    _, merge, missing, holder = merge_of_two(server)
    reader = merge.worker
    third = server.worker(b"three")
    misses(server, merge, missing, holder)
    assert merge.worker is third
    assert missing.holders == (holder,), "it is not made again"
    assert list(reader.cut_off) == [holder]
    assert list(holder.cut_off) == [reader]


def test_a_worker_is_not_told_of_a_holder_that_it_cannot_reach(server):
    server.worker(b"one"), server.worker(b"two")
    _, merge, missing, holder = merge_of_two(server)
    third = server.worker(b"three")
    misses(server, merge, missing, holder)
    server.event(PeerGone(third.peer, "killed"))
    server.turn()
    (assign,) = server.take(merge.worker.peer, w.Assign)
    assert assign.object_holders == [[]], "no worker is left that reaches both"
    missing = next(item for item in merge.inputs if merge.worker not in item.holders)
    misses(server, merge, missing, why="nobody has it")
    assert missing.state == states.UNFINISHED, "it is made again"


def test_an_input_is_made_again_once_where_no_worker_can_get_all(server):
    server.worker(b"one"), server.worker(b"two")
    _, merge, missing, holder = merge_of_two(server)
    misses(server, merge, missing, holder)
    producer = missing.producer
    assert missing.state == states.UNFINISHED
    assert producer.worker is not holder, "it is made where its readers can have it"
    server.finishes(producer.worker, producer, size=1 << 20)
    assert merge.state == states.ASSIGNED
    assert producer.attempt == 1


def test_the_error_names_the_pair_when_making_it_again_did_not_help(server):
    one, two = server.worker(b"one"), server.worker(b"two")
    session, merge, missing, holder = merge_of_two(server)
    reader = merge.worker
    session.remade.add(missing.uid)
    misses(server, merge, missing, holder)
    (failed,) = server.take(server.client, c.SessionFailed)
    assert f"could not be brought to {reader.name}" in failed.failure.message
    assert f"{reader.name} cannot reach {holder.name}" in failed.failure.message
    assert {one, two} == {reader, holder}


def test_a_holder_that_is_gone_counts_as_no_miss(server):
    server.worker(b"one"), server.worker(b"two")
    _, merge, missing, holder = merge_of_two(server)
    third = server.worker(b"three")
    missing.add_holder(third)
    server.event(PeerGone(holder.peer, "killed"))
    misses(server, merge, missing, holder)
    assert missing.misses == 0
    assert missing.holders == (third,)


def test_a_cut_is_forgotten_after_a_while(server):
    server.worker(b"one"), server.worker(b"two"), server.worker(b"three")
    _, merge, missing, holder = merge_of_two(server)
    reader = merge.worker
    misses(server, merge, missing, holder)
    for _ in range(int(CUT_S / 2) + 1):
        server.pass_time(2.0)
        for worker in (reader, holder):
            server.reports(worker)
        server.say(c.ClientHeartbeat(0))
    assert reader.cut_off == holder.cut_off == {}


def test_what_is_refused_fails_its_reader_at_once(server):
    server.worker(b"one"), server.worker(b"two")
    _, merge, missing, _ = merge_of_two(server)
    worker, producer = merge.worker, missing.producer
    server.reports(worker, missing=[(missing.uid, "the archive has more than 3 entries", [], True)])
    (failed,) = server.take(server.client, c.SessionFailed)
    assert failed.failure.message.endswith("the archive has more than 3 entries")
    assert producer.attempt == 0


def test_what_the_relay_missed_stays_with_holders_that_it_did_not_ask(server):
    one, two = server.worker(b"one"), server.worker(b"two")
    session = server.session()
    server.submit(session, {1: []}, keep=(2,))
    task = server.task(session, 1)
    server.finishes(task.worker, task, size=1 << 20)
    other = two if task.worker is one else one
    item = task.outputs[0]
    item.add_holder(other)
    server.event(RelayMissed(item.uid, "it is gone", [task.worker.name]))
    server.turn()
    assert item.holders == (other,)
    assert server.take(task.worker.peer, w.Remove) == [w.Remove([item.uid])]
