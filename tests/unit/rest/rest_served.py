"""A REST server over a hub, in a thread of the test's process, and a plain client for it."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.testing import bind_unused_port

from rainzmq.monitoring.hub import EventFilter, Hub, Row
from rainzmq.monitoring.rows import WorkerNames, cursor_of, matches, rows_of
from rainzmq.rest.application import make_application
from rainzmq.rest.guard import Guard
from rainzmq.testing.events import demo_history, demo_hub

TOKEN = "s3cret-token"


class ListLog:
    """An event log that is a list."""

    kind = "memory"

    def __init__(self) -> None:
        self.events: list[Any] = []

    def add(self, events: list[Any], frames: list[bytes]) -> None:
        self.events += events

    def query(self, wanted: EventFilter, limit: int) -> tuple[list[Row], int | None]:
        names: WorkerNames = {}
        found, after = [], -1 if wanted.after is None else wanted.after
        for event in self.events:
            for place, row in enumerate(rows_of(event, names)):
                cursor = cursor_of(event.number, place)
                if cursor <= after or not matches(row, wanted):
                    continue
                if len(found) == limit:
                    return found, after
                found.append(row)
                after = cursor
        return found, None

    def close(self) -> None:
        pass


ROWS = 5


def demo(end: bool = True) -> Hub:
    """The made-up history, with its events in a log."""
    hub, log = demo_hub(ROWS, end), ListLog()
    log.add(demo_history(ROWS, end), [])
    hub.log = log
    return hub


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body, parse_constant=_refuse)

    @property
    def kind(self) -> str:
        return self.headers.get_content_type()


def _refuse(name: str) -> Any:
    raise AssertionError(f"{name} is no JSON")


class Served:
    """The server. `hub` must be touched by `on_loop` only once it is followed."""

    def __init__(self, hub: Hub, make: Callable[[Hub, Guard], Any] = make_application) -> None:
        self.hub = hub
        sock, self.port = bind_unused_port()
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"
        started = threading.Event()

        def run() -> None:
            asyncio.set_event_loop(asyncio.new_event_loop())
            self.loop = IOLoop.current()
            self.application = make(hub, Guard(TOKEN, frozenset({self.host, f"localhost:{self.port}"})))
            server = HTTPServer(self.application)
            server.add_socket(sock)
            self.loop.add_callback(started.set)
            self.loop.start()
            server.stop()
            self.loop.close(all_fds=True)

        self._thread = threading.Thread(target=run)
        self._thread.start()
        assert started.wait(10)

    def close(self) -> None:
        self.loop.add_callback(self.loop.stop)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def on_loop(self, call: Callable[[], Any]) -> Any:
        """What a call on the loop's thread returns."""
        done, result = threading.Event(), []

        def run() -> None:
            result.append(call())
            done.set()

        self.loop.add_callback(run)
        assert done.wait(10)
        return result[0]

    def ask(
        self,
        path: str,
        method: str = "GET",
        token: str | None = TOKEN,
        body: bytes | None = None,
        **headers: str,
    ) -> Answer:
        """Ask for a path; `headers`: with `_` for `-`. `token`: None for no Authorization."""
        connection = self.connection()
        try:
            self.send(connection, path, method, token, body, **headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Any:
        """The JSON at a path below /api/v1/."""
        answer = self.ask("/api/v1/" + path, **headers)
        assert answer.status == 200, answer.body
        return answer.json

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)

    def send(
        self,
        connection: http.client.HTTPConnection,
        path: str,
        method: str = "GET",
        token: str | None = TOKEN,
        body: bytes | None = None,
        **headers: str,
    ) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.putrequest(method, path, skip_host="Host" in named, skip_accept_encoding=True)
        if token is not None:
            named.setdefault("Authorization", f"Bearer {token}")
        if body is not None:
            named.setdefault("Content-Length", str(len(body)))
        for name, value in named.items():
            connection.putheader(name, value)
        connection.endheaders(body)
