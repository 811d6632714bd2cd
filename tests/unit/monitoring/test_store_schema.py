"""Event logs written by earlier versions are read, and what today's versions write says which it is."""

from __future__ import annotations

import hashlib
import sqlite3
import struct
from contextlib import closing

import msgpack
import pytest

from rainzmq.common.ids import make_uid
from rainzmq.common.states import SessionState, TaskState
from rainzmq.monitoring.hub import EventFilter
from rainzmq.monitoring.store import EventStore, open_replay
from rainzmq.monitoring.views import session_view, task_views
from rainzmq.protocol.codec import Header, encode
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.shared import Failure, OutputTemplate, TaskBody
from rainzmq.protocol.schema import MESSAGES, STRUCTS

SCHEMA_1 = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE events(id INTEGER PRIMARY KEY, number INTEGER NOT NULL, time REAL NOT NULL, kind TEXT NOT NULL,
    snapshot INTEGER NOT NULL, session INTEGER NOT NULL, worker INTEGER NOT NULL, first_id INTEGER,
    last_id INTEGER, rows INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX events_by_number ON events(number);
CREATE INDEX events_by_session ON events(session, first_id);
CREATE INDEX events_by_kind ON events(kind, time);
PRAGMA application_id=1381649745;
PRAGMA user_version=1;
"""

OK, BAD, NEVER = (make_uid(1, number) for number in (1, 2, 3))
BODY = [1, "python/run", 1, "step", b"", [], []]
FAILURE = [BAD, "step", "python/run", 0, "127.0.0.1:5001", "ValueError: broken", "", 1, 3]


def u32(*numbers):
    return struct.pack(f"<{len(numbers)}I", *numbers)


def i64(*numbers):
    return struct.pack(f"<{len(numbers)}q", *numbers)


def f64(*numbers):
    return struct.pack(f"<{len(numbers)}d", *numbers)


# As version 0.1 wrote them (protocol 2): fields after number and time.
EVENTS_1 = [
    ("ev_snapshot_begin", 0, [1, "0.1.0", 1000.0]),
    ("ev_snapshot_end", 0, [1]),
    ("ev_worker_came", 0, [1, "127.0.0.1:5001", "node", 7, 2, ["python"]]),
    ("ev_session_came", 1, [1, "old", "node (pid 8)"]),
    (
        "ev_submitted",
        1,
        [1, [BODY], u32(1, 2, 3), i64(1, 1, 1), u32(0, 0, 0), b"", [], [], [], [], b""],
    ),
    ("ev_task_states", 1, [i64(OK, BAD, NEVER), ["running", "assigned", "ready"], u32(0, 0, 0), i64(1, 1, 0),
      f64(1005.0, 0.0, 0.0), i64(-1, -1, -1), u32(0, 0, 0), b"", b""]),
    ("ev_started", 1, [1, i64(BAD), u32(0)]),
    (
        "ev_finished",
        1,
        [1, i64(OK), u32(0), f64(1005.0), i64(1_700_000), u32(0), u32(0), b"", [], [], [], []],
    ),
    ("ev_failed", 1, [1, FAILURE, 1006.0, 2_000_000]),
    ("ev_session_ended", 1, [1, "failed", FAILURE]),
]  # fmt: skip


@pytest.fixture
def old_log(tmp_path):
    path = tmp_path / "events.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(SCHEMA_1)
        meta = {"software": "0.1.0", "protocol": "2", "cluster_id": "5", "server_epoch": "6"}
        meta["started"] = "1000.0"
        database.executemany("INSERT INTO meta VALUES(?,?)", meta.items())
        for number, (kind, session, fields) in enumerate(EVENTS_1, -1):
            number, time = max(0, number), 1001.0 + number
            body = msgpack.packb([kind, 2, 5, 6, 0, number, time, *fields], use_bin_type=True)
            row = (number, time, kind, session or -1, body)
            database.execute(
                "INSERT INTO events(number, time, kind, snapshot, session, worker, first_id, last_id, rows,"
                " body) VALUES(?,?,?,0,?,0,NULL,NULL,1,?)",
                row,
            )
        database.commit()
    return path


def test_a_log_of_schema_1_is_shown_in_the_words_of_today(old_log):
    hub = open_replay(old_log)
    assert hub.notes == []
    session = hub.model.sessions[1]
    assert session_view(session).state is SessionState.FAILED
    tasks = task_views(session, session.tasks.rows([1, 2, 3]), hub.model)
    assert [task.state for task in tasks] == [TaskState.FINISHED, TaskState.FAILED, TaskState.CANCELLED]
    at = task_views(session, session.tasks.rows([1, 2, 3]), hub.model, 1006.5)
    assert [task.state for task in at] == [TaskState.RUNNING, TaskState.RUNNING, TaskState.READY]


def test_rows_of_a_log_of_schema_1_are_found(old_log):
    rows = open_replay(old_log).log.query(EventFilter(session_id=1), 100)[0]
    said = [(row["type"], row.get("state")) for row in rows]
    assert ("session_ended", "failed") in said
    assert [state for kind, state in said if kind == "task_state"] == ["running", "assigned", "ready"]


def test_a_log_of_schema_1_is_put_aside_and_not_written_to(old_log):
    before = old_log.read_bytes()
    store = EventStore(old_log)
    begin = e.SnapshotBegin(0, 2000.0, 1, "9.9", 2000.0)
    store.begin(Header(server_epoch=99), begin)
    store.add([begin], [encode(begin, Header(server_epoch=99))])
    store.close()
    (aside,) = old_log.parent.glob("events-*.db")
    assert aside.read_bytes() == before
    assert open_replay(aside).model.sessions[1].state is SessionState.FAILED
    with closing(sqlite3.connect(old_log)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (2,)


EVENTS_2 = "35db6ef17f692cd9"


def test_events_have_the_shape_that_the_schema_version_stands_for():
    """Who changes an event makes a new schema version, lets `store` read the old ones, and only then puts the
    new print here; a field that is added at the end with a default is no exception: old frames lack it."""
    kinds = [
        *(MESSAGES[kind] for kind in e.EVENTS),
        *(STRUCTS[k] for k in (Failure, TaskBody, OutputTemplate)),
    ]
    shape = [(kind.tag, [(field.name, field.type_text) for field in kind.fields]) for kind in kinds]
    assert hashlib.sha256(repr(shape).encode()).hexdigest()[:16] == EVENTS_2
