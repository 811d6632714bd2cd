"""The event log in an SQLite database: what was received, as it was received, with what is needed to find it.

Tables (schema version 2, in `PRAGMA user_version`):

    meta(key TEXT PRIMARY KEY, value TEXT)
        software, protocol: versions that wrote it; cluster_id, server_epoch: whose events; started: s since
        the epoch
    events(id INTEGER PRIMARY KEY, number INTEGER, time REAL, kind TEXT, snapshot INTEGER, session INTEGER,
           worker INTEGER, first_id INTEGER, last_id INTEGER, rows INTEGER, body BLOB)
        One row per event, in order. An event tells of up to thousands of tasks, as columns: `body` is the
        frame as it came from the server (docs/protocol.md). `kind` is its tag; `snapshot` is 1 for a part of
        a snapshot. `session` is the one it is about, -1 for several or none; `worker` its worker, 0 for none;
        `first_id` and `last_id` are the range of uids it names (NULL for none), `rows` how many.

The schema version says how bodies are read: when an event changes so that older frames do not fit any more,
it grows, and `_event` turns old frames into new ones. Version 1 has the same tables, and frames of protocol
2, which still fit.

Storing a frame costs the same for one task and for thousands; a row per task would cost more than scheduling
it. The database is in WAL mode: one process writes, any number may read meanwhile. A commit is not forced to
the disk: a crash of the machine may lose the last seconds, never what was before.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from rainzmq.common.errors import RainException
from rainzmq.common.ids import make_uid, session_of
from rainzmq.common.locks import HeldError, HeldFile, hold
from rainzmq.common.private import private_opener
from rainzmq.common.states import SessionState
from rainzmq.monitoring.hub import EventFilter, Hub, Row
from rainzmq.monitoring.rows import EVENTS_OF, WorkerNames
from rainzmq.monitoring.search import search
from rainzmq.protocol.codec import Header, decode
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.client import CONVERSATION
from rainzmq.protocol.schema import MESSAGES, ProtocolError

_log = logging.getLogger(__name__)

SCHEMA_VERSION = 2
_FIRST_PROTOCOL = "2"
"""Protocol of the event logs of schema version 1 that are read."""

APPLICATION_ID = 0x525A4D51

_SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE events(id INTEGER PRIMARY KEY, number INTEGER NOT NULL, time REAL NOT NULL, kind TEXT NOT NULL,
    snapshot INTEGER NOT NULL, session INTEGER NOT NULL, worker INTEGER NOT NULL, first_id INTEGER,
    last_id INTEGER, rows INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX events_by_number ON events(number);
CREATE INDEX events_by_session ON events(session, first_id);
CREATE INDEX events_by_kind ON events(kind, time);
"""

_CHUNK = 1000
"""Events taken in at once."""

_PAGE = 500
"""Events read at once when looking for rows."""


