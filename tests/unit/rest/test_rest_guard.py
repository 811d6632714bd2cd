"""Who may ask: every path, verb, static file and websocket."""

from __future__ import annotations

import logging

import pytest
from rest_served import TOKEN, Served
from tornado.web import Application, StaticFileHandler
from tornado.websocket import WebSocketHandler

from rainzmq.rest.guard import SECURITY_HEADERS, Guard, cookie_name, guarded
from rainzmq.rest.resources import RESOURCES

PATHS = [
    resource.path.replace("{session_id}/{id}", "1/1")
    .replace("{session_id}", "1")
    .replace("{worker_id}", "127.0.0.1:5001")
    .replace("{name}", "task")
    for resource in RESOURCES
] + ["/", "/nothing", "/api/v1/nothing"]
VERBS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


def cookie(served: Served, value: str = TOKEN) -> dict[str, str]:
    return {"Cookie": f"{cookie_name(served.host)}={value}"}


@pytest.mark.parametrize("verb", VERBS)
def test_nothing_is_answered_without_the_token(served, verb):
    for path in PATHS:
        answer = served.ask(path, verb, token=None)
        assert answer.status == 401, path
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.headers["Cache-Control"] == "no-store"
        if verb != "HEAD":
            assert answer.kind == "application/problem+json"
            assert "rainzmq dashboard" in answer.json["detail"]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Host": ""}, {"Origin": "http://evil.example"}, {"Origin": "null"}],
    ids=str,
)
def test_a_foreign_host_or_origin_is_refused_even_with_the_token(served, verb, headers):
    for path in PATHS:
        assert served.ask(path, verb, **headers).status == 403, path


def test_the_host_must_have_the_port(served):
    assert served.ask("/api/v1/", Host="127.0.0.1").status == 403
    assert served.ask("/api/v1/", Host=f"LOCALHOST:{served.port}").status == 200


def test_https_of_the_same_host_is_another_origin(served):
    assert served.ask("/api/v1/", Origin=f"https://{served.host}").status == 403
    assert served.ask("/api/v1/", Origin=served.url).status == 200


@pytest.mark.parametrize("token", ["", "s3cret-toke", "s3cret-tokenx", "S3CRET-TOKEN", "é"])
@pytest.mark.parametrize("scheme", ["Bearer ", "bearer "])
def test_a_wrong_token_is_refused(served, token, scheme):
    assert served.ask("/api/v1/", Authorization=(scheme + token)).status == 401


def test_a_wrong_token_is_not_saved_by_another_way_of_giving_it(served):
    assert served.ask(f"/api/v1/?token={TOKEN}", token="wrong").status == 401
    assert served.ask("/api/v1/?token=wrong", token=None, **cookie(served)).status == 401
    assert served.ask(f"/api/v1/?token=wrong&token={TOKEN}", token=None).status == 401


def test_basic_authorization_is_refused(served):
    assert served.ask("/api/v1/", Authorization=f"Basic {TOKEN}").status == 401


def test_the_token_in_the_query_is_taken_out_before_the_query_is_read(served):
    answer = served.ask(f"/api/v1/tasks?limit=1&token={TOKEN}", token=None)
    assert answer.status == 200
    assert len(answer.json["items"]) == 1


def test_a_page_visit_puts_the_token_into_a_cookie_and_leads_to_the_url_without_it(served):
    answer = served.ask(f"/api/v1/tasks?limit=1&token={TOKEN}&name=a%26b", token=None, Accept="text/html")
    assert answer.status == 303
    assert answer.headers["Location"] == f"{served.url}/api/v1/tasks?limit=1&name=a%26b"
    parts = answer.headers["Set-Cookie"].split("; ")
    assert parts[0] == f"rainzmq-token-{served.port}={TOKEN}"
    assert set(parts[1:]) == {"HttpOnly", "SameSite=Strict", "Path=/"}
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert served.ask("/api/v1/tasks", token=None, Cookie=parts[0]).status == 200


@pytest.mark.parametrize(
    "path", ["//evil.example/", "/\\evil.example/", "@evil.example/", "http://evil.example/"]
)
def test_the_redirect_stays_on_this_server(served, path):
    answer = served.ask(f"{path}?token={TOKEN}", token=None, Accept="text/html")
    location = answer.headers.get("Location", served.url + "/")
    assert location.startswith(served.url + "/")


def test_a_program_that_follows_the_link_of_a_page_is_let_in_as_a_browser_is(served):
    assert served.ask(f"/overview?token={TOKEN}", token=None, Accept="*/*").status == 303
    assert served.ask(f"/api/v1/server?token={TOKEN}", token=None, Accept="*/*").status == 200


