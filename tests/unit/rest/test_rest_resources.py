"""What REST answers over the made-up history, and what it refuses."""

from __future__ import annotations

import json
from urllib.parse import quote

import jsonschema
import pytest
from rest_served import Served

from rainzmq.common.errors import RainException
from rainzmq.monitoring.hub import Hub
from rainzmq.monitoring.rows import KINDS
from rainzmq.rest.resources import RESOURCES
from rainzmq.testing.events import START, demo_hub

TIMES = [None, START + 0.05, START + 0.5, START + 1.0, START + 1.2, START + 1000]


def check(served: Served, name: str, value: object) -> None:
    schema = served.ask(f"/api/v1/schemas/{name}").json
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(value)


@pytest.mark.parametrize("time", TIMES)
def test_every_resource_fits_its_schema_at_any_time(served, time):
    query = "" if time is None else f"?time={time}"
    session = time is None or time > START + 0.2
    task = time is None or time > START + 0.3
    for path, name, is_there in [
        ("server", "server", True),
        ("workers", "workers", True),
        ("workers/127.0.0.1:5001", "worker", time is None or time > START + 0.1),
        ("sessions", "sessions", True),
        ("sessions/1", "session", session),
        ("sessions/1/groups", "groups", session),
        ("tasks", "tasks", True),
        ("objects", "objects", True),
        ("moves", "moves", True),
        ("events", "events", True),
        ("tasks/1/1", "task_detail", task),
        ("tasks/1/21", "task_detail", task),
        ("objects/1/2", "object", task),
    ]:
        answer = served.ask(f"/api/v1/{path}{query}")
        assert answer.status == (200 if is_there else 404), path
        check(served, name if is_there else "problem", answer.json)


def test_every_task_object_and_event_fits_its_schema(served):
    for task in served.get("tasks?limit=1000")["items"]:
        check(served, "task", task)
        check(served, "task_detail", served.get(f"tasks/{task['id']}"))
    for item in served.get("objects?limit=1000")["items"]:
        assert served.get(f"objects/{item['id']}") == item
    seen = {item["type"] for item in served.get("events?limit=1000")["items"]}
    assert {"task_finished", "object_moved", "task_failed", "worker_sampled"} <= seen


def test_the_index_names_every_resource(served):
    index = served.get("")
    check(served, "index", index)
    assert {link["path"] for link in index["links"]} == {resource.path for resource in RESOURCES}
    assert served.ask("/api/v1").json == index


def test_lists_come_in_pages(served):
    for path in ("tasks", "objects", "workers", "sessions", "sessions/1/groups", "moves", "events"):
        whole = served.get(f"{path}?limit=1000")
        assert whole["next"] is None
        found, after = [], ""
        while after is not None:
            page = served.get(f"{path}?limit=1" + (f"&after={after}" if after != "" else ""))
            assert page["total"] == whole["total"]
            assert len(page["items"]) == 1
            found += page["items"]
            after = page["next"]
        assert found == whole["items"], path
        if path != "events":
            assert whole["total"] == len(found)


def test_tasks_are_found_by_state_name_worker_and_session(served):
    everything = served.get("tasks?limit=1000")["items"]

    def found(query: str) -> list[str]:
        page = served.get(f"tasks?limit=1000&{query}")
        assert page["total"] == len(page["items"])
        return [task["id"] for task in page["items"]]

    def those(wanted) -> list[str]:
        return [task["id"] for task in everything if wanted(task)]

    assert found("state=failed") == ["2/1"]
    assert found("state=failed,cancelled") == ["2/1", "2/2"]
    assert found("session=2") == ["2/1", "2/2"]
    assert found("session=77") == []
    assert found("name=train/") == those(lambda task: task["name"].startswith("train/"))
    assert found("name=train") == []
    assert found("name=train/model-1") == those(lambda task: task["name"] == "train/model-1")
    assert found("worker=127.0.0.1:5002") == those(lambda task: task["worker"] == "127.0.0.1:5002")
    assert found("worker=nobody") == []
    assert len(found("session=1&worker=127.0.0.1:5001&state=finished&name=load/")) > 0


