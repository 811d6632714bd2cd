"""What is said of tasks, workers, sessions and objects, now and at any time."""

from __future__ import annotations

import dataclasses
import json
import random
from collections import Counter

import numpy as np
import pytest
from random_history import RandomHistory

from rainzmq.common.ids import make_uid
from rainzmq.common.states import DataObjectState, TaskState
from rainzmq.monitoring import session as codes
from rainzmq.monitoring import standing as standing_codes
from rainzmq.monitoring import views
from rainzmq.monitoring.groups import MAX_DEPTH, tree_of
from rainzmq.monitoring.model import Model
from rainzmq.monitoring.session import ABSENT, STATES
from rainzmq.monitoring.standing import standing
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.shared import OutputTemplate, TaskBody
from rainzmq.testing.events import START, demo_hub

OUT = OutputTemplate("out", False, None, None, None, None)
SEEDS = range(25)


def times(model: Model, seed: int, count: int = 12) -> list[float | None]:
    rng = random.Random(seed)
    end = max(model.now, START + 1)
    return [None, START - 1, end + 1, *(rng.uniform(START, end) for _ in range(count))]


def plain(value: object) -> None:
    """Fails on NaN, infinities and numpy's numbers."""
    json.dumps(dataclasses.asdict(value), allow_nan=False)  # type: ignore[call-overload]


@pytest.mark.parametrize("seed", SEEDS)
def test_some_tasks_stand_as_all_of_them_do(seed):
    model = RandomHistory(seed).model
    for session in model.sessions.values():
        rows = np.arange(len(session.tasks))
        for time in times(model, seed):
            codes = session.states(time)
            assert (standing(session, rows, time).state == codes).all()
            some = rows[::3][::-1]
            assert (views.some_states(session, some, time) == codes[some]).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_of_the_future_shows_and_every_state_has_its_times(seed):
    model = RandomHistory(seed).model
    for session in model.sessions.values():
        for time in times(model, seed)[1:]:
            rows = np.flatnonzero(session.states(time) != ABSENT)
            for task in views.task_views(session, rows, model, time):
                plain(task)
                for moment in (task.assigned, task.started, task.ended):
                    assert moment is None or moment <= time
                assert (task.state in ("waiting", "ready")) <= (task.worker is None)
                if task.state == "assigned":
                    assert task.assigned is not None
                    assert task.started is None
                if task.state == "running":
                    assert task.started is not None
                    assert task.ended is None
                    assert task.duration_s == pytest.approx(time - task.started)
                if task.state == "finished":
                    assert task.ended is not None


@pytest.mark.parametrize("seed", SEEDS)
def test_counts_of_sessions_groups_and_workers_agree_with_the_tasks(seed):
    model = RandomHistory(seed).model
    (session,) = model.sessions.values()
    for time in times(model, seed):
        rows = np.flatnonzero(session.states(time) != ABSENT)
        tasks = views.task_views(session, rows, model, time)
        counts = Counter(task.state for task in tasks)
        view = views.session_view(session, time)
        plain(view)
        assert {state: view.counts[state] for state in STATES if view.counts[state]} == counts
        assert view.total == len(tasks)
        leaves = [group for group in views.groups(session, time) if group.is_leaf]
        assert sum(group.total for group in leaves) == len(tasks)
        for worker in views.worker_views(model, time):
            plain(worker)
            mine = Counter(task.state for task in tasks if task.worker == worker.worker_id)
            assert (worker.running, worker.assigned) == (mine["running"], mine["assigned"])
            assert worker.finished == mine["finished"]


