"""The worker's core: what it fetches, starts, and reports."""

from __future__ import annotations

from typing import Any

import pytest

from rainzmq.common.ids import make_uid
from rainzmq.common.limits import CONTROL_FRAME_LIMIT_BYTES
from rainzmq.common.transitions import IllegalTransition
from rainzmq.protocol.codec import Header, encode
from rainzmq.protocol.messages import worker as m
from rainzmq.protocol.messages.shared import Endpoint, ObjectMeta, TaskBody
from rainzmq.testing.server_core import body
from rainzmq.worker.core import events as e
from rainzmq.worker.core import invariants, jobs, states
from rainzmq.worker.core.engine import WorkerEngine
from rainzmq.worker.core.jobs import Job, Outcome, Printed, Produced
from rainzmq.worker.core.starts import UNMET_LIMIT

PEER = Endpoint("peer", 1, b"P" * 40)


def meta(uid: int, size: int = 3) -> ObjectMeta:
    return ObjectMeta(uid, None, False, None, size, b"", b"")


def assign(
    tasks: dict[int, list[int]],
    *,
    bodies: list[TaskBody] | None = None,
    body_of: dict[int, int] | None = None,
    priorities: dict[int, int] | None = None,
    objects: dict[int, bytes | None] | None = None,
    inline: tuple[int, ...] = (),
) -> m.Assign:
    """An Assign of tasks {uid: input uids}; `objects` not known before, with content or None for a fetch."""
    known = objects or {}
    return m.Assign(
        [(uid_body[0], uid_body[1]) for uid_body in ((1, item) for item in (bodies or [body()]))],
        list(tasks),
        [0] * len(tasks),
        [(body_of or {}).get(uid, 1) for uid in tasks],
        [b""] * len(tasks),
        [(priorities or {}).get(uid, 0) for uid in tasks],
        [len(inputs) for inputs in tasks.values()],
        [uid for inputs in tasks.values() for uid in inputs],
        [],
        [],
        list(inline),
        [meta(uid) for uid in known],
        list(known.values()),
        [[0] if data is None else [] for data in known.values()],
        [PEER],
    )


T = [make_uid(1, number) for number in range(0, 100, 10)]
"""Uids of tasks; their outputs follow each."""


class CheckedEngine(WorkerEngine):
    """One whose invariants are checked after every event."""

    def handle(self, event: e.Event) -> list[e.Effect]:
        effects = super().handle(event)
        invariants.check(self)
        return effects


class Worker:
    """A core under test."""

    def __init__(self, cpus: int = 1, pipeline: Any = None) -> None:
        self.engine = CheckedEngine(list(range(cpus)), pipeline or (lambda *key: 0))

    def told(self, message: Any) -> list[e.Effect]:
        return self.engine.handle(e.Told(message))

    def turn(self) -> tuple[list[Job], m.Report | None]:
        """Jobs that are started at the end of the turn, and the report."""
        started = self.engine.handle(e.StartReady())
        sent = self.engine.handle(e.ReportDue())
        messages = [
            message for effect in sent if isinstance(effect, e.TellServer) for message in effect.messages
        ]
        assert len(messages) <= 1
        return [effect.job for effect in started if isinstance(effect, e.StartJob)], (
            messages[0] if messages else None
        )

    def ends(self, job: Job, kind: str = jobs.FINISHED, **more: Any) -> list[e.Effect]:
        outcome = Outcome(job.uid, job.attempt, kind, start_time=1.0, duration_us=5, **more)
        sizes = []
        if kind == jobs.FINISHED:
            outcome.outputs = outcome.outputs or [Produced(data=b"abc") for _ in job.body.outputs]
            sizes = [3] * len(job.body.outputs)
        return self.engine.handle(e.JobEnded(outcome, sizes))


