"""What workers say, and what happens then."""

from __future__ import annotations

from enum import Enum
from itertools import accumulate
from typing import Any, assert_never

from rainzmq.common.ids import id_of, session_of
from rainzmq.common.states import AttemptState
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages import worker as m
from rainzmq.protocol.schema import to_row
from rainzmq.server.core import noting, states
from rainzmq.server.core.deaths import Death
from rainzmq.server.core.events import WorkerGone, WorkerJoined, WorkerMessage
from rainzmq.server.core.objects import retract
from rainzmq.server.core.reach import cut_off, runs_somewhere, worker_gone
from rainzmq.server.core.records import TaskRecord, WorkerRecord
from rainzmq.server.core.session_records import SessionRecord
from rainzmq.server.core.snapshot import worker_came
from rainzmq.server.core.state import ServerState
from rainzmq.server.core.tasks import (
    object_lost,
    task_again,
    task_crashed,
    task_failed,
    task_finished,
    task_started,
    task_unable,
    worker_died_under,
)
from rainzmq.server.core.versions import name_other_packages, name_other_pythons

MAX_CPUS = 1 << 16
"""No machine has more cpus; a report that says so is refused."""

MAX_TROUBLE_CHARS = 2000
"""As much is kept of why a worker takes no tasks of a kind."""

MISS_LIMIT = 10
"""An input that workers could not get so often fails the task that asks for it."""


class Loss(Enum):
    """How a worker was lost: it left on purpose, to say hello again or for good, it was silent for too long,
    or its connection ended.
    """

    AGAIN = "again"
    LEFT = "left"
    SILENT = "silent"
    DIED = "died"


def worker_joined(state: ServerState, event: WorkerJoined) -> None:
    """Register a worker, or refuse one that claims the data endpoint of a live one."""
    if event.peer in state.workers:
        worker_lost(state, state.workers[event.peer], "it said hello again", Loss.AGAIN)
    epoch = state.options.random_id()
    worker = WorkerRecord(event.peer, epoch, event.hello, state.now, state.next_worker_number)
    options = state.options
    state.deaths.withdraw(event.hello.previous_epoch)
    for other in list(state.workers.values()):
        if event.hello.previous_epoch == other.epoch:
            worker_lost(state, other, "it says hello again", Loss.AGAIN)
        elif other.name == worker.name:
            reason = f"a worker with the data endpoint {worker.name} is registered and alive"
            state.log("warning", f"worker {event.hello.hostname} (pid {event.hello.pid}) refused: {reason}")
            state.tell(event.peer, m.WorkerRefused(options.software, reason, True))
            state.forget_peer(event.peer)
            return
    if worker.cpus < 1:
        state.tell(event.peer, m.WorkerRefused(options.software, f"it offers {worker.cpus} cpus", False))
        state.forget_peer(event.peer)
        return
    state.workers[event.peer] = worker
    state.next_worker_number += 1
    state.feed.add(state.now, e.WorkerCame, *worker_came(worker))
    for session in state.sessions.values():
        name_other_pythons(state, session)
    state.log("info", f"worker {worker.name} joined: {worker.hello.hostname}, {worker.cpus} cpus")
    state.tell(
        event.peer,
        m.WorkerWelcome(
            options.software,
            epoch,
            state.relay,
            options.heartbeat_interval_s,
            options.dead_after_s,
            options.sample_interval_s,
        ),
    )


