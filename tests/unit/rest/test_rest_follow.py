"""Following events as server-sent events."""

from __future__ import annotations

import asyncio
import http.client
import json
from typing import Any

import pytest
from rest_served import ListLog, Served

from rainzmq.common.ids import make_uid
from rainzmq.monitoring.hub import EventFilter, EventLog, Hub
from rainzmq.monitoring.rows import PLACE_BITS, cursor_of
from rainzmq.monitoring.search import EventRing
from rainzmq.protocol.codec import Header, encode
from rainzmq.protocol.messages import events as e
from rainzmq.rest import follow, handlers
from rainzmq.rest.follow import Followers, TooManyFollowers, TooSlow
from rainzmq.testing.events import START


def removed(number: int, *ids: int) -> Any:
    return e.ObjectsRemoved(number, START + number, [make_uid(1, local_id) for local_id in ids])


class Feed:
    """A hub of which events are made: one object removed by each."""

    def __init__(self, log: EventLog | None = None) -> None:
        self.hub = Hub(log=log)

    def add(self, *events: Any) -> None:
        self.hub.take(list(events), [encode(event, Header()) for event in events])


class Stream:
    """A connection that follows."""

    def __init__(self, served: Served, query: str = "?follow=true", **headers: str) -> None:
        self.connection = served.connection()
        served.send(self.connection, "/api/v1/events" + query, **headers)
        self.answer: http.client.HTTPResponse = self.connection.getresponse()

    def lines(self) -> list[str]:
        """The next record, without the empty line at its end."""
        found = []
        while line := self.answer.readline().decode().rstrip("\n"):
            found.append(line)
        return found

    def row(self) -> tuple[str | None, dict[str, Any]]:
        """Id and row of the next event."""
        fields = dict(line.split(": ", 1) for line in self.lines())
        return fields.get("id"), json.loads(fields["data"])

    def close(self) -> None:
        self.connection.close()


@pytest.fixture(params=[ListLog, EventRing])
def feed(request):
    return Feed(request.param())


@pytest.fixture
def served(feed):
    server = Served(feed.hub)
    yield server
    server.close()


def test_new_events_come_as_they_happen_with_their_cursor(feed, served):
    served.on_loop(lambda: feed.add(removed(1, 2)))
    stream = Stream(served)
    assert stream.answer.status == 200
    assert stream.answer.headers["Content-Type"] == "text/event-stream"
    assert stream.lines() == ["retry: 3000"]
    served.on_loop(lambda: feed.add(removed(2, 4, 6)))
    first, second = stream.row(), stream.row()
    assert [first[1]["id"], second[1]["id"]] == ["1/4", "1/6"]
    assert [first[0], second[0]] == [str(2 << PLACE_BITS), str((2 << PLACE_BITS) + 1)]
    stream.close()


def test_the_accept_header_asks_for_following_too(feed, served):
    stream = Stream(served, "?type=object_removed", Accept="text/event-stream")
    assert stream.lines() == ["retry: 3000"]
    stream.close()
    assert served.ask("/api/v1/events?follow=true", Accept="application/json").status == 406
    assert served.ask("/api/v1/events?follow=false", Accept="text/event-stream").status == 406


def test_only_wanted_events_come(feed, served):
    stream = Stream(served, "?follow=true&id=1/8")
    stream.lines()
    served.on_loop(lambda: feed.add(removed(1, 2), removed(2, 6, 8), removed(3, 8)))
    assert [stream.row()[1]["number"], stream.row()[1]["number"]] == [2, 3]
    stream.close()


def test_who_says_what_was_seen_last_gets_the_rest_and_what_is_new_once(feed, served):
    served.on_loop(lambda: feed.add(removed(1, 2), removed(2, 4, 6), removed(3, 8)))
    stream = Stream(served, Last_Event_ID=str(cursor_of(2, 0)))
    stream.lines()
    rows = [stream.row(), stream.row()]
    served.on_loop(lambda: feed.add(removed(4, 10)))
    rows.append(stream.row())
    assert [row["id"] for _, row in rows] == ["1/6", "1/8", "1/10"]
    cursors = [int(cursor) for cursor, _ in rows]
    assert cursors == sorted(cursors)
    stream.close()
    again = Stream(served, Last_Event_ID=str(cursors[1]))
    again.lines()
    assert again.row()[1]["id"] == "1/10"
    again.close()


def test_after_zero_means_all_that_is_kept(feed, served):
    served.on_loop(lambda: feed.add(removed(1, 2), removed(2, 4)))
    stream = Stream(served, "?follow=true&after=0")
    stream.lines()
    assert [stream.row()[1]["id"] for _ in range(2)] == ["1/2", "1/4"]
    stream.close()


