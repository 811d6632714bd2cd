"""A home directory without room: what is logged and printed is best effort, and no task fails of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from namespaces import needs_namespaces, run_in_namespaces

RAINZMQ = [sys.executable, "-P", "-m", "rainzmq"]

TASKS_THAT_PRINT = """
import ctypes, os, subprocess, sys
import rainzmq
from rainzmq import remote
from rainzmq.client.tasks import Execute

@remote(outputs=1)
def talk(ctx):
    for _ in range(2000):
        print("x" * 1000)
        sys.stderr.write("y" * 100)
    os.write(1, b"z" * 1000)
    subprocess.run(["sh", "-c", "echo to stdout && echo to stderr >&2"], check=True)
    return "said"

home = os.environ["RAINZMQ_HOME"]
with rainzmq.Client() as client, client.new_session("talk") as session:
    with open(home + "/full", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            print(error.strerror)
    tasks = [talk() for _ in range(4)]
    tasks.append(Execute(["sh", "-c", "echo said; yes | head -c 2000000 >&2"], stdout=True))
    for task in tasks:
        task.output.keep()
    session.submit()
    session.wait_all()
    print({task.output.fetch().get_bytes().strip() for task in tasks})
"""


def small_home(path: Path, size: str = "1M") -> list[str]:
    return [f"mount -t tmpfs -o size={size},mode=700 tmpfs {path}"]


@needs_namespaces
def test_tasks_that_print_are_finished(home: Path) -> None:
    done = run_in_namespaces(
        small_home(home),
        [*RAINZMQ, "local", "--cpus", "2", "--port", "0", "--", sys.executable, "-P", "-c", TASKS_THAT_PRINT],
    )
    assert (done.returncode, done.stdout) == (0, "No space left on device\n{b'said'}\n"), done.stderr
    assert "Traceback" not in done.stderr


def test_a_log_that_cannot_be_written_is_told_in_one_line(home: Path, tmp_path: Path) -> None:
    logdir = tmp_path / "logs"
    logdir.mkdir(mode=0o700)
    for name in ("server.log", "web.log"):
        (logdir / name).symlink_to("/dev/full")
    ready = tmp_path / "ready"
    server = subprocess.Popen(
        [*RAINZMQ, "server", "--listen", "0", "--logdir", str(logdir), "--ready-file", str(ready)],
        stderr=subprocess.PIPE,
        text=True,
    )
    while not ready.exists():
        assert server.poll() is None
        time.sleep(0.02)
    server.terminate()
    said = server.communicate(timeout=30)[1]
    assert server.returncode == 0, said
    assert "Traceback" not in said
    assert "Logging error" not in said
    lines = [line for line in said.splitlines() if "server.log cannot be written: No space left" in line]
    assert len(lines) == 1, said


@needs_namespaces
def test_what_a_cluster_on_a_full_disk_could_not_say_is_said_for_it(home: Path) -> None:
    program = f"""
import os, time, rainzmq
cluster = rainzmq.LocalCluster(cpus=1, port=0, dashboard=False)
with open({os.fspath(home)!r} + "/full", "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(512))
    except OSError:
        pass
worker = cluster._workers[0]
for name in ("stderr.txt", "worker.log"):
    os.truncate(worker.logdir / name, 0)
    with open({os.fspath(home)!r} + "/full", "ab", buffering=0) as file:
        try:
            file.write(bytes(1 << 20))
        except OSError:
            pass
os.kill(worker.pid, 9)
while not cluster.failures():
    time.sleep(0.05)
print(cluster.failures()[0])
cluster.close()
"""
    done = run_in_namespaces(small_home(home), [sys.executable, "-P", "-c", program])
    assert "killed by signal SIGKILL" in done.stdout, done.stderr
    assert "is full, so it could say nothing; set RAINZMQ_HOME" in done.stdout


def test_the_exit_code_is_ours_where_stderr_is_full() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*RAINZMQ, "report", "/no/such/events.db"], stdout=full, stderr=full, timeout=60, check=False
        )
    assert done.returncode == 1
