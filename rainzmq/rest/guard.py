"""Who may ask: every request, websocket and static file passes here before anything else looks at it.

    Host, Origin  -> 403 unless on the list (a page elsewhere can neither point a name of its own at this
                     address nor open a websocket)
    token         -> 401 unless `Authorization: Bearer TOKEN`, `?token=TOKEN` or the cookie has it
    state changes -> 403 with the cookie alone, unless the browser says that the page is ours

Cookies do not know ports: a page of another server on this host is of the same "site", and SameSite alone
does not stop it. So what is asked for with the cookie by another origin is refused where the browser tells.

The token is taken out of the request once it was looked at: no handler, log or page sees it.
"""

from __future__ import annotations

import hmac
import html
import json
import logging
import re
from collections.abc import Awaitable
from typing import Any
from urllib.parse import unquote_plus

import tornado.web
from tornado.httputil import HTTPHeaders, HTTPServerRequest

from rainzmq.rest.problems import PROBLEM, problem_body

_log = logging.getLogger(__name__)

COOKIE = "rainzmq-token-"
"""Name of the cookie, up to the port: servers on one host share cookies."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_HOW = "`rainzmq dashboard` prints a link with the token; REST wants it as `Authorization: Bearer TOKEN`."


class Guard:
    """Knows the token and the names this server goes by.

    Args:
        token: what who asks must know.
        hosts: values of the Host header that are let in, such as "127.0.0.1:7222".

    Raises:
        ValueError: the token is empty, or has characters that cannot stand in a cookie.
    """

    def __init__(self, token: str, hosts: frozenset[str]) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._~+/=-]+", token):
            raise ValueError("a token is made of letters, digits and ._~+/=-")
        self._token = token.encode()
        self._hosts = frozenset(host.lower() for host in hosts)
        self._origins = frozenset(f"http://{host}" for host in self._hosts)

    def check(self, request: HTTPServerRequest) -> Refusal | None:
        """None when the request may pass. Takes the token out of its URL, in any case."""
        given = _take_token(request)
        host = request.headers.get("Host", "").lower()
        origin = request.headers.get("Origin")
        if host not in self._hosts:
            return Refusal(403, f"This server does not go by the name {host[:80]!r}.")
        if origin is not None and origin.lower() not in self._origins:
            return Refusal(403, "Pages of another origin may not ask here.")
        header = request.headers.get("Authorization")
        if header is not None:
            scheme, _, value = header.partition(" ")
            is_right = scheme.lower() == "bearer" and self._is_token(value.strip())
            return None if is_right else Refusal(401, "The token is not this server's. " + _HOW)
        if given:
            if len(given) > 1 or not self._is_token(given[0]):
                return Refusal(401, "The token is not this server's. " + _HOW)
            if request.method == "GET" and _wants_page(request) and not _is_upgrade(request):
                return _welcome(request, host, given[0])
            return None
        return self._check_cookie(request, host, origin)

    def _check_cookie(self, request: HTTPServerRequest, host: str, origin: str | None) -> Refusal | None:
        cookie = request.cookies.get(cookie_name(host))
        if cookie is None:
            return Refusal(401, "A token is needed. " + _HOW)
        if not self._is_token(cookie.value):
            return Refusal(401, "The token is not this server's: it may have been restarted. " + _HOW)
        if origin is not None:
            if origin.lower() != f"http://{host}":
                return Refusal(403, "Pages of another origin may not ask here.")
            return None
        site = request.headers.get("Sec-Fetch-Site")
        if request.method not in SAFE_METHODS and site not in ("same-origin", "none"):
            return Refusal(403, "With the cookie only pages of this server may change something.")
        is_foreign = site in ("cross-site", "same-site")
        if is_foreign and request.headers.get("Sec-Fetch-Mode") != "navigate":
            return Refusal(403, "Pages of another origin may not ask here.")
        return None

    def _is_token(self, value: str) -> bool:
        return hmac.compare_digest(value.encode("utf-8", "surrogatepass"), self._token)


class Refusal:
    """An answer that the guard gives itself.

    Attributes:
        status: HTTP status.
        detail: human-readable.
        headers: further headers.
    """

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        self.status = status
        self.detail = detail
        self.headers = headers or {}
        if status == 401:
            self.headers["WWW-Authenticate"] = 'Bearer realm="rainzmq"'


def cookie_name(host: str) -> str:
    """The name of the cookie for a value of the Host header."""
    _, colon, port = host.rpartition(":")
    return COOKIE + (port if colon and port.isascii() and port.isdigit() else "80")


def _welcome(request: HTTPServerRequest, host: str, token: str) -> Refusal | None:
    """Put the token into the cookie, and the browser to the URL without it."""
    if not request.path.startswith("/"):
        return None
    # With the host in it the target cannot be on another one, whatever the path begins with.
    target = f"http://{host}{request.uri}"
    cookie = f"{cookie_name(host)}={token}; HttpOnly; SameSite=Strict; Path=/"
    return Refusal(303, "The token is in a cookie now.", {"Location": target, "Set-Cookie": cookie})


def _take_token(request: HTTPServerRequest) -> list[str]:
    """The values of `?token=`; from here on the request is as if they had not been there."""
    uri = request.uri or ""
    path, _, query = uri.partition("?")
    if "token" not in unquote_plus(query):
        return []
    given, kept = [], []
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if unquote_plus(name) == "token":
            given.append(unquote_plus(value))
        else:
            kept.append(part)
    request.query = "&".join(kept)
    request.uri = f"{path}?{request.query}" if kept else path
    for arguments in (request.arguments, request.query_arguments):
        arguments.pop("token", None)
    return given


def _wants_html(request: HTTPServerRequest) -> bool:
    return "text/html" in request.headers.get("Accept", "").lower()


def _wants_page(request: HTTPServerRequest) -> bool:
    """A browser's visit, or a program's that follows the link of a page as a browser would."""
    if request.path.startswith(("/api/", "/metrics")):
        return _wants_html(request)
    return _wants_html(request) or "*/*" in request.headers.get("Accept", "*/*")


def _is_upgrade(request: HTTPServerRequest) -> bool:
    return "upgrade" in request.headers.get("Connection", "").lower() or "Upgrade" in request.headers


@tornado.web.stream_request_body
class RefusalHandler(tornado.web.RequestHandler):
    """Gives the guard's own answers. What a refused request has as a body is not kept."""

    refusal: Refusal

    def initialize(self, refusal: Refusal) -> None:
        """Called by tornado."""
        self.refusal = refusal

    def data_received(self, chunk: bytes) -> None:
        """Called by tornado."""

    def prepare(self) -> None:
        """Called by tornado before the body is read."""
        self._answer()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Called by tornado for methods that it does not know: they are refused all the same."""
        self._answer()

    def _answer(self) -> None:
        refusal = self.refusal
        self.set_status(refusal.status)
        self.set_header("Cache-Control", "no-store")
        for name, value in refusal.headers.items():
            self.set_header(name, value)
        if self.request.method not in SAFE_METHODS:
            self.set_header("Connection", "close")
        if refusal.status == 303:
            self.finish()
        elif _wants_html(self.request):
            self.set_header("Content-Type", "text/html; charset=utf-8")
            self.set_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
            self.finish(_page(refusal))
        else:
            self.set_header("Content-Type", PROBLEM)
            self.finish(json.dumps(problem_body(refusal.status, refusal.detail)))


def _page(refusal: Refusal) -> str:
    detail = html.escape(refusal.detail)
    return (
        "<!DOCTYPE html><html lang=en><meta charset=utf-8><title>rainzmq</title>"
        "<meta name=viewport content='width=device-width'><style>body{font:1rem/1.5 system-ui,sans-serif;"
        "max-width:40rem;margin:4rem auto;padding:0 1rem;color-scheme:light dark}</style>"
        f"<h1>This page needs its link</h1><p>{detail}</p><p>On the computer where the server runs, type "
        "<code>rainzmq dashboard</code> and open the link that it prints.</p></html>"
    )


class SecurityHeaders(tornado.web.OutputTransform):
    """Adds SECURITY_HEADERS to every answer that does not have them."""

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        """Called by tornado."""
        for name, value in SECURITY_HEADERS.items():
            if name not in headers:
                headers[name] = value
        return status_code, headers, chunk


def guarded(base: type[Any]) -> type[Any]:
    """A subclass of a tornado Application that takes a Guard as its first argument and asks it first."""

    class Guarded(base):  # type: ignore[misc]
        """An application behind a guard."""

        def __init__(self, guard: Guard, *args: Any, **kwargs: Any) -> None:
            self._guard = guard
            super().__init__(*args, **kwargs)
            self.add_transform(SecurityHeaders)

        def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
            refusal = self._guard.check(request)
            if refusal is not None:
                return self.get_handler_delegate(request, RefusalHandler, {"refusal": refusal})
            return super().find_handler(request, **kwargs)

        def log_request(self, handler: tornado.web.RequestHandler) -> None:
            log_request(handler)

    return Guarded


def log_request(handler: tornado.web.RequestHandler) -> Awaitable[None] | None:
    """Log a request without its query, which may hold a secret."""
    request, status = handler.request, handler.get_status()
    level = logging.DEBUG if status < 500 else logging.WARNING
    took_ms = 1000 * request.request_time()
    _log.log(level, "%d %s %.200r %.1f ms", status, request.method, request.path, took_ms)
    return None
