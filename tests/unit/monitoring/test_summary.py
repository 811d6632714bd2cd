"""How workers were used, what was tried in vain, what moved."""

from __future__ import annotations

import pytest

from rainzmq.common.ids import make_uid
from rainzmq.common.states import AttemptState, SessionState
from rainzmq.monitoring.model import Model
from rainzmq.monitoring.summary import in_vain, moved_bytes, run_span, worker_use
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.shared import TaskBody
from rainzmq.testing.events import demo_hub


@pytest.fixture
def model() -> Model:
    """Two workers of two cpus; a task of two cpus runs for 4 s of 10 on the first, which leaves after 5."""
    made = Model()
    uid = make_uid(1, 1)
    body = TaskBody(1, "python/run", 2, "x", b"", [], [])
    for event in (
        e.WorkerCame(1, 90.0, 1, "w:1", "a", 1, 2, ["python"]),
        e.WorkerCame(2, 90.0, 2, "w:2", "b", 2, 2, ["python"]),
        e.SessionCame(3, 99.0, 1, "s", "c"),
        e.TasksSubmitted(4, 100.0, 1, [body], [1, 3], [1, 1], [0, 0], [], [], [], [], [], []),
        e.TasksAssigned(5, 100.0, 1, [uid], [0]),
        e.TasksStarted(6, 101.0, 1, [uid], [0]),
        e.ObjectsMoved(7, 101.0, 2, [(make_uid(1, 9), "w:1", 100.0, 10, 700)]),
        e.WorkerWent(8, 105.0, 1, "lost", False),
        e.TasksReturned(9, 105.0, 1, [uid], [0], AttemptState.LOST, ["gone"]),
        e.TasksAssigned(10, 105.0, 2, [uid], [1]),
        e.TasksFinished(11, 110.0, 2, [uid], [1], [108.0], [1_000_000], [0], [0], [], [], [], []),
        e.SessionEnded(12, 120.0, 1, SessionState.CANCELLED, None),
    ):
        made.apply(event)
    return made


def test_span_is_from_the_first_submit_to_the_last_commit(model):
    assert run_span(model) == (100.0, 110.0)
    assert run_span(Model()) == (0.0, 0.0)


def test_a_session_of_which_nothing_was_committed_counts_until_its_end(model):
    body = TaskBody(1, "python/run", 1, "x", b"", [], [])
    for event in (
        e.SessionCame(20, 121.0, 2, "s", "c"),
        e.TasksSubmitted(21, 122.0, 2, [body], [1], [1], [0], [], [], [], [], [], []),
        e.SessionEnded(22, 130.0, 2, SessionState.CANCELLED, None),
        e.ServerSampled(23, 500.0, 1.0, 1, 1, {}),
    ):
        model.apply(event)
    assert run_span(model) == (100.0, 130.0)


def test_use_counts_all_cpus_of_all_attempts_while_the_worker_was_there(model):
    first, second = worker_use(model)

    assert (first.there_s, first.busy_cpu_s, first.utilisation) == (5.0, 8.0, 0.8)
    assert (second.there_s, second.busy_cpu_s, second.utilisation) == (10.0, 2.0, 0.1)
    assert (first.attempts, second.attempts) == (1, 1)
    assert (first.received_bytes, second.received_bytes) == (0, 700)


def test_attempts_in_vain_are_counted_by_what_became_of_them(model):
    assert in_vain(model.sessions[1]) == {"crashed": 0, "unable": 0, "lost": 1, "finished": 0}


def test_bytes_moved_are_counted_by_session():
    model = demo_hub().model

    assert moved_bytes(model) == moved_bytes(model, model.sessions[1]) == 21 * 5000
    assert moved_bytes(model, model.sessions[2]) == 0


def test_worker_that_was_not_there_meanwhile_has_no_utilisation(model):
    model.apply(e.WorkerCame(13, 130.0, 3, "w:3", "a", 1, 2, ["python"]))

    assert worker_use(model)[-1].utilisation is None
