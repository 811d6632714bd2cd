"""The server's core: life of tasks, objects, workers, sessions, one event at a time."""

from __future__ import annotations

import pytest

from rainzmq.common.ids import make_uid
from rainzmq.common.limits import CONTROL_FRAME_LIMIT_BYTES
from rainzmq.protocol.codec import Header, encode
from rainzmq.protocol.messages import client as c
from rainzmq.protocol.messages import worker as w
from rainzmq.server.core import events as e
from rainzmq.server.core import states, trash
from rainzmq.server.core.events import (
    ClientJoined,
    DropUploads,
    OfferTicket,
    PeerGone,
    Uploaded,
    WorkerGone,
    WorkerJoined,
    WorkerSaid,
)
from rainzmq.server.core.table import PAGE_BITS
from rainzmq.testing.server_core import RELAY, ServerUnderTest, body, report


@pytest.fixture
def server() -> ServerUnderTest:
    return ServerUnderTest()


def past(session, local_id):
    """Whether an object is gone for good, and with it its record."""
    uid = make_uid(session.session_id, local_id)
    return session.history.output(uid) is not None and uid not in session.objects


def test_past_tasks_and_objects_can_still_be_asked_for(server):
    worker = server.worker(b"w")
    session = server.session()
    server.submit(session, {1: [], 3: [2]})
    first, second = server.task(session, 1), server.task(session, 3)
    server.finishes(worker, first)
    server.finishes(worker, second, users=[(second.uid, b'{"a": 1}'), (second.uid + 1, b'{"b": 2}')])
    assert (len(session.tasks), len(session.objects), session.task_count) == (0, 0, 2)
    server.take(server.client)
    server.say(c.Wait(7, session.session_id, [1, 3, 2, 4], "all"))
    server.say(c.Update(8, session.session_id, [3, 4]))
    server.turn()
    whole, part = server.take(server.client, c.News)
    row = (3, "finished", second.start_time, second.duration_us / 1e6, worker.name, b'{"a": 1}', "")
    assert part.tasks == [row]
    assert part.objects == [(4, "removed", 10, None, None, b'{"b": 2}')]
    assert [item[0] for item in whole.tasks] == [1, 3]
    assert [item[:2] for item in whole.objects] == [(2, "removed"), (4, "removed")]
    server.say(c.AskProgress(9, session.session_id))
    server.turn()
    (progress,) = server.take(server.client, c.Progress)
    assert (progress.finished, progress.total) == (2, 2)


def test_what_is_past_can_not_be_read_fetched_or_made_again(server):
    worker = server.worker(b"w")
    session, other = server.session(), server.session()
    for item in (session, other):
        server.submit(item, {1: []})
        server.finishes(worker, server.task(item, 1))
    server.take(server.client)
    server.say(c.Fetch(7, session.session_id, 2))
    server.turn()
    (refused,) = server.take(server.client, c.RequestFailed)
    assert "not kept" in refused.reason
    server.submit(session, {3: [2]})
    (failed,) = server.take(server.client, c.SessionFailed)
    assert "reads object 2, which is not there any more" in failed.failure.message
    server.submit(other, {2: []})
    (failed,) = server.take(server.client, c.SessionFailed)
    assert "id 2 stands twice" in failed.failure.message


def test_a_ready_task_is_assigned_to_a_worker_with_its_body_once(server):
    worker = server.worker(b"w")
    session = server.session()
    server.submit(session, {1: [], 3: []})
    (assign,) = server.take(b"w")
    assert assign.uids == [server.task(session, 1).uid, server.task(session, 3).uid]
    assert len(assign.bodies) == 1
    assert assign.attempts == [0, 0]
    server.finishes(worker, server.task(session, 1), server.task(session, 3))
    server.submit(session, {5: []})
    (again,) = server.take(b"w", w.Assign)
    assert again.bodies == []


def test_a_task_waits_for_its_inputs_and_is_told_where_they_are(server):
    one, two = server.worker(b"one"), server.worker(b"two")
    session = server.session()
    server.submit(session, {1: [], 3: [], 5: [2, 4]}, keep=(6,))
    first, second, last = (server.task(session, item) for item in (1, 3, 5))
    assert {first.worker, second.worker} == {one, two}
    assert last.state == states.WAITING
    server.finishes(first.worker, first, size=1 << 20)
    assert last.state == states.WAITING
    server.take(first.worker.peer)
    server.finishes(second.worker, second)
    assert last.state == states.ASSIGNED
    assert last.worker is first.worker, "the bigger input decides"
    (assign,) = server.take(last.worker.peer, w.Assign)
    assert [meta.uid for meta in assign.objects] == [second.outputs[0].uid]
    assert assign.object_holders == [[0]]
    assert assign.holders == [second.worker.endpoint]