def test_a_wrong_token_sets_no_cookie(served):
    answer = served.ask("/?token=wrong", token=None, Accept="text/html,*/*")
    assert answer.status == 401
    assert "Set-Cookie" not in answer.headers


def test_a_browser_is_told_how_to_get_the_link(served):
    answer = served.ask("/?token=%3Cscript%3E", token=None, Accept="text/html,*/*;q=0.8")
    assert answer.status == 401
    assert answer.kind == "text/html"
    assert b"rainzmq dashboard" in answer.body
    assert b"<script" not in answer.body
    refused = served.ask("/", Host="a&b", Accept="text/html")
    assert refused.status == 403
    assert b"a&amp;b" in refused.body


def test_the_cookie_of_another_server_on_the_host_does_not_count(served):
    assert served.ask("/api/v1/", token=None, Cookie=f"rainzmq-token-1={TOKEN}").status == 401
    both = f"rainzmq-token-1=other; {cookie(served)['Cookie']}"
    assert served.ask("/api/v1/", token=None, Cookie=both).status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 409),
        ({"Sec-Fetch-Site": "none"}, 409),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "own"}, 409),
        ({"Origin": "localhost"}, 403),
    ],
    ids=str,
)
def test_the_cookie_changes_something_only_from_our_own_pages(served, headers, status):
    origins = {"own": served.url, "localhost": f"http://localhost:{served.port}"}
    headers = {name: origins.get(value, value) for name, value in headers.items()}
    answer = served.ask("/api/v1/sessions/1/cancel", "POST", token=None, **headers, **cookie(served))
    assert answer.status == status


def test_with_the_cookie_another_origin_reads_nothing_but_may_link_here(served):
    foreign = {"Sec-Fetch-Site": "same-site", **cookie(served)}
    assert served.ask("/api/v1/", token=None, **{**foreign, "Sec-Fetch-Mode": "no-cors"}).status == 403
    assert served.ask("/api/v1/", token=None, **{**foreign, "Sec-Fetch-Mode": "navigate"}).status == 200


def test_every_answer_has_the_security_headers(served):
    for path in PATHS:
        for token in (TOKEN, None):
            answer = served.ask(path, token=token)
            for name, value in SECURITY_HEADERS.items():
                assert answer.headers[name] == value, path


def test_static_files_and_websockets_pass_the_guard(tmp_path):
    class Echo(WebSocketHandler):
        pass

    (tmp_path / "file.js").write_text("1")

    def make(hub, guard):
        static = ("/static/(.*)", StaticFileHandler, {"path": str(tmp_path)})
        return guarded(Application)(guard, [static, ("/ws", Echo)])

    served = Served(None, make)
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    try:
        assert served.ask("/static/file.js", token=None).status == 401
        assert served.ask("/static/file.js").body == b"1"
        assert served.ask("/static/file.js").headers["X-Content-Type-Options"] == "nosniff"
        assert served.ask("/ws", token=None, **upgrade).status == 401
        assert served.ask("/ws", Origin="http://evil.example", **upgrade).status == 403
        other = {"Origin": f"http://localhost:{served.port}", **cookie(served), **upgrade}
        assert served.ask("/ws", token=None, **other).status == 403
        own = {"Origin": served.url, **cookie(served), **upgrade}
        connection = served.connection()
        served.send(connection, "/ws", token=None, **own)
        assert connection.getresponse().status == 101
        connection.close()
    finally:
        served.close()


def test_the_token_is_in_no_log(served, caplog):
    caplog.set_level(logging.DEBUG)
    served.ask(f"/api/v1/tasks?token={TOKEN}&bad=1", token=None)
    served.ask(f"/api/v1/tasks?%74oken={TOKEN}", token=None)
    served.ask(f"/nothing?token={TOKEN}x", token=None)
    served.ask("/api/v1/tasks")
    assert "/api/v1/tasks" in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("token", ["", "a b", "a;b", "a\nb", "é"])
def test_a_guard_needs_a_token_that_can_stand_in_a_cookie(token):
    with pytest.raises(ValueError, match="token"):
        Guard(token, frozenset({"127.0.0.1:1"}))


def test_a_refused_request_is_answered_before_its_body_is_there(served):
    connection = served.connection()
    served.send(connection, "/api/v1/sessions/1/cancel", "POST", token=None, **{"Content-Length": "50000000"})
    assert connection.getresponse().status == 401
    connection.close()