def worker_lost(state: ServerState, worker: WorkerRecord, reason: str, how: Loss) -> None:
    """A worker is gone: what only it held is made again, what it ran runs elsewhere.

    Args:
        state: the server's.
        worker: the worker.
        reason: for the log, and for tasks that are blamed.
        how: what is known of its end.
    """
    on_purpose = how in (Loss.AGAIN, Loss.LEFT)
    worker.to(states.GONE)
    del state.workers[worker.peer]
    state.counters.workers_lost += 1
    if on_purpose:
        state.log("info", f"worker {worker.name} left: {reason}")
    else:
        state.log("warning", f"worker {worker.name} is lost: {reason}")
    tasks = [
        task
        for task in worker.tasks.values()
        if task.worker is worker and state.session_of(task.uid) is not None
    ]
    noting.returned(state, worker, tasks, AttemptState.LOST, [reason] * len(tasks))
    state.feed.add(state.now, e.WorkerWent, worker.number, reason, on_purpose)
    running = {task.uid: task.attempt for task in tasks if task.state is states.RUNNING}
    if not on_purpose:
        blamed = running if how is Loss.DIED else {}
        state.deaths.add(Death(state.now, worker.epoch, worker.name, reason, blamed))
    objects = list(worker.objects.values())
    for item in objects:
        item.forget(worker)
    for task in tasks:
        session = state.session_of(task.uid)
        if session is None or task.worker is not worker:
            continue
        if task.uid in running and how is Loss.DIED:
            worker_died_under(state, session, task)
        else:
            task_again(state, session, task, new_attempt=True)
    for item in objects:
        session = state.session_of(item.uid)
        if session is not None and item.state is states.OBJECT_FINISHED and not item.available:
            object_lost(state, session, item)
    worker_gone(worker)
    if how is not Loss.AGAIN:
        state.gone.append(worker.endpoint)
        state.effects.append(WorkerGone(worker.endpoint))
    state.outbox.pop(worker.peer, None)
    state.forget_peer(worker.peer)


def worker_said(state: ServerState, worker: WorkerRecord, message: WorkerMessage) -> None:
    """Dispatch a worker's message."""
    match message:
        case m.Report():
            _on_report(state, worker, message)
        case m.WorkerHeartbeat():
            pass  # that it was heard is all that it says
        case m.Sample():
            if state.feed.on:
                state.feed.add(state.now, e.WorkerSampled, worker.number, *to_row(message))
        case m.VersionsDiffer():
            name_other_packages(state, worker, message)
        case m.WorkerTrouble():
            _on_trouble(state, worker, message)
        case m.WorkerBye():
            worker_lost(state, worker, message.reason or "it said goodbye", Loss.LEFT)
        case _:
            assert_never(message)


def _on_trouble(state: ServerState, worker: WorkerRecord, message: m.WorkerTrouble) -> None:
    """A worker takes no tasks of some kinds for now, or all again. It gives back what it has of them."""
    troubles = {kind: why[:MAX_TROUBLE_CHARS] for kind, why in message.kinds if kind in worker.offered}
    for kind in troubles.keys() - worker.troubles.keys():
        state.log("warning", f"worker {worker.name} takes no {kind} tasks for now: {troubles[kind]}")
    for kind in worker.troubles.keys() - troubles.keys():
        state.log("info", f"worker {worker.name} takes {kind} tasks again")
    worker.troubles = troubles
    worker.kinds = frozenset(kind for kind in worker.offered if kind.partition(" ")[0] not in troubles)
    state.feed.add(state.now, e.WorkerTroubled, worker.number, sorted(troubles.items()))


