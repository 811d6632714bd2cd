"""Where the dashboard listens, and what is said when it cannot."""

from __future__ import annotations

import importlib.util
import socket
from contextlib import closing

import pytest

from rainzmq.common.errors import RainException
from rainzmq.common.limits import DEFAULT_HTTP_PORT
from rainzmq.server import web
from rainzmq.server.web import bind_http, missing_packages


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def close_all(sockets):
    for item in sockets:
        item.close()


def test_any_free_port_can_be_had():
    (bound,) = bind_http("127.0.0.1", 0)
    with closing(bound):
        host, port = bound.getsockname()
        assert (host, port > 0) == ("127.0.0.1", True)
        assert bound.gettimeout() == 0, "an accept that finds nothing must not wait"


def test_a_port_that_was_asked_for_and_is_taken_is_an_error_that_says_what_to_do(taken):
    with pytest.raises(RainException, match=rf"cannot listen on 127\.0\.0\.1:{taken}: .*--http-listen"):
        bind_http("127.0.0.1", taken)


def test_without_a_wish_another_port_is_taken_when_the_usual_one_is_not_free(monkeypatch, taken):
    monkeypatch.setattr(web, "DEFAULT_HTTP_PORT", taken)
    (bound,) = bind_http("127.0.0.1", None)
    with closing(bound):
        assert bound.getsockname()[1] not in (0, taken)
    assert DEFAULT_HTTP_PORT == 7222


def test_all_addresses_of_a_name_get_the_same_port(monkeypatch):
    monkeypatch.setattr(web, "resolve", lambda host: ["127.0.0.1", "::1"])
    bound = bind_http("localhost", 0)
    try:
        assert len({item.getsockname()[1] for item in bound}) == 1
        assert {item.family for item in bound} <= {socket.AF_INET, socket.AF_INET6}
    finally:
        close_all(bound)


def test_a_host_that_is_not_ours_is_an_error():
    with pytest.raises(RainException, match=r"cannot listen on 192\.0\.2\.1:0"):
        bind_http("192.0.2.1", 0)


def test_what_is_not_installed_is_named(monkeypatch):
    assert missing_packages() == []
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "bokeh" else found(name))
    assert missing_packages() == ["bokeh"]
