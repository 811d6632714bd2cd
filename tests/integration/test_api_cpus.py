"""Cpus as a resource: who runs at once and who never does, and which cpus a task is told to use."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from api_calls import result_of

from rainzmq import LocalCluster, Output, Session, Task, remote, tasks
from rainzmq.worker.cpus import claim_cpus


@pytest.fixture(scope="module")
def pinned() -> bool:
    """Whether this host has two cpus that no other worker of this user claims right now."""
    _, pinned, claims = claim_cpus(2)
    for claim in claims:
        claim.close()
    return pinned


@pytest.fixture(scope="module")
def shared_cluster(pinned: bool) -> Iterator[LocalCluster]:
    """One worker with two cpus."""
    with LocalCluster(workers=[2]) as cluster:
        yield cluster


@pytest.fixture
def session(shared_cluster: LocalCluster) -> Iterator[Session]:
    with shared_cluster.client() as client, client.new_session("cpus") as session:
        yield session


class Span(NamedTuple):
    """When a task ran by its own clock, and the cpus it was given."""

    begin: float
    end: float
    cpus: str


def test_tasks_with_the_same_cpus_never_run_at_once(session: Session) -> None:
    made = [_python(cpus=1 + index % 3 // 2) for index in range(9)]
    made += [_program(cpus=1 + index % 3 // 2) for index in range(6)]
    spans = _spans(session, made)
    for first, second in itertools.combinations(spans, 2):
        if set(first.cpus.split(",")) & set(second.cpus.split(",")):
            assert first.end <= second.begin, (first, second)


def test_a_task_with_all_cpus_runs_alone(session: Session) -> None:
    small, wide = [_python(0.2) for _ in range(4)], _python(cpus=2)
    spans = _spans(session, [*small[:2], wide, *small[2:]])
    [alone] = [span for span in spans if "," in span.cpus]
    assert [span for span in spans if span.begin < alone.end and span.end > alone.begin] == [alone]


@pytest.mark.parametrize("kind", ["python", "program", "both"])
def test_two_tasks_with_one_cpu_each_run_at_once_on_two_cpus(session: Session, kind: str) -> None:
    first = _program(0.5) if kind == "program" else _python(0.5)
    second = _python(0.5) if kind == "python" else _program(0.5)
    one, two = _spans(session, [first, second])
    assert two.begin < one.end
    assert one.cpus != two.cpus


@pytest.mark.parametrize("cpus", [1, 2])
def test_cpus_are_told_to_python_tasks_and_set_as_their_affinity(
    session: Session, cpus: int, pinned: bool
) -> None:
    @remote(cpus=cpus)
    def look(ctx: Any) -> str:
        return f"{os.environ['RAINZMQ_CPUS']} {sorted(os.sched_getaffinity(0))}"

    told, affinity = result_of(session, look()).get_str().split(" ", 1)
    indices = [int(index) for index in told.split(",")]
    assert len(set(indices)) == cpus
    assert affinity == str(indices if pinned else sorted(os.sched_getaffinity(0)))


def test_a_task_that_binds_itself_to_other_cpus_does_not_take_the_next_one_along(
    session: Session, pinned: bool
) -> None:
    @remote()
    def look(ctx: Any) -> str:
        found = f"{os.environ['RAINZMQ_CPUS']} {sorted(os.sched_getaffinity(0))}"
        allowed = range(os.cpu_count() or 1)
        os.sched_setaffinity(0, allowed)
        os.sched_setaffinity(0, [cpu for cpu in allowed if str(cpu) != os.environ["RAINZMQ_CPUS"]])
        return found

    calls = [look() for _ in range(20)]
    session.keep_all()
    session.submit()
    everything = str(sorted(os.sched_getaffinity(0)))
    for call in calls:
        told, affinity = call.output.fetch().get_str().split(" ", 1)
        assert affinity == (f"[{told}]" if pinned else everything)


@pytest.mark.parametrize("cpus", [1, 2])
def test_cpus_are_told_to_programs_and_set_as_their_affinity(
    session: Session, cpus: int, pinned: bool
) -> None:
    script = "import os; print(os.environ['RAINZMQ_CPUS'], sorted(os.sched_getaffinity(0)))"
    task = tasks.Execute(["python3", "-c", script], stdout=True, cpus=cpus)
    told, affinity = result_of(session, task).get_str().strip().split(" ", 1)
    indices = [int(index) for index in told.split(",")]
    assert len(set(indices)) == cpus
    assert affinity == str(indices if pinned else sorted(os.sched_getaffinity(0)))


def test_a_subworker_that_is_used_again_runs_where_each_task_is_told(session: Session, pinned: bool) -> None:
    def look(ctx: Any) -> str:
        time.sleep(0.01)
        return f"{os.getpid()} {os.environ['RAINZMQ_CPUS']} {','.join(map(str, os.sched_getaffinity(0)))}"

    narrow, wide = remote()(look), remote(cpus=2)(look)
    made = [(wide if index % 4 == 3 else narrow)() for index in range(20)]
    session.keep_all()
    session.submit()
    found = [task.output.fetch().get_str().split() for task in made]
    assert len({pid for pid, *_ in found}) < len(found)
    assert [len(told.split(",")) for _, told, _ in found] == [1, 1, 1, 2] * 5
    if pinned:
        assert [told for _, told, affinity in found if told != affinity] == []


def test_threads_that_stay_and_changed_affinities_follow_to_the_cpus_of_the_next_task(
    session: Session, pinned: bool
) -> None:
    @remote(outputs=[Output(encode="pickle")])
    def look(ctx: Any) -> Any:
        threads = [int(name) for name in os.listdir("/proc/self/task")]
        found = [",".join(map(str, sorted(os.sched_getaffinity(thread)))) for thread in threads]
        if len(threads) == 1:
            threading.Thread(target=threading.Event().wait, daemon=True).start()
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
        time.sleep(0.01)
        return [len(threads), {os.environ["RAINZMQ_CPUS"], *found}]

    made = [look() for _ in range(16)]
    session.keep_all()
    session.submit()
    found = [task.output.fetch().load() for task in made]
    assert max(threads for threads, _ in found) == 2
    if pinned:
        assert [cpus for _, cpus in found if len(cpus) != 1] == []


def test_a_worker_that_shall_not_pin_leaves_the_choice_to_the_system() -> None:
    script = "import os; print(sorted(os.sched_getaffinity(0)))"

    @remote
    def look(ctx: Any) -> str:
        return str(sorted(os.sched_getaffinity(0)))

    with (
        LocalCluster(workers=[1], dashboard=False, pin="none") as cluster,
        cluster.client() as client,
        client.new_session("not pinned") as session,
    ):
        made = [look(), tasks.Execute(["python3", "-c", script], stdout=True)]
        session.keep_all()
        session.submit()
        for task in made:
            assert task.output.fetch().get_str().strip() == str(sorted(os.sched_getaffinity(0)))


def _python(seconds: float = 0.05, cpus: int = 1) -> Task:
    @remote(cpus=cpus)
    def stamp(ctx: Any, seconds: float) -> str:
        begin = time.time()
        time.sleep(seconds)
        return f"{begin!r} {os.environ['RAINZMQ_CPUS']} {time.time()!r}"

    return stamp(seconds)


def _program(seconds: float = 0.05, cpus: int = 1) -> Task:
    command = f'date "+%s.%N $RAINZMQ_CPUS"; sleep {seconds}; date +%s.%N'
    return tasks.Execute(command, stdout=True, shell=True, cpus=cpus)


def _spans(session: Session, made: list[Task]) -> list[Span]:
    """When each task ran, in the order of begin."""
    session.keep_all()
    session.submit()
    spans = []
    for task in made:
        begin, cpus, end = task.output.fetch().get_str().split()
        spans.append(Span(float(begin), float(end), cpus))
    return sorted(spans)