def test_a_task_without_inputs_starts_at_once_and_is_reported():
    worker = Worker()
    worker.told(assign({T[1]: []}))
    (job,), report = worker.turn()
    assert (job.uid, job.cpus, job.kind, job.method) == (T[1], (0,), "python", "call")
    assert report.started == [(T[1], 0)]
    worker.ends(job)
    jobs_started, report = worker.turn()
    assert jobs_started == []
    assert report.finished == [T[1]]
    assert (report.attempts, report.durations_us, report.output_counts, report.sizes) == ([0], [5], [1], [3])
    assert worker.turn() == ([], None), "nothing to say, nothing sent"


def test_a_job_that_ends_within_its_turn_is_only_reported_as_finished():
    worker = Worker()
    worker.told(assign({T[1]: []}))
    (effect,) = worker.engine.handle(e.StartReady())
    worker.ends(effect.job)
    _, report = worker.turn()
    assert (report.started, report.finished) == ([], [T[1]])


def test_inputs_are_fetched_once_and_tasks_wait_for_them():
    worker = Worker(cpus=2)
    effects = worker.told(assign({T[1]: [7], T[2]: [7, 8]}, objects={7: None, 8: b"abc"}))
    assert effects == [e.FetchObject(7, False, [PEER]), e.StoreObject(8, b"abc")]
    assert worker.turn() == ([], None)
    worker.engine.handle(e.ObjectArrived(7))
    started, report = worker.turn()
    assert [job.uid for job in started] == [T[1], T[2]]
    assert [item.uid for item in started[1].inputs] == [7, 8]
    assert report.fetched == [7]


def test_outputs_are_inputs_of_later_tasks_without_a_fetch():
    worker = Worker()
    worker.told(assign({T[1]: []}))
    (job,), _ = worker.turn()
    worker.ends(job)
    assert worker.told(assign({T[2]: [T[1] + 1]})) == []
    (job,), _ = worker.turn()
    assert job.inputs[0].size == 3


def test_a_task_sent_ahead_starts_when_its_input_is_made_here():
    worker = Worker(cpus=2)
    assert worker.told(assign({T[1]: [], T[2]: [T[1] + 1]})) == []
    (job,), report = worker.turn()
    assert report.missing == []
    worker.ends(job)
    (following,), report = worker.turn()
    assert following.uid == T[2]
    assert [item.size for item in following.inputs] == [3]
    assert (report.finished, report.started) == ([T[1]], [(T[2], 0)])


def test_a_task_sent_ahead_of_one_that_crashes_waits_to_be_asked_back():
    worker = Worker()
    worker.told(assign({T[1]: [], T[2]: [T[1] + 1]}))
    (job,), _ = worker.turn()
    worker.ends(job, jobs.CRASHED, error="signal 9")
    assert worker.turn()[0] == []
    worker.told(m.Retract([T[2]]))
    assert worker.turn()[1].retracted == [(T[2], 0)]


def test_higher_priority_starts_first_then_arrival():
    worker = Worker()
    worker.told(assign({T[1]: [], T[2]: [], T[3]: []}, priorities={T[2]: 5}))
    order = []
    for _ in range(3):
        (job,), _ = worker.turn()
        order.append(job.uid)
        worker.ends(job)
    assert order == [T[2], T[1], T[3]]


def test_cpus_are_never_given_out_twice_and_a_wide_task_is_not_overtaken():
    worker = Worker(cpus=3)
    two, three = body(2, cpus=2), body(3, cpus=3)
    worker.told(
        assign({T[1]: [], T[2]: [], T[3]: []}, bodies=[body(), two, three], body_of={T[1]: 2, T[2]: 3})
    )
    (job,), _ = worker.turn()
    assert job.cpus == (0, 1)
    assert worker.turn()[0] == [], "one cpu is free, but the task in front needs three"
    worker.ends(job)
    (wide,), _ = worker.turn()
    assert wide.cpus == (0, 1, 2)
    worker.ends(wide)
    (last,), _ = worker.turn()
    assert last.uid == T[3]
    worker.ends(last)
    assert worker.engine.cpus.free == 3


