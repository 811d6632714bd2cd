"""Workers that cannot write, or start processes or subworkers: tasks run elsewhere, or wait with a reason."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from namespaces import needs_namespaces, run_in_namespaces

from rainzmq import Client, LocalCluster, Task, remote
from rainzmq.client.tasks import Execute

RAINZMQ = [sys.executable, "-P", "-m", "rainzmq"]

FAULTS = """
import errno, os, subprocess

def fault(name):
    try:
        with real_open_file(os.path.join({directory!r}, "%d.%s" % (os.getpid(), name))) as file:
            number = getattr(errno, file.read())
    except FileNotFoundError:
        return
    raise OSError(number, os.strerror(number))

real_open_file, real_open, real_mkdir, real_popen = open, os.open, os.mkdir, subprocess.Popen.__init__

def os_open(path, flags, *args, **more):
    if flags & os.O_CREAT and "rainzmq-" in os.fsdecode(path):
        fault("write")
    return real_open(path, flags, *args, **more)

def mkdir(path, *args, **more):
    if "rainzmq-" in os.fsdecode(path):
        fault("write")
    return real_mkdir(path, *args, **more)

def popen(self, *args, **more):
    fault("fork")
    real_popen(self, *args, **more)

os.open, os.mkdir, subprocess.Popen.__init__ = os_open, mkdir, popen
"""


class Faulty:
    """Two workers with a cpu each; the first can be made to fail."""

    def __init__(self, cluster: LocalCluster, client: Client, directory: Path) -> None:
        self.cluster = cluster
        self.client = client
        self.directory = directory
        self.pid = cluster._workers[0].pid

    def break_it(self, what: str, number: int) -> None:
        """From now on calls of the first worker fail: `write` or `fork`, with an errno."""
        (self.directory / "new").write_text(errno.errorcode[number])
        (self.directory / "new").rename(self.directory / f"{self.pid}.{what}")

    def mend(self, what: str) -> None:
        """They work again."""
        (self.directory / f"{self.pid}.{what}").unlink()

    def log(self) -> str:
        return (self.cluster.logdir / "worker-1" / "worker.log").read_text()

    def run_many(self, sessions: int, *, python: bool = True) -> set[str]:
        """Run sessions of programs and, with `python`, of Python tasks; the processes of their workers."""
        workers: set[str] = set()
        for number in range(sessions):
            with self.client.new_session(f"many {number}") as session:
                tasks = [Execute("echo $PPID; sleep 0.05", shell=True, stdout=True) for _ in range(2)]
                tasks += [parent() for _ in range(2 * python)]
                for task in tasks:
                    task.output.keep()
                session.submit()
                session.wait_all()
                workers |= {task.output.fetch().get_bytes().decode().strip() for task in tasks}
        return workers

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)


@remote(outputs=1)
def parent(ctx):
    import time

    time.sleep(0.05)
    return str(os.getppid())


@pytest.fixture
def faulty(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(FAULTS.format(directory=str(tmp_path)))
    monkeypatch.setenv("PYTHONPATH", str(site))
    with LocalCluster(workers=[1, 1], port=0) as cluster, cluster.client() as client:
        yield Faulty(cluster, client, tmp_path)


def workers_listed(cluster: LocalCluster) -> str:
    done = subprocess.run(
        [*RAINZMQ, "workers", "--server", str(cluster.access_file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "number"), [("fork", errno.EAGAIN), ("fork", errno.EMFILE), ("write", errno.ENOSPC)]
)
def test_a_worker_that_cannot_do_a_thing_says_so_and_comes_back(
    faulty: Faulty, what: str, number: int
) -> None:
    assert str(faulty.pid) in faulty.run_many(4)
    faulty.break_it(what, number)
    faulty.until(lambda: faulty.run_many(2) is not None and "takes no builtin tasks" in faulty.log())
    # Subworkers that run already need not be started.
    assert faulty.run_many(8, python=what == "write") == {str(faulty.cluster._workers[1].pid)}
    listed = workers_listed(faulty.cluster)
    assert "takes no builtin tasks for now" in listed
    assert os.strerror(number) in listed or "no room on the disk" in listed
    faulty.mend(what)
    faulty.until(lambda: "takes builtin tasks again" in faulty.log())
    faulty.until(lambda: str(faulty.pid) in faulty.run_many(2))
    assert "takes no" not in workers_listed(faulty.cluster)
    assert faulty.cluster.failures() == []


@pytest.mark.filterwarnings("ignore:worker-1 ended")
@pytest.mark.parametrize("number", [errno.EROFS, errno.EIO])
def test_a_worker_whose_disks_cannot_be_written_to_leaves_with_the_reason(
    faulty: Faulty, number: int
) -> None:
    assert faulty.run_many(1)
    faulty.break_it("write", number)
    faulty.until(lambda: faulty.run_many(2) is not None and bool(faulty.cluster.failures()))
    (failure,) = faulty.cluster.failures()
    assert "exit code 1" in failure
    assert f"cannot be written to: {os.strerror(number)}" in failure
    assert faulty.run_many(2) == {str(faulty.cluster._workers[1].pid)}


def test_tasks_whose_subworkers_cannot_be_started_wait_with_the_reason(home: Path, tmp_path: Path) -> None:
    command = tmp_path / "subworker"
    config = tmp_path / "worker.toml"
    config.write_text(f'[subworkers.mine]\ncommand = "{command}"\n')
    with (
        LocalCluster(workers=[1], port=0, config=config) as cluster,
        cluster.client() as client,
        client.new_session("waits") as session,
    ):
        task = Task((), None, task_type="mine/do")
        session.submit()
        deadline = time.monotonic() + 60
        while "takes no mine tasks for now" not in (listed := workers_listed(cluster)):
            assert time.monotonic() < deadline, listed
        assert "could not be started" in listed
        assert "No such file or directory" in listed
        log = (cluster.logdir / "worker-1" / "worker.log").read_text()
        assert log.count("could not be started") >= 3
        task.update()
        assert task.state.name == "READY", "it waits, and has not failed"
        session.close()


FILL_AND_WORK = """
import os, time
import rainzmq
from pathlib import Path
from rainzmq.client.tasks import Execute

with rainzmq.LocalCluster(workers=[1], port=0, dashboard=False) as cluster, cluster.client() as client:
    log = cluster.logdir / "worker-1" / "worker.log"
    def seen(text):
        deadline = time.monotonic() + 30
        while text not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
    full = open("/dev/shm/full", "wb", buffering=0)
    try:
        while True:
            full.write(bytes(1 << 20))
    except OSError:
        pass
    try:
        while True:
            full.write(bytes(4096))
    except OSError:
        pass
    seen("takes no builtin tasks")
    with client.new_session("waits") as session:
        task = Execute("echo done > out; cat out", shell=True, stdout=True)
        task.output.keep()
        session.submit()
        os.truncate("/dev/shm/full", 0)
        session.wait_all()
        print(task.output.fetch().get_bytes().decode().strip())
"""


@needs_namespaces
def test_a_disk_that_others_filled_fails_no_task(home: Path) -> None:
    setup = ["mount -t tmpfs -o size=1100m,mode=1777 tmpfs /dev/shm"]
    done = run_in_namespaces(setup, [sys.executable, "-P", "-c", FILL_AND_WORK])
    assert done.stdout == "done\n", done.stderr
