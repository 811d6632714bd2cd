"""Items of a running server, from the REST interface of its web process.

The access file says where that is, and holds the token. When the web process ends the server restarts it,
so a connection that breaks is tried again for `RETRY_S`.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import IO, Any

from rainzmq.cli.extra import EXTRA
from rainzmq.cli.source import FirstTasks, Item
from rainzmq.cli.terminal import clean
from rainzmq.common.errors import RainException
from rainzmq.transport.access import Access, HttpAccess, find_access
from rainzmq.transport.net import format_address, is_loopback

RETRY_S = 2.0
"""So long a web process that is not there is waited for."""

_TIMEOUT_S = 10.0
_PAUSE_S = 0.1
_PAGE = 1000
"""Items asked for at once."""

_MOST_BYTES = 64 << 20
"""No answer is longer; a longer one is not ours."""

_UNAUTHORIZED = 401


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token goes to the web process and nowhere else."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        """Not followed: it becomes an error."""


class RestSource:
    """A `Source` that asks the server of an access file.

    Raises:
        RainException: it has no dashboard.
    """

    is_live = True

    def __init__(self, access: Access) -> None:
        self._access = access
        self._http = _http_of(access)
        # No proxy: the token is a secret, and what is meant is mostly on loopback.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())

    @property
    def place(self) -> str:
        """The server's address."""
        return f"on {self._where}"

    def server(self) -> Item:
        """The server."""
        return self._get("server")

    def workers(self) -> list[Item]:
        """All workers."""
        return self._all("workers")

    def sessions(self) -> list[Item]:
        """All sessions."""
        return self._all("sessions")

    def groups(self, session_id: int) -> list[Item]:
        """The tasks of a session by the parts of their names."""
        return self._all(f"sessions/{session_id}/groups")

    def tasks(self, wanted: dict[str, str], limit: int) -> FirstTasks:
        """Up to `limit` tasks of those that are wanted."""
        return self._pages("tasks", wanted, limit)

    def task(self, task_id: str) -> Item:
        """All about a task."""
        return self._get(f"tasks/{task_id}")

    def cancel(self, session_id: int, reason: str) -> None:
        """Tell the server to end a session. It is over when its state says so.

        Raises:
            RainException: the session is unknown or over, or the server cannot be told.
        """
        self._ask(f"sessions/{session_id}/cancel", json.dumps({"reason": reason}).encode())

    # Requests.

    def _all(self, path: str) -> list[Item]:
        return self._pages(path, {}, None).items

    def _pages(self, path: str, wanted: dict[str, str], limit: int | None) -> FirstTasks:
        items: list[Item] = []
        cursor, total = None, 0
        while True:
            ask = _PAGE if limit is None else min(_PAGE, limit - len(items))
            query = {**wanted, "limit": str(max(1, ask))}
            if cursor is not None:
                query["after"] = str(cursor)
            page = self._get(f"{path}?{urllib.parse.urlencode(query)}")
            try:
                items += page["items"]
                cursor, total = page["next"], page.get("total", len(items))
            except (KeyError, TypeError):
                raise self._odd("a page without items") from None
            if cursor is None or (limit is not None and len(items) >= limit):
                return FirstTasks(items if limit is None else items[:limit], total)

    def _get(self, path: str) -> Item:
        return self._ask(path, None)

    def _ask(self, path: str, body: bytes | None) -> Item:
        """The answer to a GET, or to a POST of a body."""
        deadline = time.monotonic() + RETRY_S
        while True:
            try:
                return self._once(path, body)
            except urllib.error.HTTPError as error:
                raise self._refused(error) from None
            except (OSError, http.client.HTTPException) as error:
                if time.monotonic() > deadline:
                    raise self._silent(error) from None
            time.sleep(_PAUSE_S)
            self._look_again()

    def _once(self, path: str, body: bytes | None) -> Item:
        headers = {"Authorization": f"Bearer {self._http.token}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(f"{self._http.url}/api/v1/{path}", body, headers)
        with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
            value = _decoded(answer)
        if not isinstance(value, dict):
            raise self._odd("something else than JSON")
        return value

    def _look_again(self) -> None:
        """The server may have been restarted, at another port."""
        try:
            self._access = find_access(None, None, self._access.path) if self._access.path else self._access
            self._http = _http_of(self._access)
        except RainException:
            return  # what was tried last is the better thing to tell of

    # Errors.

    @property
    def _where(self) -> str:
        return format_address(self._access.address, self._access.port)

    def _refused(self, error: urllib.error.HTTPError) -> RainException:
        if error.code == _UNAUTHORIZED:
            return RainException(
                f"the web process at {self._http.url} does not take the token of {self._access.path}; "
                f"is this the access file of an earlier server?{self._elsewhere()}"
            )
        problem = _decoded(error)
        detail = problem.get("detail") or problem.get("title") if isinstance(problem, dict) else None
        text = detail or f"{self._http.url} answered {error.code} {error.reason}"
        return RainException(clean(text, keep_lines=True))

    def _silent(self, error: Exception) -> RainException:
        reason = getattr(error, "reason", error)
        text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        return RainException(
            f"the web process of the server {self._where} does not answer at {self._http.url}: {text}; "
            f"see the log of the server{self._elsewhere()}"
        )

    def _elsewhere(self) -> str:
        """A hint when the web process can be asked on the server's machine only, and this is another one."""
        host = self._access.hostname
        if not is_loopback(self._http.host) or host == socket.gethostname():
            return ""
        return (
            f". It is on another machine and listens on its loopback only: run this on {host}, or start the "
            f"server with --http-listen HOST:PORT, or open a tunnel: "
            f"ssh -L {self._http.port}:{format_address(self._http.host, self._http.port)} {host}"
        )

    def _odd(self, what: str) -> RainException:
        return RainException(f"{self._http.url} answered {what}: it is not the web process of rainzmq")


def _http_of(access: Access) -> HttpAccess:
    if access.http is None:
        where = format_address(access.address, access.port)
        raise RainException(
            f"the server {where} has no dashboard, which this command asks: it was started with "
            f"--no-dashboard, or there is not all there that it takes: {EXTRA}"
        )
    return access.http


def _decoded(answer: IO[bytes]) -> Any:
    """The JSON of an answer, None when it is none."""
    try:
        return json.loads(answer.read(_MOST_BYTES))
    except (ValueError, RecursionError):
        return None
