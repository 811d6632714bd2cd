"""The event log in a database: what is stored is found again, whatever happened to the file."""

from __future__ import annotations

import random
import sqlite3
import stat
from contextlib import closing

import numpy as np
import pytest

from rainzmq.common.errors import RainException
from rainzmq.common.ids import make_uid
from rainzmq.monitoring.hub import EventFilter, Hub
from rainzmq.monitoring.rows import KINDS
from rainzmq.monitoring.search import EventRing
from rainzmq.monitoring.store import EventStore, open_replay
from rainzmq.protocol.codec import Header, encode
from rainzmq.protocol.messages import events as e
from rainzmq.testing.events import START, demo_history, demo_hub

EPOCH = 77


def frames_of(events, epoch=EPOCH):
    return [encode(event, Header(server_epoch=epoch)) for event in events]


def write(path, events, epoch=EPOCH, chunk=7):
    store = EventStore(path)
    store.begin(Header(server_epoch=epoch), events[0])
    for start in range(0, len(events), chunk):
        part = events[start : start + chunk]
        store.add(part, frames_of(part, epoch))
    return store


@pytest.fixture
def events():
    return demo_history()


@pytest.fixture
def path(tmp_path, events):
    path = tmp_path / "events.db"
    write(path, events).close()
    return path


def everything(log, wanted=None, limit=10_000):
    return log.query(wanted or EventFilter(), limit)[0]


def same(one, two):
    assert list(one.sessions) == list(two.sessions)
    for session_id, log in one.sessions.items():
        other = two.sessions[session_id]
        assert (log.name, log.state, len(log.past)) == (other.name, other.state, len(other.past))
        for table, their in ((log.tasks, other.tasks), (log.objects, other.objects)):
            assert len(table) == len(their)
            for name in table.names():
                np.testing.assert_array_equal(table[name], their[name])


def test_a_replay_knows_what_was_seen_live(path):
    hub = open_replay(path)
    same(hub.model, demo_hub().model)
    assert hub.is_replay
    assert hub.notes == []


def test_only_its_owner_can_read_it(path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_says_what_it_is(path):
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert database.execute("PRAGMA user_version").fetchone() == (2,)
        meta = dict(database.execute("SELECT key, value FROM meta"))
        assert meta["server_epoch"] == str(EPOCH)
        assert float(meta["started"]) == START


@pytest.fixture(params=["sqlite", "ring"])
def log(request, tmp_path, events):
    if request.param == "sqlite":
        log = write(tmp_path / "log.db", events)
    else:
        log = EventRing()
        log.add(events, frames_of(events))
    yield log
    log.close()


def test_events_of_one_task_are_found(log):
    rows = everything(log, EventFilter(ids=frozenset([make_uid(1, 3)])))
    assert [row["type"] for row in rows] == [
        "task_submitted",
        "task_assigned",
        "task_started",
        "task_finished",
    ]
    assert {row["id"] for row in rows} == {"1/3"}


def test_events_are_found_by_type_session_worker_and_time(log):
    rows = everything(log)
    for wanted, holds in (
        (EventFilter(kinds=frozenset(["task_finished"])), lambda row: row["type"] == "task_finished"),
        (EventFilter(session_id=2), lambda row: row["session_id"] == 2),
        (EventFilter(worker_id="127.0.0.1:5001"), lambda row: row["worker"] == "127.0.0.1:5001"),
        (EventFilter(since=START + 2, until=START + 3), lambda row: START + 2 <= row["time"] < START + 3),
    ):
        found = everything(log, wanted)
        assert found == [row for row in rows if holds(row)]
        assert 0 < len(found) < len(rows)


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_pages_have_every_row_once(log, limit):
    found, after = [], None
    while True:
        rows, after = log.query(EventFilter(after=after), limit)
        assert len(rows) <= limit
        found += rows
        if after is None:
            break
    assert found == everything(log)
    assert {row["type"] for row in found} <= set(KINDS)


def test_a_snapshot_is_not_among_the_events(tmp_path, events):
    store = write(tmp_path / "log.db", events)
    last = events[-1].number
    again = [e.SnapshotBegin(last, START + 20, 2, "test", START), e.SnapshotEnd(last, START + 20, 2)]
    before = everything(store)
    store.add(again, frames_of(again))
    assert everything(store) == before
    store.close()


def test_a_ring_forgets_the_oldest(events):
    ring = EventRing(limit_bytes=2000)
    ring.add(events, frames_of(events))
    kept = everything(ring)
    assert 0 < len(kept) < len(events)
    assert kept[-1]["number"] == events[-1].number


def test_the_same_life_of_a_server_is_continued(tmp_path, events):
    path = tmp_path / "events.db"
    write(path, events[:50]).close()
    store = EventStore(path)
    store.begin(Header(server_epoch=EPOCH), events[0])
    store.add(events[50:], frames_of(events[50:]))
    store.close()
    same(open_replay(path).model, demo_hub().model)
    assert list(tmp_path.glob("*.db")) == [path]


def test_the_log_of_another_life_is_put_aside(tmp_path, events):
    path = tmp_path / "events.db"
    write(path, events, epoch=1).close()
    write(path, events[:5], epoch=2).close()
    (old,) = [item for item in tmp_path.glob("*.db") if item != path]
    assert old.name.startswith("events-20")
    same(open_replay(old).model, demo_hub().model)
    assert open_replay(path).model.sessions == {}


def test_a_log_that_can_not_be_made_says_where(tmp_path, events):
    store = EventStore(tmp_path / "missing" / "events.db")
    with pytest.raises(RainException, match=r"missing/events\.db cannot be written"):
        store.begin(Header(), events[0])


def test_a_full_disk_is_told_and_survived(tmp_path, events):
    store = write(tmp_path / "events.db", events[:2])
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count={pages}")
    large = e.SessionCame(1, START, 9, "x" * 100_000, "c")
    store.add([large], frames_of([large]))
    assert "full" in store.problem
    store._connection.execute("PRAGMA max_page_count=1000000")
    store.add(events[2:], frames_of(events[2:]))
    assert store.problem is None
    store.close()
    same(open_replay(tmp_path / "events.db").model, demo_hub().model)


def test_there_must_be_a_file(tmp_path):
    with pytest.raises(RainException, match="there is no event log"):
        open_replay(tmp_path / "events.db")


@pytest.mark.parametrize("content", [b"", b"no database at all", b"\0" * 5000])
def test_what_is_no_event_log_is_refused(tmp_path, content):
    (tmp_path / "events.db").write_bytes(content)
    with pytest.raises(RainException, match="event log"):
        open_replay(tmp_path / "events.db")


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("PRAGMA user_version=99", "schema version 99; this rainzmq reads versions 1 to 2"),
        ("PRAGMA application_id=5", "not an event log of rainzmq"),
        (
            "UPDATE meta SET value='9' WHERE key='protocol'; PRAGMA user_version=1",
            "with protocol version 9; of event logs with schema version 1",
        ),
    ],
)
def test_a_log_of_another_version_is_refused_with_the_reason(path, statement, reason):
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript(statement)
    with pytest.raises(RainException, match=reason):
        open_replay(path)


