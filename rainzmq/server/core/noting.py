"""What handlers note for watchers, as events of the feed."""

from __future__ import annotations

from rainzmq.common.ids import local_of
from rainzmq.common.states import AttemptState
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.client import Submit
from rainzmq.protocol.messages.shared import Failure
from rainzmq.server.core.records import TaskRecord, WorkerRecord
from rainzmq.server.core.session_records import PastSession, SessionRecord
from rainzmq.server.core.snapshot import SHOWN_BYTES, client_name, shown_body
from rainzmq.server.core.state import ServerState

_REMOVED_CHUNK = 20_000


def turn_ended(state: ServerState) -> None:
    """Note what was gathered over a turn."""
    feed = state.feed
    if feed.removed:
        removed, feed.removed = feed.removed, []
        for start in range(0, len(removed), _REMOVED_CHUNK):
            feed.add(state.now, e.ObjectsRemoved, removed[start : start + _REMOVED_CHUNK])


def submitted(state: ServerState, session: SessionRecord, submit: Submit) -> None:
    """Note a submit."""
    if not state.feed.on:
        return
    limits = {key: SHOWN_BYTES[body.kind] for key, body in session.bodies.items() if body.kind in SHOWN_BYTES}
    configs = [
        (task, config)
        for task, key, config in zip(submit.task_ids, submit.task_bodies, submit.task_configs, strict=True)
        if config and len(config) <= limits.get(key, 0)
    ]
    state.feed.add(
        state.now,
        e.TasksSubmitted,
        session.session_id,
        [shown_body(body) for body in submit.bodies],
        submit.task_ids,
        submit.task_bodies,
        submit.task_input_counts,
        submit.task_inputs,
        submit.task_names,
        configs,
        submit.users,
        [
            (local_of(meta.uid), meta.label, meta.is_directory, meta.content_type, meta.size)
            for meta in submit.const_objects
        ],
        submit.keep,
    )


def failed(state: ServerState, task: TaskRecord, worker: WorkerRecord | None, failure: Failure) -> None:
    """Note that a task failed for good."""
    state.feed.add(
        state.now,
        e.TaskFailed,
        0 if worker is None else worker.number,
        failure,
        task.start_time if task.duration_us >= 0 else 0.0,
        task.duration_us,
    )


def session_ended(state: ServerState, session: SessionRecord) -> None:
    """Note that a session ended, for watchers and those who come later. Its state says how."""
    row = (session.session_id, session.name, client_name(state, session))
    state.ended.append(PastSession(*row, session.opened, state.now, session.state, session.failure))
    state.feed.add(state.now, e.SessionEnded, session.session_id, session.state, session.failure)


def returned(
    state: ServerState, worker: WorkerRecord, tasks: list[TaskRecord], outcome: AttemptState, notes: list[str]
) -> None:
    """Note attempts that ended without a result; called before the tasks change."""
    if tasks and state.feed.on:
        uids = [task.uid for task in tasks]
        attempts = [task.attempt for task in tasks]
        state.feed.add(state.now, e.TasksReturned, worker.number, uids, attempts, outcome, notes)
