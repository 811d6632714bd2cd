"""Which subworker runs which job."""

from __future__ import annotations

from functools import wraps
from typing import Any

import pytest

from rainzmq.protocol.messages.shared import TaskBody
from rainzmq.worker.core import invariants, pool
from rainzmq.worker.core.jobs import Job, unmade
from rainzmq.worker.core.pool import AHEAD_JOBS, MOVE_LIMIT, PoolCore
from rainzmq.worker.core.pool_effects import (
    Cancelled,
    Crashed,
    Effect,
    Forget,
    GiveBack,
    Kill,
    KindDown,
    Run,
    Spawn,
    StartFailed,
)

SESSION = 1


CHANGES = ("start", "prestart", "retry", "kill", "drop_sessions")


@pytest.fixture(autouse=True)
def _checked_after_every_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariants hold after every method that changes a pool."""
    for name, method in vars(PoolCore).items():
        if name.startswith("on_") or name in CHANGES:

            @wraps(method)
            def checked(self: PoolCore, *args: Any, method: Any = method, **options: Any) -> Any:
                effects = method(self, *args, **options)
                invariants.check_pool(self)
                return effects

            monkeypatch.setattr(PoolCore, name, checked)


def make_job(
    uid: int, cpus: tuple[int, ...] = (0,), *, key: int = 1, kind: str = "python", session: int = SESSION
) -> Job:
    body = TaskBody(key, f"{kind}/call", len(cpus), None, b"", [], [])
    return Job(uid, 0, session, body, b"", [], cpus)


def make_pool(ready: int = 0, kind: str = "python") -> PoolCore:
    """A pool with idle subworkers 1 .. ready."""
    core = PoolCore()
    core.prestart(kind, ready)
    for number in range(1, ready + 1):
        core.on_hello(number, 0.0)
    return core


def measured(core: PoolCore, duration_s: float, key: int = 1, cpus: tuple[int, ...] = (0,)) -> None:
    """Let the pool know how long jobs of a body take."""
    job = make_job(900 + key, cpus, key=key)
    (run, *_) = core.start(job, 0.0)
    assert isinstance(run, Run)
    core.on_result(run.number, job.uid, 0, duration_s, 0.0)


def without_spawns(effects: list[Effect]) -> list[Effect]:
    return [effect for effect in effects if not isinstance(effect, Spawn)]


# Starting.


def test_first_job_waits_for_a_new_subworker() -> None:
    core = make_pool()
    job = make_job(1)
    assert core.start(job, 0.0) == [Spawn(1, "python")]
    assert core.where(1) is None
    effects = core.on_hello(1, 0.0)
    assert effects == [Run(1, [job])]
    assert core.needs_spare()
    assert core.where(1) == 1


def test_idle_subworker_takes_a_job_at_once_and_a_spare_is_needed() -> None:
    core = make_pool(1)
    job = make_job(1)
    assert not core.needs_spare()
    assert core.start(job, 0.0) == [Run(1, [job])]
    assert core.needs_spare()
    assert core.prestart("python", 1) == [Spawn(2, "python")]
    assert not core.needs_spare()


def test_a_start_that_failed_is_tried_again_for_a_job_that_waits_and_then_the_kind_is_down() -> None:
    core = make_pool()
    job = make_job(1)
    core.start(job, 0.0)
    for number in range(1, pool.START_LIMIT):
        assert core.on_exit(number, (), 0.0) == [Spawn(number + 1, "python")]
    assert core.on_exit(pool.START_LIMIT, (), 0.0) == [KindDown("python"), StartFailed(job)]
    assert core.where(1) is None


def test_starts_that_went_well_in_between_are_no_reason_to_give_up() -> None:
    core = make_pool()
    for number in range(1, 8, 2):
        core.start(make_job(number), 0.0)
        assert core.on_exit(number, (), 0.0) == [Spawn(number + 1, "python")]
        core.on_hello(number + 1, 0.0)
        core.on_exit(number + 1, (), 0.0)


def test_a_kind_that_is_down_is_tried_once_when_it_is_retried() -> None:
    core = make_pool()
    core.start(make_job(1), 0.0)
    for number in range(1, pool.START_LIMIT + 1):
        core.on_exit(number, (), 0.0)
    (spawn,) = core.retry("python")
    assert core.retry("python") == [], "one is starting already"
    assert core.on_exit(spawn.number, (), 0.0) == [KindDown("python")]
    (spawn,) = core.retry("python")
    assert core.on_hello(spawn.number, 0.0) == []
    job = make_job(2)
    assert core.start(job, 0.0) == [Run(spawn.number, [job])]


def test_no_spare_is_kept_of_other_kinds() -> None:
    core = make_pool()
    job = make_job(1, kind="c")
    assert core.start(job, 0.0) == [Spawn(1, "c")]
    assert core.on_hello(1, 0.0) == [Run(1, [job])]
    assert not core.needs_spare()


def test_prestart_counts_what_is_idle_or_starting() -> None:
    core = PoolCore()
    assert core.prestart("python", 2) == [Spawn(1, "python"), Spawn(2, "python")]
    core.on_hello(1, 0.0)
    assert core.prestart("python", 3) == [Spawn(3, "python")]


def test_waiting_job_takes_whichever_subworker_is_free_first() -> None:
    core = make_pool(1)
    first, second = make_job(1), make_job(2, (1,))
    core.start(first, 0.0)
    core.start(second, 0.0)  # subworker 2 starts for it
    job, effects = core.on_result(1, 1, 0, 0.1, 1.0)
    assert job is first
    assert without_spawns(effects) == [Run(1, [second])]


def test_job_goes_to_the_subworker_that_had_its_cpus_last() -> None:
    core = make_pool(3)
    core.start(make_job(1, (0,)), 0.0)
    core.start(make_job(2, (1,)), 0.0)
    first, second = core.where(1), core.where(2)
    assert first is not None
    assert second is not None
    core.on_result(second, 2, 0, 0.1, 1.0)
    core.on_result(first, 1, 0, 0.1, 1.0)
    core.start(make_job(3, (1,)), 1.0)
    assert core.where(3) == second


def test_job_goes_to_a_subworker_that_knows_its_body() -> None:
    core = make_pool(3)
    core.subworkers[2].bodies.add((SESSION, 7))
    core.start(make_job(1, (0,), key=7), 0.0)
    assert core.where(1) == 2


def test_start_failure_of_a_spare_fails_no_job_and_starts_no_other() -> None:
    core = make_pool(1)
    core.start(make_job(1), 0.0)
    core.prestart("python", 1)
    assert core.on_exit(2, (), 0.0) == []
    assert not core.needs_spare()


def test_start_failure_fails_no_job_while_another_subworker_starts_for_it() -> None:
    core = make_pool()
    core.prestart("python", 2)
    core.start(make_job(1), 0.0)
    assert core.on_exit(1, (), 0.0) == []
    assert without_spawns(core.on_hello(2, 0.0)) == [Run(2, [make_job(1)])]


# Pipelining.


def test_no_job_is_accepted_behind_one_that_was_never_measured() -> None:
    core = make_pool(1)
    core.start(make_job(1), 0.0)
    assert core.accepts_more((0,), SESSION, 1, False, 0.0) == 0


def test_job_of_an_unmeasured_body_is_not_accepted() -> None:
    core = make_pool(1)
    measured(core, 0.0001)
    core.start(make_job(1), 0.0)
    assert core.accepts_more((0,), SESSION, 2, False, 0.0) == 0


def test_a_job_of_another_kind_is_not_accepted_behind_a_python_job() -> None:
    core = make_pool(1)
    measured(core, 0.0001)
    foreign = make_job(50, (1,), key=2, kind="c")
    (spawn,) = core.start(foreign, 0.0)
    assert isinstance(spawn, Spawn)
    core.on_hello(spawn.number, 0.0)
    for _ in range(3):
        core.on_result(spawn.number, foreign.uid, 0, 0.0001, 0.0)
        core.start(foreign, 0.0)
    core.start(make_job(1), 0.0)
    assert core.accepts_more((0,), SESSION, 2, True, 0.0) == 0


def test_of_jobs_that_are_not_short_one_is_accepted_if_asked_for() -> None:
    core = make_pool(1)
    measured(core, 0.003)
    measured(core, 0.003)
    core.start(make_job(1), 0.0)
    assert core.accepts_more((0,), SESSION, 1, False, 0.0) == 0
    assert core.accepts_more((0,), SESSION, 1, True, 0.0) == 1
    assert core.accepts_more((0,), SESSION, 1, True, pool.LATE_S) == 0, "it would be taken back at once"
    core.start(make_job(2), 0.0)
    assert core.accepts_more((0,), SESSION, 1, True, 0.0) == 0


def test_long_jobs_are_not_accepted() -> None:
    core = make_pool(1)
    measured(core, pool.PREFETCH_S)
    measured(core, pool.PREFETCH_S)
    core.start(make_job(1), 0.0)
    assert core.accepts_more((0,), SESSION, 1, True, 0.0) == 0


def test_results_gather_only_while_there_is_work_for_longer() -> None:
    core = make_pool(1)
    measured(core, 0.0005)
    measured(core, 0.0005)
    for uid in range(1, 4):
        core.start(make_job(uid), 0.0)
    assert core.rest_s(1) == 0.0, "too few jobs"
    core.start(make_job(4), 0.0)
    assert core.rest_s(1) == 0.0, "2 ms of work"
    for uid in range(5, 8):
        core.start(make_job(uid), 0.0)
    assert core.rest_s(1) == pool.REST_S
    core.start(make_job(8, key=2), 0.0)
    assert core.rest_s(1) == 0.0, "one that may take long"


def test_tiny_jobs_fill_the_queue_to_its_limit() -> None:
    core = make_pool(1)
    measured(core, 0.00001)
    core.start(make_job(1), 0.0)
    assert core.accepts_more((0,), SESSION, 1, False, 0.0) == AHEAD_JOBS - 1
    later = make_job(2)
    assert core.start(later, 0.0) == [Run(1, [later])]
    assert core.accepts_more((0,), SESSION, 1, False, 0.0) == AHEAD_JOBS - 2


def test_as_much_is_accepted_as_is_expected_to_take_ten_milliseconds() -> None:
    core = make_pool(1)
    measured(core, 0.001)
    core.start(make_job(1), 0.0)
    assert core.accepts_more((0,), SESSION, 1, False, 0.0) in (8, 9)


def test_nothing_is_accepted_on_free_cpus_or_behind_a_foreign_subworker() -> None:
    core = make_pool(1)
    measured(core, 0.0001)
    assert core.accepts_more((0,), SESSION, 1, False, 0.0) == 0
    core.start(make_job(1, (5,), kind="c"), 0.0)
    core.on_hello(max(core.subworkers), 0.0)
    assert core.accepts_more((5,), SESSION, 1, False, 0.0) == 0


def test_nothing_is_accepted_behind_a_job_that_runs_longer_than_it_should() -> None:
    core = make_pool(1)
    measured(core, 0.0001)
    core.start(make_job(1), 0.0)
    assert core.accepts_more((0,), SESSION, 1, False, 0.02) == 0


def test_one_very_long_job_is_forgotten_soon() -> None:
    core = make_pool(1)
    measured(core, 0.0001)
    measured(core, 60.0)
    for _ in range(40):
        measured(core, 0.0001)
    assert (core.mean_duration(SESSION, 1) or 1.0) < pool.SHORT_S


def test_first_job_of_a_body_in_a_subworker_counts_only_when_it_is_short() -> None:
    core = make_pool(1)
    measured(core, 0.5)
    assert core.mean_duration(SESSION, 1) is None
    measured(core, 0.0001)
    assert core.mean_duration(SESSION, 1) == 0.0001


def test_results_come_in_order_and_the_next_job_is_not_sent_twice() -> None:
    core = make_pool(1)
    measured(core, 0.0001)
    jobs = [make_job(uid) for uid in (1, 2)]
    for job in jobs:
        core.start(job, 0.0)
    assert core.on_result(1, 2, 0, 0.0, 0.0) == (None, [])
    assert core.on_result(1, 1, 0, 0.0, 0.0) == (jobs[0], [])
    assert core.on_result(1, 2, 0, 0.0, 0.0) == (jobs[1], [])


def test_result_of_another_attempt_is_not_taken() -> None:
    core = make_pool(1)
    core.start(make_job(1), 0.0)
    assert core.on_result(1, 1, 5, 0.0, 0.0) == (None, [])
    assert core.where(1) == 1


# Taking back.


def pipelined(*uids: int) -> PoolCore:
    """Subworker 1 runs the first of the jobs, the others are queued behind it."""
    core = make_pool(2)
    measured(core, 0.0001)
    for uid in uids:
        core.start(make_job(uid), 0.0)
        assert core.where(uid) == core.where(uids[0])
    return core


def test_jobs_behind_a_late_one_are_given_back() -> None:
    core = pipelined(1, 2, 3)
    number = core.where(1)
    assert number is not None
    assert core.late_in(0.010) == pytest.approx(pool.LATE_S - 0.010)
    assert core.late(pool.LATE_S - 0.001) == []
    assert core.late(pool.LATE_S) == [number]
    effects = core.on_withdrawn(number, [2, 3], 1.0)
    assert [effect.job.uid for effect in effects if isinstance(effect, GiveBack)] == [2, 3]
    assert core.where(2) is None
    assert core.where(1) == number
    assert core.late_in(1.0) is None


def test_jobs_of_a_subworker_that_has_not_begun_any_stay_its_own() -> None:
    core = pipelined(1, 2)
    number = core.where(1)
    assert number is not None
    (run,) = core.on_withdrawn(number, [1, 2], 1.0)
    assert run == Run(number, [make_job(1), make_job(2)])
    assert core.late(1.0) == []
    assert core.where(1) == core.where(2) == number


def test_killing_a_running_job_kills_its_subworker_and_the_spare_takes_the_next() -> None:
    core = make_pool(1)
    core.start(make_job(1), 0.0)
    core.prestart("python", 1)
    core.on_hello(2, 0.0)
    core.mark_killed(1)
    assert core.kill(1, [], 0.0) == [Kill(1)]  # subworker 2 is the spare
    effects = core.on_exit(1, [], 0.0)
    assert effects == [Cancelled(make_job(1))]
    later = make_job(2)
    assert core.start(later, 0.0) == [Run(2, [later])]


def test_killing_a_queued_job_leaves_the_running_one_alone() -> None:
    core = pipelined(1, 2, 3)
    core.mark_killed(2)
    effects = core.kill(2, [2, 3], 0.0)
    assert [type(effect) for effect in effects] == [Cancelled, Run]
    assert core.where(1) == core.where(3)
    assert core.where(2) is None


def test_jobs_behind_a_killed_one_run_elsewhere() -> None:
    core = pipelined(1, 2, 3)
    number = core.where(1)
    assert number is not None
    core.mark_killed(1)
    assert Kill(number) in core.kill(1, [2, 3], 0.0)
    effects = without_spawns(core.on_exit(number, [], 0.0))
    assert effects[0] == Cancelled(make_job(1))
    (run,) = effects[1:]
    assert isinstance(run, Run)
    assert run.number != number
    assert [job.uid for job in run.jobs] == [2, 3]


def test_killing_all_jobs_of_a_subworker_one_after_the_other() -> None:
    core = pipelined(1, 2, 3)
    number = core.where(1)
    assert number is not None
    cancelled: list[Effect] = []
    for uid, withdrawn in ((1, [2, 3]), (2, []), (3, [])):
        core.mark_killed(uid)
        cancelled += core.kill(uid, withdrawn, 0.0)
    cancelled += core.on_exit(number, [], 0.0)
    assert sorted(effect.job.uid for effect in cancelled if isinstance(effect, Cancelled)) == [1, 2, 3]
    assert not any(isinstance(effect, Run | Crashed) for effect in cancelled)


def test_result_of_a_job_that_is_being_killed_does_not_count() -> None:
    core = make_pool(1)
    job = make_job(1)
    core.start(job, 0.0)
    core.mark_killed(1)
    taken, effects = core.on_result(1, 1, 0, 0.1, 0.0)
    assert taken is job
    assert effects == [Cancelled(job)]
    assert core.mean_duration(SESSION, 1) is None


def test_killing_a_waiting_job_cancels_it_at_once() -> None:
    core = make_pool()
    job = make_job(1)
    core.start(job, 0.0)
    assert core.kill(1, [], 0.0) == [Cancelled(job)]


def test_killing_an_unknown_job_does_nothing() -> None:
    assert make_pool(1).kill(77, [], 0.0) == []


# Dying.


def test_running_job_of_a_dead_subworker_crashes_and_the_queued_ones_move() -> None:
    core = pipelined(1, 2, 3)
    number = core.where(1)
    assert number is not None
    effects = without_spawns(core.on_exit(number, [2, 3], 0.0))
    assert effects[0] == Crashed(make_job(1))
    (run,) = effects[1:]
    assert isinstance(run, Run)
    assert [job.uid for job in run.jobs] == [2, 3]
    assert core.where(2) == run.number


def test_moved_jobs_keep_their_cpus_to_themselves() -> None:
    core = pipelined(1, 2, 3)
    number = core.where(1)
    assert number is not None
    core.on_exit(number, [2, 3], 0.0)
    assert core.accepts_more((0,), SESSION, 1, False, 0.0) > 0
    later = make_job(4)
    (run,) = without_spawns(core.start(later, 0.0))
    assert run == Run(core.where(2) or 0, [later])


def test_job_that_is_moved_too_often_crashes() -> None:
    core = make_pool(1)
    core.start(make_job(1), 0.0)
    effects: list[Effect] = []
    for _ in range(MOVE_LIMIT + 1):
        number = core.where(1)
        if number is None:
            number = max(core.subworkers)
            core.on_hello(number, 0.0)
        assert core.where(1) == number
        effects = core.on_exit(number, [1], 0.0)
    assert Crashed(make_job(1)) in effects
    assert core.where(1) is None


def test_idle_subworker_that_dies_blames_no_job_and_is_replaced() -> None:
    core = make_pool(2)
    measured(core, 0.1)
    assert core.on_exit(1, [], 0.0) == []
    assert core.on_exit(2, [], 0.0) == []
    assert core.needs_spare()


def test_broken_subworker_is_killed_once_and_its_job_crashes() -> None:
    core = make_pool(1, "c")
    core.start(make_job(1, kind="c"), 0.0)
    assert core.on_broken(1) == [Kill(1)]
    assert core.on_broken(1) == []
    assert core.on_exit(1, [], 0.0) == [Crashed(make_job(1, kind="c"))]


# Sessions.


def test_end_of_a_session_is_told_to_the_subworkers_that_know_it() -> None:
    core = make_pool(3)
    core.subworkers[1].bodies |= {(1, 1), (1, 2), (2, 1)}
    core.subworkers[2].bodies |= {(2, 1)}
    measured(core, 0.1)
    assert core.drop_sessions([1]) == [Forget(1, [1])]
    assert core.subworkers[1].bodies == {(2, 1)}
    assert core.mean_duration(SESSION, 1) is None


def test_refused_job_frees_its_subworker() -> None:
    core = make_pool(1, "c")
    first, second = make_job(1, kind="c"), make_job(2, (1,), kind="c")
    core.start(first, 0.0)
    core.start(second, 0.0)
    assert core.on_refused(1, 1, 0.0) == [Run(1, [second])]


# Jobs whose inputs are made by jobs before them.


def follower(uid: int, made_by: int) -> Job:
    job = make_job(uid)
    job.inputs = [unmade(made_by + 1)]
    return job


def test_a_job_without_its_input_is_given_back_and_not_measured() -> None:
    core = make_pool(1)
    measured(core, 0.0001)
    core.start(make_job(1), 0.0)
    job = follower(2, 1)
    core.start(job, 0.0)
    core.on_result(1, 1, 0, 0.0001, 0.0)
    mean = core.mean_duration(SESSION, 1)
    assert core.on_unmet(1, 2, 0, 0.0) == (job, [GiveBack(job, unmet=True)])
    assert core.mean_duration(SESSION, 1) == mean
    assert core.on_unmet(1, 2, 0, 0.0) == (None, []), "it is not there any more"


def test_a_killed_job_without_its_input_is_cancelled() -> None:
    core = make_pool(1)
    measured(core, 0.0001)
    job = follower(2, 1)
    core.start(make_job(1), 0.0)
    core.start(job, 0.0)
    core.mark_killed(2)
    core.on_result(1, 1, 0, 0.0001, 0.0)
    assert core.on_unmet(1, 2, 0, 0.0) == (job, [Cancelled(job)])


def test_jobs_behind_their_makers_do_not_move_to_another_subworker() -> None:
    core = make_pool(2)
    measured(core, 0.0001)
    first, second, third = make_job(1), follower(2, 1), make_job(3)
    for job in (first, second, third):
        core.start(job, 0.0)
    number = core.where(1)
    assert number is not None
    effects = without_spawns(core.on_exit(number, (2, 3), 0.0))
    assert effects == [Crashed(first), GiveBack(second), Run(3 - number, [third])]


# Leaving by themselves.


def two_behind_a_running_one() -> tuple[PoolCore, list[Job]]:
    core = make_pool(1)
    measured(core, 0.0001)
    jobs = [make_job(uid) for uid in (1, 2, 3)]
    for job in jobs:
        core.start(job, 0.0)
    return core, jobs


def test_jobs_behind_a_subworker_that_leaves_are_given_back_and_none_is_blamed() -> None:
    core, jobs = two_behind_a_running_one()
    core.on_result(1, 1, 0, 0.0001, 0.0)
    effects = core.on_leaving(1, None, [2, 3])
    assert effects == [GiveBack(jobs[1]), GiveBack(jobs[2]), Kill(1)]
    assert without_spawns(core.on_exit(1, [], 0.0)) == []


def test_a_job_that_a_leaving_subworker_could_not_prepare_is_run_by_another_one() -> None:
    core, jobs = two_behind_a_running_one()
    assert core.on_leaving(1, 1, [2, 3]) == [GiveBack(jobs[1]), GiveBack(jobs[2]), Kill(1)]
    assert core.on_exit(1, [], 0.0) == [Spawn(2, "python")]
    assert core.on_hello(2, 0.0) == [Run(2, [jobs[0]])]


def test_a_job_that_none_can_prepare_ends() -> None:
    core = make_pool(1)
    job = make_job(1)
    core.start(job, 0.0)
    for number in range(1, MOVE_LIMIT + 1):
        core.on_leaving(number, 1, [])
        assert core.on_exit(number, [], 0.0) == [Spawn(number + 1, "python")]
        core.on_hello(number + 1, 0.0)
    core.on_leaving(MOVE_LIMIT + 1, 1, [])
    assert core.on_exit(MOVE_LIMIT + 1, [], 0.0) == [Crashed(job)]


def test_a_job_that_is_killed_while_its_subworker_leaves_is_cancelled() -> None:
    core, jobs = two_behind_a_running_one()
    core.on_leaving(1, 1, [])
    core.mark_killed(1)
    assert core.kill(1, [], 0.0) == [Cancelled(jobs[0])]


def test_an_idle_subworker_that_leaves_gets_no_more_jobs() -> None:
    core = make_pool(2)
    assert core.on_leaving(1, None, []) == [Kill(1)]
    job = make_job(1)
    assert core.start(job, 0.0) == [Run(2, [job])]
