"""How tasks and objects of a session stand, now or at a time: columns for any choice of rows.

A task's columns tell of its last attempt. At an earlier time another attempt may have been under way, which
is in the session's `past`; and what lies in the future of that time must not show.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rainzmq.common.ids import ID
from rainzmq.common.states import AttemptState, DataObjectState
from rainzmq.monitoring.columns import FloatArray, IntArray
from rainzmq.monitoring.session import (
    ABSENT,
    ASSIGNED,
    FINISHED,
    READY,
    RUNNING,
    WAITING,
    PastAttempt,
    SessionLog,
    StateArray,
)

OBJECT_STATES = tuple(DataObjectState)
"""The states of objects, by their code."""

UNFINISHED, MADE, REMOVED = range(3)


@dataclass(slots=True)
class Standing:
    """How some tasks stand. Columns: the n-th item of each belongs to the n-th of `rows`.

    Attributes:
        rows: their rows in the session's table.
        state: codes as in `STATES`, ABSENT for what is not submitted yet.
        attempt: current or next attempt.
        worker: number of the worker, 0 for none.
        cpu: lowest index of its cpus, -1 unknown.
        assigned, started, ended: s since the epoch, NaN for what has not happened.
    """

    rows: IntArray
    state: StateArray
    attempt: IntArray
    worker: IntArray
    cpu: IntArray
    assigned: FloatArray
    started: FloatArray
    ended: FloatArray


def some_states(session: SessionLog, rows: IntArray, time: float | None = None) -> StateArray:
    """`session.states(time)[rows]`, without looking at all tasks."""
    if time is not None:
        return standing(session, rows, time).state
    codes: StateArray = session.tasks["state"][rows]
    _mark_ready(session, rows, codes, None)
    return codes


def standing(
    session: SessionLog, rows: IntArray, time: float | None = None, codes: StateArray | None = None
) -> Standing:
    """How the tasks of `rows` stand, now or at a time. `codes`: their states, when they are known already."""
    tasks = session.tasks
    columns: dict[str, Any] = {
        name: tasks[name][rows] for name in ("attempt", "worker", "cpu", "assigned", "started", "ended")
    }
    if time is None:
        return Standing(rows, some_states(session, rows) if codes is None else codes, **columns)
    stands = Standing(rows, tasks["state"][rows], **columns)
    _hide_future(stands, time)
    _show_past(session, stands, time)
    if codes is None:
        stands.state[tasks["submitted"][rows] > time] = ABSENT
        _mark_ready(session, rows, stands.state, time)
    else:
        stands.state = codes
    return stands


def _mark_ready(session: SessionLog, rows: IntArray, codes: StateArray, time: float | None) -> None:
    waiting = np.flatnonzero(codes == WAITING)
    if len(waiting):
        codes[waiting[session.missing_inputs(rows[waiting], time) == 0]] = READY


def _hide_future(stands: Standing, time: float) -> None:
    has_begun = (stands.assigned <= time) | (stands.started <= time)
    stands.worker[~has_begun], stands.cpu[~has_begun] = 0, -1
    for column in (stands.assigned, stands.started, stands.ended):
        column[~(column <= time)] = np.nan
    stands.cpu[np.isnan(stands.started)] = -1
    there = ~np.isnan(stands.assigned)
    codes = np.where(there, ASSIGNED, WAITING).astype(np.uint8)
    codes[~np.isnan(stands.started)] = RUNNING
    over = ~np.isnan(stands.ended) & (stands.state >= FINISHED)
    stands.state = np.where(over, stands.state, codes)


def _show_past(session: SessionLog, stands: Standing, time: float) -> None:
    """Put in the attempts that were under way; those of one task stand in the order of time."""
    if not session.past:
        return
    places = {row: place for place, row in enumerate(stands.rows.tolist())}
    for past in session.past:
        if past.until <= time or past.row not in places:
            continue
        place = places.pop(past.row)
        stands.attempt[place] = past.attempt
        is_there = past.assigned <= time and (time < past.ended or past.outcome is AttemptState.FINISHED)
        is_over, has_started = is_there and time >= past.ended, is_there and past.started <= time
        stands.worker[place] = past.worker if is_there else 0
        stands.cpu[place] = past.cpu if is_over else -1
        stands.assigned[place] = past.assigned if is_there else np.nan
        stands.started[place] = past.started if has_started else np.nan
        stands.ended[place] = past.ended if is_over else np.nan
        begun = RUNNING if has_started else ASSIGNED
        stands.state[place] = FINISHED if is_over else begun if is_there else WAITING


def past_of(session: SessionLog, row: int, time: float | None = None) -> list[PastAttempt]:
    """Attempts at a task that were over and done with, now or at a time; the oldest first."""
    return [past for past in session.past if past.row == row and (time is None or past.until <= time)]


def is_submitted(session: SessionLog, row: int, time: float | None = None) -> bool:
    """Whether a task was there at a time."""
    return time is None or bool(session.tasks["submitted"][row] <= time)


# Objects.


def object_codes(session: SessionLog, rows: Any, time: float | None = None) -> NDArray[np.uint8]:
    """State of the objects of `rows` (an index of any kind), codes as in OBJECT_STATES; ABSENT for those that
    are not declared yet.
    """
    objects = session.objects
    finished, removed = objects["finished"][rows], objects["removed"][rows]
    moment = np.inf if time is None else time
    made = finished <= moment
    codes = np.where(made, np.where(removed <= moment, REMOVED, MADE), UNFINISHED).astype(np.uint8)
    if time is not None:
        producers = objects["producer"][rows]
        submitted = session.tasks["submitted"]
        there = made.copy()
        mine = producers >= 0
        there[mine] = submitted[producers[mine]] <= time
        codes[~there] = ABSENT
    return codes


# Plain values.


def moment(value: float) -> float | None:
    """A time or number as it is told: None for NaN and infinities."""
    return float(value) if math.isfinite(value) else None


def task_id(session: SessionLog, row: int) -> str:
    """The id of a task, such as "3/17"."""
    return str(ID(session.session_id, int(session.tasks["ids"][row])))


def object_id(session: SessionLog, row: int) -> str:
    """The id of an object, such as "3/18"."""
    return str(ID(session.session_id, int(session.objects["ids"][row])))


def task_type(session: SessionLog, row: int) -> str:
    """Type of a task, `?` when its body was never heard of."""
    body = session.bodies.get(int(session.tasks["body"][row]))
    return "?" if body is None else body.task_type


def cpus_of(session: SessionLog, row: int) -> int:
    """The cpus a task needs, 1 when its body was never heard of."""
    body = session.bodies.get(int(session.tasks["body"][row]))
    return 1 if body is None else body.cpus
