"""`rainzmq dashboard`: the link of a running server, and a finished run at any of its times."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from rainzmq import LocalCluster, remote

PATIENCE_S = 30.0


@remote(outputs=1)
def nap(ctx, seconds, *inputs):
    time.sleep(seconds)
    return b"awake"


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory) -> Path:
    """The event log of a run of some 60 tasks on three cpus."""
    home = tmp_path_factory.mktemp("home")
    home.chmod(0o700)
    patch = pytest.MonkeyPatch()
    patch.setenv("RAINZMQ_HOME", str(home))
    rng = random.Random(5)
    with (
        LocalCluster(workers=[1, 2]) as cluster,
        cluster.client() as client,
        client.new_session("naps") as session,
    ):
        first = [nap(rng.uniform(0.01, 0.1), name="nap/first") for _ in range(30)]
        for _ in range(30):
            nap(rng.uniform(0.0, 0.1), *rng.sample(first, 2), name="nap/second")
        session.submit()
        session.wait_all()
    patch.undo()
    return cluster.logdir / "server" / "events.db"


def rainzmq(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rainzmq", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, **more)


@contextmanager
def replay(path: Path, *more: str) -> Iterator[tuple[str, dict[str, str], subprocess.Popen[str]]]:
    """(address, headers, process) of a replay that is served."""
    command = [sys.executable, "-m", "rainzmq", "dashboard", "--replay", str(path), "--no-browser", *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        link = urllib.parse.urlsplit(process.stdout.readline().strip())
        token = urllib.parse.parse_qs(link.query)["token"][0]
        yield f"http://{link.netloc}", {"Authorization": f"Bearer {token}"}, process
    finally:
        process.kill()
        process.communicate()


def ask(address: str, headers: dict[str, str], path: str) -> Any:
    request = urllib.request.Request(f"{address}/api/v1{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.load(answer)


def test_the_link_of_a_running_server_is_printed(home):
    with LocalCluster(workers=[1]) as cluster:
        asked = rainzmq("dashboard", cluster.address, "--url")
        assert (asked.returncode, asked.stdout.strip()) == (0, cluster.dashboard_url)


def test_a_server_without_a_dashboard_says_why(home):
    with LocalCluster(workers=[1], dashboard=False) as cluster:
        asked = rainzmq("dashboard", cluster.address)
    assert asked.returncode == 1
    assert "--no-dashboard" in asked.stderr


def test_a_replay_shows_at_any_time_what_ran_then(finished_run):
    rng = random.Random(7)
    with replay(finished_run) as (address, headers, process):
        server = ask(address, headers, "/server")
        assert server["is_replay"]
        rows = ask(address, headers, "/events?type=task_finished&limit=1000")["items"]
        assert len(rows) == 60
        spans = {row["id"]: (row["started"], row["started"] + row["duration_s"]) for row in rows}
        begin, end = min(one for one, _ in spans.values()), max(two for _, two in spans.values())
        seen = 0
        for _ in range(20):
            at = rng.uniform(begin, end)
            if any(abs(at - edge) < 1e-4 for span in spans.values() for edge in span):
                continue  # the log has microseconds
            expected = {task for task, (start, stop) in spans.items() if start <= at < stop}
            shown = ask(address, headers, f"/tasks?state=running&time={at:.6f}&limit=1000")["items"]
            assert {item["id"] for item in shown} == expected
            seen += len(expected)
        assert seen > 10
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0


def test_a_replay_of_a_log_that_is_cut_short_says_so(finished_run, tmp_path):
    cut = tmp_path / "events.db"
    cut.write_bytes(finished_run.read_bytes())
    with closing(sqlite3.connect(cut, isolation_level=None)) as database:
        last = database.execute("SELECT max(id) FROM events").fetchone()[0]
        database.execute("UPDATE events SET body=X'C1' WHERE id=?", (last - 5,))
    with replay(cut) as (address, headers, process):
        notes = ask(address, headers, "/server")["notes"]
        assert "cut short" in notes[0]
        process.kill()
        assert "cut short" in process.stderr.read()


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "there is no event log"), (b"no database", "cannot be read as an event log")],
)
def test_what_is_no_event_log_is_refused(tmp_path, content, reason):
    path = tmp_path / "events.db"
    if content is not None:
        path.write_bytes(content)
    refused = rainzmq("dashboard", "--replay", str(path))
    assert refused.returncode == 1
    assert reason in refused.stderr
    assert "Traceback" not in refused.stderr


def test_only_one_of_a_server_and_a_replay_can_be_shown(finished_run):
    refused = rainzmq("dashboard", "somewhere", "--replay", str(finished_run))
    assert refused.returncode == 2
    assert "--replay" in refused.stderr


def test_local_prints_the_link_and_no_dashboard_means_none(home):
    environment = {**os.environ, "RAINZMQ_HOME": str(home)}
    program = "import os, rainzmq; print(rainzmq.Client().get_server_info()['version'])"
    for more in ((), ("--no-dashboard",), ("--events", "memory", "--http-port", "0")):
        ran = rainzmq("local", "--cpus", "1", *more, "--", sys.executable, "-c", program, env=environment)
        assert (ran.returncode, ran.stderr) == (0, "")