def test_small_results_travel_with_reports_and_assigns(server):
    one, two = server.worker(b"one"), server.worker(b"two")
    session = server.session()
    server.submit(session, {1: [], 3: [], 5: [2, 4]}, keep=(6,))
    tasks = [server.task(session, item) for item in (1, 3)]
    for task in tasks:
        server.finishes(task.worker, task, size=3, inline=[(task.outputs[0].uid, b"abc")])
    last = server.task(session, 5)
    (assign,) = server.take(last.worker.peer, w.Assign)[-1:]
    assert assign.object_data == [b"abc"]
    assert {one, two} == {tasks[0].worker, tasks[1].worker}


def test_an_object_is_removed_when_its_last_reader_finished(server):
    worker = server.worker(b"w")
    session = server.session()
    server.submit(session, {1: [], 3: [2]})
    server.finishes(worker, server.task(session, 1))
    assert server.object(session, 2).state == states.FINISHED
    server.take(b"w")
    server.finishes(worker, server.task(session, 3))
    assert past(session, 2)
    assert past(session, 4), "nobody reads it and it is not kept"
    (remove,) = server.take(b"w", w.Remove)
    assert sorted(remove.uids) == [make_uid(session.session_id, item) for item in (2, 4)]
    assert worker.deleting == set(remove.uids)
    server.reports(worker, removed=remove.uids)
    assert worker.deleting == set()


def test_kept_objects_stay_until_unkept(server):
    worker = server.worker(b"w")
    session = server.session()
    server.submit(session, {1: []}, keep=(2,))
    server.finishes(worker, server.task(session, 1))
    assert server.object(session, 2).state == states.FINISHED
    server.take(server.client)
    server.say(c.Unkeep(9, session.session_id, [2]))
    server.turn()
    assert past(session, 2)
    assert server.take(server.client) == [c.Done(9)]
    server.say(c.Unkeep(10, session.session_id, [2]))
    server.turn()
    (refused,) = server.take(server.client)
    assert isinstance(refused, c.RequestFailed)
    assert "not kept" in refused.reason


def test_objects_wait_for_the_last_part_of_their_submit(server):
    worker = server.worker(b"w")
    session = server.session()
    server.submit(session, {1: []}, last=False)
    server.finishes(worker, server.task(session, 1))
    assert server.object(session, 2).state == states.FINISHED, "a later part may still read it"
    server.submit(session, {3: [2]})
    assert server.object(session, 2).state == states.FINISHED
    server.finishes(worker, server.task(session, 3))
    assert past(session, 2)


def test_a_wait_is_answered_when_all_of_its_items_finished(server):
    worker = server.worker(b"w", cpus=2)
    session = server.session()
    server.submit(session, {1: [], 3: []}, keep=(4,))
    server.say(c.Wait(7, session.session_id, [1, 4], "all"))
    server.finishes(worker, server.task(session, 1))
    assert server.take(server.client, c.News) == []
    server.finishes(worker, server.task(session, 3))
    (news,) = server.take(server.client, c.News)
    assert news.request == 7
    assert [row[:2] for row in news.tasks] == [(1, "finished")]
    assert [row[:3] for row in news.objects] == [(4, "finished", 10)]


def test_wait_some_is_answered_by_the_first(server):
    worker = server.worker(b"w", cpus=2)
    session = server.session()
    server.submit(session, {1: [], 3: []})
    server.say(c.Wait(7, session.session_id, [1, 3], "some"))
    server.finishes(worker, server.task(session, 3))
    (news,) = server.take(server.client, c.News)
    assert [row[0] for row in news.tasks] == [3]
    server.finishes(worker, server.task(session, 1))
    assert server.take(server.client, c.News) == []


def test_waiting_for_the_session_costs_one_message(server):
    worker = server.worker(b"w", cpus=4)
    session = server.session()
    server.submit(session, {item: [] for item in range(1, 9, 2)})
    server.say(c.Wait(7, session.session_id, [], "session"))
    for item in (1, 3, 5):
        server.finishes(worker, server.task(session, item))
    assert server.take(server.client) == []
    server.finishes(worker, server.task(session, 7))
    assert server.take(server.client) == [c.News(7, False, [], [])]


def test_a_cancelled_wait_is_not_answered(server):
    worker = server.worker(b"w")
    session = server.session()
    server.submit(session, {1: []})
    server.say(c.Wait(7, session.session_id, [1], "all"))
    server.say(c.Wait(8, session.session_id, [], "session"))
    server.say(c.CancelWait(7))
    server.say(c.CancelWait(8))
    server.finishes(worker, server.task(session, 1))
    assert server.take(server.client) == []


