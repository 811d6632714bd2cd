"""A worker is killed with SIGKILL: within 2 s no process of its tasks lives, and its directory is gone."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import psutil
from fault_cluster import FaultCluster, alive, wait_until

from rainzmq import Session, remote, tasks

BOUND_S = 2.0

# A descendant that leaves its parent, session and group. The second one clears its environment, too.
DAEMON = """
import os, sys, time
clean = sys.argv[2] == "clean"
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        write = f"import os, time; open({sys.argv[1]!r} + '/' + str(os.getpid()), 'w'); time.sleep(600)"
        os.execve(sys.executable, [sys.executable, "-c", write], {} if clean else os.environ)
    os._exit(0)
time.sleep(600)
"""


def start_tasks(session: Session, marks: Path) -> None:
    """Programs, Python tasks and what they leave behind; each makes a file named after its process id."""

    @remote()
    def linger(ctx: Any) -> None:
        import os

        open(f"{marks}/{os.getpid()}", "w").close()
        if os.fork() == 0:
            os.setsid()
            open(f"{marks}/{os.getpid()}", "w").close()
            time.sleep(600)
            os._exit(0)
        time.sleep(600)

    for _ in range(2):
        linger()
        tasks.Execute(["sh", "-c", f"touch {marks}/$$; exec sleep 600"])
    for kind in ("clean", "marked"):
        tasks.Execute(["python3", "-c", DAEMON, str(marks), kind])
    session.submit()


def test_no_process_of_a_killed_worker_lives_for_2_s(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    with FaultCluster(tmp_path) as cluster, cluster.client() as client:
        worker = cluster.add_worker(cpus=6)
        log = (tmp_path / "worker-1" / "worker.log").read_text()
        workdir = Path(log.partition("working directory: ")[2].partition("\n")[0])
        assert (workdir / "lock").exists()
        with client.new_session() as session:
            start_tasks(session, marks)
            wait_until(lambda: len(os.listdir(marks)) == 8, 20)
            started = [int(name) for name in os.listdir(marks)]
            guards = [child.pid for child in psutil.Process(worker.pid).children(recursive=True)]
            assert set(started) <= set(guards), "the orphans are the worker's"
            cluster.kill(worker)
            wait_until(lambda: not alive(started), BOUND_S)
            wait_until(lambda: not alive(guards) and not workdir.exists(), BOUND_S)
            session.close()


def test_a_worker_that_ends_in_order_leaves_no_guard(tmp_path: Path) -> None:
    with FaultCluster(tmp_path) as cluster:
        worker = cluster.add_worker()
        children = psutil.Process(worker.pid).children(recursive=True)
        assert children
        worker.terminate()
        wait_until(worker.ended, 5)
        assert not alive([child.pid for child in children])


def test_a_worker_goes_on_without_its_guard(tmp_path: Path) -> None:
    with FaultCluster(tmp_path) as cluster, cluster.client() as client:
        worker = cluster.add_worker()
        own = psutil.Process(worker.pid)
        [guard] = [child for child in own.children() if child.cmdline() == own.cmdline()]
        guard.kill()
        with client.new_session() as session:
            done = tasks.Execute(["echo", "well"], stdout=True)
            done.keep_outputs()
            session.submit()
            assert done.output.fetch().get_str() == "well\n"
        worker.terminate()
        wait_until(worker.ended, 5)