class EventStore:
    """Writes events to a database, and finds them. `add` is for one thread; `query` for any.

    A database of another life of the server is put aside as `events-STARTED.db`; one of the same life is
    continued.

    Raises:
        RainException: the database cannot be made.
    """

    kind = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._held: HeldFile | None = None
        self._lock = threading.Lock()
        self._last_number = -1
        self.problem: str | None = None
        """Why nothing is written at the moment, human-readable; None when all is well."""

    def begin(self, header: Header, event: e.SnapshotBegin) -> None:
        """A server speaks: open the database for what it says.

        Raises:
            RainException: it cannot be opened or made.
        """
        try:
            if self._connection is None:
                self._take_lock()
                self._put_aside(str(header.server_epoch))
                # SQLite would make a file that others can read; its further files get the mode of this one.
                with open(self.path, "ab", opener=private_opener):
                    self.path.chmod(0o600)
                self._connection = sqlite3.connect(self.path, isolation_level=None, timeout=1.0)
                self._prepare(self._connection, header, event)
        except (sqlite3.Error, OSError) as error:
            self._close_connection()
            with suppress(OSError):  # nobody shall take it for a log
                if not self.path.stat().st_size:
                    self.path.unlink()
            raise RainException(
                f"the event log {self.path} cannot be written: {error}; give the server another --logdir"
            ) from error

    def add(self, events: list[Any], frames: list[bytes]) -> None:
        """Write events. When that is not possible (a full disk), `problem` says why; what was not written is
        lost, and the next snapshot makes up for it.
        """
        if self._connection is None:
            return
        rows: list[Any] = []
        for event, frame in zip(events, frames, strict=True):
            is_new = event.number > self._last_number
            self._last_number = max(self._last_number, event.number)
            session, worker, first, last, count = _about(event)
            kind = MESSAGES[type(event)].tag
            rows.append(
                (event.number, event.time, kind, int(not is_new), session, worker, first, last, count, frame)
            )
        try:
            self._connection.execute("BEGIN")
            self._connection.executemany(
                "INSERT INTO events(number, time, kind, snapshot, session, worker, first_id, last_id, rows,"
                " body) VALUES(?,?,?,?,?,?,?,?,?,?)",
                rows,
            )
            self._connection.execute("COMMIT")
            self.problem = None
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            if self.problem is None:
                _log.warning("events cannot be written to %s: %s", self.path, error)
            self.problem = f"events cannot be written to {self.path}: {error}"

    def query(self, wanted: EventFilter, limit: int) -> tuple[list[Row], int | None]:
        """See `EventLog.query`."""
        with self._lock:
            if self._connection is None:
                return [], None
            if self._reader is None:
                self._reader = _open(self.path)
            reader = self._reader
            return _search(reader, wanted, limit)

    def past(self, last_row: int) -> Iterator[Any]:
        """All events up to a row, in order; for any thread.

        Raises:
            RainException, sqlite3.Error, ProtocolError: the database cannot be read, or is damaged.
        """
        with closing(_open(self.path)) as reader:
            yield from stored_events(reader, last_row)

    def last_row(self) -> int:
        """Id of the last row that was written, 0 before the first."""
        if self._connection is None:
            return 0
        row = self._connection.execute("SELECT max(id) FROM events").fetchone()
        return row[0] or 0

    def close(self) -> None:
        """Write out what is left."""
        with self._lock:
            if self._reader is not None:
                self._reader.close()
                self._reader = None
        self._close_connection()

    def _close_connection(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
        if self._held is not None:
            self._held.release()
            self._held = None

    def _prepare(self, connection: sqlite3.Connection, header: Header, event: e.SnapshotBegin) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        if connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION:
            row = connection.execute("SELECT max(number) FROM events").fetchone()
            self._last_number = -1 if row[0] is None else row[0]
            return
        connection.executescript(_SCHEMA)
        meta = {
            "software": event.software,
            "protocol": header.version,
            "cluster_id": header.cluster_id,
            "server_epoch": header.server_epoch,
            "started": event.started,
        }
        connection.executemany(
            "INSERT INTO meta VALUES(?,?)", [(key, str(value)) for key, value in meta.items()]
        )
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def _take_lock(self) -> None:
        """One process writes: two servers with one directory of logs would spoil each other's database."""
        try:
            self._held = hold(Path(f"{self.path}.lock"))
        except HeldError as error:
            where = f" on {error}" if str(error) else ""
            raise RainException(
                f"another server{where} writes to the event log {self.path}: give each its own --logdir"
            ) from None
        if self._held.why_unlocked is not None:
            _log.warning(
                "the file system of %s has no locks (%s): events are written all the same; give no other "
                "server this directory",
                self.path,
                self._held.why_unlocked,
            )

    def _put_aside(self, epoch: str) -> None:
        """Give a database that is there already, of another life of the server, another name."""
        if not self.path.exists():
            return
        meta: dict[str, str] = {}
        with suppress(RainException, sqlite3.Error), closing(_open(self.path)) as old:
            meta = dict(old.execute("SELECT key, value FROM meta"))
        if meta.get("server_epoch") == epoch:
            return
        when = float(meta.get("started") or self.path.stat().st_mtime)
        stem = f"{self.path.stem}-{time.strftime('%Y%m%d-%H%M%S', time.localtime(when))}"
        target = self.path.with_name(f"{stem}{self.path.suffix}")
        number = 1
        while target.exists():
            number += 1
            target = self.path.with_name(f"{stem}-{number}{self.path.suffix}")
        self.path.rename(target)
        for ending in ("-wal", "-shm"):
            side = Path(f"{self.path}{ending}")
            if side.exists():
                side.rename(f"{target}{ending}")


class StoredLog:
    """The event log of a finished run, for reading only."""

    kind = "sqlite"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def add(self, events: list[Any], frames: list[bytes]) -> None:
        """Nothing is added: the run is over."""

    def query(self, wanted: EventFilter, limit: int) -> tuple[list[Row], int | None]:
        """See `EventLog.query`."""
        with self._lock:
            return _search(self._connection, wanted, limit)

    def close(self) -> None:
        """Close the database."""
        self._connection.close()


def open_replay(path: Path | str) -> Hub:
    """A hub with everything that a database says; `notes` says what is missing of it.

    Raises:
        RainException: there is no such file, it is no event log, or one of another version.
    """
    path = Path(path)
    connection = _open(path)
    try:
        hub = Hub(is_replay=True, source=str(path), log=StoredLog(connection))
        complete = read_into(hub, connection)
    except BaseException:
        connection.close()
        raise
    complete = complete or _shortened(path)
    hub.notes += hub.model.gap_notes()
    if complete is not None:
        hub.notes.append(complete)
    running = [
        session.session_id for session in hub.model.sessions.values() if session.state is SessionState.OPEN
    ]
    if running:
        numbers = ", ".join(map(str, running[:10]))
        hub.notes.append(
            f"the log ends while sessions are open ({numbers}): the server still runs, or it was killed"
        )
    if not hub.model.started:
        hub.notes.append("this event log is empty: nothing had been written to it")
    return hub


def _shortened(path: Path) -> str | None:
    """What is missing of a file that has fewer pages than its header says, human-readable; None: nothing."""
    wal = Path(f"{path}-wal")
    if wal.exists() and wal.stat().st_size:
        return None  # pages may stand there
    with open(path, "rb") as file:
        header = file.read(100)
    page_bytes = int.from_bytes(header[16:18], "big")
    wanted = (65536 if page_bytes == 1 else page_bytes) * int.from_bytes(header[28:32], "big")
    size = path.stat().st_size
    return f"this event log is cut short: {size} of {wanted} bytes are there" if size < wanted else None


def read_into(hub: Hub, connection: sqlite3.Connection) -> str | None:
    """Feed a hub's model with all events of a database; None, or what is missing at the end."""
    last_time, count = None, 0
    events: list[Any] = []
    try:
        for event in stored_events(connection):
            events.append(event)
            last_time, count = event.time, count + 1
            if len(events) == _CHUNK:
                taken, events = events, []
                hub.model.apply_all(taken)
        taken, events = events, []
        hub.model.apply_all(taken)
    except (sqlite3.Error, ProtocolError, ValueError, LookupError) as error:
        when = (
            "" if last_time is None else time.strftime(" up to %Y-%m-%d %H:%M:%S", time.localtime(last_time))
        )
        return f"this event log is damaged or cut short: {count} events{when} could be read ({error})"
    finally:
        with suppress(ValueError, LookupError):
            hub.model.apply_all(events)
    return None


def stored_events(connection: sqlite3.Connection, last_row: int | None = None) -> Iterator[Any]:
    """All events of a database, in order, up to a row.

    Raises:
        sqlite3.Error: it is damaged.
        ProtocolError: an event is not what its declaration says.
    """
    limit = 1 << 62 if last_row is None else last_row
    for (body,) in connection.execute("SELECT body FROM events WHERE id <= ? ORDER BY id", (limit,)):
        yield _event(body)


def _open(path: Path) -> sqlite3.Connection:
    """Open a database for reading, from any thread.

    Raises:
        RainException: there is none, it is no event log, or one of another version.
    """
    if not path.is_file():
        raise RainException(f"there is no event log {path}")
    connection = None
    # Nobody writes to it: it can be read where nothing can be written, and no files appear beside it.
    still = "" if Path(f"{path}-wal").exists() else "&immutable=1"
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro{still}", uri=True, check_same_thread=False, timeout=5.0
        )
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if application != APPLICATION_ID:
            raise RainException(f"{path} is a database, but not an event log of rainzmq")
        if not 1 <= version <= SCHEMA_VERSION:
            raise RainException(
                f"{path} is an event log with schema version {version}; this rainzmq reads versions 1 to "
                f"{SCHEMA_VERSION}. Use the rainzmq that wrote it"
            )
        meta = dict(connection.execute("SELECT key, value FROM meta"))
        if version == 1 and meta.get("protocol") != _FIRST_PROTOCOL:
            raise RainException(
                f"{path} was written by rainzmq {meta.get('software')} with protocol version "
                f"{meta.get('protocol')}; of event logs with schema version 1 this rainzmq reads "
                f"protocol version {_FIRST_PROTOCOL}"
            )
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise RainException(f"{path} cannot be read as an event log: {error}") from None
    except RainException:
        if connection is not None:
            connection.close()
        raise
    return connection


