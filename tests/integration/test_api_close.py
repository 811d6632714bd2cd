"""Closing a session with tasks running: they stop at once, and the next task does not wait."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from api_calls import result_of

from rainzmq import Client, LocalCluster, Session, TaskException, blob, remote, tasks

_SOON_S = 2.0


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[LocalCluster]:
    """One worker with one cpu, which every task needs."""
    with LocalCluster(workers=[1]) as cluster:
        yield cluster


def _spin() -> None:
    while True:
        pass


def _spin_in_native_code() -> None:
    sum(range(1 << 40))


def _ignore_signals() -> None:
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN)
    _catch_everything()


def _catch_everything() -> None:
    while True:
        try:
            time.sleep(60)
        except BaseException:
            continue


def _stop_itself() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _wait_for_a_child() -> None:
    subprocess.run(["sleep", "60"])


def _print_all_the_time() -> None:
    while True:
        print("x" * 1000)


class Run:
    """A session with one task that runs and has told its process ids."""

    def __init__(self, client: Client, place: Path) -> None:
        self.session = client.new_session("to be closed")
        self.mark = place / f"pid-{time.monotonic_ns()}"

    def start(self, body: Callable[[], Any]) -> int:
        """Run a function as a task; its process id."""
        mark = str(self.mark)

        @remote()
        def run(ctx: Any) -> None:
            _tell(mark, os.getpid())
            body()

        with self.session.bind_only():
            run()
        return self.submitted()

    def submitted(self) -> int:
        self.session.submit()
        return _told(self.mark)


@pytest.fixture
def run(client: Client, tmp_path: Path) -> Iterator[Run]:
    run = Run(client, tmp_path)
    yield run
    run.session.close()


@pytest.mark.parametrize(
    "body",
    [
        _spin,
        _spin_in_native_code,
        _ignore_signals,
        _catch_everything,
        _stop_itself,
        _wait_for_a_child,
        _print_all_the_time,
    ],
    ids=lambda body: body.__name__[1:],
)
def test_a_running_python_task_stops_at_once_and_the_next_does_not_wait(
    client: Client, run: Run, body: Callable[[], Any]
) -> None:
    pid = run.start(body)
    begin = time.monotonic()
    run.session.close()
    with client.new_session("next") as session:
        assert int(result_of(session, remote()(lambda ctx: str(os.getpid()))()).get_str()) != pid
    assert time.monotonic() - begin < _SOON_S
    _expect_gone([pid], begin)


@pytest.mark.parametrize(
    "command",
    [
        "sleep 60",
        "trap '' TERM INT HUP; while true; do sleep 0.1; done",
        "kill -STOP $$",
        "sleep 60 | sleep 60 | sleep 60 & sleep 60",
        "yes",
    ],
)
def test_a_running_program_stops_at_once_and_the_next_does_not_wait(
    client: Client, run: Run, command: str
) -> None:
    with run.session.bind_only():
        tasks.Execute(f"echo $$ > {run.mark}.new; mv {run.mark}.new {run.mark}; {command}", shell=True)
    pid = run.submitted()
    family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    begin = time.monotonic()
    run.session.close()
    with client.new_session("next") as session:
        assert result_of(session, tasks.Execute("echo next", stdout=True)).get_str() == "next\n"
    assert time.monotonic() - begin < _SOON_S
    _expect_gone(family, begin)


_DAEMON = """
import os, sys, time
mark, clear = sys.argv[1:]
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        if clear == "clear":
            os.execve(sys.executable, [sys.executable, "-c", f'''
import os, time
open({mark!r} + "-", "w").write(str(os.getpid()))
os.rename({mark!r} + "-", {mark!r})
time.sleep(60)
'''], {})
        open(mark + "-", "w").write(str(os.getpid()))
        os.rename(mark + "-", mark)
        time.sleep(60)
    os._exit(0)