def test_tasks_are_found_as_they_were_at_a_time(served):
    time = START + 0.5
    running = served.get(f"tasks?state=running&time={time}&limit=1000")["items"]
    assert running
    for task in running:
        assert task["started"] <= time
        assert task["ended"] is None
    assert served.get(f"sessions/1?time={time}")["counts"]["running"] == len(running)
    on = served.get(f"tasks?worker=127.0.0.1:5001&state=running&time={time}")["total"]
    worker = served.get(f"workers/127.0.0.1:5001?time={time}")
    assert worker["running"] == on


def test_objects_are_found_by_holder(served):
    time = START + 1.2
    held = served.get(f"objects?worker=127.0.0.1:5001&time={time}&limit=1000")["items"]
    assert held
    assert all("127.0.0.1:5001" in item["holders"] for item in held)
    everything = served.get(f"objects?time={time}&limit=1000")["items"]
    assert [item for item in everything if "127.0.0.1:5001" in item["holders"]] == held
    assert served.get("objects?state=finished")["items"] == []


def test_what_a_task_printed_and_why_it_failed_is_told_as_it_was(served):
    first = served.get("tasks/1/1")
    assert first["stdout"] == "hello <script>alert(1)</script>\n"
    assert first["debug"] == "loaded <b>fine</b>"
    bad = served.get("tasks/2/1")
    assert bad["error"] == "ValueError: <img src=x>"
    assert [attempt["outcome"] for attempt in bad["attempts"]] == ["crashed", "failed"]
    assert bad["why"] == "failed: ValueError: <img src=x>"


def test_events_are_found_by_task_type_session_worker_and_time(served):
    def found(query: str) -> list[dict]:
        return served.get(f"events?limit=1000&{query}")["items"]

    assert [row["type"] for row in found("id=2/1")] == [
        "task_submitted",
        "task_assigned",
        "task_returned",
        "task_assigned",
        "task_started",
        "task_failed",
    ]
    assert {row["id"] for row in found("id=1/1,1/3&type=task_finished")} == {"1/1", "1/3"}
    assert {row["session_id"] for row in found("session=2")} == {2}
    assert {row["worker"] for row in found("worker=127.0.0.1:5002")} == {"127.0.0.1:5002"}
    since, until = START + 0.5, START + 1
    assert all(since <= row["time"] < until for row in found(f"since={since}&until={until}"))
    assert max(row["time"] for row in found(f"time={since}")) <= since


def test_without_a_log_events_can_be_followed_only():
    served = Served(demo_hub(1))
    try:
        answer = served.ask("/api/v1/events")
        assert answer.status == 409
        assert "follow" in answer.json["detail"]
        assert served.get("server")["events"] == "none"
    finally:
        served.close()


