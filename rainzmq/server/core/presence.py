"""Whether clients are alive: a client is alive while its connection is.

Silence says nothing. A program that holds the interpreter's lock in a long call, stands in a debugger or was
stopped sends nothing and answers nothing, but its kernel keeps the connection. So a client ends with its
connection, and that can end in three ways:

- *closed*: the process died (its kernel closes for it), or something between cut it. Where the process is on
  this machine we watch it: it ends at once when the process has ended, and has all of the grace to come back
  while it lives. Elsewhere nothing tells the one from the other but what follows: a live client connects
  again within a second. So after `RETURN_S` without it, it is dead, and everything of it free within 5 s.
- *unanswered*: host or network vanished, and nobody closes anything. The kernel knows, since what it sends is
  not acknowledged. After `HOST_SILENT_S` the connection counts as gone, and the grace begins; if the host
  answers before that is over, as a laptop does that was opened again, nothing has happened.
- *cut off* by us, or *goodbye*: at once.

A client that comes back says which messages it got (`ClientReturned`). Both sides number what they say and
keep it until it is confirmed, so nothing is lost and nothing is taken twice, whatever kind of message it is;
the alternative, to make each request safe to repeat, would have to be kept up with each new one. What still
comes over a connection that was replaced is dropped: it has been sent again.

Rejected: heartbeats of the transport (a stopped process does not answer them), and a helper process that
watches the client (a process per client, to tell in rare cases what 3.5 s tell as well).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from rainzmq.common.limits import HOST_SILENT_S
from rainzmq.protocol.messages import client as m
from rainzmq.server.core.events import (
    ClientMessage,
    ClientProcessSeen,
    ClientReturned,
    ForgetPeer,
    Send,
    WatchProcess,
)
from rainzmq.server.core.on_client import client_gone
from rainzmq.server.core.session_records import ClientRecord
from rainzmq.server.core.state import ServerState

RETURN_S = 3.5
"""How long a client that cannot be seen from here has to come back after its connection was closed,
seconds.
"""

_MESSAGES_AT_ONCE = 1000


def said_to(client: ClientRecord, messages: Iterable[Any]) -> None:
    """Remember what a client is being sent, until it confirms it."""
    if not client.viewer:
        client.unconfirmed.extend([item for item in messages if type(item) not in m.UNCOUNTED])


def confirmed(client: ClientRecord, count: int) -> bool:
    """The client has got `count` messages; False when that cannot be."""
    new = count - client.confirmed
    if not 0 <= new <= len(client.unconfirmed):
        return False
    for _ in range(new):
        client.unconfirmed.popleft()
    client.confirmed = count
    return True


def connection_gone(state: ServerState, client: ClientRecord, reason: str) -> None:
    """The connection of a client was closed, by whomever. A viewer has nothing to come back to."""
    if client.viewer:
        client_gone(state, client.peer, reason)
    elif client.away_since is None:
        client.away_since = state.now
        state.feed.forget(client.peer)
        state.log("info", f"the connection of client {client.name} was closed; it may come back")


def process_seen(state: ServerState, event: ClientProcessSeen) -> None:
    """A client's process was found, or has ended."""
    client = by_epoch(state, event.epoch)
    if client is None:
        return
    client.watched = event.alive
    if not event.alive:
        client_gone(state, client.peer, "its process ended")


def heard(state: ServerState, client: ClientRecord, message: ClientMessage) -> bool:
    """Take note that a client said something; True when that was all about its presence."""
    client.last_heard = state.now
    if type(message) is m.ClientHeartbeat:
        if not client.viewer and not confirmed(client, message.received):
            client_gone(state, client.peer, _impossible(message.received))
        return True
    client.received += 1
    if type(message) is not m.ClientProcess:
        return False
    if message.space and message.space == state.options.process_space:
        state.effects.append(WatchProcess(client.epoch, message.pid, message.started))
    return True


def client_returned(state: ServerState, event: ClientReturned) -> None:
    """A client is there again over a new connection, or would like to."""
    client = by_epoch(state, event.epoch)
    if client is None:
        state.tell(event.peer, m.ClientBye(why_unknown(state, event.epoch)))
        state.forget_peer(event.peer)
        return
    if not confirmed(client, event.received):
        client_gone(state, client.peer, _impossible(event.received))
        state.tell(event.peer, m.ClientBye(why_unknown(state, event.epoch)))
        state.forget_peer(event.peer)
        return
    waiting = _move(state, client, event.peer)
    client.away_since = None
    client.last_heard = state.now
    state.log("info", f"client {client.name} is back on a new connection")
    messages = [m.ClientResumed(client.received), *client.unconfirmed]
    for start in range(0, len(messages), _MESSAGES_AT_ONCE):
        part = list(islice(messages, start, start + _MESSAGES_AT_ONCE))
        state.effects.append(Send(event.peer, part))
    if waiting:
        state.outbox[event.peer] = waiting


def _move(state: ServerState, client: ClientRecord, peer: bytes) -> list[Any]:
    """The client is `peer` from now on; what was gathered for its old connection in this turn."""
    old, client.peer = client.peer, peer
    if old == peer:
        return state.outbox.pop(peer, [])
    del state.clients[old]
    state.clients[peer] = client
    for session_id in client.sessions:
        session = state.sessions[session_id]
        session.peer = peer
        for waits in (session.session_waits, *session.waits.values()):
            for wait in waits:
                wait.peer = peer
        session.fetches = {
            uid: [(peer if asks == old else asks, request) for asks, request in fetches]
            for uid, fetches in session.fetches.items()
        }
    waiting = state.outbox.pop(old, [])
    state.effects.append(ForgetPeer(old))
    return waiting


def judge_clients(state: ServerState, unanswered: dict[bytes, float]) -> None:
    """End clients that have not come back in time. `unanswered`: see `events.Tick`."""
    grace_s = state.options.client_grace_s
    for client in list(state.clients.values()):
        silence_s = unanswered.get(client.peer, 0.0)
        if client.away_since is not None:
            limit_s = grace_s if client.watched else min(RETURN_S, grace_s)
            if state.now - client.away_since >= limit_s:
                reason = f"its connection was closed and it did not come back within {limit_s:g} s"
                client_gone(state, client.peer, reason)
        elif silence_s >= HOST_SILENT_S and (client.viewer or silence_s >= HOST_SILENT_S + grace_s):
            reason = (
                f"its host has answered nothing for {silence_s:.0f} s (it counts as gone after "
                f"{HOST_SILENT_S:g} s, and may come back for {grace_s:g} s more)"
            )
            client_gone(state, client.peer, reason)


def by_epoch(state: ServerState, epoch: int) -> ClientRecord | None:
    """The client with that epoch; None when there is none. A search: for what is rare."""
    return next((client for client in state.clients.values() if client.epoch == epoch), None)


def why_unknown(state: ServerState, epoch: int) -> str:
    """Why a client that believes to be known is not."""
    reason = state.departed.get(epoch)
    if reason is not None:
        return f"its sessions were ended: {reason}"
    return "the server does not know this client: it has been gone for long, or the server is new"


def _impossible(count: int) -> str:
    return f"it claims to have got {count} messages, which cannot be"
