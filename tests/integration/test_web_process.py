"""The web process beside a real cluster: the event log afterwards, and that nothing depends on it."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from patience import PATIENCE_S, wait_for

from rainzmq import LocalCluster, RainException, SessionException, TaskException, blob, remote, tasks
from rainzmq.monitoring.hub import Hub
from rainzmq.monitoring.session import FAILED, FINISHED
from rainzmq.monitoring.store import open_replay
from rainzmq.transport.access import HttpAccess, read_access


def http_of(cluster: LocalCluster) -> HttpAccess:
    http = read_access(cluster.access_file).http
    assert http is not None
    return http


def ask(http: HttpAccess, path: str, body: Any = None, token: str | None = None) -> Any:
    """The JSON answer of REST."""
    request = urllib.request.Request(
        f"{http.url}/api/v1{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token or http.token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.load(answer)


def refusal(http: HttpAccess, path: str, **more: Any) -> tuple[int, str]:
    """Status and content type of an answer that must be an error."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(http, path, **more)
    with refused.value as answer:
        return answer.code, answer.headers["Content-Type"]


def finished(http: HttpAccess, session_id: int) -> int:
    """How many tasks of a session are known to be finished; 0 as long as it is not known."""
    counts = {item["session_id"]: item["counts"] for item in ask(http, "/sessions")["items"]}
    return counts[session_id]["finished"] if session_id in counts else 0


def server_of(cluster: LocalCluster) -> psutil.Process:
    return psutil.Process(read_access(cluster.access_file).pid)


def web_of(cluster: LocalCluster) -> psutil.Process | None:
    for child in server_of(cluster).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended, or nobody has seen it end yet
            if "web" in child.cmdline():
                return child
    return None


def database(cluster: LocalCluster) -> Path:
    return cluster.logdir / "server" / "events.db"


def replay(cluster: LocalCluster) -> Hub:
    hub = open_replay(database(cluster))
    hub.log.close()
    return hub


@remote(outputs=1)
def shout(ctx, text):
    print("working on", text)
    ctx.debug("called with %s", text)
    return text.upper()


@remote(outputs=1)
def nap(ctx, seconds):
    time.sleep(seconds)
    return b"awake"


@remote(outputs=1)
def broken(ctx):
    raise ValueError("<script>alert(1)</script>")


def test_a_run_is_in_its_event_log_afterwards(home):
    with LocalCluster(workers=[1, 1]) as cluster, cluster.client() as client:
        with client.new_session("good") as session:
            words = [shout(word, name=f"words/{word}") for word in ("fig", "pear", "plum")]
            program = tasks.Execute(["sh", "-c", "echo out; echo err >&2"], stdout=True)
            everything = tasks.Concat([*words, program, blob("x" * 100_000)])
            everything.output.keep()
            session.submit()
            session.wait_all()
        session = client.new_session("bad")
        with session:
            broken()
            session.submit()
            with pytest.raises(TaskException):
                session.wait_all()
    model = replay(cluster).model
    good, bad = model.sessions.values()
    assert (good.name, good.state, bad.name, bad.state) == ("good", "closed", "bad", "failed")
    assert good.states().tolist() == [FINISHED] * 5
    assert bad.states().tolist() == [FAILED]
    assert "<script>" in bad.failure.message
    assert {good.task_name(row) for row in range(5)} >= {"words/fig", "words/pear", "words/plum"}
    row = next(row for row in range(5) if good.task_name(row) == "words/fig")
    local_id = int(good.tasks["ids"][row])
    assert good.printed[local_id].stdout == "working on fig\n"
    assert "called with fig" in good.debugs[local_id]
    row = next(row for row in range(5) if good.bodies[good.tasks["body"][row]].task_type == "builtin/execute")
    assert good.printed[int(good.tasks["ids"][row])].stderr == "err\n"
    times = [good.tasks[name] for name in ("submitted", "assigned", "started", "ended", "committed")]
    for earlier, later in itertools.pairwise(times):
        assert np.all(earlier <= later)
    assert model.moves["bytes"].max() >= 100_000
    assert all(len(worker.kinds) == 2 for worker in model.workers.values())


@remote(outputs=1)
def talk(ctx, path):
    print("began", flush=True)
    while not os.path.exists(path):
        time.sleep(0.02)
    return b""


def test_what_a_running_task_has_printed_so_far_can_be_seen(home, tmp_path):
    with LocalCluster(workers=[2], http_port=0) as cluster, cluster.client() as client:
        http = http_of(cluster)
        with client.new_session("s") as session:
            done = tmp_path / "done"
            talk(str(done))
            script = f"echo line >&2; while [ ! -e {done} ]; do sleep 0.05; done"
            tasks.Execute(["sh", "-c", script])
            session.submit()
            wait_for(lambda: len(ask(http, "/tasks?session=1")["items"]) == 2, "both tasks")
            talking = wait_for(
                lambda: [
                    item
                    for item in (ask(http, f"/tasks/1/{number}") for number in (1, 3))
                    if item["stdout"] or item["stderr"]
                ][1:],
                "the output of both",
            )
            assert talking[0]["state"] == "running"
            assert ask(http, "/tasks/1/1")["stdout"] == "began\n"
            assert ask(http, "/tasks/1/3")["stderr"] == "line\n"
            done.touch()
            session.wait_all()