def test_a_log_that_is_cut_short_is_read_as_far_as_it_is_whole_or_refused(tmp_path, path):
    whole = path.read_bytes()
    rng = random.Random(1)
    opened = 0
    for number in range(40):
        cut = tmp_path / f"cut-{number}.db"
        cut.write_bytes(whole[: rng.randrange(len(whole))])
        try:
            hub = open_replay(cut)
        except RainException:
            continue
        opened += 1
        assert "cut short" in hub.notes[0]
        hub.log.close()
    assert opened


def test_a_log_with_damaged_events_is_read_up_to_them(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("UPDATE events SET body=X'93' WHERE id=60")
    hub = open_replay(path)
    assert "59 events" in hub.notes[0]
    assert hub.model.sessions


def test_a_live_log_can_be_read_while_it_is_written(tmp_path, events):
    store = write(tmp_path / "events.db", events)
    hub = open_replay(tmp_path / "events.db")
    same(hub.model, demo_hub().model)
    store.close()


def test_a_hub_takes_events_into_model_log_and_followers(events):
    heard = []
    hub = Hub(log=EventRing(), followers=[heard.extend])
    hub.take(events, frames_of(events))
    assert heard == events
    assert len(hub.model.sessions) == 2
    assert everything(hub.log)


def test_only_what_is_open_and_connected_can_be_cancelled():
    hub = demo_hub(end=False)
    asked = []
    with pytest.raises(RainException, match="no session 9"):
        hub.cancel(9, "")
    with pytest.raises(RainException, match="session 2 is failed already"):
        hub.cancel(2, "")
    with pytest.raises(RainException, match="not connected"):
        hub.cancel(1, "")
    hub.canceller, hub.is_connected = lambda *what: asked.append(what), True
    hub.cancel(1, "why not")
    assert asked == [(1, "why not")]


def test_two_servers_do_not_write_to_one_log(tmp_path, events):
    path = tmp_path / "events.db"
    first = write(path, events)
    second = EventStore(path)
    with pytest.raises(RainException, match=r"another server on .* writes to the event log .* own --logdir"):
        second.begin(Header(server_epoch=2), events[0])
    second.add(events, frames_of(events, 2))
    assert everything(second) == []
    second.close()
    first.close()
    hub = open_replay(path)
    same(hub.model, demo_hub().model)
    hub.log.close()
    assert [item.name for item in tmp_path.iterdir()] == ["events.db"]


def test_a_log_that_ends_while_a_session_is_open_says_so(tmp_path):
    events = demo_history(end=False)
    write(tmp_path / "events.db", events).close()
    (note,) = open_replay(tmp_path / "events.db").notes
    assert "ends while sessions are open (1)" in note
