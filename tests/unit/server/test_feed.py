"""What those who watch are told, event by event."""

from __future__ import annotations

import pytest

from rainzmq.common.ids import make_uid
from rainzmq.common.limits import CONTROL_FRAME_LIMIT_BYTES
from rainzmq.common.states import AttemptState
from rainzmq.protocol.codec import Header, encode
from rainzmq.protocol.messages import client as c
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages import worker as w
from rainzmq.server.core import states
from rainzmq.server.core.events import (
    ClientJoined,
    Flush,
    PeerGone,
    Sampled,
    SendEvents,
    WatcherMissed,
    WorkerSaid,
)
from rainzmq.testing.server_core import ServerUnderTest, body

WATCHER = b"watcher"


class WatchedServer(ServerUnderTest):
    """A server with somebody who watches."""

    def __init__(self, **options: object) -> None:
        super().__init__(epoch_offset_s=1000.0, **options)

    def watch(self, peer: bytes = WATCHER, request: int = 7) -> None:
        """Somebody begins to watch."""
        if peer not in self.engine.state.clients:
            self.event(ClientJoined(peer, c.ClientHello("test", "host", 3), True))
        self.say(e.Watch(request), peer)

    def told(self, peer: bytes = WATCHER) -> list[object]:
        """What the watcher is told now: all events, and one part of a snapshot."""
        effects = self.event(Flush())
        assert all(isinstance(effect, SendEvents) for effect in effects)
        return [message for effect in effects if peer in effect.peers for message in effect.messages]

    def snapshot(self, peer: bytes = WATCHER) -> list[object]:
        """All of a snapshot."""
        told: list[object] = []
        while peer in self.engine.state.feed.snapshots:
            told += self.told(peer)
        return told


@pytest.fixture
def server():
    return WatchedServer()


@pytest.fixture
def watched(server):
    server.watch()
    server.snapshot()
    return server


def kinds(events):
    return [type(event) for event in events]


def test_nothing_is_noted_while_nobody_watches(server):
    server.worker(b"w")
    session = server.session()
    server.submit(session, {1: []})
    assert server.engine.state.feed.pending == []
    assert server.event(Flush()) == []


def test_a_snapshot_of_an_empty_server_has_a_begin_and_an_end(server):
    server.watch(request=3)
    assert server.snapshot() == [
        e.SnapshotBegin(0, 1000.0, 3, "test", 1000.0),
        e.SnapshotEnd(0, 1000.0, 3),
    ]


def test_events_are_numbered_and_bear_the_time_since_the_epoch(watched):
    watched.now = 5.0
    worker = watched.worker(b"w", cpus=2)
    watched.session()
    assert watched.told() == [
        e.WorkerCame(1, 1005.0, 1, worker.name, "host", 2, 2, ["builtin", "python"]),
        e.SessionCame(2, 1005.0, 1, "test", "host (pid 1)"),
    ]


def test_short_arguments_and_what_builtin_tasks_were_told_is_told(watched):
    session = watched.session()
    watched.told()
    bodies = [body(1), body(2, task_type="builtin/load"), body(3, task_type="other/x")]
    told = {1: b"a" * 256, 3: b"b" * 257, 5: b"c" * 4096, 7: b"d" * 4097, 9: b"e", 11: b""}
    keys = {1: 1, 3: 1, 5: 2, 7: 2, 9: 3, 11: 1}
    watched.submit(session, {task: [] for task in told}, bodies=bodies, body_of=keys, configs=told)
    (submitted,) = watched.told()
    assert submitted.configs == [(1, told[1]), (5, told[5])]


def test_what_happened_to_a_task_is_told_in_order(watched):
    worker = watched.worker(b"w")
    session = watched.session()
    watched.told()
    watched.submit(session, {1: []}, keep=(2,))
    task = watched.task(session, 1)
    watched.reports(worker, started=[(task.uid, 0)])
    watched.finishes(worker, task, size=12)
    told = watched.told()
    assert kinds(told) == [e.TasksSubmitted, e.TasksAssigned, e.TasksStarted, e.TasksFinished]
    submitted, assigned, started, finished = told
    assert (submitted.ids, submitted.body_keys, submitted.input_counts, submitted.keep) == (
        [1],
        [1],
        [0],
        [2],
    )
    assert (assigned.worker, assigned.uids, assigned.attempts) == (1, [task.uid], [0])
    assert (started.worker, started.uids, started.attempts) == (1, [task.uid], [0])
    assert (finished.uids, finished.sizes, finished.cpus) == ([task.uid], [12], [0])