def test_short_jobs_are_queued_behind_a_running_one_as_far_as_the_runner_takes_them():
    room = {(0,): 2}

    def pipeline(cpus: tuple[int, ...], session: int, key: int, not_short: bool) -> int:
        room[cpus] -= 1
        return room[cpus] + 1

    worker = Worker(pipeline=pipeline)
    worker.told(assign({uid: [] for uid in T[1:6]}))
    started, _ = worker.turn()
    assert [job.uid for job in started] == T[1:4]
    assert {job.cpus for job in started} == {(0,)}
    for job in started:
        assert worker.engine.cpus.free == 0
        worker.ends(job)
    assert worker.engine.cpus.free == 1


def test_only_the_first_of_queued_jobs_counts_as_started():
    worker = Worker(pipeline=lambda *key: 2)
    worker.told(assign({uid: [] for uid in T[1:4]}))
    (first, second, third), report = worker.turn()
    assert report.started == [(first.uid, 0)]
    worker.ends(first)
    _, report = worker.turn()
    assert report.started == [(second.uid, 0)], "it is first now"
    worker.ends(second)
    worker.ends(third)
    assert worker.engine.cpus.free == 1


def test_no_more_jobs_are_queued_than_the_runner_takes():
    asked = []
    worker = Worker(pipeline=lambda *key: asked.append(key) or 2)
    worker.told(assign({uid: [] for uid in T[1:9]}))
    assert len(worker.turn()[0]) == 3
    assert asked == [((0,), 1, 1, True)], "it is asked once"


def test_a_job_that_is_not_short_is_queued_only_while_others_are_left_for_cpus_that_become_free():
    worker = Worker(cpus=2, pipeline=lambda cpus, session, key, not_short: int(not_short))
    worker.told(assign({uid: [] for uid in T[1:5]}))
    assert len(worker.turn()[0]) == 2, "two wait, for two cpus"
    worker.told(assign({T[6]: []}))
    assert [job.uid for job in worker.turn()[0]] == [T[3]]


