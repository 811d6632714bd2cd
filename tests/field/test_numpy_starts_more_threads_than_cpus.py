"""Numerical libraries start as many threads as their task has cpus, not as the machine has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from rainzmq import LocalCluster, Output, remote, tasks

_PICKLED = Output(encode="pickle")


def _threads(ctx: Any) -> Any:
    """(process, cpus, threads of the library for linear algebra after it worked)"""
    import time

    import numpy
    from threadpoolctl import threadpool_info

    matrix = numpy.ones((64, 64))
    _ = matrix @ matrix
    time.sleep(0.01)
    [blas] = [library for library in threadpool_info() if library["user_api"] == "blas"]
    return os.getpid(), len(os.environ["RAINZMQ_CPUS"].split(",")), blas["num_threads"]


_with_one = remote(outputs=[_PICKLED])(_threads)
_with_two = remote(outputs=[_PICKLED], cpus=2)(_threads)


@pytest.fixture(params=["auto", "none"])
def cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCluster]:
    """One worker with two cpus, pinned and not."""
    for name in [name for name in os.environ if name.endswith("_NUM_THREADS")]:
        monkeypatch.delenv(name)
    with LocalCluster(workers=[2], dashboard=False, pin=request.param) as cluster:
        yield cluster


def test_the_threads_of_a_process_follow_the_cpus_of_each_of_its_tasks(cluster: LocalCluster) -> None:
    with cluster.client() as client, client.new_session("threads") as session:
        made = [task() for task in (_with_one, _with_two, _with_one, _with_two) for _ in range(3)]
        session.keep_all()
        session.submit()
        found = [task.output.fetch().load() for task in made]
    assert [(cpus, threads) for _, cpus, threads in found if cpus != threads] == []
    numbers: dict[int, set[int]] = {}
    for pid, cpus, _ in found:
        numbers.setdefault(pid, set()).add(cpus)
    assert {1, 2} in numbers.values(), "no process had tasks of both kinds"


def test_programs_are_told_their_number(cluster: LocalCluster) -> None:
    with cluster.client() as client, client.new_session("threads") as session:
        show = "echo $OMP_NUM_THREADS $OPENBLAS_NUM_THREADS $MKL_NUM_THREADS"
        made = [tasks.Execute(show, shell=True, stdout=True, cpus=cpus) for cpus in (1, 2)]
        session.keep_all()
        session.submit()
        assert [task.output.fetch().get_str() for task in made] == ["1 1 1\n", "2 2 2\n"]


def test_a_number_that_the_worker_was_started_with_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)

    @remote
    def look(ctx: Any) -> str:
        return f"{os.environ['OMP_NUM_THREADS']} {os.environ.get('OPENBLAS_NUM_THREADS')}"

    with (
        LocalCluster(workers=[1], dashboard=False) as cluster,
        cluster.client() as client,
        client.new_session("threads") as session,
    ):
        program = tasks.Execute("echo $OMP_NUM_THREADS $OPENBLAS_NUM_THREADS", shell=True, stdout=True)
        function = look()
        session.keep_all()
        session.submit()
        assert program.output.fetch().get_str() == "3\n"
        assert function.output.fetch().get_str() == "3 None"