def test_a_small_kept_object_is_fetched_from_the_server_and_a_large_one_with_a_ticket(server):
    worker = server.worker(b"w", cpus=2)
    session = server.session()
    server.submit(session, {1: [], 3: []}, keep=(2, 4))
    server.say(c.Fetch(5, session.session_id, 2))
    small, large = server.task(session, 1), server.task(session, 3)
    server.finishes(worker, small, size=2, inline=[(small.outputs[0].uid, b"ok")])
    (fetched,) = server.take(server.client, c.Fetched)
    assert (fetched.request, fetched.data) == (5, b"ok")
    server.finishes(worker, large, size=1 << 20)
    server.say(c.Fetch(6, session.session_id, 4))
    server.turn()
    (fetched,) = server.take(server.client, c.Fetched)
    assert fetched.data is None
    (offer,) = [effect for effect in server.effects if isinstance(effect, OfferTicket)]
    assert offer.ticket == fetched.ticket
    assert offer.holders == [worker.endpoint]


def test_only_kept_objects_can_be_fetched(server):
    server.worker(b"w")
    session = server.session()
    server.submit(session, {1: []})
    server.say(c.Fetch(5, session.session_id, 2))
    server.turn()
    (refused,) = server.take(server.client)
    assert "not kept" in refused.reason


@pytest.mark.parametrize("uploaded_first", [True, False])
def test_an_uploaded_constant_is_read_from_the_relay(server, uploaded_first):
    server.worker(b"w")
    session = server.session()
    uid = (session.session_id << 32) + 1
    upload = Uploaded(uid, 100_000, False)
    if uploaded_first:
        server.event(upload)
    meta = c.ObjectMeta(uid, "const", False, None, 100_000, b"", b"")
    server.say(
        c.Submit(session.session_id, [body()], [2], [1], [b""], [1], [1], [], [meta], [None], [], [], True)
    )
    server.turn()
    if not uploaded_first:
        assert server.task(session, 2).state == states.WAITING
        server.event(upload)
        server.turn()
    (assign,) = server.take(b"w", w.Assign)
    assert assign.holders == [RELAY]
    task = server.task(session, 2)
    server.finishes(task.worker, task)
    assert [e for e in server.effects if isinstance(e, DropUploads)] == [DropUploads([uid])]


def test_the_client_of_a_failed_session_hears_what_had_finished(server):
    worker = server.worker(b"w", cpus=4)
    session = server.session()
    server.submit(session, {1: [9], 3: [2], 5: [], 7: []}, keep=(4,), consts={9: b"c"})
    server.finishes(worker, server.task(session, 1), server.task(session, 5))
    server.finishes(worker, server.task(session, 3))
    assert list(session.history.runs()) == [(make_uid(1, 5), make_uid(1, 6))]
    server.take(server.client)
    server.reports(worker, failed=[(make_uid(1, 7), 0, 1.0, 5, "boom", "")])
    told, failed = server.take(server.client)
    assert failed.failure.task == make_uid(1, 7)
    runs = sorted(zip(told.firsts, told.lasts, strict=True))
    assert (told.session_id, runs) == (1, [(1, 2), (3, 4), (5, 6), (9, 9)])


def test_a_session_where_nothing_had_finished_has_nothing_to_tell(server):
    worker = server.worker(b"w")
    session = server.session()
    server.submit(session, {1: [], 3: [2]})
    server.take(server.client)
    server.reports(worker, failed=[(make_uid(1, 1), 0, 1.0, 5, "boom", "")])
    assert [type(message) for message in server.take(server.client)] == [c.SessionFailed]


def test_a_failed_task_fails_its_session_and_no_other(server):
    worker = server.worker(b"w", cpus=4)
    good, bad = server.session(), server.session()
    server.submit(good, {1: []})
    server.submit(bad, {1: [], 3: [], 5: [2]})
    task = server.task(bad, 1)
    server.take(b"w")
    server.reports(worker, failed=[(task.uid, 0, 1.0, 5, "boom", "debugged")])
    (failed,) = server.take(server.client, c.SessionFailed)
    assert failed.failure.message == "boom"
    assert failed.failure.debug == "debugged"
    assert failed.failure.worker == worker.name
    assert bad.state is failed.state is states.SESSION_FAILED
    assert server.take(b"w") == [w.EndSessions([bad.session_id])]
    assert list(worker.tasks.values()) == [server.task(good, 1)]
    server.say(c.Wait(3, bad.session_id, [], "session"))
    server.turn()
    (refused,) = server.take(server.client)
    assert (refused.code, refused.request) == ("session", 3)
    server.say(c.CloseSession(4, bad.session_id))
    server.turn()
    assert server.take(server.client) == [c.Done(4)]
    task = server.task(good, 1)
    server.finishes(worker, task)
    assert task.state == states.FINISHED


def test_closing_a_session_stops_its_tasks_and_frees_its_objects(server):
    worker = server.worker(b"w", cpus=2)
    session = server.session()
    server.submit(session, {1: [], 3: []}, keep=(2, 4))
    server.finishes(worker, server.task(session, 1))
    server.take(b"w")
    server.say(c.CloseSession(4, session.session_id))
    server.turn()
    assert server.take(b"w") == [w.EndSessions([session.session_id])]
    assert worker.load == 0
    assert [list(uids) for uids in worker.ending.values()] == [[make_uid(session.session_id, 2)]]
    server.reports(worker, ended_sessions=[session.session_id])
    assert worker.ending == {}
    assert server.engine.state.sessions == {}


