"""Life of tasks: ready, assigned, started, finished, run again.

Functions are named after what happened; each changes the state completely.
"""

from __future__ import annotations

from rainzmq.common.ids import id_of, session_of
from rainzmq.common.states import SessionState
from rainzmq.protocol.messages.client import SessionFailed
from rainzmq.protocol.messages.events import TasksRerun
from rainzmq.protocol.messages.shared import Failure
from rainzmq.scheduler import policy
from rainzmq.server.core import noting, states, waits
from rainzmq.server.core.ended import finished_tasks
from rainzmq.server.core.history import History
from rainzmq.server.core.objects import object_finished, recover, release_inputs, retract, unread_object
from rainzmq.server.core.records import ObjectRecord, TaskRecord, WorkerRecord
from rainzmq.server.core.session_records import SessionRecord
from rainzmq.server.core.state import ServerState
from rainzmq.server.core.table import Table

UNABLE_LIMIT = 10
"""So often workers may be unable to run a task, through faults of their own, until it fails."""


def task_ready_or_waiting(state: ServerState, task: TaskRecord, again: bool = False) -> None:
    """A task that is to run: ready when all inputs are finished, else waiting for them. One that is to run
    `again` goes before those that never did: it has had its turn, and others may wait for it.
    """
    task.waiting = sum([item.state is states.UNFINISHED for item in task.inputs]) if task.inputs else 0
    if task.state is states.WAITING:
        if not task.waiting:
            _make_ready(state, task, again)
    elif task.waiting:
        task.to(states.WAITING)
    else:
        _make_ready(state, task, again)


def input_finished(state: ServerState, task: TaskRecord) -> None:
    """One more input of a waiting task is finished."""
    task.waiting -= 1
    if task.waiting:
        _look_again(task)
    else:
        _make_ready(state, task)


def task_assigned(state: ServerState, task: TaskRecord, worker: WorkerRecord) -> None:
    """The policy gave a ready task to a worker, or one that waits for what that worker is about to make."""
    task.to(states.ASSIGNED)
    task.worker = worker
    task.retracting = False
    task.expected_s = policy.expected_s(task)
    if not worker.load:
        worker.progress_at = state.now
    worker.tasks[task.uid] = task
    worker.load += task.body.declared.cpus
    if task.waiting:
        worker.ahead += task.body.declared.cpus
    worker.backlog_s += task.expected_s
    worker.to_assign.append(task)
    for item in task.outputs:
        if item.consumers:
            worker.frontier.append(task)
            break


def task_started(state: ServerState, session: SessionRecord, task: TaskRecord) -> None:
    """Its worker began to run it."""
    if task.state is states.ASSIGNED:
        task.to(states.RUNNING)
        task.retracting = False
        task.start_time = state.now + state.feed.offset  # until its worker says exactly
        session.running += 1


def task_off_worker(session: SessionRecord, task: TaskRecord) -> None:
    """It does not occupy its worker any more; its state is for the caller to change."""
    worker = task.worker
    if worker is not None and worker.tasks.pop(task.uid, None) is not None:
        worker.load -= task.body.declared.cpus
        if task.waiting:
            worker.ahead -= task.body.declared.cpus
        worker.backlog_s = max(0.0, worker.backlog_s - task.expected_s) if worker.tasks else 0.0
    if task.state is states.RUNNING:
        session.running -= 1


def task_finished(
    state: ServerState,
    session: SessionRecord,
    task: TaskRecord,
    sizes: list[int],
    start_time: float,
    duration_us: int,
) -> None:
    """Commit a result. The caller has checked that it is not stale, and noted content types, users and inline
    data.
    """
    worker = task.worker
    assert worker is not None, "a finished task has a worker"
    task_off_worker(session, task)
    task.to(states.FINISHED)
    task.start_time = start_time
    task.duration_us = duration_us
    task.body.measured(duration_us / 1e6)
    worker.progress_at = state.now
    session.unfinished -= 1
    session.group_of(task)[1] += 1
    state.counters.tasks_finished += 1
    for item, size in zip(task.outputs, sizes, strict=True):
        if item.state is states.REMOVED:
            # Made again for the sake of another output of the same task.
            worker.deleting.add(item.uid)
            worker.to_remove.append(item.uid)
            continue
        item.add_holder(worker)
        if item.state is states.UNFINISHED:
            item.size = size
            for consumer in object_finished(state, session, item):
                input_finished(state, consumer)
    for item in task.inputs:
        item.pending -= 1
        if not item.pending:
            unread_object(state, session, item)
    for item in task.outputs:
        if not item.pending:
            unread_object(state, session, item)
    if not sizes:
        release_inputs(state, session, task)
    waits.finished(state, session, task.uid)
    if not session.unfinished:
        waits.session_finished(state, session)


def task_again(state: ServerState, session: SessionRecord, task: TaskRecord, new_attempt: bool) -> None:
    """An assigned or running task must run elsewhere: its worker is gone, or gave it back."""
    task_off_worker(session, task)
    _retract_followers(task)
    task.worker = None
    task.retracting = False
    if new_attempt:
        task.attempt += 1
        state.counters.tasks_rerun += 1
    task_ready_or_waiting(state, task, again=True)
    _recover_lost_inputs(state, session, task)
    if task.state is states.WAITING:
        _look_again(task)


def _retract_followers(task: TaskRecord) -> None:
    """Those that were sent ahead of it, and of them in turn, wait for what is now made elsewhere."""
    stack = [task]
    while stack:
        for item in stack.pop().outputs:
            for consumer in item.consumers:
                if consumer.state is states.ASSIGNED and not consumer.retracting:
                    retract(consumer)
                    if consumer.waiting:
                        stack.append(consumer)


