"""What there is to ask for, as one table: it serves the interface (`handlers.py`) and describes it
(`openapi.py`).

Each answer is a function of an `Ask` and returns a record that JSON is made of; it raises a Problem when
there is nothing to answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from rainzmq._version import __version__
from rainzmq.common.errors import RainException
from rainzmq.monitoring.hub import EventFilter
from rainzmq.monitoring.objects import no_task
from rainzmq.monitoring.session import ABSENT
from rainzmq.monitoring.standing import object_codes
from rainzmq.monitoring.views import (
    group_table,
    moves,
    object_view,
    server_view,
    session_view,
    task_detail,
    worker_views,
)
from rainzmq.rest import parameters as p
from rainzmq.rest.lists import object_page, task_page
from rainzmq.rest.metrics import metrics
from rainzmq.rest.problems import Problem
from rainzmq.rest.resource import EVENT_STREAM, JSON, PROMETHEUS, SCHEMA_JSON, Ask, Resource
from rainzmq.rest.schemas import NAMES, Index, Link, ListPart, SessionCancelled, schema

ROOT = "/api/v1"

_Item = TypeVar("_Item")


def _first(items: list[_Item], ask: Ask, key: Callable[[_Item], int]) -> ListPart[_Item]:
    """A page of a list whose items are in the order of `key`."""
    after = ask["after"]
    rest = [item for item in items if after is None or key(item) > after]
    shown = rest[: ask.limit]
    return ListPart(shown, key(shown[-1]) if len(rest) > len(shown) else None, len(items))


def _index(ask: Ask) -> Index:
    links = [
        Link(item.path, ["GET", "HEAD"] if item.method == "GET" else [item.method], item.summary)
        for item in RESOURCES
    ]
    return Index(__version__, links)


def _server(ask: Ask) -> Any:
    return server_view(ask.hub, ask.time)


def _workers(ask: Ask) -> Any:
    found = sorted(worker_views(ask.hub.model, ask.time), key=lambda worker: worker.number)
    return _first(found, ask, lambda worker: worker.number)


def _worker(ask: Ask) -> Any:
    wanted = ask["worker_id"]
    found = [worker for worker in worker_views(ask.hub.model, ask.time) if worker.worker_id == wanted]
    if not found:
        raise Problem(404, f"there is no worker {wanted[:80]!r}")
    return found[-1]


def _sessions(ask: Ask) -> Any:
    there = [
        session
        for number, session in sorted(ask.hub.model.sessions.items())
        if ask.time is None or session.came <= ask.time
    ]
    page = _first(there, ask, lambda session: session.session_id)
    return ListPart([session_view(session, ask.time) for session in page.items], page.next, page.total)


def _session(ask: Ask) -> Any:
    return session_view(ask.session(), ask.time)


def _groups(ask: Ask) -> Any:
    table = group_table(ask.session(), ask.time)
    start = 0 if ask["after"] is None else ask["after"]
    end = start + ask.limit
    more = end if end < len(table.nodes) else None
    return ListPart([table.view(node) for node in table.nodes[start:end].tolist()], more, len(table.nodes))


def _task(ask: Ask) -> Any:
    session = ask.session()
    row, number = session.tasks.row(ask["id"]), f"{session.session_id}/{ask['id']}"
    if row < 0:
        raise Problem(404, no_task(session, ask["id"]))
    if ask.time is not None and session.tasks["submitted"][row] > ask.time:
        raise Problem(404, f"task {number} was not submitted yet at that time")
    return task_detail(ask.hub.model, session, row, ask.time)


def _object(ask: Ask) -> Any:
    session = ask.session()
    row, number = session.objects.row(ask["id"]), f"{session.session_id}/{ask['id']}"
    if row < 0:
        is_task = session.tasks.row(ask["id"]) >= 0
        raise Problem(404, f"there is no data object {number}" + (": it is a task" if is_task else ""))
    if object_codes(session, [row], ask.time)[0] == ABSENT:
        raise Problem(404, f"data object {number} was not declared yet at that time")
    return object_view(ask.hub.model, session, row, ask.time)


def _tasks(ask: Ask) -> Any:
    return task_page(ask.hub.model, ask.values, ask.limit)


def _objects(ask: Ask) -> Any:
    return object_page(ask.hub.model, ask.values, ask.limit)


def _moves(ask: Ask) -> Any:
    found = moves(ask.hub.model, ask.time, None if ask["session"] is None else [ask["session"]])
    start = 0 if ask["after"] is None else ask["after"]
    end = start + ask.limit
    return ListPart(found[start:end], end if end < len(found) else None, len(found))


def event_filter(ask: Ask) -> EventFilter:
    """The events that are asked for."""
    until = ask["until"]
    if ask.time is not None:
        just_after = math.nextafter(ask.time, math.inf)
        until = just_after if until is None else min(until, just_after)
    return EventFilter(
        ids=ask["id"],
        kinds=ask["type"],
        session_id=ask["session"],
        worker_id=ask["worker"],
        since=ask["since"],
        until=until,
        after=ask["after"],
    )


def _events(ask: Ask) -> Any:
    if ask.hub.log is None:
        raise Problem(
            409,
            "events are not kept here (`--events none`): they can be followed only, with ?follow=true",
        )
    rows, after = ask.hub.log.query(event_filter(ask), ask.limit)
    return ListPart(rows, after, None)


def _cancel(ask: Ask) -> Any:
    session = ask.session()
    reason = ask.body.get("reason") or "cancelled over REST"
    try:
        ask.hub.cancel(session.session_id, reason)
    except RainException as error:
        raise Problem(409, str(error)) from None
    return SessionCancelled(session.session_id, reason)


def _schema(ask: Ask) -> Any:
    if ask["name"] not in NAMES:
        raise Problem(404, f"there is no schema {ask['name'][:80]!r}; there are: {', '.join(NAMES)}")
    return schema(ask["name"])


@cache
def _document() -> Any:
    from rainzmq.rest.openapi import openapi

    return openapi(RESOURCES)


_PAGED = (p.LIMIT, p.AFTER_NUMBER)
_FILTERED = (p.SESSION, p.WORKER, p.LIMIT, p.AFTER_ID, p.TIME)
_ONE = (p.SESSION_ID, p.LOCAL_ID)

RESOURCES: tuple[Resource, ...] = (
    Resource(ROOT + "/", "what there is to ask for", _index, "index"),
    Resource(ROOT + "/server", "the server", _server, "server", (p.TIME,)),
    Resource(
        ROOT + "/workers", "all workers, those that are gone too", _workers, "workers", (*_PAGED, p.TIME)
    ),
    Resource(
        ROOT + "/workers/{worker_id}",
        "the last worker of that worker_id",
        _worker,
        "worker",
        (p.TIME,),
        (p.WORKER_ID,),
        problems=(404,),
    ),
    Resource(ROOT + "/sessions", "all sessions", _sessions, "sessions", (*_PAGED, p.TIME)),
    Resource(
        ROOT + "/sessions/{session_id}",
        "a session",
        _session,
        "session",
        (p.TIME,),
        (p.SESSION_ID,),
        problems=(404,),
    ),
    Resource(
        ROOT + "/sessions/{session_id}/groups",
        "the tasks of a session by the parts of their names between `/`, depth first",
        _groups,
        "groups",
        (*_PAGED, p.TIME),
        (p.SESSION_ID,),
        problems=(404,),
    ),
    Resource(
        ROOT + "/sessions/{session_id}/cancel",
        "end a session, as if it had failed",
        _cancel,
        "cancelled",
        (),
        (p.SESSION_ID,),
        method="POST",
        problems=(404, 409, 413, 415),
    ),
    Resource(
        ROOT + "/tasks",
        "tasks, in the order of their submission",
        _tasks,
        "tasks",
        (p.TASK_STATE, p.NAME, *_FILTERED),
    ),
    Resource(
        ROOT + "/tasks/{session_id}/{id}",
        "all about a task",
        _task,
        "task_detail",
        (p.TIME,),
        _ONE,
        problems=(404,),
    ),
    Resource(ROOT + "/objects", "data objects", _objects, "objects", (p.OBJECT_STATE, *_FILTERED)),
    Resource(
        ROOT + "/objects/{session_id}/{id}",
        "a data object",
        _object,
        "object",
        (p.TIME,),
        _ONE,
        problems=(404,),
    ),
    Resource(
        ROOT + "/moves",
        "what moved from where to where, most bytes first",
        _moves,
        "moves",
        (p.SESSION, *_PAGED, p.TIME),
    ),
    Resource(
        ROOT + "/events",
        "events, each about one thing, in order; followed as server-sent events on demand",
        _events,
        "events",
        (p.IDS, p.TYPE, p.SESSION, p.WORKER, p.SINCE, p.UNTIL, *_PAGED, p.FOLLOW, p.TIME),
        media=(JSON, EVENT_STREAM),
        problems=(409, 503),
    ),
    Resource(ROOT + "/openapi.json", "this interface as an OpenAPI document", lambda ask: _document()),
    Resource(
        ROOT + "/schemas/{name}",
        "the JSON schema of an answer",
        _schema,
        None,
        (),
        (p.SCHEMA_NAME,),
        media=(SCHEMA_JSON, JSON),
        problems=(404,),
    ),
    Resource(
        "/metrics",
        "figures for Prometheus, in its text format",
        lambda ask: metrics(ask.hub),
        media=(PROMETHEUS,),
    ),
)
"""Everything that is served."""