@pytest.mark.parametrize("seed", SEEDS)
def test_details_objects_and_sentences_can_be_had_at_any_time(seed):
    model = RandomHistory(seed).model
    (session,) = model.sessions.values()
    for time in times(model, seed, 3):
        there = np.flatnonzero(session.states(time) != ABSENT).tolist()
        for row in there:
            detail = views.task_detail(model, session, row, time)
            plain(detail)
            assert detail.why
            assert "nan" not in detail.why
            starts = [attempt.assigned for attempt in detail.attempts if attempt.assigned is not None]
            assert starts == sorted(starts)
            if detail.state in ("assigned", "running", "finished", "failed"):
                assert detail.attempts[-1].outcome == detail.state
            for part in (*detail.inputs, *detail.outputs):
                number = int(part.id.partition("/")[2])
                view = views.object_view(model, session, session.objects.row(number), time)
                plain(view)
                assert (view.state, view.size_bytes) == (part.state, part.size_bytes)
                if view.state == "finished" and view.producer is not None:
                    assert view.finished is not None
        rows = np.arange(len(session.objects))
        found = views.object_views(model, session, rows, time)
        for worker in model.workers.values():
            held = set(views.held_by(model, session, worker.number, time).tolist())
            assert held == {row for row in rows.tolist() if worker.worker_id in found[row].holders}
        for move in views.moves(model, time):
            plain(move)


def test_names_of_states_are_those_of_the_codes():
    assert [getattr(codes, state.name) for state in STATES] == list(range(len(TaskState)))
    assert [getattr(standing_codes, name) for name in ("UNFINISHED", "MADE", "REMOVED")] == [0, 1, 2]
    assert tuple(DataObjectState) == standing_codes.OBJECT_STATES


# Groups.


def named(*names: str) -> Model:
    """A session whose tasks of these names ran 1 s, 2 s, 3 s, ..."""
    model = Model()
    model.apply(e.WorkerCame(1, 1.0, 1, "w:1", "node", 1, 1, ["python"]))
    model.apply(e.SessionCame(2, 1.0, 1, "s", "c"))
    ids = [2 * place + 1 for place in range(len(names))]
    body = TaskBody(1, "python/run", 1, None, b"", [], [])
    own = list(zip(ids, names, strict=True))
    model.apply(
        e.TasksSubmitted(3, 1.0, 1, [body], ids, [1] * len(ids), [0] * len(ids), [], own, [], [], [], [])
    )
    uids = [make_uid(1, local_id) for local_id in ids]
    zeros = [0] * len(ids)
    durations = [1_000_000 * (place + 1) for place in range(len(ids))]
    model.apply(
        e.TasksFinished(4, 1000.0, 1, uids, zeros, [2.0] * len(ids), durations, zeros, zeros, [], [], [], [])
    )
    return model


def test_groups_are_a_tree_in_depth_first_order_of_coming():
    session = named("b/x", "a", "b/y/z", "a/c", "b/x").sessions[1]
    found = [
        (group.name, group.depth, group.is_leaf, group.own, group.total) for group in views.groups(session)
    ]
    assert found == [
        ("b", 0, False, 0, 3),
        ("b/x", 1, True, 2, 2),
        ("b/y", 1, False, 0, 1),
        ("b/y/z", 2, True, 1, 1),
        ("a", 0, False, 1, 2),
        ("a/c", 1, True, 1, 1),
    ]


def test_durations_of_a_group_are_those_of_all_below_it():
    session = named("b/x", "b/x", "b/y", "c").sessions[1]
    group = views.groups(session)[0]
    assert (group.done, group.sum_s, group.min_s, group.max_s) == (3, 6.0, 1.0, 3.0)
    assert group.mean_s == pytest.approx(2.0)
    assert group.std_s == pytest.approx(np.std([1.0, 2.0, 3.0]))


def test_nothing_finished_has_no_durations():
    group = views.groups(named("a").sessions[1], 1.5)[0]
    assert (group.counts.ready, group.done, group.sum_s) == (1, 0, 0.0)
    assert group.mean_s is group.std_s is group.min_s is group.max_s is None