def _on_report(state: ServerState, worker: WorkerRecord, report: m.Report) -> None:
    for uid in report.removed:
        worker.deleting.discard(uid)
    if report.ended_sessions:
        ended = set(report.ended_sessions)
        worker.deleting = {uid for uid in worker.deleting if session_of(uid) not in ended}
        for session_id in ended:
            worker.ending.pop(session_id, None)
    for uid in report.fetched:
        item = state.object(uid)
        if item is not None and item.state is states.OBJECT_FINISHED and worker in item.expected:
            item.add_holder(worker)
    if report.moves and state.feed.on:
        state.feed.add(state.now, e.ObjectsMoved, worker.number, report.moves)
    for uid in report.unfetched:
        item = state.object(uid)
        if item is not None and worker in item.expected:
            item.forget(worker)
    if report.started:
        _on_started(state, worker, report.started)
    if report.finished:
        _on_finished(state, worker, report)
    if report.printed and state.feed.on:
        printed = [row for row in report.printed if session_of(row[0]) in state.sessions]
        state.feed.add(state.now, e.TasksPrinted, worker.number, printed)
    for uid, attempt, start_time, duration_us, error, debug in report.failed:
        task, session = _current(state, worker, uid, attempt)
        if task and session:
            task.start_time, task.duration_us = start_time, duration_us
            task_failed(state, session, task, error, debug)
    for uid, attempt, note in report.crashed:
        task, session = _current(state, worker, uid, attempt)
        if task and session:
            noting.returned(state, worker, [task], AttemptState.CRASHED, [note])
            task_crashed(state, session, task, note)
    for uid, attempt, note in report.unable:
        task, session = _current(state, worker, uid, attempt)
        if task and session:
            noting.returned(state, worker, [task], AttemptState.UNABLE, [note])
            task_unable(state, session, task, note)
    for uid, attempt in report.retracted:
        task, session = _current(state, worker, uid, attempt)
        if task and session:
            # One that was reported as started may come back, too: its runner had it in a queue.
            state.counters.tasks_retracted += 1
            noting.returned(state, worker, [task], AttemptState.RETRACTED, [])
            task_again(state, session, task, new_attempt=False)
    for missing in report.missing:
        _on_missing(state, worker, *missing)
    for uid in report.lost:
        item, session = state.object(uid), state.session_of(uid)
        if item and session:
            state.log("warning", f"worker {worker.name} lost object {id_of(uid)}")
            item.forget(worker)
            if item.state is states.OBJECT_FINISHED and not item.available:
                object_lost(state, session, item)


def _current(
    state: ServerState, worker: WorkerRecord, uid: int, attempt: int
) -> tuple[TaskRecord, SessionRecord] | tuple[None, None]:
    """(task, session) when this worker has that attempt of the task, else (None, None), counted as stale."""
    task, session = worker.tasks.get(uid), state.session_of(uid)
    if task is not None and session is not None and task.attempt == attempt:
        return task, session
    state.counters.stale_results += 1
    return None, None


def _on_started(state: ServerState, worker: WorkerRecord, rows: list[tuple[int, int]]) -> None:
    started = []
    for uid, attempt in rows:
        task, session = worker.tasks.get(uid), state.session_of(uid)
        if task and session and task.attempt == attempt:
            task_started(state, session, task)
            started.append(uid)
    if started and state.feed.on:
        attempts = [worker.tasks[uid].attempt for uid in started]
        state.feed.add(state.now, e.TasksStarted, worker.number, started, attempts)


def _on_finished(state: ServerState, worker: WorkerRecord, report: m.Report) -> None:
    count = len(report.finished)
    columns = (report.attempts, report.start_times, report.durations_us, report.output_counts, report.cpus)
    numbers = [*report.output_counts, *report.sizes, *report.durations_us]
    wrong = any(len(column) != count for column in columns) or min(numbers, default=0) < 0
    wrong = wrong or not -1 <= min(report.cpus) <= max(report.cpus) < MAX_CPUS
    if wrong or sum(report.output_counts) != len(report.sizes):
        state.counters.refused_messages += 1
        times = state.refused.note(worker.name)
        if times:
            text = f"worker {worker.name} sent a report that contradicts itself ({times} so far)"
            state.log("warning", text)
        return
    content_types, users = dict(report.content_types), dict(report.users)
    debugs, inline = dict(report.debugs), dict(report.inline)
    executables = set(report.executables)
    start = 0
    stale: list[int] = []
    rows = zip(report.finished, *columns, strict=True)
    for row, (uid, attempt, start_time, duration_us, outputs, _) in enumerate(rows):
        sizes = report.sizes[start : start + outputs]
        start += outputs
        task, session = _current(state, worker, uid, attempt)
        if task is None or session is None or len(sizes) != len(task.outputs):
            _discard_stale(state, worker, uid, outputs)
            stale.append(row)
            continue
        for item, size in zip(task.outputs, sizes, strict=True):
            data = inline.get(item.uid) if inline else None
            if data is not None and len(data) == size and item.state is states.UNFINISHED:
                item.data = data
            if item.uid in content_types:
                session.content_types[item.uid] = content_types[item.uid]
            if executables and item.uid in executables:
                session.executables.add(item.uid)
            if item.uid in users:
                session.info_users[item.uid] = users[item.uid]
        if uid in users:
            session.info_users[uid] = users[uid]
        if uid in debugs:
            session.debugs[uid] = debugs[uid]
        task_finished(state, session, task, sizes, start_time, duration_us)
    if state.feed.on:
        _tell_finished(state, worker, report, stale)


