"""A terminal that is closed ends servers and workers in order, unless they were started with nohup."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from patience import PATIENCE_S, wait_for

from rainzmq import Client, tasks


def started(home: Path, name: str, *arguments: str, ignore: bool = False) -> subprocess.Popen[bytes]:
    """A `rainzmq` process that is ready."""
    ready = home / f"{name}.ready"
    command = [sys.executable, "-m", "rainzmq", *arguments, "--ready-file", str(ready)]
    process = subprocess.Popen(
        command,
        stderr=subprocess.DEVNULL,
        preexec_fn=(lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) if ignore else None,
    )
    wait_for(ready.exists, f"{name} is ready")
    return process


@pytest.fixture
def server(home):
    process = started(home, "server", "server", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0")
    yield process
    process.terminate()
    process.wait(PATIENCE_S)


def test_a_hangup_ends_a_server_in_order(home, server):
    server.send_signal(signal.SIGHUP)
    assert server.wait(PATIENCE_S) == 0
    assert list((home / "servers").glob("*.json")) == []


def test_a_hangup_ends_a_worker_and_what_it_runs(home, server):
    (access,) = (home / "servers").glob("*.json")
    worker = started(home, "worker", "worker", str(access), "--cpus", "1")
    with Client(str(access)) as client:
        session = client.new_session("s")
        with session.bind_only():
            tasks.Execute(["sleep", "61"])
            session.submit()

        def program():
            family = psutil.Process(worker.pid).children(recursive=True)
            return next((item for item in family if item.cmdline() == ["sleep", "61"]), None)

        running = wait_for(program, "the program runs")
        worker.send_signal(signal.SIGHUP)
        assert worker.wait(PATIENCE_S) == 0
        wait_for(lambda: not running.is_running(), "the program is gone")
        assert client.get_server_info()["workers"] == []


def test_nohup_lets_a_worker_go_on(home, server):
    (access,) = (home / "servers").glob("*.json")
    worker = started(home, "worker", "worker", str(access), "--cpus", "1", ignore=True)
    worker.send_signal(signal.SIGHUP)
    with Client(str(access)) as client, client.new_session("s") as session:
        task = tasks.Concat([])
        session.submit()
        task.wait()
    assert worker.poll() is None
    worker.terminate()
    assert worker.wait(PATIENCE_S) == 0
