"""A scanner, a broken proxy or an ill-willed program opens connections to the dashboard and says nothing."""

from __future__ import annotations

import json
import selectors
import socket
import time
import urllib.request
from pathlib import Path

import pytest

import rainzmq
from rainzmq.dashboard.application import HEADERS_S
from rainzmq.transport.access import HttpAccess, read_access

BEGINS = (
    b"",
    b"GET /overview HTT",
    b"GET /overview HTTP/1.1\r\nHost: 127.0.0.1\r\n",
)
"""What the connections say, all of them less than a request."""

CONNECTIONS = 199


def _asked(http: HttpAccess) -> float:
    """How long REST takes to answer, s."""
    request = urllib.request.Request(f"{http.url}/api/v1/server")
    request.add_header("Authorization", f"Bearer {http.token}")
    begun = time.monotonic()
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer)["is_connected"]
    return time.monotonic() - begun


def _wait_until_closed(held: list[socket.socket], patience_s: float) -> int:
    """Wait until the other side has closed all connections; how many it has."""
    selector, deadline, closed = selectors.DefaultSelector(), time.monotonic() + patience_s, 0
    for connection in held:
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ)
    while closed < len(held) and time.monotonic() < deadline:
        for key, _ in selector.select(1.0):
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            try:
                is_closed = not connection.recv(1 << 16)
            except ConnectionError:
                is_closed = True
            if is_closed:
                closed += 1
                selector.unregister(connection)
    selector.close()
    return closed


@pytest.mark.slow  # it waits for as long as a connection may be silent
def test_connections_that_ask_nothing_are_closed_and_do_not_keep_others_out(home: Path) -> None:
    with rainzmq.LocalCluster(workers=[1], http_port=0, pin="none") as cluster:
        http = read_access(cluster.access_file).http
        assert http is not None
        _asked(http)
        held = []
        try:
            for number in range(CONNECTIONS):
                held.append(socket.create_connection((http.host, http.port), timeout=10))
                held[-1].sendall(BEGINS[number % len(BEGINS)])
            assert _asked(http) < HEADERS_S / 2, "one who asks waits for those who do not"
            assert _wait_until_closed(held, 2 * HEADERS_S) == CONNECTIONS
            _asked(http)
        finally:
            for connection in held:
                connection.close()
