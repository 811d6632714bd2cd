"""States of what a worker tracks, as tables; `docs/state_machines.md` shows them.

| entity | state | meaning, and where such a thing is found |
|---|---|---|
| assigned task | fetching | some input is not here; the transfers' lists of waiting tasks lead to it |
| assigned task | ready | inputs are here; it stands in the ready heap until cpus are free |
| assigned task | running | a runner has its job, or has it queued behind another one |
| assigned task | dropped | its outcome was reported, it was given back, or its session ended |
| replica | expected | a transfer was asked for |
| replica | stored | it is in the store |
"""

from __future__ import annotations

from enum import StrEnum

from rainzmq.common.transitions import Past


class AssignedState(StrEnum):
    """Where a task that this worker was given stands."""

    FETCHING = "fetching"
    READY = "ready"
    RUNNING = "running"
    DROPPED = "dropped"


class ReplicaState(StrEnum):
    """Whether a copy of an object is here."""

    EXPECTED = "expected"
    STORED = "stored"


FETCHING = AssignedState.FETCHING
READY = AssignedState.READY
RUNNING = AssignedState.RUNNING
DROPPED = AssignedState.DROPPED

EXPECTED = ReplicaState.EXPECTED
STORED = ReplicaState.STORED

TASK: dict[AssignedState, frozenset[AssignedState]] = {
    FETCHING: frozenset({READY, RUNNING, DROPPED}),
    READY: frozenset({RUNNING, DROPPED}),
    RUNNING: frozenset({DROPPED}),
    DROPPED: frozenset(),
}

"""`fetching` goes to `running` when a task is queued behind those that make its inputs."""

REPLICA: dict[ReplicaState, frozenset[ReplicaState]] = {
    EXPECTED: frozenset({STORED}),
    STORED: frozenset(),
}

TABLES = {"assigned task": TASK, "replica": REPLICA}

NEW_TASK = Past(TASK, FETCHING)
