"""Looking at a cluster, and at what is left of it, as a user does it in a terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rainzmq import Client, LocalCluster, SessionException, TaskException, remote, tasks

RAINZMQ = [sys.executable, "-m", "rainzmq"]
PATIENCE_S = 30.0

PROGRAM = """
from rainzmq import Client, remote, tasks

@remote
def greet(ctx, whom):
    print("hello", whom)
    return whom

with Client() as client, client.new_session("greetings") as session:
    greet("world", name="greet/world")
    session.submit()
    session.wait_all()
print("done")
"""


@remote
def fail(ctx):
    print("so far so good")
    ctx.debug("about to fail")
    ctx.info.user["tried"] = 1
    raise ValueError("no such luck")


def rainzmq(*arguments: str, code: int = 0, **more: str) -> tuple[str, str]:
    """What a command prints to stdout and stderr."""
    environment = {**os.environ, **more}
    ran = subprocess.run(
        [*RAINZMQ, *arguments], capture_output=True, text=True, timeout=PATIENCE_S, env=environment
    )
    assert ran.returncode == code, ran.stderr
    return ran.stdout, ran.stderr


def in_terminal(command: list[str], typed: bytes = b"") -> tuple[int, str, str]:
    """Exit code, stdout (a pipe), and what comes to the terminal that stdin and stderr are."""
    main, terminal = pty.openpty()
    process = subprocess.Popen(command, stdin=terminal, stdout=subprocess.PIPE, stderr=terminal, text=True)
    os.close(terminal)
    os.write(main, typed)
    seen, deadline = b"", time.monotonic() + PATIENCE_S
    try:
        while time.monotonic() < deadline:
            if not select.select([main], [], [], 0.2)[0]:
                continue
            try:
                seen += os.read(main, 4096)
            except OSError:  # nobody has it open any more
                break
        out, _ = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.wait()
        os.close(main)
    return process.returncode, out, seen.decode().replace("\r\n", "\n")


def test_local_says_in_a_terminal_where_to_look_and_leaves_stdout_to_the_command(home, tmp_path):
    local = [*RAINZMQ, "local", "--cpus", "1", "--http-port", "0", "--", sys.executable, "-c", PROGRAM]

    code, out, seen = in_terminal(local)

    assert (code, out) == (0, "done\n")
    first, last = seen.splitlines()
    assert first.startswith("rainzmq: dashboard (the link is a secret): http://127.0.0.1:")
    assert "/?token=" in first
    assert last.startswith("rainzmq: the event log of this run: ")
    path = Path(last.removeprefix("rainzmq: the event log of this run: ").split(" (")[0])
    assert path.is_file()

    # It is the last run, and found by its directory too.
    for place in ("last", str(path), str(path.parent), str(path.parent.parent)):
        assert "hello world" in rainzmq("logs", "1", "--replay", place)[0]
    out, err = rainzmq("report", "-o", str(tmp_path / "r.html"))
    assert (out, err) == (f"wrote {tmp_path / 'r.html'}\n", f"rainzmq: the last run: {path}\n")


def test_local_says_nothing_of_a_log_that_is_not_kept(home):
    local = [*RAINZMQ, "local", "--cpus", "1", "--no-dashboard", "--", sys.executable, "-c", PROGRAM]

    assert in_terminal(local) == (0, "done\n", "")


def test_one_task_is_shown_live_and_afterwards(home):
    with LocalCluster(workers=[1]) as cluster, cluster.client() as client:
        with client.new_session("broken") as session:
            task = fail(name="try/it")
            session.submit()
            with pytest.raises(TaskException):
                session.wait_all()
        shown = session._repr_html_()
        live, _ = rainzmq("task", str(task.id), "--server", str(cluster.access_file))
        listed, hint = rainzmq("tasks", "--failed", "--server", str(cluster.access_file))
    after, _ = rainzmq("task", str(task.id), "--replay", str(cluster.logdir))
    item = json.loads(rainzmq("task", str(task.id), "--replay", str(cluster.logdir), "--json")[0])

    assert ">failed<" in shown
    assert ">closed<" not in shown
    assert listed.splitlines()[1].rstrip().endswith("ValueError: no such luck")
    assert f"rainzmq task {task.id} --server {cluster.access_file}" in hint
    for text in (live, after):
        for part in ("try/it", "failed", "no such luck", "about to fail", "so far so good", "Traceback"):
            assert part in text
    assert (item["state"], item["debug"]) == ("failed", "about to fail")


def test_session_is_cancelled_by_a_user_who_is_asked_first(home):
    with LocalCluster(workers=[1]) as cluster, cluster.client() as client:
        session = client.new_session("too long")
        with session.bind_only():
            task = tasks.Execute(["sleep", "1000"], name="sleep")
            later = tasks.Execute(["cat"], stdin=tasks.Execute(["sleep", "1000"], stdout=True), name="cat")
            session.submit()
        named = ["--server", str(cluster.access_file)]
        deadline = time.monotonic() + PATIENCE_S
        while "running" not in (listed := rainzmq("tasks", "--session", "too long", *named)[0]):
            assert time.monotonic() < deadline
        line = next(line for line in listed.splitlines() if str(later.id) in line)
        assert "waits for 1 of 1 input" in line

        refused = in_terminal([*RAINZMQ, "cancel", "too long", *named], b"n\n")
        assert refused[:2] == (1, "")
        assert f"Cancel session {session.session_id} 'too long' of " in refused[2]
        assert "3 tasks of 3 are not done" in refused[2]

        code, out, _ = in_terminal([*RAINZMQ, "cancel", "too long", "--reason", "too slow", *named], b"y\n")
        assert (code, out) == (0, f"session {session.session_id} 'too long' is cancelled\n")
        with pytest.raises(SessionException, match="too slow"):
            task.wait()

        _, err = rainzmq("cancel", str(session.session_id), *named, code=1)
        assert "is over: it is cancelled already" in err
        _, err = rainzmq("cancel", "77", "--yes", *named, code=1)
        assert "there is no session '77' on 127.0.0.1:" in err


def test_of_two_servers_the_one_that_is_asked_is_named(home):
    with LocalCluster(workers=[1]) as first:
        assert rainzmq("sessions")[1] == f"rainzmq: no session on {first.address}\n"
        with LocalCluster(workers=[1]) as second, Client(str(first.access_file)) as client:
            client.new_session("here")
            _, err = rainzmq("sessions")
            assert err == (
                f"rainzmq: server {second.address} (2 are running; name one to choose)\n"
                f"rainzmq: no session on {second.address}\n"
            )
            out, err = rainzmq("sessions", RAINZMQ_SERVER=str(first.access_file))
            assert "here" in out
            assert err == ""