def test_an_object_that_nobody_needs_is_told_as_removed_once_a_turn(watched):
    worker = watched.worker(b"w")
    session = watched.session()
    watched.submit(session, {1: [], 3: []})
    watched.told()
    for _ in range(2):
        watched.finishes(worker, *worker.tasks.values())
    removed = [event for event in watched.told() if isinstance(event, e.ObjectsRemoved)]
    assert sorted(uid for event in removed for uid in event.uids) == [make_uid(1, 2), make_uid(1, 4)]


def test_stale_rows_of_a_report_are_not_told(watched):
    worker = watched.worker(b"w")
    session = watched.session()
    watched.submit(session, {1: [], 3: []}, keep=(2, 4))
    one = watched.task(session, 1)
    watched.told()
    watched.reports(
        worker,
        finished=[make_uid(1, 3), one.uid],
        attempts=[9, 0],
        start_times=[1.0, 2.0],
        durations_us=[3, 4],
        cpus=[5, 6],
        output_counts=[1, 1],
        sizes=[7, 8],
        debugs=[(make_uid(1, 3), "late"), (one.uid, "mine")],
        content_types=[(make_uid(1, 4), "json"), (make_uid(1, 2), "text")],
    )
    (finished,) = [event for event in watched.told() if isinstance(event, e.TasksFinished)]
    assert finished.uids == [one.uid]
    assert (finished.attempts, finished.start_times, finished.durations_us) == ([0], [2.0], [4])
    assert (finished.cpus, finished.output_counts, finished.sizes) == ([6], [1], [8])
    assert (finished.debugs, finished.content_types) == ([(one.uid, "mine")], [(make_uid(1, 2), "text")])


def test_a_lost_worker_is_told_after_what_it_had(watched):
    worker = watched.worker(b"w")
    session = watched.session()
    watched.submit(session, {1: []})
    task = watched.task(session, 1)
    watched.told()
    watched.event(PeerGone(worker.peer, "its connection is gone"))
    watched.turn()
    assert watched.told() == [
        e.TasksReturned(5, 1000.0, 1, [task.uid], [0], AttemptState.LOST, ["its connection is gone"]),
        e.WorkerWent(6, 1000.0, 1, "its connection is gone", False),
    ]


def test_a_crash_and_a_retraction_say_so(watched):
    worker = watched.worker(b"w")
    session = watched.session()
    watched.submit(session, {1: []})
    task = watched.task(session, 1)
    watched.told()
    watched.reports(worker, crashed=[(task.uid, 0, "signal 11")])
    watched.reports(worker, retracted=[(task.uid, 1)])
    returned = [event for event in watched.told() if isinstance(event, e.TasksReturned)]
    assert [(event.attempts, event.outcome, event.notes) for event in returned] == [
        ([0], "crashed", ["signal 11"]),
        ([1], "retracted", []),
    ]


def test_a_failure_is_told_before_its_session_ends(watched):
    worker = watched.worker(b"w")
    session = watched.session()
    watched.submit(session, {1: []})
    task = watched.task(session, 1)
    watched.told()
    watched.reports(worker, failed=[(task.uid, 0, 3.0, 250, "ValueError", "tried")])
    failed, ended = watched.told()
    assert (failed.worker, failed.start_time, failed.duration_us) == (1, 3.0, 250)
    assert (failed.failure.task, failed.failure.message) == (task.uid, "ValueError")
    assert (ended.session_id, ended.state, ended.failure) == (1, "failed", failed.failure)


def test_what_python_tasks_are_called_with_is_not_told_but_builtin_configurations_are(watched):
    session = watched.session()
    load = body(1, task_type="builtin/load")
    load.config = b"shared"
    call = body(2)
    call.config = b"a pickle"
    watched.told()
    watched.submit(session, {1: [], 3: []}, bodies=[load, call], body_of={1: 1, 3: 2})
    (submitted,) = [event for event in watched.told() if isinstance(event, e.TasksSubmitted)]
    assert [item.config for item in submitted.bodies] == [b"shared", b""]
    assert call.config == b"a pickle"


def test_samples_moves_and_output_of_workers_are_handed_on(watched):
    worker = watched.worker(b"w")
    session = watched.session()
    uid = make_uid(session.session_id, 1)
    watched.told()
    sample = w.Sample([50.0], 1, 2, 3, 4, 5, 6, 7, 8, 9)
    watched.event(WorkerSaid(worker.peer, worker.epoch, sample))
    move, printed = (uid, "h:1", 2.0, 30, 4), (uid, 0, "out", "err", 3, 3)
    of_nobody = (make_uid(99, 1), 0, "out", "", 3, 0)
    watched.reports(worker, moves=[move], printed=[printed, of_nobody])
    sampled, moved, output = watched.told()
    assert (sampled.worker, sampled.cpu_percent, sampled.store_free_bytes) == (1, [50.0], 9)
    assert (moved.worker, moved.rows) == (1, [move])
    assert (output.worker, output.rows) == (1, [printed])