class TestQueuedBehindTheirMakers:
    """Tasks that wait only for what runs on the same cpus."""

    CHAIN = {T[1]: [], T[2]: [T[1] + 1], T[3]: [T[2] + 1]}

    def test_a_chain_is_started_at_once(self):
        worker = Worker(pipeline=lambda *key: 8)
        worker.told(assign(self.CHAIN))
        started, report = worker.turn()
        assert [job.uid for job in started] == [T[1], T[2], T[3]]
        assert [[item.size for item in job.inputs] for job in started] == [[], [-1], [-1]]
        assert report.started == [(T[1], 0)]
        worker.ends(started[0])
        assert [item.size for item in started[1].inputs] == [3], "it is known now"
        worker.ends(started[1])
        worker.ends(started[2])
        assert worker.turn()[1].finished == [T[1], T[2], T[3]]
        assert worker.engine.cpus.free == 1

    def test_as_far_as_the_runner_takes_them(self):
        worker = Worker(pipeline=lambda *key: 1)
        worker.told(assign(self.CHAIN))
        started, _ = worker.turn()
        assert [job.uid for job in started] == [T[1], T[2]]
        worker.ends(started[0])
        assert [job.uid for job in worker.turn()[0]] == [T[3]]

    def test_also_when_they_are_assigned_later(self):
        worker = Worker(pipeline=lambda *key: 8)
        worker.told(assign({T[1]: []}))
        worker.turn()
        worker.told(assign({T[2]: [T[1] + 1]}))
        assert [job.uid for job in worker.turn()[0]] == [T[2]]

    def test_not_while_a_ready_task_waits_for_cpus(self):
        worker = Worker(cpus=2, pipeline=lambda *key: 8)
        bodies = [body(1), body(2, cpus=2)]
        tasks = {T[1]: [], T[2]: [T[1] + 1], T[4]: []}
        worker.told(assign(tasks, bodies=bodies, body_of={T[4]: 2}, priorities={T[1]: 9}))
        started, _ = worker.turn()
        assert [job.uid for job in started] == [T[1]]

    def test_not_when_an_input_is_made_on_other_cpus(self):
        worker = Worker(cpus=2, pipeline=lambda *key: 8)
        worker.told(assign({T[1]: [], T[2]: [], T[3]: [T[1] + 1, T[2] + 1]}))
        started, _ = worker.turn()
        assert [job.cpus for job in started] == [(0,), (1,)]
        worker.ends(started[1])
        assert [(job.uid, job.cpus) for job in worker.turn()[0]] == [(T[3], (0,))], "now only one is missing"

    def test_not_when_an_input_is_fetched(self):
        worker = Worker(pipeline=lambda *key: 8)
        worker.told(assign({T[1]: [], T[2]: [T[1] + 1, 7]}, objects={7: None}))
        assert [job.uid for job in worker.turn()[0]] == [T[1]]

    def test_not_when_the_input_is_a_directory(self):
        worker = Worker(pipeline=lambda *key: 8)
        makes = body(1)
        makes.outputs[0].is_directory = True
        worker.told(assign({T[1]: [], T[2]: [T[1] + 1]}, bodies=[makes, body(2)], body_of={T[2]: 2}))
        assert [job.uid for job in worker.turn()[0]] == [T[1]]

    def test_one_of_several_readers_while_cpus_are_free(self):
        readers = {T[number]: [T[1] + 1] for number in (2, 3, 4)}
        worker = Worker(cpus=2, pipeline=lambda *key: 8)
        worker.told(assign({T[1]: []} | readers))
        started, _ = worker.turn()
        assert [job.uid for job in started] == [T[1], T[2]]
        worker.ends(started[0])
        assert [(job.uid, job.cpus) for job in worker.turn()[0]] == [(T[3], (1,)), (T[4], (0,))]

    def test_what_comes_back_without_its_input_is_the_servers_again(self):
        worker = Worker(pipeline=lambda *key: 8)
        worker.told(assign(self.CHAIN))
        started, _ = worker.turn()
        worker.ends(started[0])
        worker.engine.handle(e.JobGivenBack(T[2], unmet=True))
        worker.engine.handle(e.JobGivenBack(T[3], unmet=True))
        _, report = worker.turn()
        assert (report.finished, report.retracted) == ([T[1]], [(T[2], 0), (T[3], 0)])
        worker.told(assign({T[2]: [T[1] + 1]}))
        (job,), _ = worker.turn()
        assert [item.size for item in job.inputs] == [3]

    def test_a_body_whose_inputs_are_never_there_is_queued_no_more(self):
        worker = Worker(pipeline=lambda *key: 8)
        for number in range(UNMET_LIMIT):
            maker, reader = make_uid(1, 100 + 10 * number), make_uid(1, 105 + 10 * number)
            worker.told(assign({maker: [], reader: [maker + 1]}))
            (first, second), _ = worker.turn()
            worker.ends(first)
            worker.engine.handle(e.JobGivenBack(second.uid, unmet=True))
        worker.told(assign({T[1]: [], T[2]: [T[1] + 1]}))
        assert [job.uid for job in worker.turn()[0]] == [T[1]]

    def test_nothing_is_kept_of_what_comes_back_after_its_session_ended(self):
        worker = Worker(pipeline=lambda *key: 8)
        worker.told(assign(self.CHAIN))
        worker.turn()
        worker.told(m.EndSessions([1]))
        worker.engine.handle(e.JobGivenBack(T[2], unmet=True))
        assert not worker.engine.starts._unmet

    def test_nothing_follows_a_maker_that_has_ended(self):
        worker = Worker()
        reads_both = {T[2]: [T[1] + 1, T[1] + 2]}
        worker.told(assign({T[1]: []} | reads_both, bodies=[body(1, 2), body(2)], body_of={T[2]: 2}))
        (job,), _ = worker.turn()
        worker.ends(job)
        assert worker.engine.starts.followers == {}
        assert [job.uid for job in worker.turn()[0]] == [T[2]]

    def test_a_crash_of_the_maker_gives_its_followers_back(self):
        worker = Worker(pipeline=lambda *key: 8)
        worker.told(assign(self.CHAIN))
        started, _ = worker.turn()
        worker.ends(started[0], jobs.CRASHED, error="signal 9")
        worker.engine.handle(e.JobGivenBack(T[2]))
        worker.engine.handle(e.JobGivenBack(T[3]))
        _, report = worker.turn()
        assert report.crashed == [(T[1], 0, "signal 9")]
        assert report.retracted == [(T[2], 0), (T[3], 0)]
        assert worker.engine.cpus.free == 1


