"""The bars of the task stream."""

from __future__ import annotations

import numpy as np
import pytest

from rainzmq.common.ids import make_uid
from rainzmq.common.states import AttemptState
from rainzmq.monitoring.attempts import LOST, Attempts, attempts
from rainzmq.monitoring.model import Model
from rainzmq.monitoring.session import FAILED, FINISHED, RUNNING
from rainzmq.monitoring.stream import bars, lanes, occupancy, place, queued, transfers
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.shared import TaskBody
from rainzmq.testing.events import START, demo_hub


def many(count, duration=0.001, cpus=2, names=("a", "b")):
    """A model in which tasks ran one after the other on each cpu of a worker."""
    model = Model()
    model.apply(e.WorkerCame(1, START, 1, "w:1", "node", 1, cpus, ["python"]))
    model.apply(e.SessionCame(2, START, 1, "s", "c"))
    bodies = [TaskBody(key, "python/run", 1, name, b"", [], []) for key, name in enumerate(names, 1)]
    ids = list(range(1, count + 1))
    keys = [1 + (at * len(names)) // count for at in range(count)]
    model.apply(e.TasksSubmitted(3, START, 1, bodies, ids, keys, [0] * count, [], [], [], [], [], []))
    starts = [START + 1 + (at // cpus) * duration for at in range(count)]
    end = START + 1 + (count // cpus + 1) * duration
    uids = [make_uid(1, number) for number in ids]
    model.apply(e.TasksAssigned(4, START + 0.5, 1, uids, [0] * count))
    spent = ([0] * count, starts, [int(duration * 1e6)] * count, [at % cpus for at in range(count)])
    model.apply(e.TasksFinished(5, end, 1, uids, *spent, [0] * count, [], [], [], []))
    return model


def all_of(model):
    return list(model.sessions.values())


def test_wide_attempts_are_bars_of_their_own():
    model = demo_hub(5).model
    rows, made, _ = bars(model, all_of(model), (START, START + 5), model.now)
    assert rows.count == 4
    assert made.count.tolist() == [1] * len(made)
    ids = sorted(zip(made.session.tolist(), made.task.tolist(), strict=True))
    assert ids == [(1, number) for number in range(1, 22, 2)] + [(2, 1)]
    outcomes = dict(
        zip(zip(made.session.tolist(), made.task.tolist(), strict=True), made.outcome.tolist(), strict=True)
    )
    assert outcomes[2, 1] == FAILED
    assert outcomes[1, 1] == FINISHED


def test_bars_never_overlap_when_attempts_did_not():
    model = demo_hub(40).model
    _, made, _ = bars(model, [model.sessions[1]], (START, model.now), model.now)
    for lane in np.unique(made.lane):
        mine = made.lane == lane
        order = np.argsort(made.left[mine])
        assert (made.left[mine][order][1:] >= made.right[mine][order][:-1] - 1e-6).all()


def test_many_short_attempts_become_few_bars_that_cover_them():
    model = many(100_000)
    _, made, _ = bars(model, all_of(model), (START, model.now), model.now, most=500)
    assert len(made) <= 500
    assert made.count.sum() == 100_000
    assert made.busy.sum() == pytest.approx(100.0, rel=1e-3)
    assert made.task[made.count > 1].tolist() == [0] * int((made.count > 1).sum())
    assert made.left.min() == pytest.approx(START + 1, abs=1e-3)
    assert made.right.max() == pytest.approx(START + 51, abs=2e-3)


def test_a_merged_bar_has_the_name_that_took_most_of_the_time():
    model = many(1000, names=("first", "second"))
    _, made, _ = bars(model, all_of(model), (START, model.now), model.now, most=10)
    names = [made.names[index] for index in made.name[np.lexsort((made.left, made.lane))].tolist()]
    assert names == ["first", "second", "first", "second"]


def test_many_names_are_merged_the_same_way():
    model = many(3000, names=tuple(f"name {number}" for number in range(100)))
    _, made, _ = bars(model, all_of(model), (START, model.now), model.now, most=3000)
    assert made.count.sum() == 3000
    for name in range(100):
        # A pixel with the end of one name and the begin of the next counts for one of them.
        assert abs(made.count[made.name == name].sum() - 30) <= 4


def test_a_failure_shows_in_a_merged_bar():
    model = many(1000)
    model.sessions[1].tasks["state"][500] = FAILED
    _, made, _ = bars(model, all_of(model), (START, model.now), model.now, most=10)
    assert (made.outcome == FAILED).sum() == 1


def test_only_what_overlaps_the_span_is_shown():
    model = many(1000, duration=0.1)
    span = (START + 10.05, START + 11.05)
    _, made, _ = bars(model, all_of(model), span, model.now)
    assert len(made) == 22
    assert (made.right >= span[0]).all()
    assert (made.left <= span[1]).all()


def test_at_a_time_what_ran_then_ends_there():
    model = many(100, duration=1.0)
    until = START + 5.5
    found = attempts(all_of(model), until)
    assert len(found) == 10
    assert (found.outcome == RUNNING).sum() == 2
    assert found.end.max() == until


def test_attempts_that_came_to_nothing_are_shown_as_lost():
    model = Model()
    uid = make_uid(1, 1)
    for event in (
        e.WorkerCame(1, START, 1, "w:1", "node", 1, 1, ["python"]),
        e.SessionCame(2, START, 1, "s", "c"),
        e.TasksSubmitted(
            3,
            START,
            1,
            [TaskBody(1, "python/run", 1, "a", b"", [], [])],
            [1],
            [1],
            [0],
            [],
            [],
            [],
            [],
            [],
            [],
        ),
        e.TasksAssigned(4, START + 1, 1, [uid], [0]),
        e.TasksStarted(5, START + 1, 1, [uid], [0]),
        e.TasksReturned(6, START + 2, 1, [uid], [0], AttemptState.CRASHED, ["killed"]),
        e.TasksAssigned(7, START + 3, 1, [uid], [1]),
        e.TasksStarted(8, START + 3, 1, [uid], [1]),
        e.SessionWaits(9, START + 4, 1, []),
    ):
        model.apply(event)
    found = attempts(all_of(model), model.now)
    assert found.outcome.tolist() == [RUNNING, LOST]
    assert found.end.tolist() == [START + 4, START + 2]
    _, made, _ = bars(model, all_of(model), (START, START + 4), model.now)
    assert len(made) == 2


def attempt_columns(cpu, start, end):
    size = len(cpu)
    zero = np.zeros(size, dtype=np.int64)
    own = (
        np.array(cpu),
        np.array(start, dtype=float),
        np.array(start, dtype=float),
        np.array(end, dtype=float),
    )
    return Attempts(zero + 1, zero, zero, zero, zero + 1, *own, zero + RUNNING, ["a"])


def test_attempts_of_unknown_cpu_get_free_lanes():
    rows = lanes(many(1, cpus=3), START + 1)
    ran = attempt_columns([0, -1, -1, 2, -1], [0, 1, 1, 5, 4], [3, 9, 2, 8, 6])
    assert place(ran, rows).tolist() == [0, 1, 2, 2, 0]


def test_more_attempts_than_lanes_share_the_lane_that_is_free_first():
    rows = lanes(many(1, cpus=1), START + 1)
    assert place(attempt_columns([-1, -1, -1], [0, 1, 2], [9, 9, 9]), rows).tolist() == [0, 0, 0]


def test_occupancy_is_the_mean_number_of_intervals():
    strip = occupancy(
        np.array([7, 7, 9]), np.array([0.0, 1.0, 2.5]), np.array([2.0, 2.0, 9.0]), (0.0, 4.0), 4
    )
    found = {(w, left): value for w, left, value in zip(strip.worker, strip.left, strip.amount, strict=True)}
    assert found == pytest.approx({(7, 0.0): 1.0, (7, 1.0): 2.0, (9, 2.0): 0.5, (9, 3.0): 1.0})


def test_occupancy_holds_for_random_intervals():
    rng = np.random.default_rng(3)
    start = rng.uniform(-2, 12, 500)
    end = start + rng.exponential(1, 500)
    strip = occupancy(np.ones(500, dtype=np.int64), start, end, (0.0, 10.0), 20)
    for left, right, amount in zip(strip.left, strip.right, strip.amount, strict=True):
        covered = np.maximum(0, np.minimum(end, right) - np.maximum(start, left)).sum()
        assert amount == pytest.approx(covered / (right - left), abs=1e-6)


def test_transfers_and_queued_tasks_are_strips_of_their_worker():
    model = demo_hub(5).model
    moved = transfers(model, (START, model.now), model.now, 100)
    assert set(moved.worker.tolist()) <= {1, 2}
    assert (moved.amount * (moved.right - moved.left)).sum() == pytest.approx(6 * 0.04, rel=1e-4)
    waited = queued(all_of(model), (START, model.now), model.now, 100)
    session = model.sessions[1]
    total = float((session.tasks["started"] - session.tasks["assigned"]).sum()) + 0.02
    assert (waited.amount * (waited.right - waited.left)).sum() == pytest.approx(total, abs=0.02)


def test_an_empty_model_has_no_bars():
    rows, made, _ = bars(Model(), [], (0.0, 1.0), 1.0)
    assert (rows.count, len(made)) == (0, 0)


def test_names_that_are_too_many_are_folded_and_bars_know_the_whole_ones():
    names = tuple(f"load/{at}" for at in range(60))
    model = many(60, duration=1.0, names=names)
    _, made, _ = bars(model, all_of(model), (START, model.now), model.now)
    assert made.names == ["load/"]
    assert sorted(made.task_names[at] for at in made.task_name.tolist()) == sorted(names)
    _, merged, _ = bars(model, all_of(model), (START - 1e6, model.now), model.now)
    assert (len(merged), merged.task_name.tolist()) == (2, [-1, -1])


def test_uses_count_tasks_whatever_is_merged():
    model = many(3000, names=tuple(f"name {number}" for number in range(20)))
    _, made, uses = bars(model, all_of(model), (START, model.now), model.now, most=10)
    assert len(made) <= 40
    assert {use.name: use.tasks for use in uses} == {f"name {number}": 150 for number in range(20)}
    assert [use.busy_s for use in uses] == pytest.approx([0.15] * 20, rel=1e-3)


def test_uses_count_a_task_once_and_all_time_of_its_attempts():
    model = demo_hub(5).model
    _, _, uses = bars(model, all_of(model), (START, model.now), model.now)
    bad = model.sessions[2]
    assert [(use.tasks, use.attempts) for use in uses if use.name == "bad"] == [(1, 1)]
    bad.past[0].started = bad.past[0].ended - 0.25
    _, _, uses = bars(model, all_of(model), (START, model.now), model.now)
    (use,) = [use for use in uses if use.name == "bad"]
    assert (use.tasks, use.attempts, use.busy_s) == (1, 2, pytest.approx(0.30, abs=1e-6))


def test_uses_are_cut_at_the_ends_of_the_span():
    model = many(100, duration=1.0)
    _, _, uses = bars(model, all_of(model), (START + 2.5, START + 4.0), model.now)
    assert sum(use.busy_s for use in uses) == pytest.approx(2 * 1.5)
    assert sum(use.tasks for use in uses) in (4, 6)  # those that end or begin just there are in sight