def test_the_servers_own_samples_have_its_counters(watched):
    watched.event(Sampled(1.5, 1 << 20))
    (sampled,) = watched.told()
    assert (sampled.cpu_s, sampled.memory_bytes, sampled.clients) == (1.5, 1 << 20, 2)
    assert sampled.counters["tasks_finished"] == 0


def test_why_nothing_runs_is_told_when_it_changes(watched):
    session = watched.session()
    watched.submit(session, {1: []})
    watched.now = 2.0
    waits = [event for event in watched.told() if isinstance(event, e.SessionWaits)]
    assert len(waits) == 1
    assert "no worker is connected" in waits[0].reasons[0]
    watched.now = 4.0
    assert watched.told() == []
    watched.worker(b"w")
    watched.now = 6.0
    waits = [event for event in watched.told() if isinstance(event, e.SessionWaits)]
    assert [event.reasons for event in waits] == [[]]


def test_a_session_can_be_cancelled_by_another_client(watched):
    session = watched.session()
    watched.worker(b"w")
    watched.submit(session, {1: []})
    watched.told()
    other = b"other"
    watched.event(ClientJoined(other, c.ClientHello("test", "host", 4), False))
    watched.say(e.CancelSession(5, session.session_id, "it takes too long"), other)
    watched.turn()
    assert watched.take(other, c.Done) == [c.Done(5)]
    (failed,) = watched.take(watched.client, c.SessionFailed)
    assert (failed.state, failed.failure.message) == (states.SESSION_CANCELLED, "it takes too long")
    assert session.state is states.SESSION_CANCELLED
    (ended,) = [event for event in watched.told() if isinstance(event, e.SessionEnded)]
    assert (ended.state, ended.failure) == ("cancelled", failed.failure)


@pytest.mark.parametrize("session_id", [1, 99])
def test_what_is_over_can_not_be_cancelled(watched, session_id):
    session = watched.session()
    watched.say(c.CloseSession(3, session.session_id))
    watched.say(e.CancelSession(5, session_id, ""))
    watched.turn()
    (refused,) = watched.take(watched.client, c.RequestFailed)
    assert f"session {session_id} is unknown" in refused.reason


def test_a_watcher_that_is_gone_is_not_told_any_more(watched):
    watched.event(PeerGone(WATCHER, "gone"))
    watched.session()
    assert watched.engine.state.feed.pending == []
    assert watched.event(Flush()) == []


def test_who_missed_something_gets_a_snapshot(watched):
    worker = watched.worker(b"w")
    session = watched.session()
    watched.submit(session, {1: [], 3: [2]}, keep=(4,), consts={9: b"abc"})
    watched.finishes(worker, watched.task(session, 1), size=5)
    watched.told()
    number = watched.engine.state.feed.number
    watched.event(WatcherMissed(WATCHER))
    told = watched.snapshot()
    assert kinds(told) == [
        e.SnapshotBegin,
        e.WorkerCame,
        e.SessionCame,
        e.TasksSubmitted,
        e.TaskStates,
        e.SnapshotEnd,
    ]
    assert {event.number for event in told} == {number}
    assert told[0].request == 7
    submitted, states = told[3:5]
    assert (submitted.ids, submitted.inputs, submitted.input_counts) == ([1, 3], [2], [0, 1])
    assert [row[0] for row in submitted.constants] == [9]
    assert submitted.keep == [4]
    assert states.states == ["finished", "assigned"]
    assert (states.workers, states.sizes) == ([1, 1], [5, -1])
    assert states.removed == [make_uid(1, 9)]


def test_tasks_that_are_past_stand_in_a_snapshot_too(watched):
    worker = watched.worker(b"w")
    session = watched.session()
    watched.submit(session, {1: []})
    watched.finishes(worker, watched.task(session, 1), size=5)
    assert len(session.history) == 1
    watched.event(WatcherMissed(WATCHER))
    (states,) = [event for event in watched.snapshot() if isinstance(event, e.TaskStates)]
    assert (states.uids, states.states, states.sizes) == ([make_uid(1, 1)], ["finished"], [5])
    assert states.removed == [make_uid(1, 2)]


def test_a_snapshot_comes_in_parts_with_events_in_between(watched):
    watched.worker(b"w")
    session = watched.session()
    watched.submit(session, {1 + 2 * item: [] for item in range(5000)})
    watched.told()
    watched.watch(b"late", request=1)
    first = watched.told(b"late")
    watched.session()
    second = watched.told(b"late")
    rest = watched.snapshot(b"late")
    assert kinds(first)[0] is e.SnapshotBegin
    assert kinds(second)[0] is e.SessionCame
    parts = [event for event in first + second + rest if isinstance(event, e.TaskStates)]
    assert [uid for part in parts for uid in part.uids] == [make_uid(1, 1 + 2 * item) for item in range(5000)]
    assert len(parts) > 1
    assert kinds(rest)[-1] is e.SnapshotEnd


