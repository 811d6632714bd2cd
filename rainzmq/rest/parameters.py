"""Parameters of requests: declared once, for reading them strictly and for the OpenAPI document."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from rainzmq.common.ids import MAX_ID, MAX_SESSION_ID
from rainzmq.common.states import DataObjectState, TaskState
from rainzmq.monitoring.rows import KINDS
from rainzmq.monitoring.views import parse_id
from rainzmq.rest.problems import Problem, bad_parameter, shown
from rainzmq.rest.schemas import NAMES

MAX_LIMIT = 1000
DEFAULT_LIMIT = 100
LONGEST_VALUE = 4096
"""Characters of a parameter."""

MAX_TIME = 1e11
"""Latest time that is taken, s since the epoch."""

MAX_CURSOR = (1 << 63) - 1
_MAX_FIELDS = 50
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,3})?")
"""A number as JSON has it: as the schemas promise."""

Parse = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter.

    Attributes:
        name: as it stands in the query or path.
        description: human-readable.
        schema: JSON schema of its value.
        allowed: what values it takes, human-readable: "a time in s since the epoch".
        parse: its value from its text; raises ValueError when it is none.
    """

    name: str
    description: str
    schema: dict[str, Any]
    allowed: str
    parse: Parse

    def read(self, text: str) -> Any:
        """Its value.

        Raises:
            Problem: 400; the text is not allowed.
        """
        if len(text) > LONGEST_VALUE or "\x00" in text:
            raise bad_parameter(self.name, text, f"{self.allowed}, of at most {LONGEST_VALUE} characters")
        try:
            return self.parse(text)
        except ValueError:
            raise bad_parameter(self.name, text, self.allowed) from None


def read_query(query: str, parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    """Values of the parameters that a query has, by name; None for those that it has not.

    Raises:
        Problem: 400; a parameter is not known, stands twice or has a value that is not allowed.
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise Problem(400, "the query cannot be read: it is not UTF-8, or too long") from None
    known = {parameter.name: parameter for parameter in parameters}
    values: dict[str, Any] = dict.fromkeys(known)
    seen = set()
    for name, text in pairs:
        if name not in known:
            allowed = ", ".join(known) or "none"
            more = {"parameter": shown(name), "value": shown(text), "allowed": list(known)}
            raise Problem(400, f"there is no parameter {shown(name)!r} here; there are: {allowed}", **more)
        if name in seen:
            raise bad_parameter(name, text, "given once only")
        seen.add(name)
        values[name] = known[name].read(text)
    return values


def _number(low: int, high: int) -> Parse:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,19}", text) or not low <= int(text) <= high:
            raise ValueError(text)
        return int(text)

    return parse


def _time(text: str) -> float:
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not 0 <= value <= MAX_TIME:
        raise ValueError(text)
    return value


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


def _some_of(names: tuple[str, ...]) -> Parse:
    def parse(text: str) -> frozenset[str]:
        found = frozenset(text.split(","))
        if not found <= set(names):
            raise ValueError(text)
        return found

    return parse


def _ids(text: str) -> frozenset[int]:
    return frozenset(parse_id(item).uid for item in text.split(","))


def _integer(name: str, description: str, low: int, high: int, **more: Any) -> Parameter:
    schema = {"type": "integer", "minimum": low, "maximum": high, **more}
    return Parameter(name, description, schema, f"a whole number from {low} to {high}", _number(low, high))


def _moment(name: str, description: str) -> Parameter:
    schema = {"type": "number", "minimum": 0, "maximum": MAX_TIME}
    return Parameter(name, description, schema, "a time in s since the epoch", _time)


def _choice(name: str, description: str, choices: Iterable[str]) -> Parameter:
    names = tuple(map(str, choices))
    schema = {"type": "array", "items": {"type": "string", "enum": list(names)}, "minItems": 1}
    return Parameter(name, description, schema, f"one or several of {', '.join(names)}", _some_of(names))


_ID = {"type": "string", "pattern": "^[0-9]{1,9}/[0-9]{1,9}$"}
_TEXT = {"type": "string", "maxLength": LONGEST_VALUE, "pattern": "^[^\\x00]*$"}

TIME = _moment("time", "show it as it was then, s since the epoch; without it as it is now")
LIMIT = _integer("limit", "most items of an answer", 1, MAX_LIMIT, default=DEFAULT_LIMIT)
AFTER_NUMBER = _integer("after", "`next` of the answer before", 0, MAX_CURSOR)
AFTER_ID = Parameter("after", "`next` of the answer before", _ID, "`next` of another answer", parse_id)
SESSION = _integer("session", "only of this session", 0, MAX_SESSION_ID)
WORKER = Parameter("worker", "only of the worker of this worker_id", _TEXT, "a worker_id", str)
TASK_STATE = _choice("state", "only tasks in one of these states", TaskState)
OBJECT_STATE = _choice("state", "only objects in one of these states", DataObjectState)
NAME = Parameter(
    "name", "only tasks of this name; with a `/` at its end: those whose name begins so", _TEXT, "a name", str
)
IDS = Parameter(
    "id",
    "only events about these tasks or objects",
    {"type": "array", "items": _ID, "minItems": 1},
    "one or several ids such as 3/17",
    _ids,
)
TYPE = _choice("type", "only events of these types", KINDS)
SINCE = _moment("since", "only events at this time or later, s since the epoch")
UNTIL = _moment("until", "only events before this time, s since the epoch")
FOLLOW = Parameter(
    "follow",
    "answer as server-sent events, as they come; as does `Accept: text/event-stream`",
    {"type": "boolean"},
    "true or false",
    _flag,
)

# In paths.

SESSION_ID = _integer("session_id", "the session", 0, MAX_SESSION_ID)
LOCAL_ID = _integer("id", "number within its session", 0, MAX_ID)
WORKER_ID = Parameter(
    "worker_id", "its worker_id", {**_TEXT, "minLength": 1, "pattern": "^[^/\\x00]+$"}, "a worker_id", str
)
SCHEMA_NAME = Parameter("name", "name of the schema", {"type": "string", "enum": list(NAMES)}, "a name", str)
