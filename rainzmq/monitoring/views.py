"""What pages, REST and the terminal say of a hub: one function per resource, each now or at a time.

`time` is always in s since the epoch; None is the present, which of a finished run is its end. Rows are rows
of a session's tables. The records are in `shapes.py`; sentences about why a task is where it is in `why.py`;
groups by name in `groups.py`. Nothing here is escaped: who renders escapes.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

import numpy as np

from rainzmq.common.headline import headline, why_cancelled
from rainzmq.common.ids import ID, id_of, local_of, make_uid, session_of
from rainzmq.common.states import AttemptState, SessionState, TaskState, WorkerState
from rainzmq.monitoring.arguments import argument_texts
from rainzmq.monitoring.columns import IntArray
from rainzmq.monitoring.groups import GroupTable, group_table, groups, name_matches
from rainzmq.monitoring.hub import Hub
from rainzmq.monitoring.model import Model, WorkerLog
from rainzmq.monitoring.objects import held_by, object_view, object_views, part_views
from rainzmq.monitoring.plain import decoded_config, decoded_user, plain
from rainzmq.monitoring.session import (
    ABSENT,
    ASSIGNED,
    CANCELLED,
    FAILED,
    FINISHED,
    RUNNING,
    STATES,
    PastAttempt,
    SessionLog,
    StateArray,
)
from rainzmq.monitoring.shapes import (
    AttemptView,
    FailureView,
    GroupView,
    MoveView,
    ObjectView,
    PartView,
    ServerView,
    SessionView,
    StateCounts,
    TaskDetail,
    TaskView,
    WorkerView,
)
from rainzmq.monitoring.standing import (
    Standing,
    cpus_of,
    is_submitted,
    moment,
    past_of,
    some_states,
    standing,
    task_id,
    task_type,
)
from rainzmq.monitoring.why import why
from rainzmq.protocol.messages.shared import Failure

__all__ = [
    "AttemptView",
    "FailureView",
    "GroupTable",
    "GroupView",
    "MoveView",
    "ObjectView",
    "PartView",
    "ServerView",
    "SessionView",
    "Standing",
    "StateCounts",
    "TaskDetail",
    "TaskView",
    "WorkerView",
    "group_table",
    "groups",
    "held_by",
    "is_submitted",
    "moves",
    "name_matches",
    "object_view",
    "object_views",
    "part_views",
    "server_view",
    "session_view",
    "some_states",
    "standing",
    "state_counts",
    "task_detail",
    "task_view",
    "task_views",
    "why",
    "worker_views",
]


def server_view(hub: Hub, time: float | None = None) -> ServerView:
    """The server. At an earlier time its counters are not known, and `{}`."""
    model, samples = hub.model, hub.model.server
    at = samples.at(time)
    return ServerView(
        version=model.software,
        started=model.started or None,
        now=(model.now or None) if time is None else time,
        source=hub.source,
        is_replay=hub.is_replay,
        is_connected=hub.is_connected,
        events=_log_kind(hub),
        notes=list(hub.notes),
        counters=plain(model.counters) if time is None else {},
        cpu_s=moment(samples["cpu_s"][at]) if at >= 0 else None,
        memory_bytes=int(samples["memory_bytes"][at]) if at >= 0 else None,
        clients=int(samples["clients"][at]) if at >= 0 else None,
        dropped_sessions=list(model.dropped_sessions),
    )


def _log_kind(hub: Hub) -> Literal["none", "memory", "sqlite"]:
    if hub.log is None:
        return "none"
    return "sqlite" if hub.log.kind == "sqlite" else "memory"


# Workers.


def worker_views(model: Model, time: float | None = None) -> list[WorkerView]:
    """All workers that have come so far, in order of their coming; those that are gone too."""
    top = max(model.workers, default=0) + 1
    counts = {code: np.zeros(top, dtype=np.int64) for code in (ASSIGNED, RUNNING, FINISHED)}
    for session in model.sessions.values():
        rows = np.arange(len(session.tasks))
        if time is None:
            codes, owners = session.tasks["state"], session.tasks["worker"]
        else:
            stands = standing(session, rows, time)
            codes, owners = stands.state, stands.worker
        for code, column in counts.items():
            mine = owners[codes == code]
            column += np.bincount(mine[(mine > 0) & (mine < top)], minlength=top)
    return [
        _worker_view(worker, time, *(int(column[worker.number]) for column in counts.values()))
        for worker in model.workers.values()
        if time is None or worker.came <= time
    ]


def _worker_view(
    worker: WorkerLog, time: float | None, assigned: int, running: int, finished: int
) -> WorkerView:
    is_live, samples = worker.is_there(time), worker.samples
    at = samples.at(time)

    def sampled(name: str) -> int | None:
        return int(samples[name][at]) if at >= 0 else None

    return WorkerView(
        worker_id=worker.worker_id,
        number=worker.number,
        hostname=worker.hostname,
        pid=worker.pid,
        cpus=worker.cpus,
        kinds=list(worker.kinds),
        troubles=worker.trouble(time),
        state=WorkerState.LIVE if is_live else WorkerState.GONE,
        came=worker.came,
        went=None if is_live else moment(worker.went),
        why="" if is_live else worker.why,
        running=running,
        assigned=assigned,
        finished=finished,
        cpu_percent=moment(samples["cpu_percent"][at]) if at >= 0 else None,
        cpu_percents=list(samples.per_cpu[at]) if at >= 0 else [],
        memory_used_bytes=sampled("memory_used_bytes"),
        memory_total_bytes=sampled("memory_total_bytes"),
        net_sent_bytes=sampled("net_sent_bytes"),
        net_received_bytes=sampled("net_received_bytes"),
        disk_read_bytes=sampled("disk_read_bytes"),
        disk_written_bytes=sampled("disk_written_bytes"),
        store_bytes=sampled("store_bytes"),
        store_objects=sampled("store_objects"),
        store_free_bytes=sampled("store_free_bytes"),
        sampled=float(samples["time"][at]) if at >= 0 else None,
    )


# Sessions.


def state_counts(codes: StateArray) -> StateCounts:
    """How many tasks are in each state; those that are absent do not count."""
    found = np.bincount(codes, minlength=ABSENT + 1)
    return StateCounts(*found[: len(STATES)].tolist())


def session_view(session: SessionLog, time: float | None = None) -> SessionView:
    """A session and how far it is."""
    counts = state_counts(session.states(time))
    is_over = not session.is_open(time)
    return SessionView(
        session_id=session.session_id,
        name=session.name,
        client=session.client,
        state=session.state if is_over else SessionState.OPEN,
        came=session.came,
        ended=moment(session.ended) if is_over else None,
        total=counts.total,
        counts=counts,
        reasons=[] if is_over else list(session.waits_at(time)),
        failure=failure_view(session) if is_over else None,
    )


def failure_view(session: SessionLog) -> FailureView | None:
    """Why a session failed or was cancelled; None when it did not."""
    failure = session.failure
    if failure is None:
        return None
    return FailureView(
        task=str(id_of(failure.task)) if failure.task else None,
        name=failure.name,
        task_type=failure.task_type,
        attempt=failure.attempt,
        worker=failure.worker,
        message=failure.message,
        debug=failure.debug,
    )


# Tasks.


def task_view(session: SessionLog, row: int, model: Model, time: float | None = None) -> TaskView:
    """A task. Use `task_views` for many."""
    return task_views(session, np.array([row]), model, time)[0]


def task_views(
    session: SessionLog,
    rows: IntArray,
    model: Model,
    time: float | None = None,
    codes: StateArray | None = None,
) -> list[TaskView]:
    """The tasks of `rows`, in that order. `codes`: their states, when they are known already."""
    stands = standing(session, rows, time, codes)
    return [TaskView(**fields) for fields in _task_fields(session, stands, model, time)]


def _task_fields(
    session: SessionLog, stands: Standing, model: Model, time: float | None
) -> list[dict[str, Any]]:
    now = model.now if time is None else time
    submitted = session.tasks["submitted"]
    found = []
    for place, row in enumerate(stands.rows.tolist()):
        code = int(stands.state[place])
        started, ended = moment(stands.started[place]), moment(stands.ended[place])
        has_run = started is not None and code in (RUNNING, FINISHED, FAILED)
        duration = max(0.0, (now if ended is None else ended) - started) if has_run and started else None
        cpu = int(stands.cpu[place])
        found.append(
            {
                "id": task_id(session, row),
                "session_id": session.session_id,
                "name": session.task_name(row),
                "task_type": task_type(session, row),
                "state": STATES[code] if code < len(STATES) else TaskState.WAITING,
                "attempt": int(stands.attempt[place]),
                "worker": model.worker_id(int(stands.worker[place])),
                "cpu": cpu if cpu >= 0 else None,
                "submitted": float(submitted[row]),
                "assigned": moment(stands.assigned[place]),
                "started": started,
                "ended": ended,
                "duration_s": duration,
                "reason": _reason(session, row, code),
            }
        )
    return found


def _failure_of(session: SessionLog, row: int) -> Failure | None:
    """Why the task failed that its session failed of; None for others."""
    failure = session.failure
    uid = make_uid(session.session_id, int(session.tasks["ids"][row]))
    return failure if failure is not None and failure.task == uid else None


def _reason(session: SessionLog, row: int, code: int) -> str | None:
    if code == CANCELLED:
        return why_cancelled(session.state, session.failure)
    failure = _failure_of(session, row) if code == FAILED else None
    return None if failure is None else headline(failure.message)


def task_detail(model: Model, session: SessionLog, row: int, time: float | None = None) -> TaskDetail:
    """All that is known of a task. What it printed and attached is shown once its attempt had ended."""
    stands = standing(session, np.array([row]), time)
    (fields,) = _task_fields(session, stands, model, time)
    local_id = int(session.tasks["ids"][row])
    code = int(stands.state[0])
    is_over = code in (FINISHED, FAILED)
    printed = session.printed.get(local_id)
    if printed is not None and not (is_over or time is None or past_of(session, row, time)):
        printed = None
    failure = _failure_of(session, row) if code == FAILED else None
    first_output = session.objects.row(local_id + 1)
    outputs = int(session.tasks["output_count"][row])
    made = np.arange(first_output, first_output + outputs) if first_output >= 0 else np.empty(0, np.int64)
    body = session.bodies.get(int(session.tasks["body"][row]))
    wanted = session.input_ids(row)
    own, is_call = session.configs.get(local_id, b""), task_type(session, row) == "python/call"
    return TaskDetail(
        **fields,
        cpus=cpus_of(session, row),
        input_count=len(wanted),
        inputs=part_views(session, wanted, body.input_labels if body else [], time),
        output_count=outputs,
        outputs=part_views(session, session.objects["ids"][made].tolist(), [], time),
        config=None if is_call else decoded_config(b"" if body is None else body.config, own),
        arguments=argument_texts(own, [str(ID(session.session_id, item)) for item in wanted])
        if is_call and own
        else None,
        user=decoded_user(session.users.get(local_id, b"")),
        info_user=decoded_user(session.info_users.get(local_id, b"") if is_over else b""),
        debug=session.debugs.get(local_id, "") if is_over else "",
        error=None if failure is None else failure.message,
        attempts=_attempts(model, session, row, stands, time),
        stdout=printed.stdout if printed else "",
        stderr=printed.stderr if printed else "",
        stdout_bytes=printed.stdout_bytes if printed else 0,
        stderr_bytes=printed.stderr_bytes if printed else 0,
        why=why(model, session, row, time),
    )


def _attempts(
    model: Model, session: SessionLog, row: int, stands: Standing, time: float | None
) -> list[AttemptView]:
    found = [_past_view(model, past) for past in past_of(session, row, time)]
    code = int(stands.state[0])
    has_begun = not np.isnan(stands.assigned[0]) or not np.isnan(stands.started[0])
    if code in (ASSIGNED, RUNNING, FINISHED, FAILED) or (code == CANCELLED and has_begun):
        cpu = int(stands.cpu[0])
        found.append(
            AttemptView(
                attempt=int(stands.attempt[0]),
                worker=model.worker_id(int(stands.worker[0])),
                cpu=cpu if cpu >= 0 else None,
                assigned=moment(stands.assigned[0]),
                started=moment(stands.started[0]),
                ended=moment(stands.ended[0]),
                outcome=AttemptState(STATES[code]),
                note="",
            )
        )
    return found


def _past_view(model: Model, past: PastAttempt) -> AttemptView:
    return AttemptView(
        attempt=past.attempt,
        worker=model.worker_id(past.worker),
        cpu=past.cpu if past.cpu >= 0 else None,
        assigned=moment(past.assigned),
        started=moment(past.started),
        ended=moment(past.ended),
        outcome=past.outcome,
        note=past.note,
    )


# Moves.


def moves(model: Model, time: float | None = None, sessions: Collection[int] | None = None) -> list[MoveView]:
    """What moved between which processes, for each pair that something moved between; most bytes first.
    `sessions`: only objects of these; None: of all.
    """
    table = model.moves
    until = table["start"] + table["duration"]
    rows = np.arange(len(table)) if time is None else np.flatnonzero(until <= time)
    if sessions is not None:
        uids: Any = table["uid"][rows]
        rows = rows[np.isin(session_of(uids), list(sessions))]
    pairs = (table["source"][rows].astype(np.int64) + 1) << 32 | table["worker"][rows].astype(np.int64)
    kinds, which, counts = np.unique(pairs, return_inverse=True, return_counts=True)
    sizes = np.zeros(len(kinds), dtype=np.int64)
    np.add.at(sizes, which, table["bytes"][rows])
    seconds = np.bincount(which, table["duration"][rows], len(kinds))
    found = [
        MoveView(_source(model, (pair >> 32) - 1), model.worker_id(pair & 0xFFFFFFFF) or "unknown", *values)
        for pair, *values in zip(
            kinds.tolist(), sizes.tolist(), counts.tolist(), seconds.tolist(), strict=True
        )
    ]
    return sorted(found, key=lambda move: -move.bytes)


def _source(model: Model, number: int) -> str:
    if number == 0:
        return "server"
    return model.worker_id(number) or "unknown"


# Ids.


def find_task(model: Model, uid: int, time: float | None = None) -> tuple[SessionLog, int] | None:
    """Session and row of a task; None when there is none of that uid, or not yet."""
    session = model.sessions.get(session_of(uid))
    row = -1 if session is None else session.tasks.row(local_of(uid))
    if session is None or row < 0 or not is_submitted(session, row, time):
        return None
    return session, row


def parse_id(text: str) -> ID:
    """The id in a text such as "3/17".

    Raises:
        ValueError: it is not such a text.
    """
    session, slash, number = text.partition("/")
    digits = session.isascii() and session.isdigit() and number.isascii() and number.isdigit()
    if not slash or not digits or len(session) > 10 or len(number) > 10:
        raise ValueError(f"{text!r:.80} is not an id such as 3/17")
    found = ID(int(session), int(number))
    if found.session_id >= 1 << 31 or found.id >= 1 << 32:
        raise ValueError(f"{text!r:.80} is not an id: its numbers are too large")
    return found