def test_a_task_of_which_two_outputs_are_lost_is_made_again_once(server):
    worker = server.worker(b"w")
    session = server.session()
    bodies = [body(1, outputs=2), body(2)]
    graph = {1: [], 4: [2, 3], 6: [5]}
    server.submit(session, graph, bodies=bodies, body_of={4: 2, 6: 2}, keep=(7,))
    first, second, third = (server.task(session, item) for item in graph)
    server.finishes(worker, first)
    server.finishes(worker, second)
    server.event(WorkerSaid(worker.peer, worker.epoch, w.WorkerBye("it was stopped")))
    assert session.unfinished == 3
    again = server.worker(b"again")
    for task in (first, second, third):
        server.finishes(again, task)
    assert session.unfinished == 0


def test_sessions_that_end_faster_than_a_turn_each_do_not_pile_up(server):
    for _ in range(50):
        session = server.session()
        server.submit(session, {1: [], 3: [2]})
        server.say(c.CloseSession(4, session.session_id))
        server.turn()
        assert not server.engine.state.trash


def test_what_came_back_and_was_sent_again_in_one_turn_is_not_retracted(server):
    worker = server.worker(b"w")
    session = server.session()
    measured(server, session, worker)
    server.submit(session, {1: [], 3: [2], 5: [4], 7: [6]}, keep=(8,))
    uids = [server.task(session, item).uid for item in (1, 3, 5, 7)]
    server.take(b"w")
    server.reports(worker, started=[(uids[0], 0)], retracted=[(uid, 0) for uid in uids[1:]])
    (assign,) = server.take(b"w")
    assert assign.uids == uids[1:]


def test_a_session_that_ends_is_taken_apart_a_little_in_each_turn(server, monkeypatch):
    monkeypatch.setattr(trash, "SLICE", 4)
    worker = server.worker(b"w")
    session = server.session()
    far = 1 << PAGE_BITS
    server.submit(session, {1: [], 3: [2], 5: [4], far: [], 2 * far: []}, keep=(6,))
    first, last = server.task(session, 1), server.task(session, 2 * far)
    made = first.outputs[0]
    server.say(c.CloseSession(4, session.session_id))
    assert worker.tasks == {}
    turns = 0
    while server.engine.state.trash:
        assert e.AnotherTurn() in server.engine.handle(e.TurnEnded(), 0.0)
        turns += 1
    assert turns == 3, "three pages of tasks and three of objects, with 3 and 1 and 1 in each"
    assert (first.outputs, made.consumers, made.producer, last.outputs) == ((), (), None, ())
    assert not server.engine.state.ready, "nothing of it is scheduled any more"
    assert e.AnotherTurn() not in server.engine.handle(e.TurnEnded(), 0.0)


def test_a_client_that_leaves_takes_its_sessions_with_it_and_no_others(server):
    worker = server.worker(b"w", cpus=2)
    mine = server.session()
    server.event(ClientJoined(b"other", c.ClientHello("test", "host", 3), False))
    server.submit(mine, {1: []})
    server.say(c.NewSession(1, "theirs"), b"other")
    server.say(c.ClientBye(""))
    server.turn()
    assert [s.name for s in server.engine.state.sessions.values()] == ["theirs"]
    assert server.take(b"w")[-1] == w.EndSessions([mine.session_id])
    assert worker.tasks == {}


def test_tasks_of_a_lost_worker_run_again_elsewhere_with_a_new_attempt(server):
    one = server.worker(b"one")
    session = server.session()
    server.submit(session, {1: []})
    task = server.task(session, 1)
    two = server.worker(b"two")
    server.event(PeerGone(b"one", "killed"))
    server.turn()
    assert task.worker is two
    assert task.attempt == 1
    assert task.crashes == 0, "it had not started"
    server.event(WorkerSaid(b"one", one.epoch, report(finished=[task.uid], attempts=[0])))
    server.turn()
    assert [type(item) for item in server.take(b"one")] == [w.Assign, w.Fenced]
    assert task.state == states.ASSIGNED
    assert server.engine.state.counters.stale_results == 1


def test_a_late_result_of_an_earlier_attempt_is_stale(server):
    worker = server.worker(b"w")
    session = server.session()
    server.submit(session, {1: []})
    task = server.task(session, 1)
    server.reports(worker, started=[(task.uid, 0)], crashed=[(task.uid, 0, "signal 11")])
    assert task.attempt == 1
    server.reports(
        worker,
        finished=[task.uid],
        attempts=[0],
        start_times=[0.0],
        durations_us=[1],
        cpus=[0],
        output_counts=[1],
        sizes=[1],
    )
    assert task.state == states.ASSIGNED
    assert server.engine.state.counters.stale_results == 1
    assert server.take(b"w", w.Remove) == [w.Remove([task.uid + 1])]