def test_a_long_log_comes_whole_and_in_order(feed, served, monkeypatch):
    monkeypatch.setattr(follow, "CHUNK", 3)
    served.on_loop(lambda: feed.add(*[removed(n, 2 * n, 1000 + 2 * n) for n in range(1, 11)]))
    stream = Stream(served, "?follow=true&after=0")
    stream.lines()
    rows = [stream.row() for _ in range(20)]
    assert [row["id"] for _, row in rows[::2]] == [f"1/{2 * n}" for n in range(1, 11)]
    cursors = [int(cursor) for cursor, _ in rows if cursor is not None]
    assert cursors == sorted(set(cursors))
    assert rows[-1][0] is not None
    stream.close()


@pytest.mark.parametrize("seen", ["x", "-1", "9223372036854775808", "1.5"])
def test_what_was_seen_last_must_be_a_cursor(served, seen):
    answer = served.ask("/api/v1/events?follow=true", Last_Event_ID=seen)
    assert answer.status == 400


def test_without_a_log_following_works_from_now_on():
    feed = Feed()
    served = Served(feed.hub)
    try:
        served.on_loop(lambda: feed.add(removed(1, 2)))
        stream = Stream(served, "?follow=true&after=0")
        stream.lines()
        served.on_loop(lambda: feed.add(removed(2, 4)))
        assert stream.row()[1]["id"] == "1/4"
        stream.close()
    finally:
        served.close()


def test_a_comment_comes_when_nothing_happens(served, monkeypatch):
    monkeypatch.setattr(handlers, "HEARTBEAT_S", 0.01)
    stream = Stream(served)
    stream.lines()
    assert stream.lines() == [": nothing new"]
    stream.close()


def test_who_is_gone_is_forgotten(feed, served, monkeypatch):
    monkeypatch.setattr(handlers, "HEARTBEAT_S", 0.01)
    stream = Stream(served)
    stream.lines()
    assert len(feed.hub.followers) == 1
    gone = asyncio.run_coroutine_threadsafe(_until(lambda: not feed.hub.followers), served.loop.asyncio_loop)
    stream.answer.close()
    stream.close()
    gone.result(10)


async def _until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0)


def test_head_follows_nothing(feed, served):
    answer = served.ask("/api/v1/events?follow=true", "HEAD")
    assert (answer.status, answer.kind, answer.body) == (200, "text/event-stream", b"")
    assert feed.hub.followers == []


def test_only_wanted_types_come(feed, served):
    stream = Stream(served, "?follow=true&type=object_removed,session_came")
    stream.lines()
    came = e.SessionCame(2, START + 2, 1, "s", "c")
    sampled = e.ServerSampled(1, START + 1, 0.1, 1, 1, {})
    served.on_loop(lambda: feed.add(sampled, came, removed(3, 8)))
    assert [stream.row()[1]["type"] for _ in range(2)] == ["session_came", "object_removed"]
    stream.close()


# Without a connection.


def collected(follower: Any, count: int) -> list[dict[str, Any]]:
    async def collect() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async for chunk in follower.chunks(10):
            found += [row for _, row in chunk]
            if len(found) >= count:
                return found
        return found

    return asyncio.run(collect())


def test_who_does_not_keep_up_is_dropped(monkeypatch):
    monkeypatch.setattr(follow, "MAX_WAITING", 10)
    feed = Feed()
    follower = Followers(feed.hub).follow(EventFilter())
    feed.add(*[removed(n, 2, 4, 6) for n in range(1, 4)])
    feed.add(removed(4, 2, 4))
    with pytest.raises(TooSlow):
        collected(follower, 1)


def test_not_everybody_can_follow(monkeypatch):
    monkeypatch.setattr(follow, "MAX_FOLLOWERS", 1)
    followers = Followers(Feed().hub)
    first = followers.follow(EventFilter())
    with pytest.raises(TooManyFollowers):
        followers.follow(EventFilter())
    first.close()
    first.close()
    followers.follow(EventFilter())


def test_parts_of_a_snapshot_are_no_news():
    feed = Feed()
    feed.add(removed(5, 2))
    follower = Followers(feed.hub).follow(EventFilter())
    feed.add(
        e.SnapshotBegin(5, START + 6, 1, "0", START),
        e.SessionCame(5, START + 6, 1, "s", "c"),
        e.SnapshotEnd(5, START + 6, 1),
        removed(6, 4),
    )
    assert [row["type"] for row in collected(follower, 1)] == ["object_removed"]


def test_numbers_begin_anew_with_another_life_of_the_server():
    feed = Feed()
    feed.add(removed(50, 2))
    follower = Followers(feed.hub).follow(EventFilter())
    feed.add(e.SnapshotBegin(0, START + 60, 1, "0", START), e.SnapshotEnd(0, START + 60, 1), removed(1, 4))
    assert [row["number"] for row in collected(follower, 1)] == [1]


def test_rows_name_workers_that_came_before():
    feed = Feed()
    feed.add(e.WorkerCame(1, START, 3, "w:3", "node", 7, 2, []))
    follower = Followers(feed.hub).follow(EventFilter(worker_id="w:3"))
    feed.add(e.TasksStarted(2, START, 3, [make_uid(1, 1)], [0]))
    assert collected(follower, 1)[0]["worker"] == "w:3"