def test_a_session_of_very_many_objects_ends_with_a_short_report():
    worker = Worker()
    worker.told(assign({T[1]: []}, objects=dict.fromkeys(range(make_uid(1, 1000), make_uid(1, 9000)), b"x")))
    worker.told(m.EndSessions([1]))
    _, report = worker.turn()
    assert report.removed == []
    assert report.ended_sessions == [1]


def test_a_job_given_back_by_its_runner_is_the_servers_again():
    worker = Worker(cpus=1, pipeline=lambda *key: 1)
    worker.told(assign({T[1]: [], T[2]: []}))
    first, second = worker.turn()[0]
    worker.engine.handle(e.JobGivenBack(second.uid))
    assert worker.turn()[1].retracted == [(T[2], 0)]
    worker.ends(first)
    assert worker.engine.cpus.free == 1
    assert worker.engine.tasks == {}


def test_tasks_that_have_not_started_are_given_back_on_request():
    worker = Worker()
    worker.told(assign({T[1]: [], T[2]: [], T[3]: [7]}, objects={7: None}))
    worker.turn()
    worker.told(m.Retract([T[1], T[2], T[3], T[9]]))
    _, report = worker.turn()
    assert report.retracted == [(T[2], 0), (T[3], 0)], "the first one runs, the last is unknown"


def test_failures_and_crashes_are_told_apart():
    worker = Worker(cpus=2)
    worker.told(assign({T[1]: [], T[2]: []}))
    one, two = worker.turn()[0]
    worker.ends(one, jobs.FAILED, error="boom", debug="d")
    worker.ends(two, jobs.CRASHED, error="signal 11")
    _, report = worker.turn()
    assert report.failed == [(T[1], 0, 1.0, 5, "boom", "d")]
    assert report.crashed == [(T[2], 0, "signal 11")]


def test_an_input_that_can_not_be_fetched_is_reported_and_its_readers_wait_to_be_asked_back():
    worker = Worker()
    worker.told(assign({T[1]: [7]}, objects={7: None}))
    worker.engine.handle(e.FetchFailed(7, "nobody has it", silent=["a:1"]))
    started, report = worker.turn()
    assert started == []
    assert report.missing == [(7, "nobody has it", ["a:1"], False)]
    worker.told(m.Retract([T[1]]))
    assert worker.turn()[1].retracted == [(T[1], 0)]


def test_a_cancelled_fetch_is_confirmed_unless_the_object_is_here():
    worker = Worker()
    worker.told(assign({T[1]: [7, 8]}, objects={7: None, 8: None}))
    worker.engine.handle(e.ObjectArrived(8))
    worker.turn()
    assert worker.told(m.CancelFetch([7, 8, 9])) == [e.RemoveObjects([7])]
    assert worker.turn()[1].unfetched == [7]
    assert 8 in worker.engine.replicas


def test_where_an_object_came_from_is_told_with_it():
    worker = Worker()
    worker.told(assign({T[1]: [7, 8]}, objects={7: None, 8: None}))
    worker.engine.handle(e.ObjectArrived(7, ("peer:1", 5.0, 1200, 99)))
    worker.engine.handle(e.ObjectArrived(8))
    _, report = worker.turn()
    assert report.fetched == [7, 8]
    assert report.moves == [(7, "peer:1", 5.0, 1200, 99)], "what was here already has not moved"


