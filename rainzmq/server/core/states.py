"""States and legal transitions of everything the server tracks, as tables.

| entity | state | meaning, and where such a thing is found |
|---|---|---|
| task | waiting | some input is unfinished; only its inputs' consumer lists lead to it |
| task | ready | all inputs are finished; it stands in a ready heap |
| task | assigned | sent to a worker, which has not said that it started |
| task | running | its worker started it |
| task | finished | its worker committed it: outputs are known |
| task | failed | its own run failed, which ended its session |
| task | cancelled | its session ended first |
| object | unfinished | its producer has not committed it, or its last replica was lost |
| object | finished | some worker, the relay or the server itself holds it |
| object | removed | nobody needs it; it may still be made again for the sake of a lost descendant |
| worker | live | heard of within the suspect limit |
| worker | suspect | silent for longer; gets no new tasks |
| worker | gone | left or declared dead; what it says is answered with `Fenced` |
| session | open | takes submits |
| session | failed | a task failed; requests about it are refused with the reason |
| session | cancelled | somebody asked for its end; as failed otherwise |
| session | closed | nothing of it is left |

A transition outside the tables is our own bug and raises `IllegalTransition` with the entity's history.
"""

from __future__ import annotations

from rainzmq.common.states import DataObjectState, SessionState, TaskState, WorkerState
from rainzmq.common.transitions import Past

WAITING = TaskState.WAITING
READY = TaskState.READY
ASSIGNED = TaskState.ASSIGNED
RUNNING = TaskState.RUNNING
FINISHED = TaskState.FINISHED
FAILED = TaskState.FAILED
CANCELLED = TaskState.CANCELLED

ON_WORKER = (ASSIGNED, RUNNING)
ENDED = (FINISHED, FAILED, CANCELLED)

UNFINISHED = DataObjectState.UNFINISHED
OBJECT_FINISHED = DataObjectState.FINISHED
REMOVED = DataObjectState.REMOVED

LIVE = WorkerState.LIVE
SUSPECT = WorkerState.SUSPECT
GONE = WorkerState.GONE

OPEN = SessionState.OPEN
SESSION_FAILED = SessionState.FAILED
SESSION_CANCELLED = SessionState.CANCELLED
CLOSED = SessionState.CLOSED

TASK: dict[TaskState, frozenset[TaskState]] = {
    WAITING: frozenset({READY, ASSIGNED, FAILED, CANCELLED}),
    READY: frozenset({ASSIGNED, WAITING, FAILED, CANCELLED}),
    ASSIGNED: frozenset({RUNNING, FINISHED, FAILED, READY, WAITING, CANCELLED}),
    RUNNING: frozenset({FINISHED, FAILED, READY, WAITING, CANCELLED}),
    FINISHED: frozenset({READY, WAITING, CANCELLED}),
    FAILED: frozenset(),
    CANCELLED: frozenset(),
}
"""`waiting` goes to `assigned` when a task is sent ahead of inputs that its worker is about to make.

`finished` goes back to `waiting` or `ready` only to make a lost output again."""

OBJECT: dict[DataObjectState, frozenset[DataObjectState]] = {
    UNFINISHED: frozenset({OBJECT_FINISHED}),
    OBJECT_FINISHED: frozenset({REMOVED, UNFINISHED}),
    REMOVED: frozenset({UNFINISHED, OBJECT_FINISHED}),
}
"""`removed` goes back to `finished` only for a constant that is needed again to make a lost object."""

WORKER: dict[WorkerState, frozenset[WorkerState]] = {
    LIVE: frozenset({SUSPECT, GONE}),
    SUSPECT: frozenset({LIVE, GONE}),
    GONE: frozenset(),
}

SESSION: dict[SessionState, frozenset[SessionState]] = {
    OPEN: frozenset({SESSION_FAILED, SESSION_CANCELLED, CLOSED}),
    SESSION_FAILED: frozenset({CLOSED}),
    SESSION_CANCELLED: frozenset({CLOSED}),
    CLOSED: frozenset(),
}

TABLES = {"task": TASK, "object": OBJECT, "worker": WORKER, "session": SESSION}

NEW_TASK = Past(TASK, WAITING)
NEW_OBJECT = Past(OBJECT, UNFINISHED)
NEW_WORKER = Past(WORKER, LIVE)
NEW_SESSION = Past(SESSION, OPEN)
