"""REST beside a real cluster: it says what happened, follows it, and cancels sessions."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest

import rainzmq
from rainzmq import LocalCluster, RainException, blob, remote, tasks
from rainzmq.transport.access import HttpAccess, read_access

PATIENCE_S = 20.0


class Rest:
    """Asks the web process of a cluster."""

    def __init__(self, cluster: LocalCluster) -> None:
        access = read_access(cluster.access_file).http
        assert access is not None
        self.access: HttpAccess = access

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.access.url.removeprefix("http://"), timeout=PATIENCE_S)

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON (or text) of an answer."""
        connection = self.connection()
        try:
            headers = {"Authorization": f"Bearer {self.access.token}", **headers}
            data = None if body is None else json.dumps(body)
            if data is not None:
                headers["Content-Type"] = "application/json"
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            return answer.status, json.loads(text) if "json" in answer.headers["Content-Type"] else text
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        status, value = self.ask("/api/v1/" + path)
        assert status == 200, value
        return value

    def until(self, path: str, condition: Callable[[Any], Any]) -> Any:
        """The answer once it is as wanted."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition(value := self.get(path)):
            assert time.monotonic() < deadline, f"{path} stays {value}"
            time.sleep(0.02)
        return value


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[LocalCluster]:
    """Two workers with one cpu each, and a dashboard."""
    with LocalCluster(workers=[1, 1], http_port=0) as cluster:
        yield cluster


@pytest.fixture
def rest(shared_cluster: LocalCluster) -> Rest:
    return Rest(shared_cluster)


@remote()
def double(context: Any, data: Any) -> bytes:
    print("doubling", len(data.get_bytes()), "bytes")
    return data.get_bytes() * 2


@remote()
def broken(context: Any) -> bytes:
    raise ValueError("<b>no</b>")


def session_id_of(rest: Rest, name: str) -> int:
    sessions = rest.until("sessions", lambda page: any(item["name"] == name for item in page["items"]))[
        "items"
    ]
    return next(item["session_id"] for item in sessions if item["name"] == name)


def test_what_ran_is_told_and_fits_the_schemas(client, rest):
    with client.new_session("pipeline") as session:
        first = [double(blob(b"x" * 100_000), name=f"double/{n}") for n in range(4)]
        whole = tasks.Concat(first, name="join")
        whole.keep_outputs()
        session.submit()
        whole.wait()
        number = session_id_of(rest, "pipeline")
        view = rest.until(f"sessions/{number}", lambda view: view["counts"]["finished"] == 5)
        assert (view["state"], view["total"]) == ("open", 5)
        groups = {item["name"]: item for item in rest.get(f"sessions/{number}/groups")["items"]}
        assert groups["double"]["done"] == 4
        assert groups["join"]["is_leaf"]
        found = rest.get(f"tasks?session={number}&state=finished")["items"]
        assert {task["id"] for task in found} == {str(task.id) for task in [*first, whole]}
        detail = rest.until(f"tasks/{first[0].id}", lambda detail: detail["stdout"])
        assert detail["stdout"] == "doubling 100000 bytes\n"
        assert detail["inputs"][0]["size_bytes"] == 100_000
        assert detail["duration_s"] >= 0
        result = rest.get(f"objects/{whole.output.id}")
        assert (result["state"], result["size_bytes"], result["keep"]) == ("finished", 800_000, True)
        workers = rest.get("workers")["items"]
        assert set(result["holders"]) <= {worker["worker_id"] for worker in workers}
        assert sum(worker["finished"] for worker in workers) >= 5
        rows = rest.until(f"events?id={whole.id}", lambda page: len(page["items"]) >= 3)["items"]
        assert [row["type"] for row in rows][:2] == ["task_submitted", "task_assigned"]
        check_schemas(rest, number, str(whole.id), str(whole.output.id))
    assert rest.until(f"sessions/{number}", lambda view: view["state"] != "open")["state"] == "closed"
    status, text = rest.ask("/metrics")
    assert status == 200
    finished = next(line for line in text.splitlines() if line.startswith('rainzmq_tasks{state="finished"}'))
    assert int(finished.split()[1]) >= 5


def check_schemas(rest: Rest, session: int, task: str, obj: str) -> None:
    for path, name in [
        ("server", "server"),
        ("workers", "workers"),
        ("sessions", "sessions"),
        (f"sessions/{session}", "session"),
        (f"sessions/{session}/groups", "groups"),
        ("tasks", "tasks"),
        (f"tasks/{task}", "task_detail"),
        ("objects", "objects"),
        (f"objects/{obj}", "object"),
        ("moves", "moves"),
        ("events?limit=1000", "events"),
    ]:
        jsonschema.Draft202012Validator(rest.get(f"schemas/{name}")).validate(rest.get(path))


def test_a_failure_is_told_with_its_error(client, rest):
    with client.new_session("failing") as session:
        task = broken(name="bad")
        task.keep_outputs()
        session.submit()
        with pytest.raises(rainzmq.TaskException):
            task.wait()
        number = session_id_of(rest, "failing")
        view = rest.until(f"sessions/{number}", lambda view: view["state"] == "failed")
        assert view["failure"]["task"] == str(task.id)
        detail = rest.get(f"tasks/{task.id}")
        assert detail["error"].endswith("ValueError: <b>no</b>")
        assert detail["why"] == "failed: ValueError: <b>no</b>"


def test_events_are_followed_while_tasks_run(client, rest):
    connection = rest.connection()
    headers = {"Authorization": f"Bearer {rest.access.token}", "Accept": "text/event-stream"}
    connection.request("GET", "/api/v1/events?type=task_finished", headers=headers)
    answer = connection.getresponse()
    assert answer.status == 200
    found: list[dict[str, Any]] = []

    def read() -> None:
        for line in answer:
            if line.startswith(b"data: "):
                found.append(json.loads(line[6:]))
            if len(found) == 3:
                return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    with client.new_session("followed") as session:
        ran = [double(blob(b"x"), name="double") for _ in range(3)]
        for task in ran:
            task.keep_outputs()
        session.submit()
        session.wait_all()
        reader.join(PATIENCE_S)
    answer.close()
    connection.close()
    assert {row["id"] for row in found} == {str(task.id) for task in ran}
    workers = {item["worker_id"] for item in rest.get("workers")["items"]}
    assert {row["worker"] for row in found} <= workers


def test_a_session_is_cancelled(client, rest):
    with client.new_session("too long") as session:
        task = tasks.Sleep(blob(b"x"), 600.0)
        task.keep_outputs()
        session.submit()
        number = session_id_of(rest, "too long")
        rest.until(f"sessions/{number}", lambda view: view["counts"]["running"] == 1)
        status, said = rest.ask(f"/api/v1/sessions/{number}/cancel", "POST", {"reason": "wrong inputs"})
        assert (status, said["reason"]) == (202, "wrong inputs")
        with pytest.raises(RainException, match="wrong inputs"):
            task.wait()
        view = rest.until(f"sessions/{number}", lambda view: view["state"] != "open")
        assert view["state"] == "cancelled"
        assert view["counts"]["cancelled"] == 1
        assert rest.ask(f"/api/v1/sessions/{number}/cancel", "POST")[0] == 409


def test_nothing_is_told_without_the_token_or_to_another_origin(client, rest):
    assert rest.ask("/api/v1/server", Authorization="Bearer wrong")[0] == 401
    assert rest.ask("/api/v1/server", Origin="http://evil.example")[0] == 403
    assert rest.ask("/api/v1/server", Host="evil.example")[0] == 403
    assert rest.ask("/static/js/bokeh.min.js", Authorization="Bearer wrong")[0] == 401