def test_a_task_that_kills_its_process_three_times_fails_with_a_crash_limit(server):
    worker = server.worker(b"w")
    session = server.session()
    server.submit(session, {1: []})
    task = server.task(session, 1)
    for attempt in range(3):
        assert (task.state, task.attempt) == (states.ASSIGNED, attempt)
        server.reports(worker, crashed=[(task.uid, attempt, "signal SIGSEGV")])
    (failed,) = server.take(server.client, c.SessionFailed)
    assert "crash limit" in failed.failure.message
    assert failed.failure.message.count("SIGSEGV") == 3
    assert worker.name in failed.failure.message


def test_objects_that_only_a_lost_worker_had_are_made_again_as_deep_as_needed(server):
    server.worker(b"one")
    session = server.session()
    server.submit(session, {1: [], 3: [2], 5: [4]}, keep=(6,))
    one = server.engine.state.workers[b"one"]
    chain = [server.task(session, item) for item in (1, 3, 5)]
    server.finishes(one, chain[0])
    server.finishes(one, chain[1])
    assert server.object(session, 2).state == states.REMOVED
    assert server.object(session, 4).state == states.FINISHED
    two = server.worker(b"two")
    server.event(PeerGone(b"one", "killed"))
    server.turn()
    assert [task.worker for task in chain] == [two, two, two], "sent along, in order"
    assert [task.waiting for task in chain] == [0, 1, 1]
    for task in chain:
        server.finishes(two, task)
    assert [task.state for task in chain] == [states.FINISHED] * 3
    assert server.object(session, 2).state == states.REMOVED
    assert server.object(session, 6).holders == (two,)
    assert [task.attempt for task in chain][:2] == [1, 1]


def test_ancestors_are_released_when_nothing_can_need_them(server):
    worker = server.worker(b"w")
    session = server.session()
    server.submit(session, {1: [10], 3: [2]}, keep=(4,), consts={10: b"const"})
    server.finishes(worker, server.task(session, 1))
    server.finishes(worker, server.task(session, 3))
    assert server.object(session, 10).state == states.REMOVED
    assert server.object(session, 10).data == b"const", "the kept object may have to be made again from it"
    first = server.task(session, 1)
    server.say(c.Unkeep(9, session.session_id, [4]))
    assert server.object(session, 10).data is None
    assert first.inputs == ()
    assert len(session.history) == 2


def test_a_kept_result_of_a_lost_worker_is_made_again_and_its_fetch_waits(server):
    one = server.worker(b"one")
    session = server.session()
    server.submit(session, {1: []}, keep=(2,))
    task = server.task(session, 1)
    server.finishes(one, task)
    server.event(PeerGone(b"one", "killed"))
    server.turn()
    server.say(c.Fetch(5, session.session_id, 2))
    server.turn()
    assert server.take(server.client, c.Fetched) == []
    two = server.worker(b"two")
    server.finishes(two, task, size=2, inline=[(task.outputs[0].uid, b"hi")])
    (fetched,) = server.take(server.client, c.Fetched)
    assert fetched.data == b"hi"


def test_an_input_that_no_holder_can_give_is_made_again(server):
    one, two = server.worker(b"one"), server.worker(b"two")
    session = server.session()
    server.submit(session, {1: [], 3: [], 5: [2, 4]}, keep=(6,))
    first, second, last = (server.task(session, item) for item in (1, 3, 5))
    server.finishes(first.worker, first, size=1 << 20)
    server.finishes(second.worker, second, size=1 << 20)
    holder = one if last.worker is two else two
    missing = next(item for item in last.inputs if item.holders == (holder,))
    server.take(last.worker.peer)
    reader = last.worker
    server.reports(reader, missing=[(missing.uid, "it is not there", [], False)])
    assert server.take(reader.peer, w.Retract) == [w.Retract([last.uid])]
    assert missing.state == states.UNFINISHED
    server.reports(reader, retracted=[(last.uid, 0)])
    again = missing.producer
    assert last.worker in (None, again.worker)
    server.finishes(again.worker, again, size=1 << 20)
    assert last.state == states.ASSIGNED


def test_a_worker_that_fetches_what_is_lost_is_told_to_stop(server):
    one, two = server.worker(b"one"), server.worker(b"two")
    session = server.session()
    server.submit(session, {1: [], 3: [], 5: [2, 4]}, keep=(6,))
    tasks = [server.task(session, item) for item in (1, 3)]
    for task in tasks:
        server.finishes(task.worker, task, size=1 << 20)
    last = server.task(session, 5)
    dead = one if last.worker is two else two
    lost = next(item for item in last.inputs if item.holders == (dead,))
    assert lost.expected == (last.worker,)
    reader = last.worker
    server.take(reader.peer)
    server.event(PeerGone(dead.peer, "killed"))
    server.turn()
    cancel, assign, retract, gone = server.take(reader.peer)
    assert gone == w.PeersGone([dead.endpoint])
    assert WorkerGone(dead.endpoint) in server.effects, "the relay is told, too"
    assert cancel == w.CancelFetch([lost.uid])
    assert assign.uids == [lost.producer.uid]
    assert retract == w.Retract([last.uid])
    server.reports(reader, retracted=[(last.uid, 0)], unfetched=[lost.uid])
    assert lost.expected == ()
    server.finishes(reader, lost.producer, size=1 << 20)
    assert last.state == states.ASSIGNED


