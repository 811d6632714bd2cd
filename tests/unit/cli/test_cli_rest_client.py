"""The server that is running is asked over HTTP; whatever is wrong is said."""

from __future__ import annotations

import json
import socket

import pytest

from rainzmq.cli.rest_client import RestSource
from rainzmq.common.errors import RainException
from rainzmq.transport.access import HttpAccess, find_access, write_access


def test_items_are_those_of_rest_and_the_token_goes_in_a_header(rest):
    source = RestSource(find_access())

    assert [item["worker_id"] for item in source.workers()] == ["127.0.0.1:5001", "127.0.0.1:5002"]
    assert source.server()["version"] == "0.0"
    assert source.task("1/1")["name"] == "load/parse"
    assert [item["name"] for item in source.groups(2)] == ["bad"]
    for path, headers in rest.asked:
        assert headers["Authorization"] == "Bearer the-token"
        assert "the-token" not in path


def test_all_pages_are_read_up_to_the_limit(rest):
    rest.page = 7

    page = RestSource(find_access()).tasks({"session": "1"}, 20)

    assert len({item["id"] for item in page.items}) == 20
    assert page.total == 41
    assert len(RestSource(find_access()).tasks({}, 10**9).items) == 43
    assert len(RestSource(find_access()).tasks({"state": "failed"}, 100).items) == 1


def test_web_process_that_is_started_again_is_waited_for(rest):
    rest.drops = 3

    assert RestSource(find_access()).server()["version"] == "0.0"


def test_web_process_that_moved_is_found_by_the_access_file(rest):
    source = RestSource(find_access())
    there = rest.access.http
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    source._http = HttpAccess("127.0.0.1", port, "old")

    assert source.server()["version"] == "0.0"
    assert source._http == there


def test_web_process_that_stays_away_is_an_error_that_says_where(rest, monkeypatch):
    monkeypatch.setattr("rainzmq.cli.rest_client.RETRY_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    rest.access.http = HttpAccess("127.0.0.1", port, "t")
    write_access(rest.access)

    with pytest.raises(RainException, match=rf"127.0.0.1:7210 does not answer at http://127.0.0.1:{port}: "):
        RestSource(find_access()).server()


def test_server_without_a_dashboard_is_an_error_that_says_what_helps(rest):
    rest.access.http = None
    write_access(rest.access)

    with pytest.raises(
        RainException, match=r"no dashboard.*--no-dashboard.*pip install 'rainzmq\[dashboard\]'"
    ):
        RestSource(find_access())


def test_no_server_is_an_error(rest):
    rest.path.unlink()

    with pytest.raises(RainException, match="no running server"):
        RestSource(find_access())


def test_wrong_token_is_an_error_that_names_the_file(rest):
    rest.access.http = HttpAccess("127.0.0.1", rest.access.http.port, "other")
    write_access(rest.access)

    with pytest.raises(RainException, match=f"does not take the token of {rest.path}"):
        RestSource(find_access()).workers()


def test_reason_of_a_refusal_is_told_harmless(rest):
    problem = json.dumps({"title": "t", "detail": "there is no \x1b[31mtask"}).encode()
    rest.answer = lambda path: (404, problem)
    with pytest.raises(RainException, match=r"there is no \\x1b\[31mtask"):
        RestSource(find_access()).task("9/9")

    rest.answer = lambda path: (500, b"<html>")
    with pytest.raises(RainException, match="answered 500"):
        RestSource(find_access()).task("9/9")


@pytest.mark.parametrize("body", [b"hello", b"[1]", b"\xff", b"[" * 100_000])
def test_what_is_no_rest_interface_is_said_to_be_none(rest, body):
    rest.answer = lambda path: (200, body)

    with pytest.raises(RainException, match="it is not the web process of rainzmq"):
        RestSource(find_access()).server()


def test_page_without_items_is_said_to_be_none(rest):
    rest.answer = lambda path: (200, b"{}")

    with pytest.raises(RainException, match="a page without items"):
        RestSource(find_access()).workers()


def test_token_is_not_taken_elsewhere(rest):
    rest.answer = lambda path: (302, b"")

    with pytest.raises(RainException, match="answered 302"):
        RestSource(find_access()).server()


def test_proxies_are_not_used(rest, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    assert RestSource(find_access()).server()["version"] == "0.0"


def test_pages_on_the_loopback_of_another_machine_are_told_with_ways_to_them(rest, monkeypatch):
    monkeypatch.setattr("rainzmq.cli.rest_client.RETRY_S", 0.0)
    access, port = rest.access, rest.access.http.port
    access.hostname, access.path = "node0", None
    ways = (
        f"run this on node0, or start the server with --http-listen .* ssh -L {port}:127.0.0.1:{port} node0"
    )
    access.http = HttpAccess("127.0.0.1", port, "that of another server, which has the port here")
    with pytest.raises(RainException, match=ways):
        RestSource(access).workers()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    access.http = HttpAccess("127.0.0.1", port, "x")
    ways = f"does not answer .* ssh -L {port}:127.0.0.1:{port} node0"
    with pytest.raises(RainException, match=ways):
        RestSource(access).workers()