def task_crashed(state: ServerState, session: SessionRecord, task: TaskRecord, note: str) -> None:
    """It ended the process it ran in. Run again, up to the crash limit."""
    worker = task.worker.name if task.worker else "?"
    task.crashes += 1
    task.crash_notes = (*task.crash_notes, f"attempt {task.attempt + 1} on {worker}: {note}")
    if task.crashes < state.options.crash_limit:
        task_again(state, session, task, new_attempt=True)
        return
    text = (
        f"crash limit: it ended the process it ran in {task.crashes} times and is not tried again.\n"
        + "\n".join(task.crash_notes)
    )
    task_failed(state, session, task, text, "")


def worker_died_under(state: ServerState, session: SessionRecord, task: TaskRecord) -> None:
    """The worker it ran on is gone. Run again elsewhere, unless it is to blame (`deaths.py`)."""
    verdict = state.deaths.verdict(task.uid, state.options.crash_limit)
    if verdict is None:
        task_again(state, session, task, new_attempt=True)
    else:
        task_failed(state, session, task, f"crash limit: {verdict}", "")


def task_unable(state: ServerState, session: SessionRecord, task: TaskRecord, note: str) -> None:
    """Its worker could not run it and says that this is no fault of the task. Run again, not for ever: what
    every worker stumbles over may be the task after all.
    """
    worker = task.worker.name if task.worker else "?"
    note = f"attempt {task.attempt + 1} on {worker}: {note}"
    notes = session.unable[task.uid] = (*session.unable.get(task.uid, ()), note)
    if len(notes) < UNABLE_LIMIT:
        task_again(state, session, task, new_attempt=True)
        return
    text = f"workers were unable to run it {len(notes)} times; it is not tried again.\n" + "\n".join(notes)
    task_failed(state, session, task, text, "")


def task_failed(
    state: ServerState, session: SessionRecord, task: TaskRecord, message: str, debug: str
) -> None:
    """A task failed for good, which ends its session."""
    lost_on = task.worker
    worker = lost_on.name if lost_on else None
    task_off_worker(session, task)
    task.to(states.FAILED)
    failure = Failure(
        task=task.uid,
        name=session.task_name(task),
        task_type=task.body.declared.task_type,
        attempt=task.attempt,
        worker=worker,
        message=message,
        debug=debug,
    )
    state.counters.tasks_failed += 1
    noting.failed(state, task, lost_on, failure)
    state.log("warning", f"task {id_of(task.uid)} failed on {worker}: {message[-400:]}")
    session_failed(state, session, failure)


def session_failed(
    state: ServerState,
    session: SessionRecord,
    failure: Failure,
    how: SessionState = states.SESSION_FAILED,
) -> None:
    """End a session because of a failure, or cancel it; its client is told once."""
    session.to(how)
    failure.submitted = session.task_count
    failure.finished = failure.submitted - session.unfinished
    session.failure = failure
    noting.session_ended(state, session)
    for message in finished_tasks(session):
        state.tell(session.peer, message)
    state.tell(session.peer, SessionFailed(session.session_id, session.state, failure))
    empty_session(state, session)


def empty_session(state: ServerState, session: SessionRecord) -> None:
    """Stop the tasks of a failed or closed session and free all it holds."""
    session_id = session.session_id
    state.ready.drop_session(session_id)
    for worker in state.workers.values():
        for task in [task for task in worker.tasks.values() if session_of(task.uid) == session_id]:
            task_off_worker(session, task)
            task.to(states.CANCELLED)
        held = worker.objects.take_session(session_id)
        known = {key for key in worker.bodies if key[0] == session_id}
        if held or known:
            worker.ending[session_id] = held
            worker.bodies -= known
            worker.to_end.append(session_id)
            worker.to_assign = [task for task in worker.to_assign if session_of(task.uid) != session_id]
    state.trash.add(session)
    session.tasks, session.objects, session.history = Table(), Table(), History()
    for table in (session.consts, session.users, session.info_users, session.awaited):
        table.clear()
    session.names.clear()
    session.debugs.clear()
    session.unable.clear()
    session.content_types.clear()
    session.executables.clear()
    session.unread.clear()
    session.remade.clear()
    session.unfinished = session.running = 0
    waits.dropped(state, session)


def _look_again(task: TaskRecord) -> None:
    """A task still waits: it may now be one to send ahead to where its last inputs are made."""
    if len(task.inputs) > policy.AHEAD_INPUTS:
        return
    for item in task.inputs:
        producer = item.producer
        if item.state is states.UNFINISHED and producer is not None and producer.worker is not None:
            producer.worker.frontier.append(producer)
            return


def _make_ready(state: ServerState, task: TaskRecord, again: bool = False) -> None:
    task.to(states.READY)
    state.ready.push(task, again)


def _recover_lost_inputs(state: ServerState, session: SessionRecord, task: TaskRecord) -> None:
    for item in task.inputs:
        if item.state is not states.UNFINISHED and not item.available:
            object_lost(state, session, item)


def object_lost(state: ServerState, session: SessionRecord, item: ObjectRecord) -> None:
    """The last replica of an object is gone: make it again from its lineage if anybody needs it."""
    producers = recover(state, session, item)
    if producers:
        outputs = {output.uid: output for producer in producers for output in producer.outputs}
        inputs = {source.uid: source for producer in producers for source in producer.inputs}
        state.feed.add(
            state.now,
            TasksRerun,
            [producer.uid for producer in producers],
            [producer.attempt for producer in producers],
            [uid for uid, output in outputs.items() if output.state is states.UNFINISHED],
            [uid for uid, source in inputs.items() if source.state is states.OBJECT_FINISHED],
        )
    for producer in producers:
        task_ready_or_waiting(state, producer, again=True)
