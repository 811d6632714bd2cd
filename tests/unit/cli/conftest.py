"""A REST interface that is a function, and an access file that leads to it."""

from __future__ import annotations

import json
import os
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rainzmq.cli.hub_source import HubSource
from rainzmq.common.errors import RainException
from rainzmq.monitoring.hub import Hub
from rainzmq.testing.events import demo_hub
from rainzmq.transport.access import Access, HttpAccess, process_started, write_access
from rainzmq.transport.keys import KeyPair

TOKEN = "the-token"


@dataclass
class FakeRest:
    """Answers as the REST interface does, from a hub.

    Attributes:
        asked: (path with query, headers) of the requests.
        drops: connections that are closed without an answer before one is given.
        answer: what is answered instead of what the hub has: (status, body).
        page: most items of a page.
    """

    hub: Hub
    path: Path
    access: Access
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    drops: int = 0
    answer: Callable[[str], tuple[int, bytes] | None] = lambda path: None
    page: int = 1000

    def reply(self, path: str, token: str | None) -> tuple[int, bytes]:
        """Status and body for a request."""
        given = self.answer(path)
        if given is not None:
            return given
        if token != f"Bearer {TOKEN}":
            return 401, json.dumps({"title": "no", "status": 401}).encode()
        try:
            return 200, json.dumps(self._value(path)).encode()
        except RainException as error:
            return 404, json.dumps({"title": "Not Found", "status": 404, "detail": str(error)}).encode()

    def take(self, path: str, token: str | None, body: bytes) -> tuple[int, bytes]:
        """Status and body for a POST, which cancels a session."""
        assert token == f"Bearer {TOKEN}"
        number, reason = int(path.split("/")[4]), json.loads(body)["reason"]
        try:
            self.hub.cancel(number, reason)
        except RainException as error:
            return 409, json.dumps({"title": "Conflict", "status": 409, "detail": str(error)}).encode()
        return 202, json.dumps({"session_id": number, "reason": reason}).encode()

    def _value(self, target: str) -> Any:
        url = urllib.parse.urlsplit(target)
        query = dict(urllib.parse.parse_qsl(url.query))
        source, parts = HubSource(self.hub), url.path.split("/")[3:]
        if parts == ["server"]:
            return source.server()
        if parts[0] == "tasks" and len(parts) == 3:
            return source.task("/".join(parts[1:]))
        if parts[0] == "tasks":
            wanted = {name: query[name] for name in ("session", "state", "name") if name in query}
            items = source.tasks(wanted, 10**9).items
        elif parts[0] == "sessions" and len(parts) == 3:
            items = source.groups(int(parts[1]))
        else:
            items = source.workers() if parts == ["workers"] else source.sessions()
        start, limit = int(query.get("after", 0)), min(self.page, int(query["limit"]))
        end = start + limit
        return {"items": items[start:end], "next": end if end < len(items) else None, "total": len(items)}


def serve(rest: FakeRest) -> ThreadingHTTPServer:
    """An HTTP server for it on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if rest.drops > 0:
                rest.drops -= 1
                self.close_connection = True
                return
            rest.asked.append((self.path, dict(self.headers)))
            self.reply(*rest.reply(self.path, self.headers.get("Authorization")))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"] == "application/json"
            self.reply(*rest.take(self.path, self.headers.get("Authorization"), body))

        def reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return server


@pytest.fixture
def rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRest]:
    """A server of this user is running, with the made-up history; commands find it by themselves."""
    monkeypatch.setenv("RAINZMQ_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RAINZMQ_SERVER", raising=False)
    monkeypatch.delenv("RAINZMQ_ACCESS", raising=False)
    started = process_started()
    assert started is not None
    keys = {role: KeyPair.new() for role in ("client", "worker", "viewer")}
    access = Access("127.0.0.1", 7210, KeyPair.new().public, keys, 17, os.getpid(), started)
    hub = demo_hub()
    hub.is_replay, hub.is_connected = False, True
    fake = FakeRest(hub, Path(), access)
    server = serve(fake)
    access.http = HttpAccess("127.0.0.1", server.server_address[1], TOKEN)
    fake.path = write_access(access)
    yield fake
    server.shutdown()
    server.server_close()