def test_who_is_expected_from_the_start_hears_everything():
    server = WatchedServer(keep_events=True)
    server.worker(b"w")
    session = server.session()
    server.submit(session, {1: []})
    assert server.event(Flush()) == []
    server.watch()
    effects = server.effects
    (first,) = [effect for effect in effects if isinstance(effect, SendEvents)]
    assert kinds(first.messages) == [e.SnapshotBegin, e.SnapshotEnd]
    told = server.told()
    assert [event.number for event in told] == list(range(1, len(told) + 1))
    assert kinds(told) == [e.WorkerCame, e.SessionCame, e.TasksSubmitted, e.TasksAssigned]


def test_events_are_not_kept_for_ever_for_who_does_not_come():
    server = WatchedServer(keep_events=True)
    server.session()
    server.now = 31.0
    server.event(Flush())
    server.session()
    assert server.engine.state.feed.pending == []
    server.watch()
    assert kinds(server.snapshot()).count(e.SessionCame) == 2


def test_the_end_of_the_server_ends_all_sessions(watched):
    watched.session()
    watched.told()
    watched.engine.end()
    (ended,) = watched.told()
    assert (ended.session_id, ended.state, ended.failure) == (1, "closed", None)


def test_a_task_that_no_worker_can_run_is_told_of_while_others_run(watched):
    worker = watched.worker(b"w")
    session = watched.session()
    watched.submit(session, {1: [], 3: []}, bodies=[body(1), body(2, cpus=64)], body_of={1: 1, 3: 2})
    watched.reports(worker, started=[(make_uid(1, 1), 0)])
    watched.now = 2.0
    (waits,) = [event for event in watched.told() if isinstance(event, e.SessionWaits)]
    assert "needs 64 cpus, but the largest worker" in waits.reasons[0]
    watched.say(c.AskProgress(9, session.session_id))
    watched.turn()
    (progress,) = watched.take(watched.client, c.Progress)
    assert (progress.running, progress.reasons) == (1, waits.reasons)


def test_a_snapshot_tells_of_sessions_that_ended_before(watched):
    worker = watched.worker(b"w")
    session = watched.session()
    watched.submit(session, {1: []})
    watched.event(PeerGone(WATCHER, "gone"))
    watched.reports(worker, failed=[(make_uid(1, 1), 0, 3.0, 250, "ValueError", "")])
    watched.say(c.CloseSession(3, session.session_id))
    watched.turn()
    watched.watch(b"late")
    told = watched.snapshot(b"late")
    (ended,) = [event for event in told if isinstance(event, e.SessionEnded)]
    assert (ended.session_id, ended.state, ended.failure.message) == (1, "failed", "ValueError")
    assert [event.session_id for event in told if isinstance(event, e.SessionCame)] == [1]


def test_parts_of_a_snapshot_are_small_whatever_tasks_are_called(watched):
    session = watched.session()
    for start in range(1, 4001, 500):
        bodies = []
        for key in range(start, start + 500):
            made = body(key, task_type="builtin/execute")
            made.config, made.name = b"x" * 900, "n" * 300
            bodies.append(made)
        body_of = {2 * key + 1: key for key in range(start, start + 500)}
        watched.submit(session, {item: [] for item in body_of}, bodies=bodies, body_of=body_of)
    watched.told()
    watched.event(WatcherMissed(WATCHER))
    told = watched.snapshot()
    assert max(len(encode(event, Header())) for event in told) < CONTROL_FRAME_LIMIT_BYTES / 2
    submitted = [event for event in told if isinstance(event, e.TasksSubmitted)]
    assert sum(len(event.ids) for event in submitted) == 4000
    assert sum(len(event.bodies) for event in submitted) == 4000


def test_ids_with_large_gaps_make_no_large_snapshot(watched):
    session = watched.session()
    watched.submit(session, {1: [], 4_000_000_001: []})
    watched.told()
    watched.event(WatcherMissed(WATCHER))
    told = watched.snapshot()
    assert len(told) < 10
    assert [list(event.ids) for event in told if isinstance(event, e.TasksSubmitted)] == [[1, 4_000_000_001]]


def test_a_snapshot_says_since_when_a_task_runs(watched):
    worker = watched.worker(b"w")
    session = watched.session()
    watched.submit(session, {1: []})
    watched.now = 5.0
    watched.reports(worker, started=[(make_uid(1, 1), 0)])
    watched.now = 9.0
    watched.event(WatcherMissed(WATCHER))
    (states,) = [event for event in watched.snapshot() if isinstance(event, e.TaskStates)]
    assert (states.states, states.start_times) == (["running"], [1005.0])
