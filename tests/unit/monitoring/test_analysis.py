"""Where the time of tasks and of whole sessions went."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from random_history import RandomHistory

from rainzmq.common.ids import make_uid
from rainzmq.common.states import AttemptState, SessionState
from rainzmq.monitoring.analysis import PARTS, TRANSFER, task_times, totals
from rainzmq.monitoring.critical import critical_path, wall_split
from rainzmq.monitoring.model import Model
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.shared import OutputTemplate, TaskBody
from rainzmq.testing.events import demo_hub

_OUT = OutputTemplate("out", False, None, None, None, None)


class Run:
    """A session, number 1, of tasks with ids 1, 3, 5, ...; times in s since 1,000,000."""

    def __init__(self) -> None:
        self.model = Model()
        self.add(e.WorkerCame, 0.0, 1, "w:1", "node", 1, 2, ["python"])
        self.add(e.WorkerCame, 0.0, 2, "w:2", "node", 2, 2, ["python"])
        self.add(e.SessionCame, 0.0, 1, "run", "here")

    @property
    def session(self) -> Any:
        return self.model.sessions[1]

    def add(self, kind: type, at: float, *values: Any) -> None:
        self.model.apply(kind(self.model.number + 1, 1e6 + at, *values))

    def submit(self, at: float, inputs: dict[int, list[int]]) -> None:
        """Tasks and which tasks they read from."""
        bodies = [TaskBody(1, "python/run", 1, "step", b"", [], [_OUT])]
        flat = [task + 1 for tasks in inputs.values() for task in tasks]
        counts = [len(tasks) for tasks in inputs.values()]
        columns = (list(inputs), [1] * len(inputs), counts, flat)
        self.add(e.TasksSubmitted, at, 1, bodies, *columns, [], [], [], [], [])

    def assign(self, at: float, task: int, worker: int = 1, attempt: int = 0) -> None:
        self.add(e.TasksAssigned, at, worker, [make_uid(1, task)], [attempt])

    def start(self, at: float, task: int, worker: int = 1, attempt: int = 0) -> None:
        self.add(e.TasksStarted, at, worker, [make_uid(1, task)], [attempt])

    def finish(
        self, at: float, task: int, begin: float, end: float, worker: int = 1, attempt: int = 0
    ) -> None:
        ran = ([attempt], [1e6 + begin], [round((end - begin) * 1e6)], [0], [1], [10])
        self.add(e.TasksFinished, at, worker, [make_uid(1, task)], *ran, [], [], [])

    def move(self, task: int, begin: float, end: float, worker: int = 1) -> None:
        row = (make_uid(1, task + 1), "w:2", 1e6 + begin, round((end - begin) * 1e6), 10)
        self.add(e.ObjectsMoved, end, worker, [row])

    def parts(self, task: int) -> dict[str, float]:
        """Those parts of a task that are not 0."""
        times = task_times(self.model, self.session)
        values = times.parts[self.session.tasks.row(task)]
        return {name: round(value, 3) for name, value in zip(PARTS, values.tolist(), strict=True) if value}

    def split(self) -> dict[str, float]:
        """Those parts of the wall time that are not 0."""
        split = wall_split(self.model, self.session)
        return {name: round(value, 3) for name, value in split.items() if abs(value) > 1e-9}

    def path(self) -> list[int]:
        path = critical_path(self.model, self.session)
        return [int(self.session.tasks["ids"][row]) for row in path.rows]


@pytest.fixture
def run() -> Run:
    return Run()


def test_time_of_a_task_is_split_into_its_parts(run):
    run.submit(1, {1: [], 3: [1]})
    run.assign(2, 1, 2)
    run.finish(4, 1, 2.5, 3.5, 2)
    run.assign(5, 3)
    run.move(1, 5.5, 6.25)
    run.finish(9, 3, 7, 8.5)

    assert run.parts(1) == {"resources": 1.5, "run": 1.0, "store": 0.5}
    assert run.parts(3) == {"inputs": 3.0, "resources": 2.25, "transfer": 0.75, "run": 1.5, "store": 0.5}
    assert totals(task_times(run.model, run.session))["run"] == pytest.approx(2.5)


def test_transfers_that_overlap_count_once_and_only_between_assigned_and_start(run):
    run.submit(0, {1: [], 3: [], 5: [1, 3]})
    for task in (1, 3):
        run.assign(0, task, 2)
        run.finish(1, task, 0, 1, 2)
    run.assign(2, 5)
    run.move(1, 1.0, 3.0)
    run.move(3, 2.5, 4.0)
    run.move(3, 4.5, 9.0)
    run.move(3, 2.0, 9.0, worker=2)
    run.finish(6, 5, 5, 6)

    assert run.parts(5)["transfer"] == 2.5


def test_run_of_a_crashed_attempt_is_lost_time(run):
    run.submit(0, {1: []})
    run.assign(1, 1)
    run.start(1.5, 1)
    run.add(e.TasksReturned, 3.5, 1, [make_uid(1, 1)], [0], AttemptState.CRASHED, [])
    run.assign(4, 1, attempt=1)
    run.finish(6, 1, 4.5, 6, attempt=1)

    assert run.parts(1) == {"resources": 2.5, "lost": 2.0, "run": 1.5}
    assert run.split() == run.parts(1)


def test_task_that_is_not_over_is_taken_until_now(run):
    run.submit(0, {1: [], 3: [1], 5: []})
    run.assign(1, 1)
    run.start(2, 1)
    run.add(e.SessionWaits, 10, 1, [])

    assert run.parts(1) == {"resources": 2.0, "run": 8.0}
    assert run.parts(3) == {"inputs": 10.0}
    assert run.parts(5) == {"resources": 10.0}
    assert run.split() == {}


def test_cancelled_task_is_taken_until_its_session_ended(run):
    run.submit(0, {1: [], 3: [1]})
    run.add(e.SessionEnded, 4, 1, SessionState.CANCELLED, None)
    run.add(e.SessionWaits, 10, 1, [])

    assert run.parts(1) == {"resources": 4.0}
    assert run.parts(3) == {"inputs": 4.0}


def test_critical_path_goes_through_the_input_that_came_last(run):
    run.submit(0, {1: [], 3: [], 5: [1, 3], 7: []})
    for task, end in ((1, 2.0), (3, 6.0), (7, 7.5)):
        run.assign(0, task)
        run.finish(end, task, 0, end)
    run.assign(6, 5)
    run.finish(9, 5, 6.5, 8)

    assert run.path() == [3, 5]
    assert run.split() == {"resources": 0.5, "run": 7.5, "store": 1.0}


def test_wait_for_a_cpu_is_a_wait_for_resources(run):
    run.submit(0, {1: [], 3: []})
    run.assign(0, 1)
    run.finish(5, 1, 0, 5)
    run.assign(0, 3)
    run.finish(6, 3, 5, 6)

    assert run.path() == [3]
    assert run.split() == {"resources": 5.0, "run": 1.0}


def test_time_in_which_nothing_is_submitted_is_the_clients(run):
    run.submit(1, {1: []})
    run.assign(1, 1)
    run.finish(3, 1, 1, 3)
    run.submit(10, {3: []})
    run.assign(10, 3)
    run.finish(11, 3, 10, 11)

    assert run.path() == [1, 3]
    assert run.split() == {"client": 7.0, "run": 3.0}


def test_input_that_is_made_again_is_waited_for(run):
    run.submit(0, {1: [], 3: [1]})
    run.assign(0, 1)
    run.finish(2, 1, 0, 2)
    run.add(e.TasksRerun, 3, [make_uid(1, 1)], [1], [make_uid(1, 2)], [])
    run.assign(3, 1, 2, attempt=1)
    run.finish(6, 1, 4, 6, 2, attempt=1)
    run.assign(6, 3)
    run.finish(8, 3, 6, 8)

    assert run.path() == [1, 3]
    assert run.parts(3) == {"inputs": 6.0, "run": 2.0}
    assert run.split() == {"resources": 1.0, "lost": 3.0, "run": 4.0}


def test_path_takes_the_attempt_that_was_read_and_not_a_later_one(run):
    run.submit(0, {1: [], 3: [1]})
    run.assign(0, 1)
    run.finish(2, 1, 0.5, 2)
    run.assign(2, 3)
    run.finish(5, 3, 2.5, 4)
    run.add(e.TasksRerun, 6, [make_uid(1, 1)], [1], [make_uid(1, 2)], [])
    run.assign(6, 1, attempt=1)
    parts = {"inputs": 2.0, "resources": 0.5, "run": 1.5, "store": 1.0}

    assert run.path() == [1, 3]
    assert run.parts(3) == parts
    assert run.split() == {"resources": 1.0, "run": 3.0, "store": 1.0}

    run.finish(9, 1, 7, 9, attempt=1)
    assert run.parts(3) == parts


def test_task_that_was_sent_ahead_starts_before_its_input_is_known_to_be_there(run):
    run.submit(0, {1: [], 3: [1]})
    run.assign(0, 1)
    run.assign(0, 3)
    run.finish(3, 1, 0, 1)
    run.finish(3, 3, 1, 2)

    assert run.parts(3) == {"inputs": 1.0, "run": 1.0, "store": 1.0}
    assert run.split() == {"run": 2.0, "store": 1.0}


def test_empty_session_has_no_path(run):
    path = critical_path(run.model, run.session)

    assert len(path.rows) == 0
    assert path.last - path.first == 0
    assert sum(path.wall_split().values()) == 0


@pytest.mark.parametrize("seed", range(150))
def test_parts_sum_to_the_whole_for_every_history(seed):
    model = RandomHistory(seed).model
    session = model.sessions[1]

    times = task_times(model, session)
    path = critical_path(model, session, times)

    assert np.all(times.parts >= 0)
    assert times.parts.sum(axis=1) == pytest.approx(times.until - times.submitted, abs=1e-5)
    for earlier, later in (
        (times.submitted, times.ready),
        (times.ready, times.start),
        (times.assigned, times.start),
        (times.start, times.end),
        (times.end, times.until),
    ):
        assert np.all(earlier <= later)
    if times.committed.any():
        assert path.first == session.tasks["submitted"].min()
        assert path.last == np.nanmax(session.tasks["committed"])
    assert np.all(path.parts >= -1e-9)
    assert sum(path.wall_split().values()) == pytest.approx(path.last - path.first, abs=1e-5)
    assert path.end[:-1] == pytest.approx(path.begin[1:])
    assert path.parts.sum(axis=1) == pytest.approx(path.end - path.begin, abs=1e-5)


def test_split_of_the_made_up_run_is_whole():
    model = demo_hub().model
    for session in model.sessions.values():
        path = critical_path(model, session)
        assert sum(path.wall_split().values()) == pytest.approx(path.last - path.first, rel=1e-6)
    assert task_times(model, model.sessions[1]).parts[:, TRANSFER].sum() > 0


def test_long_chain_is_analysed_in_seconds(run):
    count = 50_000
    ids = list(range(1, 2 * count, 2))
    run.submit(0, {task: [task - 2] if task > 1 else [] for task in ids})
    uids = [make_uid(1, task) for task in ids]
    run.add(e.TasksAssigned, 0, 1, uids, [0] * count)
    begins = [1e6 + 0.001 * place for place in range(count)]
    ran = (uids, [0] * count, begins, [1000] * count, [0] * count, [1] * count, [1] * count)
    run.add(e.TasksFinished, 60, 1, *ran, [], [], [])

    began = time.process_time()
    path = critical_path(run.model, run.session)

    assert len(path.rows) == count
    assert path.wall_split()["run"] == pytest.approx(50, rel=1e-3)
    assert time.process_time() - began < 5