@pytest.mark.parametrize("name", ["", "/", "a//b", "/a", "a/", "<script>", "x/" * 40 + "end"])
def test_odd_names_are_groups_too(name):
    model = named(name, "a/b")
    session = model.sessions[1]
    found = views.groups(session)
    assert sum(group.own for group in found) == 2
    assert all(group.depth < MAX_DEPTH for group in found)
    (own,) = [group for group in found if group.own and group.name == name]
    assert own.own == 1


def test_groups_grow_with_the_names_and_begin_with_what_is_submitted():
    model = named("a/b")
    session = model.sessions[1]
    assert views.groups(session, 0.5) == []
    assert len(views.groups(session)) == 2
    body = TaskBody(2, "python/run", 1, "a/c", b"", [], [])
    model.apply(e.TasksSubmitted(9, 2000.0, 1, [body], [101], [2], [0], [], [], [], [], [], []))
    assert [group.name for group in views.groups(session)] == ["a", "a/b", "a/c"]
    assert [group.name for group in views.groups(session, 1500.0)] == ["a", "a/b"]
    assert tree_of(session) is tree_of(session)


def test_names_are_found_whole_or_by_their_beginning():
    session = named("a/b", "a", "ab/c", "a/b/c").sessions[1]

    def found(wanted: str) -> list[str]:
        return [session.names[number] for number in views.name_matches(session, wanted).tolist()]

    assert found("a") == ["a"]
    assert found("a/") == ["a/b", "a/b/c"]
    assert found("a/b") == ["a/b"]
    assert found("z/") == []


# The made-up history.


def test_a_task_is_told_with_all_that_is_known():
    model = demo_hub(3).model
    detail = views.task_detail(model, model.sessions[1], 6)
    assert [(part.id, part.label, part.from_task) for part in detail.inputs] == [
        ("1/8", "out", "1/7"),
        ("1/10", "out", "1/9"),
        ("1/12", "out", "1/11"),
    ]
    assert (detail.cpus, detail.input_count, detail.output_count) == (2, 3, 1)
    assert [attempt.outcome for attempt in detail.attempts] == ["finished"]
    first = views.task_detail(model, model.sessions[1], 0)
    assert (first.stdout_bytes, first.stderr, first.debug) == (32, "oops\n", "loaded <b>fine</b>")
    assert views.task_detail(model, model.sessions[1], 0, START + 0.5).stdout == ""


def test_a_failed_task_has_all_attempts_and_its_error():
    model = demo_hub(3).model
    detail = views.task_detail(model, model.sessions[2], 0)
    assert [(item.attempt, item.worker, item.outcome, item.note) for item in detail.attempts] == [
        (0, "127.0.0.1:5001", "crashed", "killed by signal 9"),
        (1, "127.0.0.1:5002", "failed", ""),
    ]
    assert detail.error == "ValueError: <img src=x>"
    before = views.task_detail(model, model.sessions[2], 0, detail.attempts[0].ended)
    assert before.error is None
    assert [item.outcome for item in before.attempts] == ["crashed"]


def test_moves_are_summed_by_source_and_target():
    model = demo_hub(5).model
    found = views.moves(model)
    assert sum(move.count for move in found) == len(model.moves)
    assert sum(move.bytes for move in found) == model.moves["bytes"].sum()
    assert views.moves(model, START) == []


def test_what_came_from_a_worker_that_nobody_knows_is_said_so():
    model = demo_hub(1).model
    model.apply(e.ObjectsMoved(999, model.now, 1, [(make_uid(1, 2), "elsewhere:1", START, 1, 10**9)]))
    model.apply(e.ObjectsMoved(1000, model.now, 1, [(make_uid(1, 2), "server", START, 1, 10**8)]))
    assert [move.source for move in views.moves(model)][:2] == ["unknown", "server"]


