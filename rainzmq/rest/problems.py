"""Errors as RFC 9457 problem details: `application/problem+json`."""

from __future__ import annotations

import http
from typing import Any

import tornado.web

PROBLEM = "application/problem+json"

_LONGEST_VALUE = 80


class Problem(tornado.web.HTTPError):
    """An error that is told to whoever asked.

    Attributes:
        status_code: HTTP status.
        detail: what is wrong and what to do, human-readable.
        more: further members of the problem, such as `parameter`, `value` and `allowed`.
    """

    def __init__(self, status: int, detail: str, **more: Any) -> None:
        # The detail goes where messages are formatted with %: it is given as an argument.
        super().__init__(status, "%s", detail)
        self.detail = detail
        self.more = more


def problem_body(status: int, detail: str, **more: Any) -> dict[str, Any]:
    """The members of a problem. Long values are cut."""
    try:
        title = http.HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    return {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}


def shown(value: str) -> str:
    """A value of the request as it is repeated in a problem: not longer than 80 characters."""
    return value if len(value) <= _LONGEST_VALUE else value[: _LONGEST_VALUE - 3] + "..."


def bad_parameter(name: str, value: str, allowed: str) -> Problem:
    """400 for a parameter with a value that is not allowed."""
    value = shown(value)
    detail = f"parameter {name!r} cannot be {value!r}: it is {allowed}"
    return Problem(400, detail, parameter=name, value=value, allowed=allowed)
