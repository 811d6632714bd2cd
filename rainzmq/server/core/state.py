"""Everything the server's core knows, and the effects it has gathered in this turn."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rainzmq.common.ids import session_of
from rainzmq.common.limits import CLIENT_GRACE_S
from rainzmq.common.tally import Tally
from rainzmq.protocol.messages.shared import Endpoint
from rainzmq.scheduler.ready import ReadyQueues
from rainzmq.server.core import states
from rainzmq.server.core.deaths import Deaths
from rainzmq.server.core.events import Effect, ForgetPeer, Log, Send
from rainzmq.server.core.feed import Feed
from rainzmq.server.core.records import ObjectRecord, TaskRecord, WorkerRecord
from rainzmq.server.core.session_records import ClientRecord, PastSession, SessionRecord
from rainzmq.server.core.trash import Trash

PAST_CLIENTS = 1000
"""Clients that are gone, of which it is remembered why: they may ask when they come back."""

PAST_SESSIONS = 1000
"""Sessions that are over and remembered for those who did not watch when they ended."""


@dataclass(slots=True, kw_only=True)
class CoreOptions:
    """What the engine is told at its start. Times in seconds; `random_id` gives a fresh 62-bit number per
    call; `client_grace_s`: how long sessions outlive a broken connection; `process_space`: names those who
    see the same processes as this one (`common.machine`); `epoch_offset_s` added to the engine's clock is s
    since the epoch; `sample_interval_s` is how often workers say how busy they are, 0 for never;
    `keep_events`: somebody is about to watch, and shall hear everything from the start.
    """

    random_id: Callable[[], int]
    software: str
    heartbeat_interval_s: float
    suspect_after_s: float
    dead_after_s: float
    crash_limit: int
    epoch_offset_s: float = 0.0
    sample_interval_s: float = 1.0
    keep_events: bool = False
    client_grace_s: float = CLIENT_GRACE_S
    process_space: str = ""


@dataclass(slots=True)
class Counters:
    """What an operator wants counted. Turns and messages (multiparts on the control socket) are counted by
    the process around the core: what a task costs is mostly how many of them it takes.
    """

    tasks_submitted: int = 0
    tasks_finished: int = 0
    tasks_failed: int = 0
    stale_results: int = 0
    refused_messages: int = 0
    workers_lost: int = 0
    tasks_rerun: int = 0
    tasks_retracted: int = 0
    turns: int = 0
    messages_received: int = 0
    messages_sent: int = 0


@dataclass(slots=True)
class ServerState:
    """The whole state of the core. Handlers change it completely, then return; effects wait in `effects`.

    `gone`: data endpoints of workers that were lost in this turn, which the others must be told.
    """

    options: CoreOptions
    now: float = 0.0
    started: float = 0.0
    last_tick: float | None = None
    next_session_id: int = 1
    next_worker_number: int = 1
    data_port: int = 0
    relay: Any = None
    clients: dict[bytes, ClientRecord] = field(default_factory=dict)
    workers: dict[bytes, WorkerRecord] = field(default_factory=dict)
    sessions: dict[int, SessionRecord] = field(default_factory=dict)
    ready: ReadyQueues = field(default_factory=ReadyQueues)
    gone: list[Endpoint] = field(default_factory=list)
    unservable_since: dict[str, float] = field(default_factory=dict)
    deaths: Deaths = field(default_factory=Deaths)
    trash: Trash = field(default_factory=Trash)
    counters: Counters = field(default_factory=Counters)
    refused: Tally = field(default_factory=Tally)
    departed: OrderedDict[int, str] = field(default_factory=OrderedDict)
    ended: deque[PastSession] = field(default_factory=lambda: deque(maxlen=PAST_SESSIONS))
    feed: Feed = field(default_factory=lambda: Feed(0.0))
    effects: list[Effect] = field(default_factory=list)
    outbox: dict[bytes, list[Any]] = field(default_factory=dict)

    def tell(self, peer: bytes, message: Any) -> None:
        """Gather a message; it leaves at the end of the turn with the peer's others."""
        self.outbox.setdefault(peer, []).append(message)

    def log(self, level: str, text: str) -> None:
        """Note something for the operator."""
        self.effects.append(Log(level, text))

    def forget_peer(self, peer: bytes) -> None:
        """Send what is gathered for a peer, then drop its queue."""
        messages = self.outbox.pop(peer, None)
        if messages:
            self.effects.append(Send(peer, messages))
        self.effects.append(ForgetPeer(peer))

    def session_of(self, uid: int) -> SessionRecord | None:
        """The open session a uid belongs to; None when there is none."""
        session = self.sessions.get(session_of(uid))
        return session if session is not None and session.state is states.OPEN else None

    def task(self, uid: int) -> TaskRecord | None:
        """A task of an open session."""
        session = self.session_of(uid)
        return session.tasks.get(uid) if session else None

    def object(self, uid: int) -> ObjectRecord | None:
        """A data object of an open session."""
        session = self.session_of(uid)
        return session.objects.get(uid) if session else None

    def schedulable(self) -> list[WorkerRecord]:
        """Workers that may get new tasks."""
        return [worker for worker in self.workers.values() if worker.state is states.LIVE]