def test_a_log_that_can_not_be_read_is_a_problem_not_a_crash(live):
    def query(wanted, limit):
        raise RainException("the disk is gone")

    live.hub.log.query = query
    answer = live.ask("/api/v1/events")
    assert answer.status == 503
    assert "the disk is gone" in answer.json["detail"]


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("tasks?limit=0", "limit"),
        ("tasks?limit=1001", "limit"),
        ("tasks?limit=-1", "limit"),
        ("tasks?limit=1e3", "limit"),
        ("tasks?limit=", "limit"),
        ("tasks?limit=%D9%A3", "limit"),
        ("tasks?limit=99999999999999999999999999999", "limit"),
        ("tasks?limit=1&limit=2", "limit"),
        ("tasks?session=x", "session"),
        ("tasks?session=4294967296", "session"),
        ("tasks?state=done", "state"),
        ("tasks?state=", "state"),
        ("tasks?state=failed,,", "state"),
        ("tasks?name=%00", "name"),
        ("tasks?name=" + "a" * 5000, "name"),
        ("tasks?after=17", "after"),
        ("tasks?after=1/999", "after"),
        ("tasks?after=1/99999999999", "after"),
        ("tasks?time=nan", "time"),
        ("tasks?time=inf", "time"),
        ("tasks?time=-1", "time"),
        ("tasks?time=1e999", "time"),
        ("tasks?colour=red", "colour"),
        ("tasks?%3Cscript%3E=1", "<script>"),
        ("server?limit=1", "limit"),
        ("objects?state=running", "state"),
        ("events?id=1", "id"),
        ("events?id=", "id"),
        ("events?type=birthday", "type"),
        ("events?after=9223372036854775808", "after"),
        ("events?follow=yes", "follow"),
        ("openapi.json?x=1", "x"),
    ],
)
def test_a_bad_parameter_is_named_with_what_is_allowed(served, path, parameter):
    answer = served.ask(f"/api/v1/{path}")
    assert answer.status == 400
    assert answer.kind == "application/problem+json"
    problem = answer.json
    check(served, "problem", problem)
    assert problem["parameter"] == parameter
    assert "allowed" in problem
    assert len(problem["value"]) <= 80


@pytest.mark.parametrize("path", ["tasks?name=%ff", "tasks?" + "&".join(["a=1"] * 99), "tasks/1/%ff"])
def test_what_can_not_be_read_is_refused(served, path):
    answer = served.ask(f"/api/v1/{path}")
    assert answer.status == 400
    check(served, "problem", answer.json)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("sessions/99", "session 99"),
        ("sessions/x", "'x'"),
        ("sessions/", "''"),
        ("sessions/-1", "'-1'"),
        ("sessions/99/groups", "session 99"),
        ("tasks/1/2", "task 1/2: it is a data object, 'out', made by task 1/1"),
        ("tasks/99/1", "session 99"),
        ("tasks/1/99999999999999", "'99999999999999'"),
        ("objects/1/1", "data object 1/1: it is a task"),
        ("objects/1/777", "data object 1/777"),
        ("workers/nobody", "'nobody'"),
        ("workers/" + quote("ü\u2028<b>"), "ü"),
        ("schemas/nothing", "'nothing'"),
        ("nothing", "/api/v1/nothing"),
        ("tasks/1", "/api/v1/tasks/1"),
        ("tasks/1/1/1", "/api/v1/tasks/1/1/1"),
        (f"sessions/1?time={START}", "session 1 was not there yet"),
        (f"tasks/1/1?time={START + 0.25}", "task 1/1 was not submitted yet"),
    ],
)
def test_what_is_not_there_is_named(served, path, named):
    answer = served.ask(f"/api/v1/{path}")
    assert answer.status == 404
    check(served, "problem", answer.json)
    assert named in answer.json["detail"]


