"""What the error of a failed task tells of the task: where it was made and what it was given."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from client_wire import Wire, failure

from rainzmq import DataObject, Input, Task, TaskException, blob, tasks
from rainzmq.common.ids import make_uid


def task(*inputs: Any, **options: Any) -> Task:
    return Task(inputs, 1, task_type="a/b", **options)


def fail(wire: Wire, num: int) -> None:
    wire.control.push(failure(make_uid(1, num)))


class Shout(Task):
    """A subclass as users write them."""

    TASK_TYPE = "loud/shout"

    def __init__(self, value: DataObject) -> None:
        super().__init__([value], 1)


class ShoutTwice(Shout):
    def __init__(self, value: DataObject) -> None:
        super().__init__(value)


def test_site_of_a_task_of_ones_own_class_is_the_call_of_the_class(wire: Wire) -> None:
    here = inspect.currentframe()
    assert here is not None
    made, line = ShoutTwice(blob("x")), here.f_lineno
    assert str(made.graph_node.site) == f"{__file__}:{line}"

    class Holder:
        def __init__(self) -> None:
            self.task = Shout(blob("x"))

    holder = Holder()
    line = Holder.__init__.__code__.co_firstlineno + 1
    assert str(holder.task.graph_node.site) == f"{__file__}:{line}"


def test_error_tells_what_the_task_was_given(wire: Wire) -> None:
    loaded = tasks.Load("/data/part-7")
    named = task(name="make it")
    program = tasks.Execute(
        ["sort", "-k", "2", Input("table", dataobj=loaded), Input("other", dataobj=named), blob("x")]
    )
    num = program.graph_node.num
    del loaded, named, program
    wire.session.submit()
    fail(wire, num)
    with pytest.raises(TaskException) as caught:
        wire.session.wait_all()
    assert "\nIts arguments: sort -k 2 table other " in str(caught.value)
    assert "\nIts inputs: 'table' (/data/part-7), 'other' (make it), (constant)" in str(caught.value)


def test_error_of_a_task_with_many_inputs_is_short(wire: Wire) -> None:
    task(*[blob("x") for _ in range(100)])
    wire.session.submit()
    fail(wire, 101)
    with pytest.raises(TaskException, match=r"\(constant\) and 90 more"):
        wire.session.wait_all()