def measured(server, session, worker):
    """Make the server know that tasks of body 1 are short: task 101 ran."""
    server.submit(session, {101: []})
    server.finishes(worker, server.task(session, 101))
    server.take(worker.peer)


def test_a_chain_is_sent_along_with_its_first_task(server):
    worker = server.worker(b"w")
    session = server.session()
    measured(server, session, worker)
    server.submit(session, {1: [], 3: [2], 5: [4], 7: [6]}, keep=(8,))
    (assign,) = server.take(b"w", w.Assign)
    chain = [server.task(session, item) for item in (1, 3, 5, 7)]
    assert assign.uids == [task.uid for task in chain]
    assert assign.objects == [], "the worker makes them itself"
    server.finishes(worker, *chain)
    assert server.take(b"w", w.Assign) == []
    assert server.object(session, 8).state == states.FINISHED


def test_a_task_is_sent_ahead_only_where_all_of_its_unfinished_inputs_are_made(server):
    one, two = server.worker(b"one"), server.worker(b"two")
    session = server.session()
    server.submit(session, {1: [], 3: [], 5: [2, 4]}, keep=(6,))
    first, second, last = (server.task(session, item) for item in (1, 3, 5))
    assert {first.worker, second.worker} == {one, two}
    assert last.state == states.WAITING
    server.finishes(first.worker, first)
    assert last.worker is second.worker
    assert last.state == states.ASSIGNED


def test_tasks_sent_ahead_are_asked_back_when_their_input_is_made_elsewhere(server):
    one = server.worker(b"one")
    session = server.session()
    measured(server, session, one)
    server.submit(session, {1: [], 3: [2], 5: [4]}, keep=(6,))
    first, second, third = (server.task(session, item) for item in (1, 3, 5))
    server.take(b"one")
    server.reports(one, turn=False, started=[(first.uid, 0)], crashed=[(first.uid, 0, "signal 9")])
    assert second.retracting
    assert third.retracting, "with all that follow it, at once"
    server.turn()
    assert server.take(b"one", w.Retract) == [w.Retract([second.uid, third.uid])]
    server.reports(one, retracted=[(second.uid, 0), (third.uid, 0)])
    assert [task.attempt for task in (first, second, third)] == [1, 0, 0]
    assert {task.worker for task in (first, second, third)} == {one}, "and sent along again"


def test_a_task_sent_ahead_that_started_before_its_input_was_reported_is_no_surprise(server):
    worker = server.worker(b"w")
    session = server.session()
    server.submit(session, {1: [], 3: [2]}, keep=(4,))
    first, second = server.task(session, 1), server.task(session, 3)
    server.finishes(worker, first, started=[(second.uid, 0)])
    assert (first.state, second.state) == (states.FINISHED, states.RUNNING)
    assert second.waiting == 0


def test_a_task_that_was_said_to_have_started_may_come_back_all_the_same(server):
    worker = server.worker(b"w")
    session = server.session()
    server.submit(session, {1: []}, keep=(2,))
    task = server.task(session, 1)
    server.reports(worker, started=[(task.uid, 0)])
    server.reports(worker, turn=False, retracted=[(task.uid, 0)])
    assert (task.state, task.attempt, task.crashes) == (states.READY, 0, 0)
    server.turn()
    server.finishes(worker, task)
    assert task.state == states.FINISHED


def test_a_merge_of_very_many_is_not_looked_at_for_each_of_its_inputs(server):
    worker = server.worker(b"w", cpus=64)
    session = server.session()
    server.submit(session, {**{item: [] for item in range(1, 61, 2)}, 61: list(range(2, 62, 2))}, keep=(62,))
    assert server.task(session, 61).state == states.WAITING
    assert not worker.frontier


def test_queued_tasks_are_taken_back_for_an_idle_worker(server):
    one = server.worker(b"one")
    session = server.session()
    server.submit(session, {1: [], 3: []})
    first, second = server.task(session, 1), server.task(session, 3)
    assert first.worker is second.worker is one
    server.reports(one, started=[(first.uid, 0)])
    two = server.worker(b"two")
    assert server.take(b"one", w.Retract) == [w.Retract([second.uid])]
    server.reports(one, retracted=[(second.uid, 0)])
    assert second.worker is two
    assert second.attempt == 0


