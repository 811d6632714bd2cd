"""Why a run took as long as it did, and what twice the cpus would make of it."""

from __future__ import annotations

import heapq
import random

import pytest

from rainzmq.common.ids import make_uid
from rainzmq.common.states import SessionState
from rainzmq.monitoring.analysis import task_times
from rainzmq.monitoring.model import Model
from rainzmq.monitoring.speed import Speed, estimate, longest_chain, speed
from rainzmq.monitoring.summary import run_span
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.shared import OutputTemplate, TaskBody

START = 1_790_000_000.0
OUT = OutputTemplate("out", False, None, None, None, None)

Tasks = list[tuple[float, list[int]]]
"""(s, numbers of the tasks whose outputs it reads), the latter smaller than its own."""


def run(tasks: Tasks, cpus: int, submits: list[float] | None = None) -> Model:
    """A model of what a scheduler that keeps no cpu idle makes of tasks of one cpu each.

    `submits`: when each task is submitted, s since the begin; all at once without it.
    """
    model = Model()
    model.apply(e.WorkerCame(1, START, 1, "w:1", "node", 1, cpus, ["python"]))
    model.apply(e.SessionCame(2, START, 1, "s", "c"))
    times = submits or [0.0] * len(tasks)
    body = TaskBody(1, "python/run", 1, "t", b"", [], [OUT])
    for time in sorted(set(times)):
        mine = [number for number, when in enumerate(times) if when == time]
        inputs = [2 * source + 2 for number in mine for source in tasks[number][1]]
        counts = [len(tasks[number][1]) for number in mine]
        ids = [2 * number + 1 for number in mine]
        graph = (1, [body], ids, [1] * len(mine), counts, inputs)
        model.apply(e.TasksSubmitted(3, START + time, *graph, [], [], [], [], []))
    for number, (cpu, begin, end) in enumerate(scheduled(tasks, cpus, times)):
        uid = [make_uid(1, 2 * number + 1)]
        model.apply(e.TasksAssigned(4, START + begin, 1, uid, [0]))
        ran = ([0], [START + begin], [round((end - begin) * 1e6)], [cpu], [1], [1])
        model.apply(e.TasksFinished(5, START + end, 1, uid, *ran, [], [], []))
    model.apply(e.SessionEnded(6, model.now, 1, SessionState.CLOSED, None))
    return model


def scheduled(tasks: Tasks, cpus: int, submits: list[float]) -> list[tuple[int, float, float]]:
    """(cpu, begin, end) of each task."""
    made: dict[int, tuple[int, float, float]] = {}
    free = [(0.0, cpu) for cpu in range(cpus)]
    while len(made) < len(tasks):
        time, cpu = heapq.heappop(free)
        ready = {
            number: max([submits[number], *(made[source][2] for source in sources)])
            for number, (_, sources) in enumerate(tasks)
            if number not in made and all(source in made for source in sources)
        }
        number = min(ready, key=lambda number: (max(time, ready[number]), number))
        begin = max(time, ready[number])
        made[number] = (cpu, begin, begin + tasks[number][0])
        heapq.heappush(free, (made[number][2], cpu))
    return [made[number] for number in range(len(tasks))]


def speed_of(model: Model) -> Speed:
    sessions = list(model.sessions.values())
    return speed(model, sessions, [task_times(model, session) for session in sessions], run_span(model))


def test_tasks_that_are_independent_take_half_the_time_on_twice_the_cpus():
    found = speed_of(run([(1.0, [])] * 64, cpus=4))
    assert found.wall_s == pytest.approx(16)
    assert found.busy == pytest.approx(1)
    assert (found.chain_s, found.chain_tasks) == (pytest.approx(1), 1)
    assert found.twice_s[0] == pytest.approx(8, abs=0.01)


def test_a_chain_takes_as_long_on_any_number_of_cpus():
    found = speed_of(run([(0.5, [number - 1] if number else []) for number in range(20)], cpus=4))
    assert (found.chain_s, found.chain_tasks) == (pytest.approx(10), 20)
    assert found.twice_s == tuple(pytest.approx(10) for _ in range(3))
    assert found.busy == pytest.approx(0.25, abs=0.001)
    assert found.parts["inputs"] == pytest.approx(30, rel=0.001)


def test_time_without_work_is_nobodys():
    found = speed_of(run([(1.0, []), (1.0, [])], cpus=1, submits=[0.0, 5.0]))
    assert found.parts["run"] == pytest.approx(2, rel=0.001)
    assert found.parts["nothing"] == pytest.approx(4, rel=0.001)
    # The second task was submitted 4 s after the first was done: that does not change.
    assert found.chain_s == pytest.approx(6)
    assert found.twice_s[0] == pytest.approx(6)


@pytest.mark.parametrize("seed", range(12))
def test_the_bounds_hold_and_the_estimate_is_near(seed):
    rng = random.Random(seed)
    tasks: Tasks = []
    for number in range(60):
        sources = rng.sample(range(number), min(number, rng.choice((0, 0, 1, 2))))
        tasks.append((rng.uniform(0.1, 1.0), sources))
    cpus = rng.choice((2, 3, 4))
    found, twice = speed_of(run(tasks, cpus)), speed_of(run(tasks, 2 * cpus))
    about, least, most = found.twice_s
    assert least - 1e-3 <= twice.wall_s <= most + 1e-3
    assert about == pytest.approx(twice.wall_s, rel=0.25)
    assert found.chain_s == pytest.approx(twice.chain_s, abs=1e-3)
    assert sum(found.parts.values()) == pytest.approx(cpus * found.wall_s, rel=1e-3)


def test_what_no_bound_explains_is_not_halved():
    about, least, most = estimate(wall_s=10, work_s=8, chain_s=1, cpus=4, wanted=8)
    assert least == 1
    assert about == most == pytest.approx(10 - (2.75 - 1.875))


def test_nothing_committed_has_no_chain():
    assert longest_chain([], []) == (0.0, 0)
