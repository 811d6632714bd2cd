"""Runs whose workers are killed again and again end, correctly, once that stops; no task is blamed for it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import graphs
import pytest
from fault_cluster import Child, FaultCluster, seeded

from rainzmq import TaskException, blob, remote, tasks

WORKERS = 4
STEADY_S = 40.0
"""Once workers live, a run of these tests ends within so long on a slow machine."""


class Storm:
    """Kills each of some workers at random times and starts another in its place, until `end`."""

    def __init__(self, cluster: FaultCluster, cpus: int, mean_life_s: float, seed: int) -> None:
        self.deaths = 0
        self._cluster = cluster
        self._cpus = cpus
        self._mean_life_s = mean_life_s
        self._ending = threading.Event()
        workers = [cluster.add_worker(cpus) for _ in range(WORKERS)]
        self._threads = [
            threading.Thread(target=self._strike, args=(worker, seed + number))
            for number, worker in enumerate(workers)
        ]

    def begin(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _strike(self, worker: Child, seed: int) -> None:
        rng = seeded(seed)
        while not self._ending.wait(rng.expovariate(1 / self._mean_life_s)):
            self._cluster.kill(worker)
            self.deaths += 1
            worker = self._cluster.start_worker(self._cpus)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cpus", "mean_life_s", "count", "storm_s"), [(1, 2.0, 200, 6.0), (2, 1.5, 500, 6.0)]
)
def test_a_run_whose_workers_keep_dying_ends_correctly_once_they_stop(
    tmp_path: Path, cpus: int, mean_life_s: float, count: int, storm_s: float
) -> None:
    rng = seeded(1)
    nodes = graphs.random_graph(
        rng, count, sizes=[100, 100, 5_000, 100_000, 1_000_000], durations_s=[0.0, 0.005, 0.05, 0.3]
    )
    effects = tmp_path / "effects"
    with FaultCluster(tmp_path) as cluster, cluster.client() as client, client.new_session() as session:
        storm = Storm(cluster, cpus, mean_life_s, seed=rng.randrange(1000))
        kept = graphs.submit(session, nodes, effects)
        storm.begin()
        try:
            threading.Event().wait(storm_s)
        finally:
            storm.end()
        assert storm.deaths
        late = threading.Timer(STEADY_S, session.close)
        late.start()
        session.wait_all()
        late.cancel()
        expected = graphs.results(nodes)
        assert all(output.fetch().get_bytes() == expected[index] for index, output in kept.items())
    ran = graphs.runs(effects)
    assert {index for index, _ in ran} == set(range(count))
    assert set(ran.values()) == {1}, "no attempt runs twice"


@pytest.mark.slow
@pytest.mark.usefixtures("kills_processes")
def test_a_task_that_kills_each_worker_it_is_given_to_fails_with_their_names(tmp_path: Path) -> None:
    @remote()
    def kill_worker(ctx: Any) -> None:
        import os
        import signal
        import time

        time.sleep(0.2)  # until its worker has said that it runs
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)

    with FaultCluster(tmp_path) as cluster, cluster.client() as client:
        for _ in range(3):
            cluster.add_worker()
        names = {worker["worker_id"] for worker in client.get_server_info()["workers"]}
        with client.new_session() as session:
            kill_worker()
            session.submit()
            with pytest.raises(TaskException) as failed:
                session.wait_all()
        error = str(failed.value)
        assert "crash limit: 3 workers died while it alone ran on them" in error
        assert all(name in error for name in names)
        cluster.add_worker()
        with client.new_session() as session:
            rested = tasks.Sleep(blob(b"next"), 0.0)
            rested.keep_outputs()
            session.submit()
            assert rested.output.fetch().get_bytes() == b"next"
