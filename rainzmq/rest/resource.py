"""A resource: a path, what answers it, and what it can be asked with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rainzmq.monitoring.hub import Hub
from rainzmq.monitoring.session import SessionLog
from rainzmq.rest import parameters as p
from rainzmq.rest.problems import Problem

JSON = "application/json"
SCHEMA_JSON = "application/schema+json"
EVENT_STREAM = "text/event-stream"
PROMETHEUS = "text/plain"


@dataclass(slots=True)
class Ask:
    """A request that was read: what is looked at, and the values of its parameters (None: not given).

    Attributes:
        hub: what is looked at.
        values: of the parameters in path and query, by name.
        body: the JSON object of a POST.
    """

    hub: Hub
    values: dict[str, Any]
    body: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.values.get(name)

    @property
    def time(self) -> float | None:
        """The time that is looked at, None for now."""
        return self.values.get("time")

    @property
    def limit(self) -> int:
        """Most items of the answer."""
        return self.values.get("limit") or p.DEFAULT_LIMIT

    def session(self) -> SessionLog:
        """The session that the path names.

        Raises:
            Problem: 404; there is none, or not yet at that time.
        """
        number = self["session_id"]
        found = self.hub.model.sessions.get(number)
        if found is None:
            gone = number in self.hub.model.dropped_sessions
            why = ": it ended, and was dropped to save memory" if gone else ""
            raise Problem(404, f"there is no session {number}{why}")
        if self.time is not None and found.came > self.time:
            raise Problem(404, f"session {number} was not there yet at that time")
        return found


@dataclass(frozen=True, slots=True)
class Resource:
    """A path and what it answers.

    Attributes:
        path: with `{name}` for each of `in_path`.
        summary: human-readable.
        answer: makes the answer.
        schema: name of the answer's schema; None: it is not JSON of ours.
        query: parameters in the query.
        in_path: parameters in the path.
        method: GET or POST.
        media: media types of the answer, the usual one first.
        problems: further statuses of problems it may answer.
    """

    path: str
    summary: str
    answer: Callable[[Ask], Any]
    schema: str | None = None
    query: tuple[p.Parameter, ...] = ()
    in_path: tuple[p.Parameter, ...] = ()
    method: str = "GET"
    media: tuple[str, ...] = (JSON,)
    problems: tuple[int, ...] = ()

    @property
    def is_events(self) -> bool:
        """Whether it can be followed."""
        return EVENT_STREAM in self.media
