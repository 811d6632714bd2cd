"""JSON schemas of everything REST answers, made from the records of `monitoring.shapes` and the fields of
`monitoring.rows`: declared there once, with the text beside each field as its description.
"""

from __future__ import annotations

import dataclasses
import typing
from enum import Enum
from functools import cache
from typing import Annotated, Any, Generic, TypeVar

from pydantic import TypeAdapter

from rainzmq.monitoring import shapes
from rainzmq.monitoring.rows import FIELDS

Schema = dict[str, Any]
Item = TypeVar("Item")

LONGEST_REASON = 1000
"""Characters of the reason for cancelling a session."""

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclasses.dataclass(slots=True)
class ListPart(Generic[Item]):
    """Part of a list."""

    items: Annotated[list[Item], "items in order"]
    next: Annotated[str | int | None, "give it as `after` to get what follows; null: there is no more"]
    total: Annotated[int | None, "how many there are in all pages; null: not counted"]


@dataclasses.dataclass(slots=True)
class SessionCancelled:
    """A session is about to be cancelled: it has ended when its state says so."""

    session_id: Annotated[int, "the session"]
    reason: Annotated[str, "as it was given"]


@dataclasses.dataclass(slots=True)
class Link:
    """Something to ask for."""

    path: Annotated[str, "its path; {..} stands for what is to be filled in"]
    methods: Annotated[list[str], "HTTP methods it takes"]
    summary: Annotated[str, "what it is"]


@dataclasses.dataclass(slots=True)
class Index:
    """What there is to ask for."""

    version: Annotated[str, "version of rainzmq"]
    links: Annotated[list[Link], "all paths"]


@dataclasses.dataclass(slots=True)
class ProblemDetails:
    """What is wrong with a request (RFC 9457). Further members say more."""

    type: Annotated[str, "about:blank: the status says it"]
    title: Annotated[str, "the status in words"]
    status: Annotated[int, "HTTP status"]
    detail: Annotated[str, "what is wrong, and what to do"]


_RECORDS: dict[str, type[Any]] = {
    "server": shapes.ServerView,
    "worker": shapes.WorkerView,
    "session": shapes.SessionView,
    "group": shapes.GroupView,
    "task": shapes.TaskView,
    "task_detail": shapes.TaskDetail,
    "object": shapes.ObjectView,
    "move": shapes.MoveView,
    "cancelled": SessionCancelled,
    "index": Index,
    "problem": ProblemDetails,
}
_PAGES = {
    "workers": "worker",
    "sessions": "session",
    "groups": "group",
    "tasks": "task",
    "objects": "object",
    "moves": "move",
    "events": "event",
}
_INPUTS = ("cancel",)

NAMES: tuple[str, ...] = (*_RECORDS, "event", *_PAGES, *_INPUTS)
"""Names of all schemas; those of lists are plural."""


@cache
def schema(name: str) -> Schema:
    """The schema of that name, whole in itself.

    Raises:
        KeyError: there is none.
    """
    if name in _RECORDS:
        made = _of_record(_RECORDS[name])
    elif name in _PAGES:
        made = _of_page(name)
    else:
        made = {"event": _event, "cancel": _cancel}[name]()
    return {"$schema": DIALECT, **made}


def _of_record(kind: type[Any]) -> Schema:
    made = TypeAdapter(kind).json_schema(mode="serialization", ref_template="#/$defs/{model}")
    for name, definition in made.get("$defs", {}).items():
        part = _class_of(name, kind)
        if issubclass(part, Enum):
            definition["description"] = (part.__doc__ or "").partition("\n")[0]
        else:
            _describe(definition, part)
    _describe(made, kind)
    if kind is ProblemDetails:
        made["additionalProperties"] = True
    return made


def _of_page(name: str) -> Schema:
    made = _of_record(ListPart)
    item = schema(_PAGES[name])
    definitions = {**item.get("$defs", {})}
    definitions[_PAGES[name]] = {key: value for key, value in item.items() if key not in ("$defs", "$schema")}
    made["properties"]["items"]["items"] = {"$ref": f"#/$defs/{_PAGES[name]}"}
    made["title"] = name.capitalize()
    return {**made, "$defs": definitions}


def _describe(made: Schema, kind: type[Any]) -> None:
    """Put the texts beside the fields into a schema; every field is there, and no other."""
    hints = typing.get_type_hints(kind, include_extras=True)
    made["description"] = (kind.__doc__ or "").strip()
    made["additionalProperties"] = False
    made["required"] = [field.name for field in dataclasses.fields(kind)]
    for name, property_ in made["properties"].items():
        property_.pop("title", None)
        property_.pop("default", None)
        texts = [text for text in getattr(hints[name], "__metadata__", ()) if isinstance(text, str)]
        if texts:
            property_["description"] = texts[0]


def _class_of(name: str, root: type[Any]) -> type[Any]:
    found = getattr(shapes, name, None) or globals().get(name)
    assert isinstance(found, type), f"{name}, a part of {root.__name__}, is no record"
    return found


def _event() -> Schema:
    common = {
        "number": {"type": "integer", "description": "number of the event, from 1 in each life of a server"},
        "time": {"type": "number", "description": "when it happened, s since the epoch"},
        "type": {"type": "string"},
        "session_id": {"type": ["integer", "null"], "description": "the session"},
        "id": {"type": ["string", "null"], "description": "the task or object, such as 3/17"},
        "worker": {"type": ["string", "null"], "description": "the worker's worker_id"},
    }
    kinds: list[Schema] = []
    for kind, fields in FIELDS.items():
        own = {name: {"description": text} for name, text in fields.items()}
        properties = {**common, "type": {"const": kind}, **own}
        kinds.append(
            {
                "title": kind,
                "type": "object",
                "properties": properties,
                "required": list(properties),
                "additionalProperties": False,
            }
        )
    return {"title": "Event", "description": "An event about one thing.", "oneOf": kinds}


def _cancel() -> Schema:
    reason = {
        "type": "string",
        "maxLength": LONGEST_REASON,
        "default": "",
        "description": "told to the session's client",
    }
    return {
        "title": "Cancel",
        "description": "How to cancel a session.",
        "type": "object",
        "properties": {"reason": reason},
        "additionalProperties": False,
    }
