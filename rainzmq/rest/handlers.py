"""Serves the table of resources: one handler for all of them, strict about what it is asked.

The order of the checks: method, path (404), what is accepted (406), query (400), body (413, 415, 400); then
it is answered. What goes wrong is told as a problem, whatever it is.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import re
import sqlite3
from types import TracebackType
from typing import Any

import tornado.web
from tornado.iostream import StreamClosedError
from tornado.routing import URLSpec

from rainzmq.common.errors import RainException
from rainzmq.monitoring.hub import Hub
from rainzmq.monitoring.plain import plain
from rainzmq.protocol.schema import ProtocolError
from rainzmq.rest import metrics
from rainzmq.rest.accept import best
from rainzmq.rest.follow import Follower, Followers, TooManyFollowers, TooSlow, lines_of
from rainzmq.rest.parameters import MAX_CURSOR, read_query
from rainzmq.rest.problems import PROBLEM, Problem, problem_body
from rainzmq.rest.resource import EVENT_STREAM, JSON, PROMETHEUS, Ask, Resource
from rainzmq.rest.resources import RESOURCES, ROOT, event_filter
from rainzmq.rest.schemas import LONGEST_REASON

_log = logging.getLogger(__name__)

MAX_BODY_BYTES = 16 << 10
"""The longest body of a POST."""

HEARTBEAT_S = 15.0
"""So often those who follow get a comment when nothing happens."""

RETRY_MS = 3000
"""After so long a browser connects again."""

_LOG_ERRORS = (RainException, sqlite3.Error, ProtocolError)


class Handler(tornado.web.RequestHandler):
    """What all handlers share: headers, and errors as problems."""

    def initialize(self, hub: Hub) -> None:
        """Called by tornado."""
        self.hub = hub

    def set_default_headers(self) -> None:
        """Called by tornado."""
        self.clear_header("Server")
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Type", JSON)

    def compute_etag(self) -> str | None:
        """None: nothing is stored."""
        return None

    def check_xsrf_cookie(self) -> None:
        """The guard has looked where the request comes from."""

    def allowed(self) -> list[str]:
        """Methods that the path takes."""
        return []

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Tell an error as a problem."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        detail, more = "something went wrong here; the log of the web process says what", {}
        if isinstance(error, Problem):
            detail, more = error.detail, error.more
        elif status_code == 405:
            detail = f"{self.request.method} is not possible here; {', '.join(self.allowed())} are"
        elif isinstance(error, tornado.web.HTTPError):
            detail = "the request cannot be read"
        if status_code == 405:
            self.set_header("Allow", ", ".join(self.allowed()))
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Type", PROBLEM)
        self.finish(dumps(problem_body(status_code, detail, **more)))

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Log what is our fault, without the query."""
        if not isinstance(value, tornado.web.HTTPError):
            what = f"{self.request.method} {self.request.path:.200}"
            _log.error("%r failed", what, exc_info=(typ, value, tb))  # type: ignore[arg-type]


class UnknownHandler(Handler):
    """Answers 404 for paths that do not exist, whatever the method."""

    def prepare(self) -> None:
        """Called by tornado."""
        raise Problem(404, f"there is no {self.request.path[:80]!r}; {ROOT}/ says what there is")


