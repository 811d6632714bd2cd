"""Following events: what is new goes to everyone who listens, as fast as each can take it.

    hub --events--> Followers --> Follower (bounded) --rows that are wanted--> its connection

An event stands for up to thousands of rows. A follower's queue holds events, which it shares with all others,
and rows are made when they are sent. Who lets more than MAX_WAITING rows come together is dropped: it can
connect again and go on where it was, if a log is kept.

Who gives a cursor first gets what the log has after it. It listens already meanwhile, so that nothing falls
between; what comes twice is known by its cursor.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from typing import Any

from rainzmq.monitoring.hub import EventFilter, Hub, Row
from rainzmq.monitoring.rows import EVENTS_OF, PLACE_BITS, WorkerNames, cursor_of, matches, rows_of
from rainzmq.protocol.messages import events as e

MAX_FOLLOWERS = 64
"""Connections that follow at the same time."""

MAX_WAITING = 2_000_000
"""Rows that may wait for one who follows."""

CHUNK = 500
"""Rows that are sent at once."""

Numbered = tuple[int | None, Row]
"""A row and the cursor to go on after it; None: go on after an earlier one."""


class TooManyFollowers(Exception):
    """No more connections can follow."""


class TooSlow(Exception):
    """More waits than may wait."""


class Followers:
    """All that follow one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._followers: list[Follower] = []

    def follow(self, wanted: EventFilter) -> Follower:
        """A new follower; it hears of events until it is closed. `wanted.after`: None is from now on.

        Raises:
            TooManyFollowers: there are MAX_FOLLOWERS.
        """
        if len(self._followers) >= MAX_FOLLOWERS:
            raise TooManyFollowers(f"{MAX_FOLLOWERS} follow already; try again later")
        if not self._followers:
            self._hub.followers.append(self._take)
        follower = Follower(self._hub, wanted, self._remove)
        self._followers.append(follower)
        return follower

    def _take(self, events: list[Any]) -> None:
        for follower in list(self._followers):
            follower.take(events)

    def _remove(self, follower: Follower) -> None:
        if follower in self._followers:
            self._followers.remove(follower)
            if not self._followers:
                self._hub.followers.remove(self._take)


class Follower:
    """One who follows."""

    def __init__(self, hub: Hub, wanted: EventFilter, on_close: Callable[[Follower], None]) -> None:
        self._hub = hub
        self._wanted = wanted
        self._on_close = on_close
        self._waiting: deque[Any] = deque()
        self._waiting_rows = 0
        self._last = _end_of(hub.model.number)
        self._news = asyncio.Event()
        kinds = wanted.kinds
        self._types = None if kinds is None else {EVENTS_OF[kind] for kind in kinds}
        self._is_closed = False
        self._is_too_slow = False

    def take(self, events: list[Any]) -> None:
        """Called with new events."""
        self._waiting.extend(events)
        self._waiting_rows += sum(_size(event) for event in events)
        if self._waiting_rows > MAX_WAITING:
            self._is_too_slow = True
            self._waiting.clear()
        self._news.set()

    def close(self) -> None:
        """Hear no more; `chunks` ends. May be called twice."""
        self._is_closed = True
        self._waiting.clear()
        self._news.set()
        self._on_close(self)

    async def chunks(self, heartbeat_s: float) -> AsyncIterator[list[Numbered]]:
        """Rows that are wanted, up to CHUNK at once; an empty list when nothing came for `heartbeat_s`.

        Raises:
            TooSlow: more came than was taken.
        """
        async for rows in self._kept():
            yield rows
        while not self._is_closed:
            if self._is_too_slow:
                raise TooSlow
            if not self._waiting:
                self._news.clear()
                try:
                    await asyncio.wait_for(self._news.wait(), heartbeat_s)
                except TimeoutError:
                    yield []
                continue
            event = self._waiting.popleft()
            self._waiting_rows -= _size(event)
            for chunk in _chunked(self._rows(event)):
                yield chunk
                if self._is_closed:
                    return

    async def _kept(self) -> AsyncIterator[list[Numbered]]:
        """Rows of the log after the cursor; none without a log or a cursor."""
        wanted, log = self._wanted, self._hub.log
        if log is None or wanted.after is None:
            return
        after: int | None = wanted.after
        self._last = wanted.after
        loop = asyncio.get_running_loop()
        while after is not None and not self._is_closed:
            page = replace(wanted, after=after)
            rows, after = await loop.run_in_executor(None, log.query, page, CHUNK)
            if rows:
                numbered = _numbered(rows, after)
                self._last = max(self._last, numbered[-1][0] or 0)
                yield numbered

    def _rows(self, event: Any) -> Iterable[Numbered]:
        if type(event) is e.SnapshotBegin and event.number < self._last >> PLACE_BITS:
            self._last = _end_of(event.number)  # another life of the server
        if self._types is not None and type(event) not in self._types:
            return
        names: WorkerNames = {worker.number: worker.worker_id for worker in self._hub.model.workers.values()}
        for place, row in enumerate(rows_of(event, names)):
            cursor = cursor_of(event.number, place)
            if cursor > self._last and matches(row, self._wanted):
                yield cursor, row


def lines_of(rows: list[Numbered], dumps: Callable[[Any], str]) -> str:
    """Rows as server-sent events."""
    return "".join(
        ("" if cursor is None else f"id: {cursor}\n") + f"data: {dumps(row)}\n\n" for cursor, row in rows
    )


def _numbered(rows: list[Row], after: int | None) -> list[Numbered]:
    """A page of the log with its cursors. A log tells only that of a page's end; that of an event's end is
    known without it. A row amid an event has none: from there the event is sent once more.
    """
    numbered: list[Numbered] = []
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        if following is None:
            numbered.append((_end_of(row["number"]) if after is None else after, row))
        else:
            is_end = following["number"] != row["number"]
            numbered.append((_end_of(row["number"]) if is_end else None, row))
    return numbered


def _end_of(number: int) -> int:
    """The cursor after all rows of an event."""
    return cursor_of(number + 1, 0) - 1


def _chunked(rows: Iterable[Numbered]) -> Iterable[list[Numbered]]:
    chunk: list[Numbered] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _size(event: Any) -> int:
    """About how many rows an event has."""
    columns = (getattr(event, name, None) for name in ("uids", "ids", "rows"))
    return next((len(column) for column in columns if column is not None), 1)
