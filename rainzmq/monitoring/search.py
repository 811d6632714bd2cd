"""Finding rows in the event log, wherever it is kept, and the log in memory.

A *cursor* names a row: number of its event and its place in it, as one integer.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from rainzmq.monitoring.hub import EventFilter, Row
from rainzmq.monitoring.rows import WorkerNames, matches, rows_of
from rainzmq.protocol.messages import events as e

RING_BYTES = 64 << 20
"""Events that are kept in memory, as bytes of their frames; the oldest go first."""

_PLACE_BITS = 20
_PLACES = (1 << _PLACE_BITS) - 1


def search(
    candidates: Callable[[int], tuple[list[Any], bool]],
    workers: WorkerNames,
    wanted: EventFilter,
    limit: int,
) -> tuple[list[Row], int | None]:
    """Up to `limit` rows that are wanted, in order, and the cursor of the rest (None: no more).

    `candidates(number)` gives some events from that number on, in order, and whether there are more;
    `workers` has the names of all workers.
    """
    found: list[Row] = []
    after = wanted.after if wanted.after is not None else -1
    number = max(0, after >> _PLACE_BITS) if after >= 0 else 0
    while True:
        events, more = candidates(number)
        for event in events:
            for place, row in enumerate(rows_of(event, workers)):
                cursor = event.number << _PLACE_BITS | place
                if cursor <= after or not matches(row, wanted):
                    continue
                if len(found) == limit:
                    return found, after
                found.append(row)
                after = cursor
            number = event.number + 1
        if not more or not events:
            return found, None


class EventRing:
    """The last events, in memory."""

    kind = "memory"

    def __init__(self, limit_bytes: int = RING_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._events: deque[tuple[Any, int]] = deque()
        self._bytes = 0
        self._last_number = -1
        self._workers: WorkerNames = {}
        self._lock = threading.Lock()

    def add(self, events: list[Any], frames: list[bytes]) -> None:
        """Keep events, given also as they came; the oldest go."""
        with self._lock:
            for event, frame in zip(events, frames, strict=True):
                if isinstance(event, e.WorkerCame):
                    self._workers[event.worker] = event.worker_id
                if event.number <= self._last_number:
                    continue  # a part of a snapshot
                self._last_number = event.number
                self._events.append((event, len(frame)))
                self._bytes += len(frame)
            while self._bytes > self._limit_bytes and len(self._events) > 1:
                self._bytes -= self._events.popleft()[1]

    def query(self, wanted: EventFilter, limit: int) -> tuple[list[Row], int | None]:
        """See `EventLog.query`."""
        events = self.events()

        def candidates(number: int) -> tuple[list[Any], bool]:
            return [event for event in events if event.number >= number], False

        return search(candidates, self._workers, wanted, limit)

    def events(self) -> list[Any]:
        """All that is kept, in order."""
        with self._lock:
            return [event for event, _ in self._events]

    def close(self) -> None:
        """Nothing is left to write."""
