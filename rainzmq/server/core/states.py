"""States and legal transitions of everything the server tracks, as tables.

| entity | state | meaning, and where such a thing is found |
|---|---|---|
| task | waiting | some input is unfinished; only its inputs' consumer lists lead to it |
| task | ready | all inputs are finished; it stands in a ready heap |
| task | assigned | sent to a worker, which has not said that it started |
| task | running | its worker started it |
| task | finished | its worker committed it: outputs are known |
| task | failed | it ended its session |
| task | cancelled | its session ended first |
| object | unfinished | its producer has not committed it, or its last replica was lost |
| object | finished | some worker, the relay or the server itself holds it |
| object | removed | nobody needs it; it may still be made again for the sake of a lost descendant |
| worker | live | heard of within the suspect limit |
| worker | suspect | silent for longer; gets no new tasks |
| worker | lost | left or declared dead; what it says is answered with `Fenced` |
| session | open | takes submits |
| session | failed | a task failed; requests about it are refused with the reason |
| session | closed | nothing of it is left |

A transition outside the tables is our own bug and raises `IllegalTransition` with the entity's identity.
"""

from __future__ import annotations

WAITING = "waiting"
READY = "ready"
ASSIGNED = "assigned"
RUNNING = "running"
FINISHED = "finished"
FAILED = "failed"
CANCELLED = "cancelled"

ON_WORKER = (ASSIGNED, RUNNING)

UNFINISHED = "unfinished"
REMOVED = "removed"

LIVE = "live"
SUSPECT = "suspect"
LOST = "lost"

OPEN = "open"
CLOSED = "closed"

TASK: dict[str, frozenset[str]] = {
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

OBJECT: dict[str, frozenset[str]] = {
    UNFINISHED: frozenset({FINISHED}),
    FINISHED: frozenset({REMOVED, UNFINISHED}),
    REMOVED: frozenset({UNFINISHED, FINISHED}),
}
"""`removed` goes back to `finished` only for a constant that is needed again to make a lost object."""

WORKER: dict[str, frozenset[str]] = {
    LIVE: frozenset({SUSPECT, LOST}),
    SUSPECT: frozenset({LIVE, LOST}),
    LOST: frozenset(),
}

SESSION: dict[str, frozenset[str]] = {
    OPEN: frozenset({FAILED, CLOSED}),
    FAILED: frozenset({CLOSED}),
    CLOSED: frozenset(),
}

TABLES = {"task": TASK, "object": OBJECT, "worker": WORKER, "session": SESSION}


class IllegalTransition(AssertionError):
    """The server's own logic moved something between states that are not connected."""

    def __init__(self, entity: str, identity: str, old: str, new: str) -> None:
        super().__init__(f"{entity} {identity}: {old} -> {new} is not a legal transition")