def test_a_silent_worker_is_suspect_then_dead_then_fenced(server):
    worker = server.worker(b"w")
    server.pass_time(6.0)
    assert worker.state == states.SUSPECT
    server.event(WorkerSaid(b"w", worker.epoch, w.WorkerHeartbeat()))
    assert worker.state == states.LIVE
    server.pass_time(10.0)
    assert worker.state == states.GONE
    server.take(b"w")
    server.event(WorkerSaid(b"w", worker.epoch, w.WorkerHeartbeat()))
    server.turn()
    assert [type(item) for item in server.take(b"w")] == [w.Fenced]


def test_a_server_that_stalled_itself_blames_nobody(server):
    worker = server.worker(b"w")
    server.pass_time(2.0)
    server.now += 60
    server.pass_time(2.0)
    assert worker.state == states.LIVE


def test_a_worker_can_not_speak_for_another(server):
    one, two = server.worker(b"one"), server.worker(b"two")
    session = server.session()
    server.submit(session, {1: []})
    task = server.task(session, 1)
    thief = two if task.worker is one else one
    server.finishes(thief, task)
    assert task.state == states.ASSIGNED
    server.event(WorkerSaid(thief.peer, task.worker.epoch, report(finished=[task.uid])))
    assert task.state == states.ASSIGNED
    assert server.engine.state.counters.stale_results == 2


def test_a_second_worker_with_the_endpoint_of_a_live_one_is_refused(server):
    one = server.worker(b"one")
    server.event(WorkerJoined(b"liar", w.WorkerHello("test", "h", 3, 1, one.endpoint, ["python"], 0)))
    server.turn()
    assert [type(item) for item in server.take(b"liar")] == [w.WorkerRefused]
    assert list(server.engine.state.workers) == [b"one"]


def test_a_worker_that_says_hello_anew_with_its_old_epoch_replaces_itself(server):
    one = server.worker(b"one")
    session = server.session()
    server.submit(session, {1: []})
    server.event(WorkerJoined(b"new", w.WorkerHello("test", "h", 3, 1, one.endpoint, ["python"], one.epoch)))
    server.turn()
    assert [type(item) for item in server.take(b"new")] == [w.WorkerWelcome, w.Assign]
    assert list(server.engine.state.workers) == [b"new"]
    assert server.task(session, 1).attempt == 1


def test_a_session_of_another_client_can_not_be_touched(server):
    session = server.session()
    server.event(ClientJoined(b"other", c.ClientHello("test", "host", 3), False))
    server.say(c.CloseSession(5, session.session_id), b"other")
    server.say(c.Fetch(6, session.session_id, 1), b"other")
    server.turn()
    refused = server.take(b"other", c.RequestFailed)
    assert [item.request for item in refused] == [5, 6]
    assert session.state == states.OPEN


def test_a_malformed_submit_fails_its_session_with_the_reason(server):
    session = server.session()
    server.submit(session, {1: [99]})
    (failed,) = server.take(server.client, c.SessionFailed)
    assert "object 99 is not in this session" in failed.failure.message


def test_a_wait_that_can_not_end_has_a_reason(server):
    session = server.session()
    server.submit(session, {1: []}, bodies=[body(cpus=8)])
    server.say(c.AskProgress(5, session.session_id))
    server.turn()
    (progress,) = server.take(server.client, c.Progress)
    assert "no worker is connected" in progress.reasons[0]
    worker = server.worker(b"w", cpus=2)
    server.say(c.AskProgress(6, session.session_id))
    server.turn()
    (progress,) = server.take(server.client, c.Progress)
    assert "needs 8 cpus" in progress.reasons[0]
    assert worker.name in progress.reasons[0]


def test_a_task_of_a_kind_that_no_worker_offers_fails_after_a_while(server):
    worker = server.worker(b"w")
    session = server.session()
    server.submit(session, {1: []}, bodies=[body(task_type="nosuch/method")])
    for _ in range(8):
        server.event(WorkerSaid(b"w", worker.epoch, w.WorkerHeartbeat()))
        server.say(c.ClientHeartbeat(0))
        server.pass_time(2.0)
    (failed,) = server.take(server.client, c.SessionFailed)
    assert "no worker offers 'nosuch'" in failed.failure.message


def test_server_info_lists_tasks_objects_and_what_is_being_deleted(server):
    worker = server.worker(b"w", cpus=3)
    session = server.session()
    server.submit(session, {1: [], 3: [], 5: []}, keep=(2,))
    server.finishes(worker, server.task(session, 1))
    server.finishes(worker, server.task(session, 3))
    server.say(c.AskServerInfo(5))
    server.turn()
    (info,) = server.take(server.client, c.ServerInfo)
    (row,) = info.workers
    assert row["tasks"] == [server.task(session, 5).uid]
    assert row["objects"] == [server.object(session, 2).uid]
    assert row["objects_to_delete"] == [make_uid(session.session_id, 4)]
    assert row["resources"] == {"cpus": 3}
    assert info.facts["counters"]["tasks_finished"] == 2


def frame_bytes(message):
    return len(encode(message, Header()))


