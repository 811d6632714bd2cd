"""One worker is killed, stopped for a while, or cancelled under load: what runs elsewhere, and how soon."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from fault_cluster import FaultCluster, T, alive, wait_until

from rainzmq import Client, blob, remote, tasks

pytestmark = pytest.mark.slow


def workers_of(client: Client) -> list[Any]:
    workers: list[Any] = client.get_server_info()["workers"]
    return workers


@pytest.mark.usefixtures("kills_processes")
def test_tasks_of_a_killed_worker_run_again_within_the_dead_limit(tmp_path: Path) -> None:
    log = str(tmp_path / "effects")

    @remote()
    def work(ctx: Any, index: int) -> str:
        import os
        import time

        with open(log, "a") as file:
            file.write(f"{index} {os.environ['RAINZMQ_ATTEMPT']} {time.time()}\n")
        time.sleep(0.01)
        return str(index)

    count = 2000
    with FaultCluster(tmp_path) as cluster, cluster.client() as client, client.new_session() as session:
        workers = [cluster.start_worker(2) for _ in range(4)]
        for worker in workers:
            worker.wait_ready(60)
        made = [work(index) for index in range(count)]
        session.keep_all()
        session.submit()
        wait_until(lambda: os.path.exists(log) and len(Path(log).read_text().splitlines()) > count // 10, 60)
        killed = time.time()
        cluster.kill(workers[0])
        session.wait_all()
        results = [task.output.fetch().get_str() for task in made[::20]]
        counters = client.get_server_info()["counters"]
    rows = [line.split() for line in Path(log).read_text().splitlines()]
    assert results == [str(index) for index in range(0, count, 20)]
    assert len({(index, attempt) for index, attempt, _ in rows}) == len(rows), "no attempt runs twice"
    again = [float(at) for _, attempt, at in rows if attempt != "0"]
    assert again, "the killed worker had tasks"
    assert min(again) < killed + T + 1
    assert counters["tasks_finished"] - counters["tasks_rerun"] <= count <= counters["tasks_finished"]


def test_a_worker_that_was_stopped_comes_back_without_what_it_ran(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with FaultCluster(tmp_path) as cluster, cluster.client() as client:
        stopped = cluster.add_worker()
        with client.new_session() as session:
            late = tasks.Sleep(
                blob("late"), 1.0
            )  # ends while its worker is stopped, so its result comes late
            late.keep_outputs()
            session.submit()
            wait_until(lambda: client.get_server_info()["sessions"][0]["running"] == 1, 10)
            stopped.signal(signal.SIGSTOP)
            cluster.add_worker(cpus=2)
            assert late.output.fetch().get_str() == "late"
            stopped.signal(signal.SIGCONT)
            wait_until(lambda: len(workers_of(client)) == 2, 5)
            assert client.get_server_info()["counters"]["stale_results"] == 1
        with client.new_session() as session:
            for _ in range(2):
                tasks.Execute(["sh", "-c", f"echo $$ >> {pids}; exec sleep 300"])
            session.submit()

            def running(parent: int) -> list[int]:
                started = map(int, pids.read_text().split()) if pids.exists() else ()
                return [pid for pid in alive(started) if psutil.Process(pid).ppid() == parent]

            wait_until(lambda: running(stopped.pid), 20)
            [program] = running(stopped.pid)
            stopped.signal(signal.SIGSTOP)
            begin = time.monotonic()
            other = cluster.workers[1].pid
            wait_until(lambda: len(running(other)) == 2, T + 2)
            time.sleep(max(0.0, begin + 3 * T - time.monotonic()))
            stopped.signal(signal.SIGCONT)
            wait_until(lambda: not alive([program]), 1)
            wait_until(lambda: len(workers_of(client)) == 2, 5)
            session.close()


@pytest.mark.usefixtures("kills_processes")
def test_500_programs_that_ignore_sigterm_are_gone_3_s_after_their_session(tmp_path: Path) -> None:
    count = 500
    marks = tmp_path / "marks"
    marks.mkdir()
    line = f"trap '' TERM INT HUP; : > {marks}/$$; while :; do sleep 600; done"
    with FaultCluster(tmp_path, dead_after_s=10.0) as cluster, cluster.client() as client:
        worker = cluster.add_worker(count)
        session = client.new_session()
        with session:
            for _ in range(count):
                tasks.Execute(["sh", "-c", line])
            session.submit()
            wait_until(lambda: len(os.listdir(marks)) == count, 90)
            begin = time.monotonic()
            session.close()
        programs = [int(name) for name in os.listdir(marks)]
        wait_until(lambda: not alive(programs), 3.0 - (time.monotonic() - begin))
        with client.new_session() as session:
            whole = tasks.Execute(["echo", "all"], stdout=True, cpus=count)
            whole.keep_outputs()
            session.submit()
            assert whole.output.fetch().get_str() == "all\n", "all cpus are free again"
        assert not psutil.Process(worker.pid).children(recursive=True)[3:], "a guard and spare subworkers"


def test_a_daemon_of_a_task_is_gone_2_s_after_its_session(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    daemon = f"setsid sh -c 'setsid sh -c \"echo \\$\\$ > {mark}; exec sleep 600\" &' & sleep 600"
    with FaultCluster(tmp_path, dead_after_s=10.0) as cluster, cluster.client() as client:
        cluster.add_worker()
        session = client.new_session()
        with session:
            tasks.Execute(["sh", "-c", daemon])
            session.submit()
            wait_until(lambda: mark.exists() and mark.read_text(), 20)
            session.close()
        wait_until(lambda: not psutil.pid_exists(int(mark.read_text())), 2)