@pytest.mark.parametrize("kind", [jobs.FINISHED, jobs.FAILED, jobs.CRASHED])
def test_what_a_task_wrote_is_told_however_it_ended(kind: str):
    worker = Worker()
    worker.told(assign({T[1]: []}))
    (job,), _ = worker.turn()
    worker.ends(job, kind, printed=Printed("out", "", 3, 0))
    assert worker.turn()[1].printed == [(T[1], 0, "out", "", 3, 0)]


def test_what_a_task_wrote_that_nobody_wants_any_more_is_not_told():
    worker = Worker()
    worker.told(assign({T[1]: []}))
    (job,), _ = worker.turn()
    worker.told(m.EndSessions([1]))
    worker.ends(job, printed=Printed("out", "", 3, 0))
    assert worker.turn()[1].printed == []


@pytest.mark.parametrize("kind", [jobs.FINISHED, jobs.FAILED, jobs.CRASHED])
def test_reports_of_much_output_fit_a_frame_and_hold_the_end_of_a_task_with_its_output(kind: str):
    worker = Worker(cpus=99)
    uids = [make_uid(1, 10 * number) for number in range(1, 100)]
    worker.told(assign({uid: [] for uid in uids}))
    started, _ = worker.turn()
    for job in started:
        more = {} if kind == jobs.FINISHED else {"error": "x" * 1000}
        worker.ends(job, kind, printed=Printed("\N{GRINNING FACE}" * 4096, "\ufffd" * 4096, 1, 1), **more)
    (effect,) = worker.engine.handle(e.ReportDue())
    assert len(effect.messages) > 1
    for report in effect.messages:
        assert len(encode(report, Header())) < CONTROL_FRAME_LIMIT_BYTES
        ended = report.finished or [row[0] for row in report.failed or report.crashed]
        assert ended == [row[0] for row in report.printed]


def test_jobs_behind_others_are_reported_with_the_cpus_they_share():
    worker = Worker(cpus=4, pipeline=lambda *key: 3)
    wide = body(cpus=2)
    worker.told(assign({T[n]: [] for n in range(1, 5)}, bodies=[wide]))
    started, _ = worker.turn()
    assert [job.cpus for job in started] == [(0, 1), (2, 3), (0, 1), (2, 3)]
    for job in started:
        worker.ends(job)
    report = worker.turn()[1]
    assert (report.finished, report.cpus) == (T[1:5], [0, 2, 0, 2])


def test_removed_objects_are_confirmed_and_a_late_arrival_is_deleted():
    worker = Worker()
    worker.told(assign({T[1]: [7]}, objects={7: None}))
    worker.told(m.Retract([T[1]]))
    assert worker.told(m.Remove([7])) == [e.RemoveObjects([7])]
    assert worker.turn()[1].removed == [7]
    assert worker.engine.handle(e.ObjectArrived(7)) == [e.RemoveObjects([7])]


def test_the_end_of_a_session_kills_its_jobs_and_holds_their_cpus_until_they_are_gone():
    worker = Worker()
    worker.told(assign({T[1]: [], T[2]: []}))
    (job,), _ = worker.turn()
    effects = worker.told(m.EndSessions([1]))
    assert e.KillJob(job) in effects
    assert worker.engine.tasks == {}
    assert worker.engine.cpus.free == 0
    assert worker.turn()[1].ended_sessions == [1]
    worker.ends(job, jobs.CANCELLED)
    assert worker.engine.cpus.free == 1
    assert worker.turn() == ([], None), "nobody wants to hear of it"


def test_a_result_that_nobody_wants_is_deleted():
    worker = Worker()
    worker.told(assign({T[1]: []}))
    (job,), _ = worker.turn()
    worker.told(m.EndSessions([1]))
    worker.turn()
    assert worker.ends(job) == [e.RemoveObjects([T[1] + 1])]


def test_a_reset_drops_everything_and_reports_nothing():
    worker = Worker()
    worker.told(assign({T[1]: [], T[2]: [7]}, objects={7: b"abc"}))
    (job,), _ = worker.turn()
    effects = worker.engine.handle(e.Reset())
    assert effects == [e.KillJob(job), e.RemoveObjects([7]), e.ForgetSessions([0, 1])]
    assert worker.turn() == ([], None)
    worker.ends(job, jobs.CANCELLED)
    assert worker.turn() == ([], None)
    assert worker.engine.cpus.free == 1