def _tell_finished(state: ServerState, worker: WorkerRecord, report: m.Report, stale: list[int]) -> None:
    """Put committed results into the event log: the report's own columns, unless some rows were stale."""
    columns: list[list[Any]] = [
        report.finished,
        report.attempts,
        report.start_times,
        report.durations_us,
        report.cpus,
        report.output_counts,
    ]
    sizes = report.sizes
    extras: list[list[Any]] = [report.content_types, report.users, report.debugs]
    executables = report.executables
    if stale:
        late = set(stale)
        ends = list(accumulate(report.output_counts))
        kept = [row for row in range(len(ends)) if row not in late]
        sizes = [size for row in kept for size in sizes[ends[row] - report.output_counts[row] : ends[row]]]
        columns = [[column[row] for row in kept] for column in columns]
        known = {
            uid + n for uid, outputs in zip(columns[0], columns[5], strict=True) for n in range(outputs + 1)
        }
        extras = [[item for item in column if item[0] in known] for column in extras]
        executables = [uid for uid in executables if uid in known]
    if columns[0]:
        state.feed.add(state.now, e.TasksFinished, worker.number, *columns, sizes, *extras, executables)


def _discard_stale(state: ServerState, worker: WorkerRecord, uid: int, outputs: int) -> None:
    """A result that is not wanted: the worker may delete its outputs, unless it holds them by right."""
    for item in range(uid + 1, uid + 1 + outputs):
        if item not in worker.objects and state.session_of(item) is not None:
            worker.deleting.add(item)
            worker.to_remove.append(item)


def _on_missing(
    state: ServerState, worker: WorkerRecord, uid: int, why: str, silent: list[str], refused: bool
) -> None:
    """A worker has not got an input, and no holder gave it. Its readers there are retracted.

    When holders did not answer, the readers go where they can be reached; see `reach.py`. Otherwise replicas
    that nobody reads where they are count as lost, so that the object is made again; after a few times a
    reader fails. What was refused for what it is fails a reader at once.
    """
    item, session = state.object(uid), state.session_of(uid)
    if item is None or session is None:
        return
    waiting = [task for task in item.consumers if task.worker is worker and task.state is states.ASSIGNED]
    if worker not in item.expected and not waiting:
        state.counters.refused_messages += 1
        return
    state.log("warning", f"worker {worker.name} cannot get object {id_of(uid)}: {why}")
    item.forget(worker)
    for task in waiting:
        retract(task)
    if item.state is not states.OBJECT_FINISHED:
        return
    unreached = [holder for holder in item.holders if holder in worker.cut_off or holder.name in silent]
    for holder in unreached:
        cut_off(state, worker, holder, why)
    if silent and not unreached:
        return  # those are gone; who has it now is told with the next assignment
    text = f"its input {id_of(uid)} could not be brought to {worker.name}: {why}"
    item.misses += 1
    if waiting and (refused or item.misses > MISS_LIMIT):
        task_failed(state, session, waiting[0], text, "")
        return
    if unreached:
        stuck = [task for task in waiting if not runs_somewhere(state, task)]
        if not stuck:
            return
        if uid in session.remade:
            names = ", ".join(holder.name for holder in unreached)
            text = f"{text}; {worker.name} cannot reach {names}, and no other worker can get all its inputs"
            task_failed(state, session, stuck[0], text, "")
            return
        session.remade.add(uid)
    readers = {task.worker for task in item.consumers if task.state in states.ON_WORKER}
    for holder in item.holders:
        if holder not in readers:
            item.forget(holder)
            holder.deleting.add(uid)
            holder.to_remove.append(uid)
    if not item.available:
        object_lost(state, session, item)