def _search(reader: sqlite3.Connection, wanted: EventFilter, limit: int) -> tuple[list[Row], int | None]:
    workers: WorkerNames = {}
    for (body,) in reader.execute("SELECT body FROM events WHERE kind = 'ev_worker_came'"):
        came = _event(body)
        workers[came.worker] = came.worker_id
    return search(lambda number: _candidates(reader, wanted, number), workers, wanted, limit)


def _candidates(reader: sqlite3.Connection, wanted: EventFilter, after: int) -> tuple[list[Any], bool]:
    """Events with a number of at least `after` that may have rows that are wanted, and whether there are
    more.
    """
    conditions = ["snapshot = 0", "number >= ?"]
    values: list[Any] = [after]
    if wanted.session_id is not None:
        conditions.append("session IN (-1, ?)")
        values.append(wanted.session_id)
    if wanted.kinds is not None:
        tags = sorted({MESSAGES[EVENTS_OF[kind]].tag for kind in wanted.kinds if kind in EVENTS_OF})
        conditions.append(f"kind IN ({','.join('?' * len(tags))})")
        values += tags
    if wanted.since is not None:
        conditions.append("time >= ?")
        values.append(wanted.since)
    if wanted.until is not None:
        conditions.append("time < ?")
        values.append(wanted.until)
    if wanted.ids:
        conditions.append("last_id >= ? AND first_id <= ?")
        values += [min(wanted.ids), max(wanted.ids)]
    text = f"SELECT body FROM events WHERE {' AND '.join(conditions)} ORDER BY number LIMIT {_PAGE}"
    bodies = reader.execute(text, values).fetchall()
    return [_event(body) for (body,) in bodies], len(bodies) == _PAGE


