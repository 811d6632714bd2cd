"""What clients say, and what happens then."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, assert_never

from rainzmq.common.ids import make_uid
from rainzmq.protocol.messages import client as m
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.shared import Failure
from rainzmq.server.core import noting, states, waits, watchers
from rainzmq.server.core.events import (
    ClientJoined,
    ClientMessage,
    SessionMessage,
    SessionOwner,
    UnwatchProcess,
)
from rainzmq.server.core.objects import unread_object
from rainzmq.server.core.reasons import why_tasks_wait
from rainzmq.server.core.records import WorkerRecord
from rainzmq.server.core.session_records import ClientRecord, SessionRecord, WaitRecord
from rainzmq.server.core.state import PAST_CLIENTS, ServerState
from rainzmq.server.core.submits import on_submit
from rainzmq.server.core.tasks import empty_session, session_failed

INFO_IDS = 20_000
"""Ids of one `ServerInfo` part; more go into several."""


def client_joined(state: ServerState, event: ClientJoined) -> None:
    """Register a client and welcome it."""
    if event.peer in state.clients:
        client_gone(state, event.peer, "it said hello again")
    epoch = state.options.random_id()
    hello = event.hello
    name = f"{hello.hostname} (pid {hello.pid})"
    state.clients[event.peer] = ClientRecord(event.peer, epoch, name, state.now, event.viewer)
    state.log("info", f"{'viewer' if event.viewer else 'client'} {name} connected")
    options = state.options
    state.tell(
        event.peer,
        m.ClientWelcome(
            options.software,
            epoch,
            state.data_port,
            options.heartbeat_interval_s,
            options.dead_after_s,
            options.client_grace_s,
        ),
    )


def client_gone(state: ServerState, peer: bytes, reason: str) -> None:
    """A client left or is lost: its sessions end. `presence.py` says when it is lost."""
    client = state.clients.pop(peer)
    state.feed.forget(peer)
    why = f"{reason}; it was last heard {state.now - client.last_heard:.1f} s ago"
    state.log("info", f"client {client.name} is gone, with {len(client.sessions)} sessions: {why}")
    state.departed[client.epoch] = why
    if len(state.departed) > PAST_CLIENTS:
        state.departed.popitem(last=False)
    if client.watched:
        state.effects.append(UnwatchProcess(client.epoch))
    for session_id in sorted(client.sessions):
        close_session(state, state.sessions[session_id])
    state.outbox.pop(peer, None)
    state.forget_peer(peer)


def close_session(state: ServerState, session: SessionRecord) -> None:
    """End a session for good."""
    was_open = session.state is states.OPEN
    session.to(states.CLOSED)
    if was_open:
        noting.session_ended(state, session)
        empty_session(state, session)
    del state.sessions[session.session_id]
    client = state.clients.get(session.peer)
    if client is not None:
        client.sessions.discard(session.session_id)
    state.effects.append(SessionOwner(session.session_id, None))


def client_said(state: ServerState, client: ClientRecord, message: ClientMessage) -> None:
    """Dispatch a client's message."""
    match message:
        case (
            m.Submit()
            | m.Wait()
            | m.Update()
            | m.Fetch()
            | m.Unkeep()
            | m.SessionPython()
            | m.AskProgress()
            | m.CloseSession()
        ):
            _about_session(state, client, message)
        case m.NewSession():
            _on_new_session(state, client, message)
        case m.CancelWait():
            _on_cancel_wait(state, client, message)
        case m.AskServerInfo():
            _on_server_info(state, client, message)
        case e.Watch():
            watchers.watch(state, client.peer, message.request)
        case e.CancelSession():
            _on_cancel_session(state, client, message)
        case m.ClientBye():
            client_gone(state, client.peer, message.reason or "it said goodbye")
        case m.ClientHeartbeat() | m.ClientProcess():
            pass  # `presence.py` takes note of them
        case _:
            assert_never(message)


def _about_session(
    state: ServerState, client: ClientRecord, message: SessionMessage | m.CloseSession
) -> None:
    """Find the session of a message, or refuse it."""
    session = state.sessions.get(message.session_id)
    request = getattr(message, "request", None)
    mine = session is not None and message.session_id in client.sessions
    if session is None or (not mine and not isinstance(message, m.AskProgress)):
        if request is not None:
            reason = f"session {message.session_id} is closed or not yours"
            state.tell(client.peer, m.RequestFailed(request, "session", reason))
        return
    if isinstance(message, m.CloseSession):
        close_session(state, session)
        state.tell(client.peer, m.Done(message.request))
    elif session.state is not states.OPEN:
        if request is not None:
            reason = session.failure.message if session.failure else session.state
            state.tell(client.peer, m.RequestFailed(request, "session", reason))
    else:
        _in_session(state, client, session, message)


def _in_session(
    state: ServerState, client: ClientRecord, session: SessionRecord, message: SessionMessage
) -> None:
    match message:
        case m.Submit():
            on_submit(state, session, message)
        case m.Wait():
            _on_wait(state, client, session, message)
        case m.Update():
            _on_update(state, client, session, message)
        case m.Fetch():
            _on_fetch(state, client, session, message)
        case m.Unkeep():
            _on_unkeep(state, client, session, message)
        case m.SessionPython():
            session.python = message.version
        case m.AskProgress():
            _on_progress(state, client, session, message)
        case _:
            assert_never(message)


def _on_new_session(state: ServerState, client: ClientRecord, message: m.NewSession) -> None:
    session_id = state.next_session_id
    state.next_session_id += 1
    state.sessions[session_id] = SessionRecord(session_id, client.peer, message.name, state.now)
    state.feed.add(state.now, e.SessionCame, session_id, message.name, client.name)
    client.sessions.add(session_id)
    state.effects.append(SessionOwner(session_id, client.epoch))
    state.tell(client.peer, m.SessionOpened(message.request, session_id))