def test_the_token_is_in_no_log(home):
    with LocalCluster(workers=[1]) as cluster:
        http = http_of(cluster)
        assert cluster.dashboard_url == http.link
        ask(http, "/server")
        assert refusal(http, "/server", token="wrong")[0] == 401
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        browser.addheaders = [("Accept", "text/html")]
        with browser.open(http.link, timeout=PATIENCE_S) as page:
            assert page.status == 200
            assert http.token not in page.url
        secret = http.token.encode()
    for log in cluster.logdir.rglob("*"):
        assert not log.is_file() or secret not in log.read_bytes(), log


def test_a_killed_web_process_changes_nothing_and_is_started_again(home):
    with LocalCluster(workers=[1, 1]) as cluster, cluster.client() as client:
        http = http_of(cluster)
        with client.new_session("load") as session:
            naps = [nap(0.01) for _ in range(100)]
            session.submit()
            ask(http, "/server")
            first = web_of(cluster)
            first.kill()
            session.wait_all()
            more = [nap(0.0) for _ in range(20)]
            session.submit()
            session.wait_all()
            second = wait_for(lambda: web_of(cluster), "a new web process")
            assert second.pid != first.pid
            wait_for(lambda: ask(http, "/server")["is_connected"], "a connection to the server")
            wait_for(lambda: finished(http, 1) == 120, "the whole session")
            assert len(naps) + len(more) == 120
        assert client.get_server_info()["counters"]["tasks_failed"] == 0
    session = replay(cluster).model.sessions[1]
    assert session.states().tolist() == [FINISHED] * 120


def test_a_stopped_web_process_stops_nothing_and_catches_up(home):
    with LocalCluster(workers=[1, 1]) as cluster, cluster.client() as client:
        http = http_of(cluster)
        ask(http, "/server")
        web = web_of(cluster)
        web.suspend()
        with client.new_session("load") as session:
            for _ in range(2000):
                tasks.Concat([])
            session.submit()
            session.wait_all()
            web.resume()
            wait_for(lambda: finished(http, 1) == 2000, "the whole session")
        assert web.is_running()


def test_events_can_be_kept_in_memory_only(home):
    with (
        LocalCluster(workers=[1], events="memory") as cluster,
        cluster.client() as client,
        client.new_session("s") as session,
    ):
        nap(0.0)
        session.submit()
        session.wait_all()
        http = http_of(cluster)
        assert ask(http, "/server")["events"] == "memory"
        wait_for(lambda: ask(http, "/events?type=task_finished")["items"], "the event")
    assert not database(cluster).exists()


def test_events_need_not_be_kept_at_all(home):
    with (
        LocalCluster(workers=[1], events="none") as cluster,
        cluster.client() as client,
        client.new_session("s") as session,
    ):
        nap(0.0)
        session.submit()
        session.wait_all()
        http = http_of(cluster)
        assert ask(http, "/server")["events"] == "none"
        wait_for(lambda: finished(http, 1) == 1, "the task")
        assert refusal(http, "/events")[1].startswith("application/problem+json")
    assert not database(cluster).exists()


def test_a_cluster_can_do_without_a_dashboard(home):
    with LocalCluster(workers=[1], dashboard=False) as cluster:
        assert cluster.dashboard_url is None
        assert web_of(cluster) is None
    assert not database(cluster).exists()


def test_a_port_that_is_asked_for_and_taken_is_an_error(home):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RainException, match=f"the dashboard cannot listen on 127.0.0.1:{port}"):
            LocalCluster(workers=[1], http_port=port)


def test_a_session_that_is_cancelled_over_rest_ends_with_the_reason(home):
    with LocalCluster(workers=[1, 1]) as cluster, cluster.client() as client:
        http = http_of(cluster)
        other = client.new_session("other")
        with client.new_session("long") as session:
            nap(60.0)
            session.submit()
            wait_for(lambda: any(item["total"] for item in ask(http, "/sessions")["items"]), "the task")
            ask(http, "/sessions/2/cancel", {"reason": "lunch"})
            with pytest.raises(SessionException, match="lunch"):
                session.wait_all()
        wait_for(lambda: ask(http, "/sessions/2")["state"] == "cancelled", "the end")
        with other:
            nap(0.0)
            other.submit()
            other.wait_all()


@pytest.mark.filterwarnings("ignore:the server ended")
@pytest.mark.usefixtures("kills_processes")
def test_the_log_of_a_killed_server_is_whole_and_its_web_process_ends(home):
    with LocalCluster(workers=[1]) as cluster, cluster.client() as client:
        session = client.new_session("s")
        with session:
            for _ in range(10):
                nap(0.0)
            session.submit()
            session.wait_all()
            http = http_of(cluster)
            wait_for(lambda: finished(http, 1) == 10, "the tasks")
            web = web_of(cluster)
            os.kill(server_of(cluster).pid, signal.SIGKILL)
            web.wait(PATIENCE_S)
            with pytest.raises(RainException):
                client.get_server_info()
    hub = replay(cluster)
    (note,) = hub.notes
    assert "ends while sessions are open (1)" in note
    assert hub.model.sessions[1].states().tolist() == [FINISHED] * 10
