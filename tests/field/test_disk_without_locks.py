"""Home and work directories on file systems that refuse locks, as NFS and Lustre may."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from rainzmq import Client, LocalCluster, remote

RAINZMQ = [sys.executable, "-P", "-m", "rainzmq"]

REFUSING = """
import errno, fcntl, os

def flock(*_args):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

fcntl.flock = flock
"""


@pytest.fixture
def no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that are started from here get no locks."""
    (tmp_path / "sitecustomize.py").write_text(REFUSING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def run_a_task(client: Client) -> str:
    """Where it ran."""

    @remote(outputs=1)
    def where(ctx):
        return os.getcwd()

    with client.new_session("where") as session:
        task = where()
        task.output.keep()
        session.submit()
        session.wait_all()
        return task.output.fetch().get_bytes().decode()


def test_events_are_kept_and_the_terminal_has_a_note(home: Path, no_locks: None) -> None:
    with LocalCluster(workers=[1], port=0) as cluster, cluster.client() as client:
        run_a_task(client)
        server = cluster.logdir / "server"
    with closing(sqlite3.connect(server / "events.db")) as database:
        kinds = {row[0] for row in database.execute("SELECT kind FROM events")}
    assert "ev_session_came" in kinds
    said = (server / "stderr.txt").read_text()
    assert "has no locks" in said
    assert "events are written all the same" in said
    assert "another server" not in said
    assert not (server / "events.db.lock").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:worker-1 ended")
def test_a_work_directory_there_works_and_what_killed_workers_left_is_removed(
    home: Path, no_locks: None, tmp_path: Path
) -> None:
    workdir = tmp_path / "work"

    def worker(cluster: LocalCluster, name: str) -> tuple[subprocess.Popen[bytes], Path]:
        logdir = tmp_path / name
        command = [*RAINZMQ, "worker", str(cluster.access_file), "--cpus", "1"]
        command += ["--workdir", str(workdir), "--logdir", str(logdir)]
        command += ["--ready-file", str(tmp_path / f"{name}.ready")]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while not (tmp_path / f"{name}.ready").exists():
            assert process.poll() is None, (logdir / "worker.log").read_text()
        return process, logdir / "worker.log"

    def directories() -> set[str]:
        return {path.name for path in workdir.glob("rainzmq-*/*") if path.is_dir()}

    with LocalCluster(workers=[1], port=0, dashboard=False) as cluster, cluster.client() as client:
        os.kill(cluster._workers[0].pid, signal.SIGTERM)
        first, log = worker(cluster, "first")
        assert "has no locks" in log.read_text()
        assert run_a_task(client).startswith(str(workdir))
        before = directories()
        second, _ = worker(cluster, "second")
        assert before < directories(), "what a living worker has is left alone"
        first.kill()
        first.wait()
        third, _ = worker(cluster, "third")
        assert not before & directories()
        for process in (second, third):
            process.terminate()
            assert process.wait(timeout=10) == 0
    assert list(workdir.iterdir()) == []


PROGRAM = """
import rainzmq
from rainzmq.client.tasks import Execute
with rainzmq.Client() as client, client.new_session("one") as session:
    Execute(["true"])
    session.submit()
    session.wait_all()
"""


def test_an_event_log_that_cannot_be_kept_is_told_on_the_terminal(home: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        b"import sqlite3\\n"
        b"def connect(*args, **more):\\n"
        b"    raise sqlite3.OperationalError('locking protocol')\\n"
        b"sqlite3.connect = connect\\n".decode("unicode_escape")
    )
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "rainzmq",
            "local",
            "--cpus",
            "1",
            "--port",
            "0",
            "--",
            sys.executable,
            "-P",
            "-c",
            PROGRAM,
        ],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "no event log of this run was kept: the event log " in done.stderr
    assert "cannot be written: locking protocol" in done.stderr
