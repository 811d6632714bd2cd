"""Many events at once: what goes its ordinary way is put together into long columns.

Taking in an event costs some 0.1 ms however few tasks it is about, and a second of a busy cluster has
thousands. Tasks that are assigned, started, finished, and outputs that are removed, do not depend on each
other, and each goes through these in that order. So what lies between two events of other kinds can be taken
in kind by kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from rainzmq.monitoring.columns import FloatArray, IntArray, ranges
from rainzmq.protocol.messages import events as e

KINDS: tuple[type, ...] = (e.TasksAssigned, e.TasksStarted, e.TasksFinished, e.ObjectsRemoved)
"""Events that can be gathered."""

_LOCAL = 0xFFFFFFFF


@dataclass(slots=True)
class Finished:
    """Tasks of one session that finished. Shapes (tasks,); `sizes` has those of all outputs.

    Attributes:
        ids: local ids.
        attempts, workers, cpus: of each.
        starts: when each began, s since the epoch by its worker's clock.
        durations: how long each ran, s.
        times: when each was committed, s since the epoch.
        counts: number of outputs of each.
        sizes: bytes of all outputs, one task after the other.
    """

    ids: IntArray
    attempts: IntArray
    workers: IntArray
    cpus: IntArray
    starts: FloatArray
    durations: FloatArray
    times: FloatArray
    counts: IntArray
    sizes: IntArray


class Bulk:
    """Events that were gathered, as columns."""

    def __init__(self) -> None:
        self._events: dict[type, list[Any]] = {kind: [] for kind in KINDS}

    def add(self, event: Any) -> None:
        """Gather one event of `KINDS`."""
        self._events[type(event)].append(event)

    def __bool__(self) -> bool:
        return any(self._events.values())

    def clear(self) -> None:
        """Forget all."""
        for events in self._events.values():
            events.clear()

    def assigned(self) -> Iterator[tuple[int, IntArray, IntArray, IntArray, FloatArray]]:
        """(session, ids, attempts, workers, times) of assigned tasks."""
        events = self._events[e.TasksAssigned]
        counts = [len(event.uids) for event in events]
        attempts, workers, times = (
            _ints(events, "attempts"),
            _repeated(events, counts),
            _times(events, counts),
        )
        for session, ids, mine in _by_session(_ints(events, "uids")):
            yield session, ids, attempts[mine], workers[mine], times[mine]

    def started(self) -> Iterator[tuple[int, IntArray, FloatArray]]:
        """(session, ids, times) of started tasks."""
        events = self._events[e.TasksStarted]
        times = _times(events, [len(event.uids) for event in events])
        for session, ids, mine in _by_session(_ints(events, "uids")):
            yield session, ids, times[mine]

    def finished(self) -> Iterator[tuple[int, Finished]]:
        """(session, columns) of finished tasks."""
        events = self._events[e.TasksFinished]
        rows = [len(event.uids) for event in events]
        starts = _floats(events, "start_times")
        durations = _ints(events, "durations_us") / 1e6
        attempts, cpus = _ints(events, "attempts"), _ints(events, "cpus")
        workers, times = _repeated(events, rows), _times(events, rows)
        counts, sizes = _ints(events, "output_counts"), _ints(events, "sizes")
        first = np.cumsum(counts) - counts
        for session, ids, mine in _by_session(_ints(events, "uids")):
            yield (
                session,
                Finished(
                    ids=ids,
                    attempts=attempts[mine],
                    workers=workers[mine],
                    cpus=cpus[mine],
                    starts=starts[mine],
                    durations=durations[mine],
                    times=times[mine],
                    counts=counts[mine],
                    sizes=sizes[ranges(first[mine], counts[mine])],
                ),
            )

    def removed(self) -> Iterator[tuple[int, IntArray, FloatArray]]:
        """(session, ids, times) of removed objects."""
        events = self._events[e.ObjectsRemoved]
        times = _times(events, [len(event.uids) for event in events])
        for session, ids, mine in _by_session(_ints(events, "uids")):
            yield session, ids, times[mine]


def _ints(events: list[Any], column: str) -> IntArray:
    columns = [np.asarray(getattr(event, column), dtype=np.int64) for event in events]
    return np.concatenate(columns) if columns else np.empty(0, dtype=np.int64)


def _floats(events: list[Any], column: str) -> FloatArray:
    columns = [np.asarray(getattr(event, column), dtype=np.float64) for event in events]
    return np.concatenate(columns) if columns else np.empty(0)


def _repeated(events: list[Any], counts: list[int]) -> IntArray:
    return np.repeat(np.array([event.worker for event in events], dtype=np.int64), counts)


def _times(events: list[Any], counts: list[int]) -> FloatArray:
    return np.repeat(np.array([event.time for event in events], dtype=np.float64), counts)


def _by_session(uids: IntArray) -> Iterator[tuple[int, IntArray, Any]]:
    """(session id, local ids, which of the given ones they are) of each session."""
    if not len(uids):
        return
    owners = uids >> 32
    if owners[0] == owners[-1] and bool(np.all(owners == owners[0])):
        yield int(owners[0]), uids & _LOCAL, slice(None)
        return
    for owner in np.unique(owners).tolist():
        mine = np.flatnonzero(owners == owner)
        yield owner, uids[mine] & _LOCAL, mine
