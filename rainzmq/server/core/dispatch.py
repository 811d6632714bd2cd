"""End of a turn: schedule, then gather what each worker must be told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rainzmq.common.ids import session_of
from rainzmq.common.limits import MESSAGE_TARGET_BYTES
from rainzmq.protocol.messages import worker as m
from rainzmq.protocol.messages.events import TasksAssigned
from rainzmq.protocol.messages.shared import Endpoint, ObjectMeta
from rainzmq.protocol.schema import empty
from rainzmq.scheduler import policy
from rainzmq.server.core import states
from rainzmq.server.core.objects import retract
from rainzmq.server.core.records import ObjectRecord, TaskRecord, WorkerRecord
from rainzmq.server.core.state import ServerState
from rainzmq.server.core.tasks import task_assigned

TASK_OVERHEAD_BYTES = 64
"""Estimated bytes of a task in an `Assign`, beside its configuration."""


def schedule(state: ServerState) -> None:
    """Assign ready tasks, and retract what an idle worker should rather have."""
    workers = state.schedulable()
    if not workers:
        return
    for task, worker in policy.assign(state.ready, workers, state.now):
        assert isinstance(task, TaskRecord)
        assert isinstance(worker, WorkerRecord)
        task_assigned(state, task, worker)
    for worker in workers:
        for task in policy.send_ahead(worker):
            assert isinstance(task, TaskRecord)
            task_assigned(state, task, worker)
    for task in policy.retractions(workers, state.ready, state.now):
        assert isinstance(task, TaskRecord)
        retract(task)


def gather(state: ServerState, worker: WorkerRecord) -> list[Any]:
    """The messages a worker must be sent at the end of a turn; empties its lists."""
    messages: list[Any] = []
    if worker.to_end:
        messages.append(m.EndSessions(worker.to_end))
        worker.to_end = []
    if worker.to_remove:
        messages.extend(m.Remove(part) for part in _chunks(worker.to_remove))
        worker.to_remove = []
    if worker.to_cancel:
        messages.extend(m.CancelFetch(part) for part in _chunks(worker.to_cancel))
        worker.to_cancel = []
    if worker.to_assign:
        tasks = [task for task in worker.to_assign if task.worker is worker and task.state is states.ASSIGNED]
        worker.to_assign = []
        assigns = _assigns(state, worker, tasks)
        if state.feed.on:
            for part in assigns:
                state.feed.add(state.now, TasksAssigned, worker.number, part.uids, part.attempts)
        messages.extend(assigns)
    if worker.to_retract:
        # What came back in the meantime may have been assigned again: that is not meant.
        uids = [uid for uid in worker.to_retract if uid in worker.tasks and worker.tasks[uid].retracting]
        worker.to_retract = []
        messages.extend(m.Retract(part) for part in _chunks(uids))
    if state.gone:
        # Last, so that what is cancelled or told again is no fetch from them any more.
        messages.append(m.PeersGone(state.gone))
    return messages


def _chunks(uids: list[int], size: int = 20_000) -> Iterator[list[int]]:
    for start in range(0, len(uids), size):
        yield uids[start : start + size]


class _AssignBuilder:
    """Columns of one `Assign` after the other; inputs of a task may stand in some before the one with it."""

    def __init__(self, state: ServerState, worker: WorkerRecord) -> None:
        self.state = state
        self.worker = worker
        self.messages: list[m.Assign] = []
        self._new_message()

    def _new_message(self) -> None:
        self.bytes = 0
        self.message = empty(m.Assign)
        self.messages.append(self.message)
        self._holder_index: dict[str, int] = {}

    def _make_room(self, size_bytes: int) -> None:
        if self.bytes and self.bytes + size_bytes > MESSAGE_TARGET_BYTES:
            self._new_message()

    def add(self, task: TaskRecord) -> None:
        """Append one task with what the worker does not know yet of its body and inputs."""
        worker, uid = self.worker, task.uid
        session_id = session_of(uid)
        session = self.state.sessions[session_id]
        body = task.body.declared
        for item in task.inputs:
            if (
                item.state is not states.UNFINISHED
                and worker not in item.holders
                and worker not in item.expected
            ):
                self._tell_of(session.meta(item), item)
        size_bytes = TASK_OVERHEAD_BYTES + len(task.config) + 9 * (len(task.inputs) + len(task.outputs))
        self._make_room(size_bytes)
        self.bytes += size_bytes
        message = self.message
        if (session_id, body.key) not in worker.bodies:
            worker.bodies.add((session_id, body.key))
            message.bodies.append((session_id, body))
            self.bytes += len(body.config) + TASK_OVERHEAD_BYTES * (1 + len(body.outputs))
        message.uids.append(uid)
        message.attempts.append(task.attempt)
        message.body_keys.append(body.key)
        message.configs.append(task.config)
        message.priorities.append(task.blevel)
        message.input_counts.append(len(task.inputs))
        message.inputs.extend([item.uid for item in task.inputs])
        for item in task.outputs:
            if item.keep or item.pending:
                message.inline.append(item.uid)
        if session.users or session.names:
            self._add_extras(session.users, session.names, task)

    def _add_extras(self, users: dict[int, bytes], names: dict[int, str], task: TaskRecord) -> None:
        for uid in range(task.uid, task.uid + len(task.outputs) + 1):
            if uid in users:
                self.message.spec_users.append((uid, users[uid]))
                self.bytes += len(users[uid])
        if task.uid in names:
            self.message.names.append((task.uid, names[task.uid]))

    def _tell_of(self, meta: ObjectMeta, item: ObjectRecord) -> None:
        data = item.data
        size_bytes = TASK_OVERHEAD_BYTES + len(data or b"") + len(meta.spec_user) + len(meta.info_user)
        self._make_room(size_bytes)
        self.bytes += size_bytes
        holders = []
        if data is None:
            cut_off = self.worker.cut_off
            endpoints = [holder.endpoint for holder in item.holders if holder not in cut_off]
            if item.at_relay:
                endpoints.append(self.state.relay)
            holders = [self._index(endpoint) for endpoint in endpoints]
            item.expected = (*item.expected, self.worker) if item.expected else self.worker.solo
            self.worker.objects[item.uid] = item
        else:
            item.add_holder(self.worker)
        self.message.objects.append(meta)
        self.message.object_data.append(data)
        self.message.object_holders.append(holders)

    def _index(self, endpoint: Endpoint) -> int:
        key = f"{endpoint.host}:{endpoint.port}"
        index = self._holder_index.setdefault(key, len(self.message.holders))
        if index == len(self.message.holders):
            self.message.holders.append(endpoint)
        return index


def _assigns(state: ServerState, worker: WorkerRecord, tasks: list[TaskRecord]) -> list[m.Assign]:
    if not tasks:
        return []
    builder = _AssignBuilder(state, worker)
    for task in tasks:
        builder.add(task)
    return builder.messages