def test_a_damaged_object_is_lost_and_its_readers_go_back():
    worker = Worker()
    worker.told(assign({T[1]: [], T[2]: [7]}, objects={7: b"abc"}))
    worker.turn()
    assert worker.engine.handle(e.ObjectDamaged(7)) == [e.RemoveObjects([7])]
    _, report = worker.turn()
    assert report.lost == [7]
    assert report.retracted == [(T[2], 0)]


def test_reports_are_split_before_they_are_too_large_for_a_frame():
    worker = Worker(cpus=200)
    worker.told(assign({make_uid(1, 10 * n): [] for n in range(1, 201)}))
    for job in worker.turn()[0]:
        outcome = Outcome(job.uid, 0, jobs.FINISHED, outputs=[Produced(data=b"")])
        worker.engine.handle(e.JobEnded(outcome, [4096], [(job.uid + 1, bytes(4096))]))
    (effect,) = worker.engine.handle(e.ReportDue())
    assert len(effect.messages) > 1
    assert sum(len(report.finished) for report in effect.messages) == 200
    assert all(sum(len(data) for _, data in report.inline) < 300_000 for report in effect.messages)


def test_content_types_and_users_of_outputs_are_reported_when_they_say_something_new():
    worker = Worker()
    worker.told(assign({T[1]: []}, bodies=[body(outputs=2)]))
    (job,), _ = worker.turn()
    made = [Produced(data=b"", content_type="text", user=b"{}"), Produced(data=b"")]
    worker.ends(job, outputs=made, user=b"[1]", debug="line")
    _, report = worker.turn()
    assert report.content_types == [(T[1] + 1, "text")]
    assert report.users == [(T[1], b"[1]"), (T[1] + 1, b"{}")]
    assert report.debugs == [(T[1], "line")]


def test_illegal_transitions_are_bugs():
    worker = Worker()
    worker.told(assign({T[1]: []}))
    task = worker.engine.tasks[T[1]]
    with pytest.raises(IllegalTransition, match="assigned task 1/10: fetching -> ready -> fetching: "):
        task.to(states.FETCHING)


def test_a_worker_in_trouble_gives_back_what_it_has_not_begun_of_that_kind():
    worker = Worker()
    program = body(2, task_type="builtin/execute")
    worker.told(assign({T[0]: [], T[1]: [], T[2]: []}, bodies=[body(), program], body_of={T[2]: 2}))
    (running,), _ = worker.turn()
    worker.engine.handle(e.KindsTroubled(frozenset({"python"})))
    started, report = worker.turn()
    assert (running.uid, started) == (T[0], [])
    assert report.retracted == [(T[1], 0)]
    worker.told(assign({T[3]: []}, bodies=[]))
    _, report = worker.turn()
    assert report.retracted == [(T[3], 0)], "it was under way when the server was told"
    worker.engine.handle(e.KindsTroubled(frozenset()))
    worker.told(assign({T[4]: []}, bodies=[]))
    assert worker.turn()[1] is None


def test_what_the_worker_was_unable_to_run_is_no_failure_and_no_crash():
    worker = Worker()
    worker.told(assign({T[0]: []}))
    worker.turn()
    worker.engine.handle(e.JobEnded(Outcome(T[0], 0, jobs.UNABLE, "no directory")))
    _, report = worker.turn()
    assert report.unable == [(T[0], 0, "no directory")]
    assert (report.failed, report.crashed) == ([], [])


def test_an_input_that_has_no_place_here_is_nobody_elses_fault():
    worker = Worker()
    worker.told(assign({T[0]: [T[5]]}, objects={T[5]: None}))
    worker.turn()
    worker.engine.handle(e.FetchFailed(T[5], "the disk is full", own=True))
    _, report = worker.turn()
    assert (report.missing, report.unfetched) == ([], [T[5]])
    assert report.retracted == [(T[0], 0)]