def test_a_session_that_was_dropped_is_said_to_be(live):
    live.hub.model.dropped_sessions.append(7)
    assert "dropped" in live.ask("/api/v1/sessions/7").json["detail"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"])
def test_another_method_is_refused_with_those_that_are_allowed(served, method):
    for resource in RESOURCES:
        if "{" in resource.path or resource.method == "POST":
            continue
        answer = served.ask(resource.path, method)
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"
        assert answer.kind == "application/problem+json"
    answer = served.ask("/api/v1/sessions/1/cancel")
    assert answer.status == 405
    assert answer.headers["Allow"] == "POST, OPTIONS"


def test_head_is_get_without_a_body(served):
    for path in (
        "/api/v1/",
        "/api/v1/tasks?limit=2",
        "/api/v1/tasks/1/1",
        "/metrics",
        "/api/v1/openapi.json",
    ):
        whole, head = served.ask(path), served.ask(path, "HEAD")
        assert head.status == whole.status == 200
        assert head.body == b""
        assert head.kind == whole.kind
        assert head.headers["Content-Length"] == whole.headers["Content-Length"]
    assert served.ask("/api/v1/tasks/1/2", "HEAD").status == 404


def test_options_says_what_is_allowed(served):
    answer = served.ask("/api/v1/tasks", "OPTIONS")
    assert answer.status == 204
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize(
    ("accept", "status", "kind"),
    [
        ("*/*", 200, "application/json"),
        ("application/json", 200, "application/json"),
        ("application/*;q=0.1", 200, "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", 200, "application/json"),
        ("image/png", 406, "application/problem+json"),
        ("application/json;q=0", 406, "application/problem+json"),
        ("*/*, application/json;q=0", 406, "application/problem+json"),
        ("application/json;q=nan", 406, "application/problem+json"),
        (";;;,,,", 406, "application/problem+json"),
    ],
)
def test_what_is_accepted_is_answered(served, accept, status, kind):
    answer = served.ask("/api/v1/server", Accept=accept)
    assert (answer.status, answer.kind) == (status, kind)


def test_an_answer_is_not_stored(served):
    answer = served.ask("/api/v1/server")
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Etag" not in answer.headers


# Cancelling.


def test_a_session_is_cancelled_with_its_reason(live):
    calls = []
    live.hub.canceller = lambda session, reason: calls.append((session, reason))
    body = json.dumps({"reason": "wrong inputs \U0001f600"}).encode()
    answer = live.ask("/api/v1/sessions/1/cancel", "POST", body=body, Content_Type="application/json")
    assert answer.status == 202
    check(live, "cancelled", answer.json)
    assert live.ask("/api/v1/sessions/1/cancel", "POST").status == 202
    assert calls == [(1, "wrong inputs \U0001f600"), (1, "cancelled over REST")]


def test_what_can_not_be_cancelled_is_a_conflict(live):
    assert live.ask("/api/v1/sessions/2/cancel", "POST").status == 409  # failed already
    assert live.ask("/api/v1/sessions/1/cancel", "POST").status == 409  # nobody who could
    assert live.ask("/api/v1/sessions/9/cancel", "POST").status == 404


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"[]", "application/json", 400),
        (b"null", "application/json", 400),
        (b"{", "application/json", 400),
        (b'{"reason": 1}', "application/json", 400),
        (b'{"reason": null}', "application/json", 400),
        (b'{"reason": "x", "force": true}', "application/json", 400),
        (b'{"reason": "\\ud800"}', "application/json", 400),
        (b'{"reason": "\xff"}', "application/json", 400),
        (b'{"reason": "%s"}' % (b"x" * 1001), "application/json", 400),
        (b"[" * 10_000, "application/json", 400),
        (b"1" * 9_000, "application/json", 400),
        (b"x" * 20_000, "application/json", 413),
        (b'{"reason": "x"}', "text/plain", 415),
        (b"reason=x", "application/x-www-form-urlencoded", 415),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_bad_body_is_refused(live, body, kind, status):
    live.hub.canceller = lambda session, reason: pytest.fail("cancelled")
    answer = live.ask("/api/v1/sessions/1/cancel", "POST", body=body, Content_Type=kind)
    assert answer.status == status
    check(live, "problem", answer.json)


def test_a_hub_without_any_event_is_served():
    served = Served(Hub())
    try:
        check(served, "server", served.get("server"))
        for path in ("workers", "sessions", "tasks", "objects", "moves"):
            assert served.get(path) == {"items": [], "next": None, "total": 0}
        assert served.ask("/metrics").status == 200
    finally:
        served.close()


def test_values_that_json_does_not_have_are_null(live):
    live.on_loop(lambda: live.hub.model.counters.update(tasks_finished=float("nan")))
    assert live.get("server")["counters"]["tasks_finished"] is None
    live.on_loop(lambda: live.hub.log.events[-1].__setattr__("time", float("inf")))
    assert live.get("events?limit=1000")["items"]


def test_every_type_of_event_has_a_schema(served):
    kinds = served.ask("/api/v1/schemas/event").json["oneOf"]
    assert [kind["properties"]["type"]["const"] for kind in kinds] == list(KINDS)