def test_inputs_of_a_task_are_told_in_as_many_messages_as_it_takes(server):
    server.worker(b"w")
    session = server.session()
    consts = {item: bytes(4000) for item in range(1, 401)}
    server.submit(session, {500: list(consts)}, consts=consts)
    assigns = server.take(b"w", w.Assign)
    assert len(assigns) > 1
    assert all(frame_bytes(message) < CONTROL_FRAME_LIMIT_BYTES / 2 for message in assigns)
    assert sum(len(message.objects) for message in assigns) == 400
    assert [message.uids for message in assigns][:-1] == [[]] * (len(assigns) - 1)
    assert assigns[-1].uids == [server.task(session, 500).uid]


def test_news_are_split_by_what_tasks_put_into_them(server):
    worker = server.worker(b"w", cpus=400)
    session = server.session()
    server.submit(session, {item: [] for item in range(1, 801, 2)})
    tasks = [server.task(session, item) for item in range(1, 801, 2)]
    for task in tasks:
        server.finishes(task.worker, task, debugs=[(task.uid, "x" * 4000)])
    assert worker.load == 0
    server.say(c.Update(5, session.session_id, list(range(1, 801, 2))))
    server.turn()
    news = server.take(server.client, c.News)
    assert sum(len(part.tasks) for part in news) == 400
    assert [part.more for part in news] == [True] * (len(news) - 1) + [False]
    assert all(frame_bytes(part) < CONTROL_FRAME_LIMIT_BYTES / 2 for part in news)


def test_nothing_is_blamed_for_a_worker_that_leaves_on_purpose(server):
    session = server.session()
    server.submit(session, {1: []})
    task = server.task(session, 1)
    for number in range(4):
        worker = server.worker(b"w%d" % number)
        assert task.worker is worker
        server.reports(worker, started=[(task.uid, task.attempt)])
        server.event(WorkerSaid(worker.peer, worker.epoch, w.WorkerBye("it was stopped")))
        server.turn()
    assert (task.state, task.crashes, task.attempt) == (states.READY, 0, 4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"output_counts": [-1]},
        {"sizes": [-1]},
        {"sizes": [1, 2]},
        {"attempts": []},
        {"durations_us": [-5]},
        {"cpus": []},
        {"cpus": [1 << 40]},
        {"cpus": [-2]},
    ],
)
def test_a_report_that_contradicts_itself_is_refused(server, wrong):
    worker = server.worker(b"w")
    session = server.session()
    server.submit(session, {1: []})
    task = server.task(session, 1)
    columns = {
        "finished": [task.uid],
        "attempts": [0],
        "start_times": [1.0],
        "durations_us": [1],
        "cpus": [0],
        "output_counts": [1],
        "sizes": [1],
    }
    server.reports(worker, **(columns | wrong))
    assert task.state == states.ASSIGNED
    assert server.engine.state.counters.refused_messages == 1


def test_a_worker_can_not_report_missing_what_it_was_never_to_get(server):
    one, two = server.worker(b"one"), server.worker(b"two")
    session = server.session()
    server.submit(session, {1: []}, keep=(2,))
    task = server.task(session, 1)
    server.finishes(task.worker, task)
    other = two if task.worker is one else one
    server.reports(other, missing=[(task.outputs[0].uid, "so I say", [], False)])
    assert task.outputs[0].state == states.FINISHED
    assert task.outputs[0].holders == (task.worker,)


def test_what_is_lost_between_the_parts_of_a_submit_is_made_again(server):
    one = server.worker(b"one")
    session = server.session()
    server.submit(session, {1: []}, last=False)
    task = server.task(session, 1)
    server.finishes(one, task)
    server.event(PeerGone(b"one", "killed"))
    assert task.outputs[0].state == states.UNFINISHED
    two = server.worker(b"two")
    assert task.worker is two


def test_answered_waits_are_forgotten_everywhere(server):
    worker = server.worker(b"w", cpus=2)
    session = server.session()
    server.submit(session, {1: [], 3: []})
    for request in range(10, 20):
        server.say(c.Wait(request, session.session_id, [1, 3, 1], "some"))
    server.say(c.Wait(20, session.session_id, [3], "all"))
    server.say(c.CancelWait(20))
    server.finishes(worker, server.task(session, 1))
    assert len(server.take(server.client, c.News)) == 10
    assert session.waits == {}


@pytest.mark.parametrize(
    ("size", "data", "is_directory"),
    [(5000, bytes(5000), False), (3, b"four", False), (-1, None, False), (3, b"abc", True)],
)
def test_a_constant_with_other_content_than_it_says_fails_its_session(server, size, data, is_directory):
    session = server.session()
    meta = c.ObjectMeta((session.session_id << 32) + 1, None, is_directory, None, size, b"", b"")
    columns = ([], [], [], [], [], [], [])
    server.say(c.Submit(session.session_id, *columns, [meta], [data], [], [], True))
    server.turn()
    (failed,) = server.take(server.client, c.SessionFailed)
    assert "other content" in failed.failure.message
