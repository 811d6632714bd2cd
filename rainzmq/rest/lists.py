"""Pages of the long lists, tasks and objects: chosen as columns, put into words as far as they are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from rainzmq.common.ids import ID
from rainzmq.monitoring.columns import IdColumns, IntArray
from rainzmq.monitoring.groups import name_matches
from rainzmq.monitoring.model import Model
from rainzmq.monitoring.objects import held_by, object_views
from rainzmq.monitoring.session import ABSENT, STATES, SessionLog
from rainzmq.monitoring.shapes import ObjectView, TaskView
from rainzmq.monitoring.standing import OBJECT_STATES, object_codes, standing
from rainzmq.monitoring.views import task_views
from rainzmq.rest.problems import bad_parameter
from rainzmq.rest.schemas import ListPart

Values = dict[str, Any]
_Item = TypeVar("_Item")


def task_page(model: Model, wanted: Values, limit: int) -> ListPart[TaskView]:
    """Up to `limit` tasks. `wanted`: values of `session`, `state`, `name`, `worker`, `time` and `after`."""
    time = wanted.get("time")

    def rows(session: SessionLog) -> IntArray:
        return _task_rows(model, session, wanted, time)

    def words(session: SessionLog, chosen: IntArray) -> list[TaskView]:
        return task_views(session, chosen, model, time)

    return _page(model, wanted, limit, lambda session: session.tasks, rows, words)


def object_page(model: Model, wanted: Values, limit: int) -> ListPart[ObjectView]:
    """Up to `limit` objects. `wanted`: values of `session`, `state`, `worker`, `time` and `after`."""
    time = wanted.get("time")

    def rows(session: SessionLog) -> IntArray:
        return _object_rows(model, session, wanted, time)

    def words(session: SessionLog, chosen: IntArray) -> list[ObjectView]:
        return object_views(model, session, chosen, time)

    return _page(model, wanted, limit, lambda session: session.objects, rows, words)


def _page(
    model: Model,
    wanted: Values,
    limit: int,
    table: Callable[[SessionLog], IdColumns],
    rows: Callable[[SessionLog], IntArray],
    words: Callable[[SessionLog, IntArray], list[_Item]],
) -> ListPart[_Item]:
    items: list[_Item] = []
    after: ID | None = wanted.get("after")
    total, more, last = 0, False, None
    for session in _sessions(model, wanted):
        found = rows(session)
        total += len(found)
        found = _rest(table(session), found, session.session_id, after)
        shown = found[: limit - len(items)]
        more = more or len(found) > len(shown)
        if len(shown):
            items += words(session, shown)
            last = ID(session.session_id, int(table(session)["ids"][shown[-1]]))
    return ListPart(items, str(last) if more else None, total)


def _sessions(model: Model, wanted: Values) -> Iterator[SessionLog]:
    number, time = wanted.get("session"), wanted.get("time")
    for session_id, session in sorted(model.sessions.items()):
        if (number is None or session_id == number) and (time is None or session.came <= time):
            yield session


def _rest(table: IdColumns, rows: IntArray, session_id: int, after: ID | None) -> IntArray:
    """Those of `rows` that come after a cursor."""
    if after is None or session_id > after.session_id:
        return rows
    if session_id < after.session_id:
        return rows[:0]
    row = table.row(after.id)
    if row < 0:
        raise bad_parameter("after", str(after), "`next` of another answer")
    return rows[rows > row]


def _task_rows(model: Model, session: SessionLog, wanted: Values, time: float | None) -> IntArray:
    codes = session.states(time)
    chosen = codes != ABSENT
    if wanted.get("state") is not None:
        chosen &= np.isin(codes, [STATES.index(state) for state in wanted["state"]])
    if wanted.get("name") is not None:
        chosen &= np.isin(session.tasks["name"], name_matches(session, wanted["name"]))
    rows: IntArray = np.flatnonzero(chosen)
    if wanted.get("worker") is not None and len(rows):
        owners = standing(session, rows, time, codes[rows]).worker
        rows = rows[np.isin(owners, _numbers(model, wanted["worker"]))]
    return rows


def _object_rows(model: Model, session: SessionLog, wanted: Values, time: float | None) -> IntArray:
    codes = object_codes(session, slice(None), time)
    chosen = codes != ABSENT
    if wanted.get("state") is not None:
        chosen &= np.isin(codes, [OBJECT_STATES.index(state) for state in wanted["state"]])
    if wanted.get("worker") is not None:
        held = np.zeros(len(codes), dtype=np.bool_)
        numbers = [0] if wanted["worker"] == "server" else _numbers(model, wanted["worker"])
        for number in numbers:
            held[held_by(model, session, number, time)] = True
        chosen &= held
    return np.flatnonzero(chosen)


def _numbers(model: Model, worker_id: str) -> list[int]:
    """Numbers of all workers that had a worker_id."""
    return [worker.number for worker in model.workers.values() if worker.worker_id == worker_id]