def _on_wait(state: ServerState, client: ClientRecord, session: SessionRecord, message: m.Wait) -> None:
    if message.mode == "session":
        wait = WaitRecord(client.peer, message.request, [], False, 1)
        if session.unfinished:
            session.session_waits.append(wait)
        else:
            state.tell(client.peer, m.News(message.request, False, [], []))
        return
    uids = waits.uids_of(session, message.ids)
    if uids is None or message.mode not in ("all", "some"):
        _refuse(state, client, message.request, "it waits for something that is not in the session")
        return
    unfinished = [uid for uid in uids if not waits.is_finished(session, uid)]
    some = message.mode == "some"
    wait = WaitRecord(client.peer, message.request, uids, some, len(unfinished))
    if not unfinished or (some and len(unfinished) < len(uids)):
        waits.answer(state, session, wait)
        return
    for uid in unfinished:
        session.waits.setdefault(uid, []).append(wait)


def _on_cancel_wait(state: ServerState, client: ClientRecord, message: m.CancelWait) -> None:
    for session_id in client.sessions:
        session = state.sessions[session_id]
        session.session_waits = [w for w in session.session_waits if w.request != message.request]
        found = {id(w): w for ws in session.waits.values() for w in ws if w.request == message.request}
        for wait in found.values():
            waits.unlink(session, wait)


def _on_update(state: ServerState, client: ClientRecord, session: SessionRecord, message: m.Update) -> None:
    uids = waits.uids_of(session, message.ids)
    if uids is None:
        _refuse(state, client, message.request, "it asks for something that is not in the session")
    else:
        waits.send_news(state, session, client.peer, message.request, uids)


def _on_fetch(state: ServerState, client: ClientRecord, session: SessionRecord, message: m.Fetch) -> None:
    uid = make_uid(session.session_id, message.id)
    item = session.objects.get(uid)
    if item is None and uid not in session.history:
        _refuse(state, client, message.request, f"object {session.session_id}/{message.id} is unknown")
    elif item is None or not item.keep:
        _refuse(state, client, message.request, f"object {session.session_id}/{message.id} is not kept")
    elif item.state is states.OBJECT_FINISHED:
        waits.send_content(state, session, item, client.peer, message.request)
    else:
        session.fetches.setdefault(item.uid, []).append((client.peer, message.request))


def _on_unkeep(state: ServerState, client: ClientRecord, session: SessionRecord, message: m.Unkeep) -> None:
    items = [session.objects.get(make_uid(session.session_id, item)) for item in message.ids]
    for item, local_id in zip(items, message.ids, strict=True):
        if item is None or not item.keep:
            _refuse(state, client, message.request, f"object {session.session_id}/{local_id} is not kept")
            return
    for item in items:
        if item is not None:
            item.keep = False
            unread_object(state, session, item)
    state.tell(client.peer, m.Done(message.request))


def _on_progress(
    state: ServerState, client: ClientRecord, session: SessionRecord, message: m.AskProgress
) -> None:
    total = session.task_count
    reasons = why_tasks_wait(state, session)
    state.tell(
        client.peer,
        m.Progress(
            message.request,
            total - session.unfinished,
            session.running,
            total,
            reasons,
            session.groups.rows(),
        ),
    )


def _on_server_info(state: ServerState, client: ClientRecord, message: m.AskServerInfo) -> None:
    facts = {
        "version": state.options.software,
        "uptime_s": round(state.now - state.started, 3),
        "clients": len(state.clients),
        "sessions": [
            {
                "session_id": session.session_id,
                "name": session.name,
                "state": session.state,
                "tasks": session.task_count,
                "unfinished": session.unfinished,
                "running": session.running,
            }
            for session in state.sessions.values()
        ],
        "counters": {
            name: getattr(state.counters, name) for name in type(state.counters).__dataclass_fields__
        },
    }
    parts = [part for worker in state.workers.values() for part in _worker_parts(worker)]
    for part in parts[:-1]:
        state.tell(client.peer, m.ServerInfo(message.request, True, [part], {}))
    state.tell(client.peer, m.ServerInfo(message.request, False, parts[-1:], facts))


def _worker_parts(worker: WorkerRecord) -> Iterator[dict[str, Any]]:
    base = {
        "worker_id": worker.name,
        "hostname": worker.hello.hostname,
        "pid": worker.hello.pid,
        "state": worker.state,
        "resources": {"cpus": worker.cpus},
    }
    columns = {
        "tasks": list(worker.tasks),
        "objects": [uid for uid in worker.objects if uid not in worker.deleting],
        "objects_to_delete": list(worker.deleting.union(*worker.ending.values())),
    }
    longest = max(len(column) for column in columns.values())
    for start in range(0, max(longest, 1), INFO_IDS):
        yield base | {name: column[start : start + INFO_IDS] for name, column in columns.items()}


def _on_cancel_session(state: ServerState, client: ClientRecord, message: e.CancelSession) -> None:
    session = state.sessions.get(message.session_id)
    if session is None or session.state is not states.OPEN:
        how = "unknown" if session is None else session.state
        _refuse(state, client, message.request, f"session {message.session_id} is {how}")
        return
    text = message.reason or "no reason was given"
    state.log("info", f"session {message.session_id} is cancelled by {client.name}: {message.reason}")
    session_failed(state, session, Failure.of_session(text), states.SESSION_CANCELLED)
    state.tell(client.peer, m.Done(message.request))


def _refuse(state: ServerState, client: ClientRecord, request: int, reason: str) -> None:
    state.tell(client.peer, m.RequestFailed(request, "request", reason))
