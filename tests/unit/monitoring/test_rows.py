"""Events as flat rows."""

from __future__ import annotations

import json

import pytest

from rainzmq.common.ids import make_uid
from rainzmq.common.states import AttemptState, SessionState, TaskState
from rainzmq.monitoring.hub import EventFilter
from rainzmq.monitoring.rows import FIELDS, KINDS, WorkerNames, cursor_of, matches, rows_of, uid_of
from rainzmq.monitoring.search import EventRing
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.shared import Failure, TaskBody
from rainzmq.testing.events import demo_history

A, B = make_uid(1, 1), make_uid(2, 3)
BODY = TaskBody(1, "python/run", 1, "named", b"", [], [])

ONE_OF_EACH = [
    e.SnapshotBegin(1, 1.0, 1, "0.1", 0.5),
    e.SnapshotEnd(1, 1.0, 1),
    e.WorkerCame(2, 2.0, 7, "w:7", "node", 70, 4, ["python"]),
    e.WorkerWent(3, 3.0, 7, "bye", True),
    e.WorkerTroubled(4, 3.5, 7, [("python", "no python here")]),
    e.WorkerSampled(4, 4.0, 7, [10.0, 30.0], *range(9)),
    e.ServerSampled(5, 5.0, 0.5, 100, 2, {"tasks_finished": 1}),
    e.SessionCame(6, 6.0, 1, "demo", "here"),
    e.SessionEnded(7, 7.0, 1, SessionState.FAILED, Failure(A, None, None, 0, None, "broken", "")),
    e.SessionWaits(8, 8.0, 1, ["no worker"]),
    e.TasksSubmitted(
        9, 9.0, 1, [BODY], [1, 5], [1, 2], [0, 0], [], [(5, "own")], [], [], [(9, "c", False, None, 4)], []
    ),
    e.TasksAssigned(10, 10.0, 7, [A, B], [0, 2]),
    e.TasksStarted(11, 11.0, 7, [A, B], [0, 2]),
    e.TasksFinished(
        12, 12.0, 7, [A, B], [0, 2], [11.0, 11.5], [10, 2_500_000], [0, 1], [2, 1], [5, 6, 7], [], [], []
    ),
    e.TasksReturned(13, 13.0, 7, [A, B], [0, 2], AttemptState.CRASHED, ["killed", ""]),
    e.TasksRerun(14, 14.0, [A], [1], [], []),
    e.TaskFailed(15, 15.0, 0, Failure(A, "named", None, 1, None, "broken", ""), 0.0, -1),
    e.TasksPrinted(16, 16.0, 7, [(A, 0, "out", "err", 3, 4)]),
    e.ObjectsMoved(17, 17.0, 7, [(A, "server", 16.0, 500_000, 9)]),
    e.ObjectsRemoved(18, 18.0, [A, B]),
    e.TaskStates(
        19,
        19.0,
        [A, B],
        [TaskState.RUNNING, TaskState.READY],
        [0, 1],
        [7, 0],
        [0.0, 0.0],
        [-1, -1],
        [0, 0],
        [],
        [],
    ),
]


def all_rows() -> list[dict]:
    names: WorkerNames = {}
    return [row for event in ONE_OF_EACH for row in rows_of(event, names)]


def test_every_event_becomes_rows_and_every_kind_comes_of_one():
    assert {type(event) for event in ONE_OF_EACH} == set(e.EVENTS)
    assert [kind for kind in KINDS if kind not in {row["type"] for row in all_rows()}] == []


def test_every_row_has_the_fields_of_its_kind_in_plain_values():
    for row in all_rows():
        common = {"number", "time", "type", "session_id", "id", "worker"}
        assert row.keys() == common | FIELDS[row["type"]].keys(), row
        json.dumps(row, allow_nan=False)


def test_each_row_is_about_one_task_on_a_named_worker():
    rows = [row for row in all_rows() if row["type"] == "task_finished"]
    assert [(row["id"], row["session_id"], row["worker"]) for row in rows] == [
        ("1/1", 1, "w:7"),
        ("2/3", 2, "w:7"),
    ]
    assert [(row["duration_s"], row["cpu"], row["output_bytes"]) for row in rows] == [
        (1e-5, 0, 11),
        (2.5, 1, 7),
    ]
    assert [uid_of(row) for row in rows] == [A, B]


def test_submitted_tasks_have_their_names():
    rows = [row for row in all_rows() if row["type"].endswith("_submitted")]
    assert [(row["type"], row["id"], row.get("name", row.get("label"))) for row in rows] == [
        ("constant_submitted", "1/9", "c"),
        ("task_submitted", "1/1", "named"),
        ("task_submitted", "1/5", "own"),
    ]


def test_what_ran_nowhere_has_no_times():
    (row,) = [row for row in all_rows() if row["type"] == "task_failed"]
    assert (row["worker"], row["started"], row["duration_s"], row["message"]) == (None, None, None, "broken")


def test_without_names_workers_are_not_known():
    assert [row["worker"] for row in rows_of(ONE_OF_EACH[11])] == [None, None]
    assert [row["worker"] for row in rows_of(ONE_OF_EACH[2])] == ["w:7"]


def test_unequal_columns_raise_rather_than_lose_rows():
    with pytest.raises(ValueError, match="zip"):
        list(rows_of(e.TasksAssigned(1, 1.0, 7, [A, B], [0])))


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (EventFilter(session_id=2), {10, 11, 12, 13, 18, 19}),
        (EventFilter(ids=frozenset({B}), kinds=frozenset({"task_assigned", "task_failed"})), {10}),
        (EventFilter(worker_id="w:7", since=12.0, until=16.0), {12, 13}),
        (EventFilter(since=18.0), {18, 19}),
        (EventFilter(until=2.0), {1}),
        (EventFilter(ids=frozenset()), set()),
    ],
)
def test_rows_match_a_filter(wanted, numbers):
    assert {row["number"] for row in all_rows() if matches(row, wanted)} == numbers


def test_cursors_are_those_of_the_event_log():
    ring = EventRing()
    ring.add(demo_history(3), [b""] * len(demo_history(3)))
    rows, after = ring.query(EventFilter(), 7)
    submitted = [row["number"] for row in rows]
    place = submitted[::-1].index(submitted[-1])
    count = sum(number == submitted[-1] for number in submitted)
    assert place == 0
    assert after == cursor_of(submitted[-1], count - 1)
