"""The order of ready tasks."""

from __future__ import annotations

from typing import Any

from test_policy import Body, Task

from rainzmq.common.ids import make_uid
from rainzmq.common.states import TaskState
from rainzmq.scheduler.ready import ReadyQueues

ONE = (1, "python")


def drain(ready: ReadyQueues, request: tuple[int, str] = ONE) -> list[Any]:
    tasks = []
    while (task := ready.peek(request)) is not None:
        ready.pop(request)
        tasks.append(task)
    return tasks


def filled(*tasks: Task) -> ReadyQueues:
    ready = ReadyQueues()
    for task in tasks:
        ready.push(task)
    return ready


def test_longer_paths_go_first_then_older_sessions_then_older_tasks():
    a, b, c, d = Task(make_uid(2, 1)), Task(make_uid(1, 9)), Task(make_uid(1, 5)), Task(7, blevel=1)
    assert drain(filled(a, b, c, d)) == [d, b, c, a]


def test_requests_are_apart():
    narrow, wide = Task(1), Task(2, Body((4, "python")))
    ready = filled(narrow, wide)
    assert sorted(ready.requests()) == [ONE, (4, "python")]
    assert drain(ready, (4, "python")) == [wide]
    assert drain(ready) == [narrow]
    assert not ready
    assert ready.requests() == []


def test_a_level_is_used_again_after_it_was_empty():
    ready = filled(Task(1))
    assert len(drain(ready)) == 1
    again = Task(2)
    ready.push(again)
    assert drain(ready) == [again]


def test_tasks_that_are_not_ready_any_more_are_skipped():
    gone, there = Task(1), Task(2)
    ready = filled(gone, there)
    gone.state = TaskState.CANCELLED
    assert drain(ready) == [there]
    last = Task(3)
    ready.push(last)
    last.state = TaskState.CANCELLED
    assert not ready


def test_a_session_goes_at_once():
    ready = filled(*[Task(make_uid(session, number)) for session in (1, 2) for number in range(3)])
    ready.drop_session(1)
    assert [task.uid for task in drain(ready)] == [make_uid(2, number) for number in range(3)]


def test_ready_tasks_of_a_session():
    mine, other, gone = Task(make_uid(1, 1)), Task(make_uid(2, 1)), Task(make_uid(1, 2), blevel=3)
    ready = filled(mine, other, gone)
    gone.state = TaskState.ASSIGNED
    assert list(ready.of(ONE, 1)) == [mine]
    assert list(ready.of((9, "python"), 1)) == []


def test_a_task_that_runs_again_goes_before_the_others_of_its_level():
    ready = filled(Task(1), Task(2))
    ready.push(Task(3), first=True)
    ready.push(Task(4, blevel=1))
    assert [task.uid for task in drain(ready)] == [4, 3, 1, 2]
