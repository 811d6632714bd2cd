"""Waiting for tasks and objects, and what is heard of them."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rainzmq.client.call_site import warn
from rainzmq.client.datalink import ContentLost
from rainzmq.client.dataobj import DataObject
from rainzmq.client.graph_task import Task
from rainzmq.client.meters import Meters
from rainzmq.common.data_instance import DataInstance
from rainzmq.common.errors import RainException
from rainzmq.common.specs import ObjectInfo, TaskInfo
from rainzmq.common.states import DataObjectState, DataType, TaskState
from rainzmq.protocol.messages.client import AskProgress, Fetch, Fetched, News, Progress, Update, Wait

if TYPE_CHECKING:
    from rainzmq.client.connection import Connection
    from rainzmq.client.pending import Pending
    from rainzmq.client.session import Session

Items = dict[int, Task | DataObject]
"""Submitted tasks and objects of one session by id, in the order they were given."""

IDS_PER_MESSAGE = 50_000
QUIET_S = 5.0
"""A wait without progress for so long tells why."""

_FETCH_TRIES = 3
_SHOW_INTERVAL_S = 0.2
_TURN_S = 0.05
_DONE = (TaskState.FINISHED, TaskState.FAILED, DataObjectState.FINISHED, DataObjectState.REMOVED)


def flatten(items: Any) -> Iterator[Any]:
    """Tasks, data objects and whatever else is in nested sequences, one after the other."""
    if (
        isinstance(items, (Task, DataObject))
        or not isinstance(items, Iterable)
        or isinstance(items, (str, bytes))
    ):
        yield items
        return
    for item in items.values() if isinstance(items, dict) else items:
        if isinstance(item, (Task, DataObject)):
            yield item
        else:
            yield from flatten(item)


def wait_for_items(
    session: Session, items: Items, mode: str, progress: bool
) -> tuple[list[Task], list[DataObject]]:
    """Wait for `all` of the items or for `some`, at least one; returns those that are finished."""
    connection = session._usable_connection()
    ids = list(items)
    parts = [ids[start : start + IDS_PER_MESSAGE] for start in range(0, len(ids), IDS_PER_MESSAGE)]
    messages = [_wait_message(session.session_id, part, mode) for part in parts]
    if mode == "some" and len(messages) > 1:
        replies = _wait_any(session, connection, messages)
    else:
        replies = [news for make in messages for news in _wait(session, connection, make, progress)]
    for news in replies:
        apply_news(news, items)
    finished = [item for item in items.values() if item.state in _DONE]
    return (
        [item for item in finished if isinstance(item, Task)],
        [item for item in finished if isinstance(item, DataObject)],
    )


def wait_for_session(session: Session, progress: bool) -> None:
    """Wait for every task submitted so far."""
    connection = session._usable_connection()
    _wait(session, connection, _wait_message(session.session_id, [], "session"), progress)


def update_items(session: Session, items: Items) -> None:
    """Ask for states and infos."""
    connection = session._usable_connection()
    ids = list(items)
    for start in range(0, len(ids), IDS_PER_MESSAGE):
        make = _update_message(session.session_id, ids[start : start + IDS_PER_MESSAGE])
        for news in _wait(session, connection, make, False):
            apply_news(news, items)


def fetch_object(session: Session, obj: DataObject, path: str | os.PathLike[str] | None) -> DataInstance:
    """The content of a kept, submitted object; streamed to `path` when one is given."""
    for _ in range(_FETCH_TRIES - 1):
        try:
            return _fetch_once(session, obj, path)
        except ContentLost:
            continue  # its worker died: asked again, the server waits until it is made again
    return _fetch_once(session, obj, path)


def _fetch_once(session: Session, obj: DataObject, path: str | os.PathLike[str] | None) -> DataInstance:
    connection = session._usable_connection()
    target = None if path is None else _free_target(obj, os.fspath(path))
    replies = _wait(session, connection, lambda number: Fetch(number, session.session_id, obj._num), False)
    fetched: Fetched = replies[0]
    meta = fetched.meta
    is_directory = obj.data_type is DataType.DIRECTORY
    info = ObjectInfo(
        meta.size,
        obj._declared_type if is_directory else meta.content_type,
        fetched.worker,
        _user(meta.info_user),
        meta.executable,
    )
    obj._info = info
    obj._state = DataObjectState.FINISHED
    if fetched.data is None:
        assert session.client is not None
        return session.client._download(obj, fetched.ticket, target)
    instance = DataInstance(fetched.data, spec=obj.spec, info=info)
    if target is None:
        return instance
    with target_errors(obj, target):
        instance.write(target)
    return DataInstance(path=target, spec=obj.spec, info=info)


def _free_target(obj: DataObject, target: str) -> str:
    """`target`, if the object can be written there; checked before what may be a long wait."""
    parent = os.path.dirname(os.path.abspath(target))
    if not os.path.isdir(parent):
        raise RainException(
            f"{obj.describe()} can not be fetched to {target}: there is no directory {parent}"
        )
    if obj.data_type is DataType.BLOB:
        if os.path.isdir(target):
            raise RainException(f"{target} is a directory; name the file that {obj.describe()} is written to")
    elif os.path.lexists(target) and (not os.path.isdir(target) or os.listdir(target)):
        raise RainException(f"{target} is there already; a directory is fetched to a new path")
    return target


@contextmanager
def target_errors(obj: DataObject, target: str) -> Iterator[None]:
    """An OSError becomes a RainException that names what is written where."""
    try:
        yield
    except OSError as error:
        raise RainException(
            f"{obj.describe()} can not be fetched to {target}: {error.strerror or error}"
        ) from None


def apply_news(news: News, items: Items) -> None:
    """Put states and infos where they belong."""
    for num, state, start_time, duration, worker, user, debug in news.tasks:
        task = items.get(num)
        if isinstance(task, Task):
            task._state = state
            task._info = TaskInfo(None, start_time, duration, worker, _user(user), debug)
    executables = frozenset(news.executables)
    for num, object_state, size, content_type, worker, user in news.objects:
        obj = items.get(num)
        if isinstance(obj, DataObject):
            obj._state = object_state
            if obj.data_type is DataType.DIRECTORY:
                content_type = obj._declared_type
            obj._info = ObjectInfo(size, content_type, worker, _user(user), num in executables)


def _user(data: bytes) -> dict[str, Any]:
    """`info.user` from JSON that a task wrote; {} when it is none."""
    if not data:
        return {}
    try:
        user = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return user if isinstance(user, dict) else {}


def _wait_message(session_id: int, ids: list[int], mode: str) -> Callable[[int], Wait]:
    return lambda number: Wait(number, session_id, ids, mode)


def _update_message(session_id: int, ids: list[int]) -> Callable[[int], Update]:
    return lambda number: Update(number, session_id, ids)


def _wait(session: Session, connection: Connection, make: Callable[[int], Any], progress: bool) -> list[Any]:
    """Send a request and wait for its answer as long as it takes. Shows progress when asked to, and after a
    while without any the reasons that the server gives. An interrupted wait is taken back."""
    pending = connection.request(make, session.session_id)
    try:
        return _follow(session, connection, pending, progress)
    except RainException as error:
        raise session._reason(connection, error) from None
    finally:
        pending.cancel()


def _wait_any(session: Session, connection: Connection, messages: list[Callable[[int], Any]]) -> list[Any]:
    """The answer to one of several waits. They are looked at in turns, which is good enough for the very many
    items that do not fit into one wait."""
    waits = [connection.request(make, session.session_id) for make in messages]
    try:
        for pending in itertools.cycle(waits):
            replies = pending.wait(_TURN_S)
            if replies is not None:
                return replies
    except RainException as error:
        raise session._reason(connection, error) from None
    finally:
        for pending in waits:
            pending.cancel()
    return []


def _follow(session: Session, connection: Connection, pending: Pending, progress: bool) -> list[Any]:
    if not progress:
        replies = pending.wait(QUIET_S)
        return _watch(session, connection, pending, None) if replies is None else replies
    with Meters(session.name, _progress(session, connection)) as meters:
        return _watch(session, connection, pending, meters)


def _progress(session: Session, connection: Connection) -> Any:
    return connection.ask(lambda number: AskProgress(number, session.session_id), session.session_id)


def _watch(session: Session, connection: Connection, pending: Pending, meters: Meters | None) -> list[Any]:
    interval = _SHOW_INTERVAL_S if meters is not None and meters.can_change else QUIET_S
    told: set[str] = set()
    since: dict[str, float] = {}
    finished, quiet_s, waited_s = -1, 0.0, 0.0
    while True:
        progress: Progress = _progress(session, connection)
        if meters is not None:
            meters.show(progress)
        quiet_s = quiet_s + interval if progress.finished == finished else 0.0
        finished = progress.finished
        is_quiet = quiet_s >= QUIET_S or (meters is None and progress.finished == 0)
        # What holds for a while is told even if other tasks go on: some tasks can never run.
        since = {reason: since.get(reason, waited_s) for reason in progress.reasons}
        for reason, first_s in since.items():
            if reason not in told and (is_quiet or waited_s - first_s >= QUIET_S):
                told.add(reason)
                warn(f"Session {session.session_id} waits: {reason}")
        replies = pending.wait(interval)
        waited_s += interval
        if replies is not None:
            if meters is not None:
                meters.show(_progress(session, connection))
            return replies