def _event(body: Any) -> Any:
    if type(body) is not bytes:  # in a damaged database anything can stand in a column
        raise ProtocolError("an event without a body")
    return decode(body, CONVERSATION, "server")[1]


def _about(event: Any) -> tuple[int, int, int | None, int | None, int]:
    """(session or -1, worker or 0, first uid, last uid, rows) of an event."""
    worker = getattr(event, "worker", 0)
    if isinstance(event, e.TasksSubmitted):
        ids = [*event.ids, *[row[0] for row in event.constants]]
        if not ids:
            return event.session_id, 0, None, None, 0
        first, last = make_uid(event.session_id, min(ids)), make_uid(event.session_id, max(ids))
        # The outputs of the last task have ids after it.
        return event.session_id, 0, first, last + (1 << 16), len(ids)
    if isinstance(event, e.TaskFailed):
        uids = [event.failure.task]
    else:
        rows = getattr(event, "rows", None)
        uids = getattr(event, "uids", None) or ([row[0] for row in rows] if rows else [])
    if not uids:
        return getattr(event, "session_id", -1), worker, None, None, 0
    first, last = min(uids), max(uids)
    session = session_of(first) if session_of(first) == session_of(last) else -1
    return session, worker, first, last + (1 << 16 if hasattr(event, "sizes") else 0), len(uids)
