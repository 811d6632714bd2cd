"""Where tasks go."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from rainzmq.common.states import DataObjectState, TaskState
from rainzmq.scheduler import policy
from rainzmq.scheduler.ready import ReadyQueues


@dataclass
class Body:
    request: tuple[int, str] = (1, "python")
    mean_s: float | None = None


@dataclass
class Item:
    size: int
    holders: tuple[Any, ...] = ()
    expected: tuple[Any, ...] = ()
    state: DataObjectState = DataObjectState.FINISHED
    producer: Any = None
    consumers: list[Any] = field(default_factory=list)


@dataclass(eq=False)
class Task:
    uid: int
    body: Body = field(default_factory=Body)
    inputs: tuple[Item, ...] = ()
    blevel: int = 0
    state: TaskState = TaskState.READY
    retracting: bool = False
    expected_s: float = 0.0
    waiting: int = 0
    outputs: tuple[Item, ...] = ()
    worker: Any = None


@dataclass(eq=False)
class Worker:
    name: str
    cpus: int = 1
    kinds: frozenset[str] = frozenset({"python"})
    load: int = 0
    ahead: int = 0
    backlog_s: float = 0.0
    tasks: dict[int, Task] = field(default_factory=dict)
    frontier: deque[Task] = field(default_factory=deque)
    progress_at: float = 0.0
    cut_off: dict[Any, float] = field(default_factory=dict)


def place(tasks: list[Task], workers: list[Worker]) -> dict[int, str]:
    """Run the policy to its end; where each task went."""
    ready = ReadyQueues()
    for task in tasks:
        ready.push(task)
    placed = {}
    for task, worker in policy.assign(ready, workers, 0.0):
        task.state = TaskState.ASSIGNED
        task.expected_s = policy.expected_s(task)
        worker.load += task.body.request[0]
        worker.backlog_s += task.expected_s
        worker.tasks[task.uid] = task
        placed[task.uid] = worker.name
    return placed


def test_unmeasured_tasks_fill_each_cpu_twice_and_no_more():
    workers = [Worker("a", cpus=2), Worker("b", cpus=1)]
    placed = place([Task(uid) for uid in range(20)], workers)
    assert sorted(placed.values()) == ["a"] * 4 + ["b"] * 2


def test_short_tasks_are_queued_ahead_up_to_a_bounded_time():
    worker = Worker("a")
    placed = place([Task(uid, Body(mean_s=1 / 1024)) for uid in range(200)], [worker])
    assert len(placed) == int(policy.AHEAD_S * 1024)


def test_tasks_with_long_paths_behind_them_go_first():
    tasks = [Task(1), Task(2, blevel=5), Task(3, blevel=1), Task(4, blevel=5)]
    assert list(place(tasks, [Worker("a", cpus=2)])) == [2, 4, 3, 1]


def test_a_task_goes_where_its_biggest_input_is():
    near, far = Worker("near"), Worker("far")
    task = Task(1, inputs=(Item(1000, holders=(far,)), Item(50_000_000, holders=(near,))))
    assert place([task], [far, near]) == {1: "near"}


def test_a_task_does_not_wait_long_for_a_holder_of_a_small_input():
    busy, idle = Worker("busy", load=1, backlog_s=10.0), Worker("idle")
    task = Task(1, inputs=(Item(1000, holders=(busy,)),))
    assert place([task], [busy, idle]) == {1: "idle"}


def test_an_input_on_its_way_counts_as_there():
    one, two = Worker("one"), Worker("two")
    task = Task(1, inputs=(Item(50_000_000, holders=(), expected=(two,)),))
    assert place([task], [one, two]) == {1: "two"}


def test_tasks_only_go_where_they_fit_and_their_kind_is_offered():
    small, large = Worker("small", cpus=1), Worker("large", cpus=4)
    other = Worker("other", cpus=8, kinds=frozenset({"builtin"}))
    placed = place([Task(1, Body((4, "python"))), Task(2, Body((16, "python")))], [small, large, other])
    assert placed == {1: "large"}


def test_a_wide_task_is_not_starved_by_narrow_ones():
    worker = Worker("a", cpus=4, load=7, backlog_s=1.0)
    other = Worker("b", cpus=1)
    tasks = [Task(1, Body((4, "python"))), *[Task(uid) for uid in range(2, 10)]]
    placed = place(tasks, [worker, other])
    assert 1 not in placed
    assert set(placed.values()) == {"b"}, "the only worker that fits the wide task is reserved for it"


def test_tasks_that_left_the_ready_state_are_skipped():
    ready = ReadyQueues()
    gone, there = Task(1), Task(2)
    ready.push(gone)
    ready.push(there)
    gone.state = TaskState.CANCELLED
    assert [task.uid for task, _ in _once(ready, [Worker("a")])] == [2]


def _once(ready: ReadyQueues, workers: list[Worker]) -> list[Any]:
    result = []
    for task, worker in policy.assign(ready, workers, 0.0):
        task.state = TaskState.ASSIGNED
        result.append((task, worker))
    return result


def queued(worker: Worker, count: int, mean_s: float = 1.0) -> list[Task]:
    tasks = [
        Task(uid, Body(mean_s=mean_s), state=TaskState.ASSIGNED, expected_s=mean_s) for uid in range(count)
    ]
    worker.tasks = {task.uid: task for task in tasks}
    worker.load = count
    worker.backlog_s = count * mean_s
    return tasks


def test_an_idle_worker_gets_the_newest_queued_tasks_of_the_fullest():
    full, idle = Worker("full"), Worker("idle")
    tasks = queued(full, 4)
    tasks[0].state = TaskState.RUNNING
    asked = list(policy.retractions([full, idle], ReadyQueues(), 0.0))
    assert [task.uid for task in asked] == [3, 2]


def test_nothing_is_taken_of_a_chain():
    full, idle = Worker("full"), Worker("idle")
    for task in queued(full, 9)[1:]:
        task.waiting = 1
    full.ahead = 8
    assert list(policy.retractions([full, idle], ReadyQueues(), 9.0)) == []
    full.tasks[8].waiting = 0
    full.ahead = 7
    assert [task.uid for task in policy.retractions([full, idle], ReadyQueues(), 9.0)] == [8]


def test_nothing_is_retracted_while_tasks_are_ready_or_for_little():
    full, idle = Worker("full"), Worker("idle")
    queued(full, 4)
    ready = ReadyQueues()
    ready.push(Task(99))
    assert list(policy.retractions([full, idle], ready, 0.0)) == []
    queued(full, 4, mean_s=0.001)
    assert list(policy.retractions([full, idle], ReadyQueues(), 0.0)) == []


def test_running_tasks_and_tasks_that_do_not_fit_stay():
    full, idle = Worker("full", cpus=4), Worker("idle")
    for task in queued(full, 6):
        task.body = Body((2, "python"), 1.0)
    full.load = 12
    assert list(policy.retractions([full, idle], ReadyQueues(), 0.0)) == []


def test_a_worker_that_is_late_is_taken_from_whatever_its_tasks_were_expected_to_take():
    full, idle = Worker("full"), Worker("idle")
    tasks = queued(full, 3, mean_s=0.0001)
    tasks[0].state = TaskState.RUNNING
    assert list(policy.retractions([full, idle], ReadyQueues(), 0.001)) == []
    assert [task.uid for task in policy.retractions([full, idle], ReadyQueues(), 1.0)] == [2, 1]


def test_a_task_does_not_go_behind_one_that_is_late():
    late, busy = Worker("late", load=1, backlog_s=0.001), Worker("busy", load=1, backlog_s=0.01)
    busy.progress_at = 1.0
    ready = ReadyQueues()
    ready.push(Task(1, Body(mean_s=0.001)))
    assert [worker.name for _, worker in policy.assign(ready, [late, busy], 1.0)] == ["busy"]


def cut(one: Worker, other: Worker) -> None:
    one.cut_off[other] = other.cut_off[one] = 1.0


def test_a_task_does_not_go_where_its_input_cannot_be_had():
    holder, cut_off, third = (
        Worker("holder", load=1, backlog_s=1.0),
        Worker("cut off"),
        Worker("third", load=1),
    )
    cut(holder, cut_off)
    placed = place([Task(1, inputs=(Item(10, (holder,)),))], [holder, cut_off, third])
    assert placed == {1: "third"}
    placed = place([Task(2, inputs=(Item(10, (holder, third)),))], [holder, cut_off, third])
    assert placed == {2: "cut off"}, "another has it, too"


def test_a_task_rather_goes_where_its_readers_can_get_what_they_read_besides():
    holder, cut_off = Worker("holder", load=1, backlog_s=1.0), Worker("cut off")
    cut(holder, cut_off)
    reader = Task(
        2, inputs=(Item(10, (holder,)), Item(-1, state=DataObjectState.UNFINISHED)), state=TaskState.WAITING
    )
    placed = place([Task(1, outputs=(Item(-1, consumers=[reader]),))], [holder, cut_off])
    assert placed == {1: "holder"}


def test_a_task_whose_inputs_nobody_can_have_goes_anywhere_and_misses_them():
    one, other = Worker("one"), Worker("other")
    cut(one, other)
    assert place([Task(1, inputs=(Item(10, (one,)), Item(10, (other,))))], [one, other])


def test_nothing_is_taken_for_a_worker_that_cannot_have_the_inputs():
    full, thief = Worker("full"), Worker("thief")
    tasks = [Task(uid, inputs=(Item(10, (full,)),)) for uid in range(4)]
    place(tasks, [full])
    full.backlog_s = 10.0
    assert list(policy.retractions([full, thief], ReadyQueues(), 0.0))
    cut(full, thief)
    assert not list(policy.retractions([full, thief], ReadyQueues(), 0.0))
