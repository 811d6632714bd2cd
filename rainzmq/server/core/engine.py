"""The server's core: one event in, effects out. Pure; `state.py` is what it knows.

    frames -> message -> event -> Engine.handle(event, now) -> effects -> frames

Handlers gather messages per peer; `TurnEnded` schedules once and releases them, so that a turn of the loop
sends at most one multipart message to each peer, however many events it handled.
"""

from __future__ import annotations

from typing import assert_never

from rainzmq.common.ids import id_of
from rainzmq.protocol.messages.client import ClientBye
from rainzmq.protocol.messages.events import ServerSampled, SessionEnded
from rainzmq.protocol.messages.shared import Endpoint
from rainzmq.protocol.messages.worker import Fenced, Report
from rainzmq.server.core import noting, presence, states, watchers
from rainzmq.server.core.dispatch import gather, schedule
from rainzmq.server.core.events import (
    AnotherTurn,
    ClientJoined,
    ClientProcessSeen,
    ClientReturned,
    ClientSaid,
    Effect,
    Event,
    Flush,
    PeerGone,
    RelayMissed,
    ReturnDue,
    Sampled,
    Send,
    Tick,
    TurnEnded,
    Uploaded,
    WatcherMissed,
    WorkerJoined,
    WorkerSaid,
)
from rainzmq.server.core.liveness import on_tick
from rainzmq.server.core.on_client import client_gone, client_joined, client_said
from rainzmq.server.core.on_worker import Loss, worker_joined, worker_lost, worker_said
from rainzmq.server.core.state import CoreOptions, Counters, ServerState
from rainzmq.server.core.submits import on_uploaded
from rainzmq.server.core.tasks import object_lost


class Engine:
    """The server's state machine.

    Args:
        options: intervals, limits, the source of random numbers.
        relay: data endpoint of the relay for workers.
        data_port: TCP port of the relay for clients.
        now: the engine's clock at its start, seconds.
    """

    def __init__(self, options: CoreOptions, relay: Endpoint, data_port: int, now: float) -> None:
        self.state = ServerState(options, now=now, started=now, relay=relay, data_port=data_port)
        self.state.feed.offset = options.epoch_offset_s
        self.state.feed.keeping = options.keep_events

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event at time `now` (seconds, never going back) and return what is to be done, in
        order.
        """
        state = self.state
        state.now = now
        match event:
            case WorkerSaid():
                self._worker_said(event)
            case ClientSaid():
                self._client_said(event)
            case TurnEnded():
                self._turn_ended()
            case ClientJoined():
                client_joined(state, event)
            case WorkerJoined():
                worker_joined(state, event)
            case PeerGone():
                self._peer_gone(event)
            case ClientReturned():
                presence.client_returned(state, event)
            case ClientProcessSeen():
                presence.process_seen(state, event)
            case ReturnDue():
                presence.judge_clients(state, {})
            case Uploaded():
                session = state.session_of(event.uid)
                if session is not None:
                    on_uploaded(state, session, event.uid)
            case RelayMissed():
                self._relay_missed(event)
            case Tick():
                on_tick(state, event.unanswered)
            case Flush():
                watchers.flush(state)
            case WatcherMissed():
                watchers.missed(state, event.peer)
            case Sampled():
                self._sampled(event)
            case _:
                assert_never(event)
        effects, state.effects = state.effects, []
        return effects

    def end(self) -> None:
        """The server stops: put into the event log that all sessions end."""
        state = self.state
        for session in state.sessions.values():
            if session.state is states.OPEN:
                state.feed.add(state.now, SessionEnded, session.session_id, states.CLOSED, None)
        noting.turn_ended(state)

    def _sampled(self, event: Sampled) -> None:
        state = self.state
        counters = {name: getattr(state.counters, name) for name in Counters.__dataclass_fields__}
        sizes = (event.cpu_s, event.memory_bytes, len(state.clients))
        state.feed.add(state.now, ServerSampled, *sizes, counters)

    def _worker_said(self, event: WorkerSaid) -> None:
        state = self.state
        worker = state.workers.get(event.peer)
        if worker is None or worker.epoch != event.epoch:
            state.counters.stale_results += isinstance(event.message, Report) and len(event.message.finished)
            state.tell(
                event.peer, Fenced("this server does not know you: you were declared dead, or it is new")
            )
            return
        worker.last_heard = state.now
        if worker.state is states.SUSPECT:
            worker.to(states.LIVE)
        worker_said(state, worker, event.message)

    def _client_said(self, event: ClientSaid) -> None:
        state = self.state
        client = state.clients.get(event.peer)
        if client is None or client.epoch != event.epoch:
            # Of a client that is back on another connection it has come there once more.
            if presence.by_epoch(state, event.epoch) is None:
                state.tell(event.peer, ClientBye(presence.why_unknown(state, event.epoch)))
            return
        if not presence.heard(state, client, event.message):
            client_said(state, client, event.message)

    def _turn_ended(self) -> None:
        state = self.state
        schedule(state)
        for worker in state.workers.values():
            messages = gather(state, worker)
            if messages:
                state.outbox.setdefault(worker.peer, []).extend(messages)
        state.gone = []
        noting.turn_ended(state)
        outbox, state.outbox = state.outbox, {}
        for peer, messages in outbox.items():
            client = state.clients.get(peer)
            if client is not None:
                presence.said_to(client, messages)
                if client.away_since is not None:
                    continue
            state.effects.append(Send(peer, messages))
        if state.trash:
            state.trash.take_apart()
            state.effects.append(AnotherTurn())

    def _peer_gone(self, event: PeerGone) -> None:
        state = self.state
        if event.peer in state.workers:
            worker_lost(state, state.workers[event.peer], event.reason, Loss.DIED)
        elif event.peer in state.clients and event.cut_off:
            client_gone(state, event.peer, event.reason)
        elif event.peer in state.clients:
            presence.connection_gone(state, state.clients[event.peer], event.reason)

    def _relay_missed(self, event: RelayMissed) -> None:
        state = self.state
        item, session = state.object(event.uid), state.session_of(event.uid)
        if item is None or session is None or item.state is not states.OBJECT_FINISHED or item.at_relay:
            return
        state.log("warning", f"the relay cannot get object {id_of(event.uid)}: {event.reason}")
        asked = set(event.holders)
        for worker in item.holders:
            if worker.name in asked:
                item.forget(worker)
                worker.deleting.add(event.uid)
                worker.to_remove.append(event.uid)
        if not item.available:
            object_lost(state, session, item)