def test_the_server_is_told_as_it_was_sampled():
    hub = demo_hub(3)
    now = views.server_view(hub)
    assert (now.events, now.is_replay, now.clients) == ("none", True, 1)
    assert now.counters
    then = views.server_view(hub, START + 0.5)
    assert (then.cpu_s, then.now, then.counters) == (0.0, START + 0.5, {})
    assert views.server_view(hub, START - 1).cpu_s is None


def test_a_worker_that_left_says_why_but_not_before():
    model = demo_hub(1).model
    model.apply(e.WorkerWent(999, model.now + 5, 1, "lost", False))
    worker = views.worker_views(model)[0]
    assert (worker.state, worker.why, worker.went) == ("gone", "lost", model.now)
    worker = views.worker_views(model, model.now - 1)[0]
    assert (worker.state, worker.why, worker.went) == ("live", "", None)
    assert views.worker_views(model, START) == []


# What users attached.


def with_user(user: bytes, config: bytes = b"") -> views.TaskDetail:
    model = named()
    body = TaskBody(2, "builtin/x", 1, None, config, [None], [OUT])
    constants = [(50, "c", True, "dir", 12)]
    model.apply(
        e.TasksSubmitted(9, 2.0, 1, [body], [101], [2], [2], [50, 50], [], [], [(101, user)], constants, [])
    )
    plain(views.object_view(model, model.sessions[1], model.sessions[1].objects.row(50)))
    constant = views.object_view(model, model.sessions[1], model.sessions[1].objects.row(50))
    assert (constant.consumers, constant.holders, constant.is_directory, constant.label) == (
        1,
        ["server"],
        True,
        "c",
    )
    return views.task_detail(model, model.sessions[1], 0)


@pytest.mark.parametrize(
    ("user", "shown"),
    [
        (b"", {}),
        (b'{"a": [1, NaN, 1e999]}', {"a": [1, None, None]}),
        (b"{", None),
        (b"\xff", None),
        (b"[" * 100_000, None),
        (b'{"a":' * 200 + b"1" + b"}" * 200, ...),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_users_attached_can_always_be_shown(user, shown):
    detail = with_user(user)
    plain(detail)
    assert shown is ... or detail.user == shown


def test_configurations_are_shown_without_their_bytes():
    assert with_user(b"", b"\x82\xa4args\x91\xa2ls\xa4data\xc4\x02ab").config == {
        "args": ["ls"],
        "data": "<2 bytes>",
    }
    assert with_user(b"", b"\xc1").config == "<1 bytes>"
    assert with_user(b"").config is None


@pytest.mark.parametrize(
    "text", ["", "1", "1/", "/1", "a/1", "1/2/3", "-1/2", "1/99999999999", "٣/1", "9" * 99 + "/1"]
)
def test_what_is_no_id_is_refused(text):
    with pytest.raises(ValueError, match="id"):
        views.parse_id(text)


def test_an_id_is_read():
    assert views.parse_id("3/17") == (3, 17)
    assert views.find_task(demo_hub(1).model, make_uid(1, 1)) is not None
    assert views.find_task(demo_hub(1).model, make_uid(1, 2)) is None
    assert views.find_task(demo_hub(1).model, make_uid(1, 1), START) is None


def test_what_a_worker_cannot_run_is_said_with_the_reason_while_it_is_so():
    model = Model()
    model.apply_all(
        [
            e.WorkerCame(1, START, 1, "w:1", "node", 7, 2, ["builtin", "python"]),
            e.WorkerTroubled(2, START + 10, 1, [("python", "no room")]),
            e.WorkerTroubled(3, START + 20, 1, []),
            e.WorkerTroubled(4, START + 30, 1, [("builtin", "no process")]),
            e.WorkerWent(5, START + 40, 1, "bye", True),
        ]
    )
    troubles = [views.worker_views(model, START + after)[0].troubles for after in (5, 15, 25, 35, 45)]
    assert troubles == [{}, {"python": "no room"}, {}, {"builtin": "no process"}, {}]
    assert views.worker_views(model)[0].troubles == {}
