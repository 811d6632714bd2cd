"""A part of a graph arrives: from columns to records."""

from __future__ import annotations

from itertools import islice

from rainzmq.common.ids import MAX_ID, make_uid, session_of
from rainzmq.common.limits import BODY_LIMIT_BYTES, CONFIG_LIMIT_BYTES, INLINE_OBJECT_BYTES
from rainzmq.common.versions import minor_of
from rainzmq.protocol.messages.client import Submit
from rainzmq.protocol.messages.shared import Failure
from rainzmq.server.core import noting, states
from rainzmq.server.core.objects import object_finished, unread_object
from rainzmq.server.core.records import BodyRecord, ObjectRecord, TaskRecord
from rainzmq.server.core.session_records import SessionRecord
from rainzmq.server.core.state import ServerState
from rainzmq.server.core.tasks import input_finished, session_failed, task_ready_or_waiting
from rainzmq.server.core.versions import name_other_pythons


class BadSubmit(Exception):
    """A submit that contradicts itself or the session; its text says how."""


def on_submit(state: ServerState, session: SessionRecord, submit: Submit) -> None:
    """Add tasks and objects to a session; a malformed submit fails the session with the reason."""
    session.submit_open = True
    try:
        _check_columns(submit)
        for body in submit.bodies:
            if body.cpus < 1 or "/" not in body.task_type:
                raise BadSubmit(f"body {body.key} has cpus {body.cpus} and type {body.task_type!r}")
            if len(body.config) > BODY_LIMIT_BYTES:
                raise BadSubmit(f"body {body.key} has {len(body.config)} bytes of configuration")
            group = session.groups.of(body.name or body.task_type)
            session.bodies[body.key] = BodyRecord(body, group, minor_of(session.python))
        consts = _add_constants(state, session, submit)
        tasks = _add_tasks(session, submit)
        for local_id in submit.keep:
            _known_object(session, local_id).keep = True
    except BadSubmit as error:
        message = f"the server cannot use this submit: {error}"
        session_failed(state, session, Failure.of_session(message))
        return
    if submit.bodies:
        name_other_pythons(state, session)
    state.counters.tasks_submitted += len(tasks)
    noting.submitted(state, session, submit)
    session.unfinished += len(tasks)
    for task in reversed(tasks):
        level = 0
        for item in task.outputs:
            for consumer in item.consumers:
                if consumer.blevel >= level:
                    level = consumer.blevel + 1
        task.blevel = level
    for task in tasks:
        session.group_of(task)[0] += 1
        task_ready_or_waiting(state, task)
    if submit.last:
        session.submit_open = False
        unread, session.unread = session.unread, []
        for item in unread:
            unread_object(state, session, item)
    for item in consts:
        unread_object(state, session, item)


def on_uploaded(state: ServerState, session: SessionRecord, uid: int) -> None:
    """The relay has a constant; its `Submit` may come before or after this."""
    item = session.objects.get(uid)
    if item is None:
        session.uploaded.add(uid)
    elif item.producer is None and item.state is states.UNFINISHED:
        item.at_relay = True
        session.awaited.pop(uid, None)
        for task in object_finished(state, session, item):
            input_finished(state, task)
        unread_object(state, session, item)


def _check_columns(submit: Submit) -> None:
    count = len(submit.task_ids)
    columns = (submit.task_bodies, submit.task_configs, submit.task_input_counts)
    if any(len(column) != count for column in columns):
        raise BadSubmit("columns of different lengths")
    if any(item < 0 for item in submit.task_input_counts):
        raise BadSubmit("a negative number of inputs")
    if sum(submit.task_input_counts) != len(submit.task_inputs):
        raise BadSubmit("the input counts do not add up")
    if len(submit.const_objects) != len(submit.const_data):
        raise BadSubmit("constants and their contents differ in number")
    if any(len(config) > CONFIG_LIMIT_BYTES for config in submit.task_configs):
        raise BadSubmit(f"a configuration of over {CONFIG_LIMIT_BYTES} bytes")


def _add_constants(state: ServerState, session: SessionRecord, submit: Submit) -> list[ObjectRecord]:
    added = []
    for meta, data in zip(submit.const_objects, submit.const_data, strict=True):
        uid = meta.uid
        known = uid in session.objects or uid in session.tasks or uid in session.history
        if session_of(uid) != session.session_id or known:
            raise BadSubmit(f"constant {uid} is of another session or stands twice")
        fits = data is None or (len(data) == meta.size <= INLINE_OBJECT_BYTES and not meta.is_directory)
        if meta.size < 0 or not fits:
            raise BadSubmit(f"constant {uid} of size {meta.size} has other content, or too much of it")
        item = ObjectRecord(uid, None)
        item.size = meta.size
        session.consts[uid] = meta
        session.objects[uid] = item
        if data is not None:
            item.data = data
        elif uid in session.uploaded:
            session.uploaded.discard(uid)
            item.at_relay = True
        if item.available:
            object_finished(state, session, item)
        else:
            session.awaited[uid] = None
        session.last_uid = max(session.last_uid, uid)
        added.append(item)
    return added


def _add_tasks(session: SessionRecord, submit: Submit) -> list[TaskRecord]:
    base = make_uid(session.session_id, 0)
    objects, all_tasks, bodies = session.objects, session.tasks, session.bodies
    inputs = iter(submit.task_inputs)
    added: list[TaskRecord] = []
    columns = zip(
        submit.task_ids, submit.task_bodies, submit.task_configs, submit.task_input_counts, strict=True
    )
    for local_id, key, config, count in columns:
        body = bodies.get(key)
        if body is None:
            raise BadSubmit(f"task {local_id} has the unknown body {key}")
        outputs = len(body.declared.outputs)
        if not 0 <= local_id <= MAX_ID - outputs:
            raise BadSubmit(f"id {local_id} is out of range")
        uid = base + local_id
        read = tuple([_known_object(session, item) for item in islice(inputs, count)]) if count else ()
        task = TaskRecord(uid, body, config, read)
        if uid > session.last_uid:
            session.last_uid = uid + outputs
        else:
            for used in range(uid, uid + outputs + 1):
                if used in all_tasks or used in objects or used in session.history:
                    raise BadSubmit(f"id {used - base} stands twice")
            session.last_uid = max(session.last_uid, uid + outputs)
        all_tasks[uid] = task
        if outputs == 1:
            item = objects[uid + 1] = ObjectRecord(uid + 1, task)
            task.outputs = (item,)
        elif outputs:
            task.outputs = tuple([ObjectRecord(uid + 1 + index, task) for index in range(outputs)])
            for item in task.outputs:
                objects[item.uid] = item
        for item in read:
            if item.state is states.REMOVED:
                raise BadSubmit(_gone(item.uid - base))
            item.add_consumer(task)
        added.append(task)
    for local_id, name in submit.task_names:
        session.names[base + local_id] = name
    for local_id, user in submit.users:
        session.users[base + local_id] = user
    return added


def _known_object(session: SessionRecord, local_id: int) -> ObjectRecord:
    uid = make_uid(session.session_id, local_id)
    item = session.objects.get(uid)
    if item is None and session.history.output(uid) is not None:
        raise BadSubmit(_gone(local_id))
    if item is None:
        raise BadSubmit(f"object {local_id} is not in this session")
    return item


def _gone(local_id: int) -> str:
    return f"it reads object {local_id}, which is not there any more"
