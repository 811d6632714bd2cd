"""Watchers: they are handed out the event log, at most a few times a second.

A watcher that comes, or has missed something, gets a snapshot in parts, one with each flush (`snapshot.py`).
When that is, the process around the core decides.
"""

from __future__ import annotations

from rainzmq.protocol.messages import events as e
from rainzmq.server.core import states
from rainzmq.server.core.events import SendEvents
from rainzmq.server.core.reasons import why_tasks_wait
from rainzmq.server.core.snapshot import snapshot_parts
from rainzmq.server.core.state import ServerState

REASONS_INTERVAL_S = 1.0
"""How often it is looked at why nothing runs, seconds."""

KEEP_S = 30.0
KEEP_EVENTS = 20_000
"""How long, and how many, events are kept for who is about to watch from the start."""


def watch(state: ServerState, peer: bytes, request: int) -> None:
    """Somebody wants all events from now on, and a snapshot first."""
    feed = state.feed
    feed.watchers[peer] = request
    if feed.keeping:
        # All that happened since the start is still there: that says more than a snapshot.
        feed.keeping = False
        started = state.started + feed.offset
        begin = e.SnapshotBegin(0, started, request, state.options.software, started)
        state.effects.append(SendEvents([peer], [begin, e.SnapshotEnd(0, started, request)]))
    else:
        feed.snapshots[peer] = snapshot_parts(state, request)


def missed(state: ServerState, peer: bytes) -> None:
    """A watcher has not been sent some events: it gets a snapshot."""
    request = state.feed.watchers.get(peer)
    if request is not None:
        watch(state, peer, request)


def flush(state: ServerState) -> None:
    """Hand out all events, and a part of each snapshot that is not complete."""
    feed = state.feed
    if not feed.watchers:
        if feed.keeping and (state.now - state.started > KEEP_S or len(feed.pending) > KEEP_EVENTS):
            feed.drop()
        return
    if state.now - feed.reasons_at >= REASONS_INTERVAL_S:
        feed.reasons_at = state.now
        _note_reasons(state)
    if feed.pending:
        pending, feed.pending = feed.pending, []
        state.effects.append(SendEvents(list(feed.watchers), pending))
    for peer, parts in list(feed.snapshots.items()):
        part = next(parts, None)
        if part is None:
            del feed.snapshots[peer]
        else:
            state.effects.append(SendEvents([peer], part))


def _note_reasons(state: ServerState) -> None:
    feed = state.feed
    for session in state.sessions.values():
        said = feed.reasons.get(session.session_id, [])
        reasons = why_tasks_wait(state, session) if session.state is states.OPEN else []
        if reasons != said:
            feed.reasons[session.session_id] = reasons
            feed.add(state.now, e.SessionWaits, session.session_id, reasons)
    for session_id in [item for item in feed.reasons if item not in state.sessions]:
        del feed.reasons[session_id]
