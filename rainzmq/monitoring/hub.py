"""What the pages, REST and the terminal are given to look at: a model, the event log, and ways to act.

server ==events==> link --Hub.take--> Model, log, followers
events.db --------> replay --Hub.take--> Model
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from rainzmq.common.errors import RainException
from rainzmq.common.states import SessionState

if TYPE_CHECKING:
    from rainzmq.monitoring.model import Model

Row = dict[str, Any]
"""An event about one thing, as plain values: see `rows.py`."""


@dataclass(slots=True)
class EventFilter:
    """Which events are wanted; None: any.

    Attributes:
        ids: uids of tasks or objects.
        kinds: types of event, as in `rows.py`.
        session_id: the session.
        worker_id: the worker.
        since, until: times in s since the epoch, the second excluded.
        after: only rows that come after this cursor.
    """

    ids: frozenset[int] | None = None
    kinds: frozenset[str] | None = None
    session_id: int | None = None
    worker_id: str | None = None
    since: float | None = None
    until: float | None = None
    after: int | None = None


class EventLog(Protocol):
    """Where events are kept. `kind`: "memory" or "sqlite"."""

    kind: str

    def add(self, events: list[Any], frames: list[bytes]) -> None:
        """Keep events, given also as they came."""

    def query(self, wanted: EventFilter, limit: int) -> tuple[list[Row], int | None]:
        """Up to `limit` rows in order, and the cursor (`after`) of the rest; None when there is no more."""

    def close(self) -> None:
        """Write out what is left."""


def _new_model() -> Model:
    # Here, because it needs numpy: who only keeps events does without.
    from rainzmq.monitoring.model import Model

    return Model()


@dataclass
class Hub:
    """What there is to look at.

    Attributes:
        model: how things are and were.
        log: the event log; None when events are not kept.
        is_replay: a finished run is shown; its end is `model.now`.
        source: what is watched, human-readable: an address, or the path of a database.
        notes: what those who look must know, such as that a database was cut short.
        is_connected: the server is there; False in a replay.
        canceller: ends a session (id, reason); None where that is not possible.
        followers: called with new events.
    """

    model: Model = field(default_factory=_new_model)
    log: EventLog | None = None
    is_replay: bool = False
    source: str = ""
    notes: list[str] = field(default_factory=list)
    is_connected: bool = False
    canceller: Callable[[int, str], None] | None = None
    followers: list[Callable[[list[Any]], None]] = field(default_factory=list)

    def take(self, events: list[Any], frames: list[bytes]) -> None:
        """Take in events, given decoded and as they came: into the log too."""
        if self.log is not None:
            self.log.add(events, frames)
        self.show(events)

    def show(self, events: list[Any]) -> None:
        """Take in events that are in the log already."""
        self.model.apply_all(events)
        for follower in list(self.followers):
            follower(events)

    def cancel(self, session_id: int, reason: str) -> None:
        """End a session of whatever client. It is over when its `SessionEnded` comes.

        Raises:
            RainException: this is a replay, the session is unknown or over, or the server is not there.
        """
        session = self.model.sessions.get(session_id)
        if session is None:
            raise RainException(f"there is no session {session_id}")
        if session.state is not SessionState.OPEN:
            raise RainException(f"session {session_id} is {session.state} already")
        if self.canceller is None or not self.is_connected:
            raise RainException("nothing can be cancelled here: the server is not connected")
        self.canceller(session_id, reason)
