"""Answers to waiting clients."""

from __future__ import annotations

from typing import Any

from rainzmq.common.ids import local_of, make_uid
from rainzmq.common.limits import MESSAGE_TARGET_BYTES
from rainzmq.protocol.messages.client import Fetched, News
from rainzmq.server.core import states
from rainzmq.server.core.events import OfferTicket
from rainzmq.server.core.history import PastOutput, PastTask
from rainzmq.server.core.records import ObjectRecord, TaskRecord
from rainzmq.server.core.session_records import SessionRecord, WaitRecord
from rainzmq.server.core.state import ServerState

NEWS_ROW_BYTES = 64
"""Estimated bytes of a row of `News`, beside what users and tasks put in."""


def finished(state: ServerState, session: SessionRecord, uid: int) -> None:
    """A task or object finished: count down the waits for it."""
    if not session.waits:
        return
    for wait in session.waits.pop(uid, ()):
        wait.missing = 0 if wait.some else wait.missing - 1
        if not wait.missing:
            answer(state, session, wait)
            unlink(session, wait)


def unlink(session: SessionRecord, wait: WaitRecord) -> None:
    """A wait is over: nothing it waits for remembers it."""
    for uid in wait.ids:
        waiting = session.waits.get(uid)
        if waiting is None:
            continue
        waiting = [item for item in waiting if item is not wait]
        if waiting:
            session.waits[uid] = waiting
        else:
            del session.waits[uid]


def session_finished(state: ServerState, session: SessionRecord) -> None:
    """Every task of the session finished."""
    waiting, session.session_waits = session.session_waits, []
    for wait in waiting:
        state.tell(wait.peer, News(wait.request, False, [], []))


def answer(state: ServerState, session: SessionRecord, wait: WaitRecord) -> None:
    """Answer a `Wait` with what finished of its ids."""
    done = [uid for uid in wait.ids if is_finished(session, uid)]
    send_news(state, session, wait.peer, wait.request, done)


def is_finished(session: SessionRecord, uid: int) -> bool:
    """Whether a task or object of the session is finished (or removed after it was)."""
    task = session.tasks.get(uid)
    if task is not None:
        return task.state is states.FINISHED
    item = session.objects.get(uid)
    return uid in session.history if item is None else item.state is not states.UNFINISHED


def send_news(state: ServerState, session: SessionRecord, peer: bytes, request: int, uids: list[int]) -> None:
    """Send states and infos of the given tasks and objects."""
    tasks: list[Any] = []
    objects: list[Any] = []
    size_bytes = 0
    for uid in uids:
        debug = session.debugs.get(uid, "")
        row_bytes = NEWS_ROW_BYTES + len(session.info_users.get(uid, b"")) + 4 * len(debug)
        if size_bytes + row_bytes > MESSAGE_TARGET_BYTES and size_bytes:
            state.tell(peer, News(request, True, tasks, objects, _executables(session, objects)))
            tasks, objects, size_bytes = [], [], 0
        size_bytes += row_bytes
        task, item = session.tasks.get(uid), session.objects.get(uid)
        if task is not None:
            tasks.append(_task_row(session, task))
        elif item is not None:
            objects.append(_object_row(session, item))
        elif (past := session.history.task(uid)) is not None:
            tasks.append(_past_task_row(session, uid, past))
        elif (gone := session.history.output(uid)) is not None:
            objects.append(_past_object_row(session, uid, gone))
    state.tell(peer, News(request, False, tasks, objects, _executables(session, objects)))


def _executables(session: SessionRecord, rows: list[Any]) -> list[int]:
    """Ids of those objects in rows of `News` that were executable files."""
    if not session.executables:
        return []
    return [row[0] for row in rows if make_uid(session.session_id, row[0]) in session.executables]


def fetchable(state: ServerState, session: SessionRecord, item: ObjectRecord) -> None:
    """An object finished: answer the fetches that wait for it."""
    if not session.fetches:
        return
    for peer, request in session.fetches.pop(item.uid, ()):
        send_content(state, session, item, peer, request)


def send_content(
    state: ServerState, session: SessionRecord, item: ObjectRecord, peer: bytes, request: int
) -> None:
    """Send a finished object's content, or a ticket for it."""
    meta = session.meta(item)
    worker = item.holders[0].name if item.holders else None
    if item.data is not None:
        state.tell(peer, Fetched(request, meta, worker, item.data, b""))
        return
    ticket = state.options.random_id().to_bytes(8, "big") + state.options.random_id().to_bytes(8, "big")
    holders = [] if item.at_relay else [holder.endpoint for holder in item.holders]
    state.effects.append(OfferTicket(ticket, item.uid, meta.is_directory, holders))
    state.tell(peer, Fetched(request, meta, worker, None, ticket))


def dropped(state: ServerState, session: SessionRecord) -> None:
    """The session ended: waits are not answered any more (its client hears why by other ways)."""
    session.waits.clear()
    session.session_waits.clear()
    session.fetches.clear()


def _task_row(session: SessionRecord, task: TaskRecord) -> tuple[Any, ...]:
    uid = task.uid
    ran = task.duration_us >= 0
    return (
        local_of(uid),
        task.state,
        task.start_time if ran else None,
        task.duration_us / 1e6 if ran else None,
        task.worker.name if task.worker else None,
        session.info_users.get(uid, b""),
        session.debugs.get(uid, ""),
    )


def _object_row(session: SessionRecord, item: ObjectRecord) -> tuple[Any, ...]:
    uid = item.uid
    return (
        local_of(uid),
        item.state,
        item.size if item.size >= 0 else None,
        session.meta(item).content_type,
        item.holders[0].name if item.holders else None,
        session.info_users.get(uid, b""),
    )


def _past_task_row(session: SessionRecord, uid: int, task: PastTask) -> tuple[Any, ...]:
    return (
        local_of(uid),
        states.FINISHED,
        task.start_time,
        task.duration_us / 1e6,
        task.worker,
        session.info_users.get(uid, b""),
        session.debugs.get(uid, ""),
    )


def _past_object_row(session: SessionRecord, uid: int, output: PastOutput) -> tuple[Any, ...]:
    declared = output.body.declared.outputs[output.index]
    return (
        local_of(uid),
        states.REMOVED,
        output.size,
        session.content_types.get(uid, declared.content_type),
        None,
        session.info_users.get(uid, b""),
    )


def uids_of(session: SessionRecord, ids: list[int]) -> list[int] | None:
    """Uids of a client's ids; None when one is not a task or object of the session."""
    uids = [make_uid(session.session_id, item) for item in dict.fromkeys(ids)]
    tasks, objects, history = session.tasks, session.objects, session.history
    return uids if all(uid in tasks or uid in objects or uid in history for uid in uids) else None
