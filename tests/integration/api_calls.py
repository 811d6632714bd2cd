"""Short words for the tests of the API: run a task and give its results, or the error it ends with."""

from __future__ import annotations

import pytest

from rainzmq import Session, Task, TaskException
from rainzmq.common import DataInstance


def results_of(session: Session, task: Task) -> list[DataInstance]:
    """Submit everything and return the contents of the task's outputs."""
    task.keep_outputs()
    session.submit()
    task.wait()
    return task.fetch_outputs()


def result_of(session: Session, task: Task) -> DataInstance:
    """Submit everything and return the content of the task's only output."""
    [result] = results_of(session, task)
    return result


def error_of(session: Session, task: Task) -> str:
    """Submit everything and return the text of the error that the task ends with."""
    session.submit()
    with pytest.raises(TaskException) as caught:
        task.wait()
    assert caught.value.task_id == task.id
    return str(caught.value)