class ResourceHandler(Handler):
    """Answers for one resource."""

    resource: Resource

    def initialize(
        self, hub: Hub, resource: Resource | None = None, followers: Followers | None = None
    ) -> None:
        """Called by tornado."""
        super().initialize(hub)
        assert resource is not None, "the table gives one"
        self.resource, self._followers = resource, followers
        self._follower: Follower | None = None

    def allowed(self) -> list[str]:
        """Methods that the path takes."""
        return ["GET", "HEAD", "OPTIONS"] if self.resource.method == "GET" else ["POST", "OPTIONS"]

    async def get(self, *path: str) -> None:
        """Answer."""
        await self._serve("GET", path)

    async def head(self, *path: str) -> None:
        """Answer without a body."""
        await self._serve("GET", path)

    async def post(self, *path: str) -> None:
        """Do what is asked for."""
        await self._serve("POST", path)

    def options(self, *path: str) -> None:
        """Say which methods there are."""
        self.set_header("Allow", ", ".join(self.allowed()))
        self.clear_header("Content-Type")
        self.set_status(204)

    def on_connection_close(self) -> None:
        """Called by tornado when the client is gone."""
        super().on_connection_close()
        if self._follower is not None:
            self._follower.close()

    async def _serve(self, method: str, path: tuple[str, ...]) -> None:
        if method != self.resource.method:
            raise tornado.web.HTTPError(405)
        ask = Ask(self.hub, self._path_values(path))
        media = self._media(self.resource.media)
        ask.values.update(read_query(self.request.query, self.resource.query))
        if ask["follow"]:
            media = self._media((EVENT_STREAM,))
        elif ask["follow"] is not None:
            media = self._media((JSON,))
        if method == "POST":
            ask.body = self._body()
        if media == EVENT_STREAM:
            await self._follow(ask)
            return
        self._answer(await self._made(ask), media)

    async def _made(self, ask: Ask) -> Any:
        if not self.resource.is_events:
            return self.resource.answer(ask)
        try:
            # A log on disk may be searched for long: meanwhile others are served.
            return await asyncio.get_running_loop().run_in_executor(None, self.resource.answer, ask)
        except _LOG_ERRORS as error:
            raise Problem(503, f"the event log cannot be read: {error}") from None

    def _answer(self, value: Any, media: str) -> None:
        if self.resource.method == "POST":
            self.set_status(202)
        self.set_header("Content-Type", metrics.CONTENT_TYPE if media == PROMETHEUS else media)
        self.finish(value if isinstance(value, str) else dumps(value))

    def _path_values(self, path: tuple[str, ...]) -> dict[str, Any]:
        values = {}
        for parameter, text in zip(self.resource.in_path, path, strict=True):
            try:
                values[parameter.name] = parameter.read(text or "")
            except Problem as problem:
                raise Problem(404, problem.detail, **problem.more) from None
        return values

    def _media(self, offered: tuple[str, ...]) -> str:
        found = best(", ".join(self.request.headers.get_list("Accept")), offered)
        if found is None:
            raise Problem(406, f"this is answered as {' or '.join(offered)}", allowed=list(offered))
        return found

    def _body(self) -> dict[str, Any]:
        """The JSON object of a POST; {} for none."""
        body = self.request.body
        if len(body) > MAX_BODY_BYTES:
            raise Problem(413, f"the body is longer than {MAX_BODY_BYTES} bytes")
        if not body:
            return {}
        kind = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != JSON:
            raise Problem(415, f"the body must be {JSON}")
        try:
            value = json.loads(body.decode())
        except (ValueError, RecursionError):
            raise Problem(400, "the body is not JSON in UTF-8") from None
        return _checked(value)

    # Following.

    async def _follow(self, ask: Ask) -> None:
        self.set_header("Content-Type", EVENT_STREAM)
        if self.request.method == "HEAD" or self._followers is None:
            return
        wanted = event_filter(ask)
        wanted.after = self._resumed(ask)
        try:
            follower = self._follower = self._followers.follow(wanted)
        except TooManyFollowers as error:
            raise Problem(503, str(error)) from None
        self.set_header("X-Accel-Buffering", "no")
        try:
            self.write(f"retry: {RETRY_MS}\n\n")
            await self.flush()
            async for chunk in follower.chunks(HEARTBEAT_S):
                self.write(lines_of(chunk, dumps) if chunk else ": nothing new\n\n")
                await self.flush()
        except TooSlow:
            _log.info("dropped one who followed events and did not keep up")
            self._cut()
        except _LOG_ERRORS as error:
            _log.warning("the event log cannot be read: %s", error)
            self._cut()
        except StreamClosedError:
            return  # the client is gone
        finally:
            follower.close()

    def _resumed(self, ask: Ask) -> int | None:
        """The cursor to go on from: what a browser saw last goes before what it was told to begin with."""
        seen = self.request.headers.get("Last-Event-ID", "")
        if not seen:
            after: int | None = ask["after"]
            return after
        if not re.fullmatch("[0-9]{1,19}", seen) or int(seen) > MAX_CURSOR:
            raise Problem(400, "Last-Event-ID is the `id` of an event that was received")
        return int(seen)

    def _cut(self) -> None:
        connection = self.request.connection
        stream = getattr(connection, "stream", None)
        if stream is not None:
            stream.close()


def _checked(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not value.keys() <= {"reason"}:
        raise Problem(400, 'the body must be an object such as {"reason": "..."}, with nothing else')
    reason = value.get("reason", "")
    if not isinstance(reason, str) or len(reason) > LONGEST_REASON or not _is_unicode(reason):
        raise Problem(
            400, f"`reason` must be a text of at most {LONGEST_REASON} characters", parameter="reason"
        )
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def dumps(value: Any) -> str:
    """JSON of a record or plain value: ASCII only, and never NaN."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"), default=_plain_record)
    except ValueError:
        cleaned = plain(dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value)  # type: ignore[arg-type]
        return json.dumps(cleaned, allow_nan=False, separators=(",", ":"))


def _plain_record(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} is no plain value")


def routes(hub: Hub) -> list[URLSpec]:
    """All paths of REST over a hub, for a guarded application. The hub is fed on the thread of its loop."""
    followers = Followers(hub)
    made = []
    for resource in RESOURCES:
        pattern = re.sub(r"\\\{[^}]*\}", "([^/]*)", re.escape(resource.path))
        if resource.path == ROOT + "/":
            pattern += "?"
        arguments = {"hub": hub, "resource": resource, "followers": followers}
        made.append(URLSpec(pattern, ResourceHandler, arguments))
    return [*made, URLSpec(ROOT + "/.*", UnknownHandler, {"hub": hub})]
