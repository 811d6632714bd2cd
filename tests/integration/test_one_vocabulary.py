"""A task is in the same state by the same word wherever it is looked at: in the program, over REST, in the
terminal, on the page, in the event log, live and afterwards.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from test_rest import Rest

from rainzmq import Client, LocalCluster, Session, Task, TaskCancelled, TaskException, blob, tasks
from rainzmq.common import DataObjectState, TaskState
from rainzmq.monitoring.hub import EventFilter
from rainzmq.monitoring.store import open_replay
from rainzmq.monitoring.views import task_views

PATIENCE_S = 30.0

Words = dict[str, str]
"""State by the id of a task."""


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[LocalCluster]:
    """A worker with two cpus, and a dashboard."""
    with LocalCluster(workers=[2], http_port=0) as cluster:
        yield cluster


@pytest.fixture
def rest(shared_cluster: LocalCluster) -> Rest:
    return Rest(shared_cluster)


def terminal(*arguments: str) -> Any:
    """What a command prints as JSON."""
    command = [sys.executable, "-m", "rainzmq", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def by_rest(rest: Rest, session: Session) -> Words:
    return {item["id"]: item["state"] for item in rest.get(f"tasks?session={session.session_id}")["items"]}


def by_page(rest: Rest, session: Session) -> Words:
    status, page = rest.ask(f"/tasks?session={session.session_id}", Accept="text/html")
    assert status == 200
    rows = re.findall(r'<tr data-row="(\d+/\d+)">.*?<span class="state (\w+)">(\w+)</span>', page)
    assert all(style == word for _, style, word in rows)
    return {task_id: word for task_id, _, word in rows}


def by_terminal(session: Session, *source: str) -> Words:
    items = terminal("tasks", "--json", "--session", str(session.session_id), *source)
    return {item["id"]: item["state"] for item in items}


def by_event_log(cluster: LocalCluster, session: Session) -> Words:
    hub = open_replay(cluster.logdir / "server" / "events.db")
    log = hub.model.sessions[session.session_id]
    views = task_views(log, log.tasks.rows(log.tasks["ids"]), hub.model)
    hub.log.close()
    return {view.id: view.state for view in views}


def in_python(*given: Task) -> Words:
    return {str(task.id): task.state for task in given if task.state is not None}


def one_that_finished_and_one_that_runs(session: Session, rest: Rest) -> tuple[Task, Task]:
    done, running = tasks.Concat([blob(b"a")]), tasks.Sleep(blob(b"b"), 600.0)
    session.keep_all()
    assert done.state is None
    session.submit()
    assert (done.state, done.output.state) == (TaskState.WAITING, DataObjectState.UNFINISHED)
    done.wait()

    def is_seen(page: Any) -> bool:
        views = [view for view in page["items"] if view["session_id"] == session.session_id]
        return any(view["counts"]["running"] == 1 for view in views)

    rest.until("sessions", is_seen)
    running.update()
    assert in_python(done, running) == by_rest(rest, session)
    return done, running


def everywhere(cluster: LocalCluster, rest: Rest, session: Session) -> list[Words]:
    """What is said of the tasks of a session that has ended."""
    rest.until(f"sessions/{session.session_id}", lambda view: view["state"] != "open")
    return [
        by_rest(rest, session),
        by_page(rest, session),
        by_terminal(session, "--server", str(cluster.access_file)),
        by_terminal(session, "--replay", str(cluster.logdir)),
        by_event_log(cluster, session),
    ]


def test_after_a_failure_everybody_says_the_same(
    shared_cluster: LocalCluster, client: Client, rest: Rest
) -> None:
    with client.new_session("fails") as session:
        done, running = one_that_finished_and_one_that_runs(session, rest)
        bad = tasks.Load("/no/such/file")
        never = tasks.Concat([bad])
        session.submit()
        with pytest.raises(TaskException) as caught:
            session.wait_all()
        assert caught.value.task_id == bad.id
        assert not isinstance(caught.value, TaskCancelled)

        words = in_python(done, running, bad, never)
        assert list(words.values()) == ["finished", "cancelled", "failed", "cancelled"]
        for said in everywhere(shared_cluster, rest, session):
            assert said == words

        by_whom = f"its session failed because of {bad.id} (builtin/load)"
        for task in (running, never):
            assert task.info is not None
            assert task.info.error == f"cancelled: {by_whom}"
            detail = rest.get(f"tasks/{task.id}")
            assert (detail["reason"], detail["why"]) == (by_whom, task.info.error)
        objects = rest.get(f"objects?session={session.session_id}")["items"]
        said_of = {item["id"]: item["state"] for item in objects}
        for task in (done, running, bad, never):
            assert task.output.state == said_of[str(task.output.id)]
        with pytest.raises(TaskException, match=re.escape(str(bad.id))):
            never.wait()


def test_after_a_cancel_everybody_says_the_same(
    shared_cluster: LocalCluster, client: Client, rest: Rest
) -> None:
    with client.new_session("is cancelled") as session:
        done, running = one_that_finished_and_one_that_runs(session, rest)
        never = tasks.Concat([running])
        session.submit()
        path = f"/api/v1/sessions/{session.session_id}/cancel"
        assert rest.ask(path, "POST", {"reason": "wrong inputs"})[0] == 202
        with pytest.raises(TaskCancelled, match=f"Session {session.session_id} was cancelled: wrong inputs"):
            never.wait()

        words = in_python(done, running, never)
        assert list(words.values()) == ["finished", "cancelled", "cancelled"]
        for said in everywhere(shared_cluster, rest, session):
            assert said == words

        assert never.info is not None
        assert never.info.error == "cancelled: its session was cancelled: wrong inputs"
        assert rest.get(f"tasks/{never.id}")["reason"] == "its session was cancelled: wrong inputs"
        states = {item["session_id"]: item["state"] for item in client.get_server_info()["sessions"]}
        assert states[session.session_id] == "cancelled"
        assert rest.get(f"sessions/{session.session_id}")["state"] == "cancelled"
        rows = rest.get(f"events?session={session.session_id}&type=session_ended")["items"]
        assert [(row["state"], row["message"]) for row in rows] == [("cancelled", "wrong inputs")]
        hub = open_replay(shared_cluster.logdir / "server" / "events.db")
        kinds = frozenset(["session_ended"])
        found = hub.log.query(EventFilter(session_id=session.session_id, kinds=kinds), 10)[0]
        hub.log.close()
        assert [row["state"] for row in found] == ["cancelled"]