os.wait()
"""
"""A program that leaves a daemon of its own session behind, on request without its environment."""


@pytest.mark.parametrize("environment", ["keep", "clear"])
@pytest.mark.parametrize("kind", ["python", "program"])
def test_a_daemon_of_a_running_task_is_gone_soon(
    run: Run, tmp_path: Path, kind: str, environment: str
) -> None:
    mark = str(tmp_path / "daemon")
    command = [sys.executable, "-c", _DAEMON, mark, environment]
    if kind == "python":

        def body() -> None:
            subprocess.run(command)
            time.sleep(60)

        run.start(body)
    else:
        with run.session.bind_only():
            tasks.Execute(["sh", "-c", '"$@"; sleep 60', "-", *command])
        run.session.submit()
    pid = _told(Path(mark))
    begin = time.monotonic()
    run.session.close()
    _expect_gone([pid], begin)


def test_tasks_that_wait_are_never_started(client: Client, run: Run, tmp_path: Path) -> None:
    later = tmp_path / "later"
    with run.session.bind_only():
        for _ in range(20):
            tasks.Execute(["sh", "-c", f"sleep 0.05; echo x >> {later}"])
            remote()(lambda ctx: _tell(str(later), 1))()
    run.session.submit()
    run.session.close()
    with client.new_session("next") as session:
        result_of(session, tasks.Concat([blob("x")]))
    before = later.read_text() if later.exists() else ""
    time.sleep(0.3)
    assert (later.read_text() if later.exists() else "") == before


def test_close_frees_all_objects_of_the_session(client: Client) -> None:
    session = client.new_session("objects")
    with session.bind_only():
        made = [tasks.Concat([blob(bytes(200_000))]) for _ in range(5)]
        session.keep_all()
        session.submit()
        session.wait_all()
    assert len(made) == 5
    assert _objects(client, session)
    session.close()
    deadline = time.monotonic() + _SOON_S
    while _objects(client, session):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_failure_stops_what_runs_beside_it(cluster: LocalCluster, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    path = str(mark)

    @remote()
    def hang(ctx: Any) -> None:
        _tell(path, os.getpid())
        _ignore_signals()

    @remote()
    def fail(ctx: Any) -> None:
        while not os.path.exists(path):
            time.sleep(0.01)
        raise ValueError("failed")

    with cluster.client() as client, client.new_session() as session:
        hang()
        fail()
        session.submit()
        with pytest.raises(TaskException, match="ValueError: failed"):
            session.wait_all()
        _expect_gone([_told(mark)], time.monotonic())


def test_the_end_of_a_client_ends_its_tasks(shared_cluster: LocalCluster, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    program = (
        "import os, sys\n"
        "from rainzmq import Client, remote, tasks\n"
        "client = Client(sys.argv[1])\n"
        "session = client.new_session(default=True)\n"
        "tasks.Execute(['sh', '-c', 'echo $$ > \"$0-\"; mv \"$0-\" \"$0\"; exec sleep 60', sys.argv[2]])\n"
        "session.submit()\n"
        "while not os.path.exists(sys.argv[2]): pass\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(shared_cluster.access_file), str(mark)], check=True)
    _expect_gone([_told(mark)], time.monotonic(), within_s=12)


def _objects(client: Client, session: Session) -> list[Any]:
    workers = client.get_server_info()["workers"]
    every = [obj for worker in workers for key in ("objects", "objects_to_delete") for obj in worker[key]]
    return [obj for obj in every if obj.session_id == session.session_id]


def _tell(path: str, pid: int) -> None:
    """Write a process id, all of it at once."""
    with open(path + "-", "w") as file:
        file.write(str(pid))
    os.rename(path + "-", path)


def _told(path: Path) -> int:
    deadline = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return int(path.read_text())


def _expect_gone(pids: list[int], begin: float, within_s: float = _SOON_S) -> None:
    """No such process any more `within_s` after `begin`."""
    while left := [pid for pid in pids if _lives(pid)]:
        assert time.monotonic() - begin < within_s, left
        time.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
