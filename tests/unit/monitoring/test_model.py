"""What the model makes of events that are odd: clocks that are off, gaps, very many sessions, nonsense."""

from __future__ import annotations

import pytest

from rainzmq.common.ids import make_uid
from rainzmq.common.states import SessionState, TaskState
from rainzmq.monitoring import model as module
from rainzmq.monitoring.model import Model
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.shared import Failure, TaskBody

T = 1000.0
UID = make_uid(1, 1)


@pytest.fixture
def model():
    made = Model()
    made.apply(e.SnapshotBegin(0, T, 1, "1", T))
    made.apply(e.SnapshotEnd(0, T, 1))
    made.apply(e.WorkerCame(1, T, 1, "h:1", "h", 1, 2, []))
    made.apply(e.SessionCame(2, T, 1, "s", "c"))
    body = TaskBody(1, "python/call", 1, "f", b"", [], [])
    made.apply(e.TasksSubmitted(3, T, 1, [body], [1], [1], [0], [], [], [], [], [], []))
    made.apply(e.TasksAssigned(4, T + 1, 1, [UID], [0]))
    return made


def times(model):
    tasks = model.sessions[1].tasks
    return [round(float(tasks[name][0]) - T, 6) for name in ("assigned", "started", "ended", "committed")]


@pytest.mark.parametrize(
    ("off_s", "expected"),
    [
        (0.0, [1, 1.5, 2.5, 3]),
        (0.3, [1, 1.8, 2.8, 3]),
        (5.0, [1, 2, 3, 3]),
        (-5.0, [1, 1, 2, 3]),
        (1e17, [1, 2, 3, 3]),
        (-1e17, [1, 1, 2, 3]),
    ],
)
def test_a_clock_that_is_off_changes_no_duration(model, off_s, expected):
    ran = ([UID], [0], [T + 1.5 + off_s], [1_000_000], [0], [0], [])
    model.apply(e.TasksFinished(5, T + 3, 1, *ran, [], [], []))
    assert times(model) == expected


@pytest.mark.parametrize("off_s", [5.0, -5.0, 1e17])
def test_failed_tasks_keep_their_duration_too(model, off_s):
    failure = Failure(UID, "f", "python/call", 0, "h:1", "ValueError", "")
    model.apply(e.TaskFailed(5, T + 3, 1, failure, T + 1.5 + off_s, 1_000_000))
    assigned, started, ended, committed = times(model)
    assert ended - started == 1
    assert assigned <= started <= ended <= committed == 3


def test_what_workers_say_of_moves_stays_possible(model):
    rows = [(UID, "server", T + 1e17, 1 << 62, 1 << 62), (UID, "server", T + 1.2, 100_000, 50)]
    model.apply(e.ObjectsMoved(5, T + 2, 1, rows))
    starts, durations = model.moves["start"], model.moves["duration"]
    assert (starts >= T).all()
    assert (starts + durations <= T + 2).all()
    assert model.moves["bytes"].sum() > 0
    assert round(float(starts[1]) - T, 6) == 1.2


def test_no_gap_is_seen_where_there_is_none(model):
    model.apply(e.SnapshotBegin(4, T + 2, 2, "1", T))
    model.apply(e.WorkerCame(4, T, 1, "h:1", "h", 1, 2, []))
    model.apply(e.SessionCame(4, T, 1, "s", "c"))
    model.apply(e.SnapshotEnd(4, T + 2, 2))
    assert model.gaps == []
    assert model.sessions[1].state == "open"


@pytest.mark.parametrize(("number", "later_s"), [(9, 2), (4, 60)])
def test_a_gap_is_noted_with_its_times(model, number, later_s):
    model.apply(e.SnapshotBegin(number, T + later_s, 2, "1", T))
    model.apply(e.SnapshotEnd(number, T + later_s, 2))
    assert model.gaps == [(T + 1, T + later_s)]
    assert "was not seen" in model.gap_notes()[0]


def test_a_session_that_failed_in_a_gap_is_failed(model):
    failure = Failure(UID, "f", "python/call", 0, "h:1", "ValueError", "")
    model.apply(e.SnapshotBegin(9, T + 60, 2, "1", T))
    model.apply(e.SessionCame(9, T, 1, "s", "c"))
    model.apply(e.SessionEnded(9, T + 30, 1, SessionState.FAILED, failure))
    model.apply(e.SnapshotEnd(9, T + 60, 2))
    session = model.sessions[1]
    assert (session.state, session.failure, session.ended) == ("failed", failure, T + 30)


def test_only_so_many_ended_sessions_are_kept(model, monkeypatch):
    monkeypatch.setattr(module, "PAST_SESSIONS", 3)
    for number in range(2, 8):
        model.apply(e.SessionCame(number, T + number, number, "s", "c"))
        model.apply(e.SessionEnded(number, T + number, number, SessionState.CLOSED, None))
    assert list(model.sessions) == [1, 5, 6, 7]
    assert model.dropped_sessions == [2, 3, 4]


def test_a_task_that_ran_before_a_snapshot_has_run_since_then(model):
    model.apply(e.SnapshotBegin(9, T + 60, 2, "1", T))
    model.apply(e.SessionCame(9, T, 1, "s", "c"))
    model.apply(e.TaskStates(9, T + 60, [UID], [TaskState.RUNNING], [0], [1], [T + 20], [-1], [0], [], []))
    model.apply(e.SnapshotEnd(9, T + 60, 2))
    assert times(model)[:2] == [1, 20]
