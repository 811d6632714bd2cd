"""Life of data objects: finished, read by all, removed, lost, made again.

Two counts decide what stays. `pending` is how many consumers have not finished: at 0 an object that is not
kept is removed everywhere. `lineage` is how many consumers are not *released*; a task is released when none
of its outputs can ever be needed again: each is removed and all that was made from it is released in turn.
Until then the record of the task, and the content of constants at its roots, stay, so that an object whose
last replica dies with a worker can be made again, as deep as needed (lineage, as in Spark's RDDs: Zaharia et
al. 2012).
"""

from __future__ import annotations

from rainzmq.server.core import states, waits
from rainzmq.server.core.events import DropUploads
from rainzmq.server.core.records import ObjectRecord, TaskRecord
from rainzmq.server.core.session_records import SessionRecord
from rainzmq.server.core.state import ServerState


def object_finished(state: ServerState, session: SessionRecord, item: ObjectRecord) -> list[TaskRecord]:
    """An object has content and size now. Returns the waiting tasks that have one unfinished input less;
    those that were sent ahead are counted down here.
    """
    item.to(states.OBJECT_FINISHED)
    waits.finished(state, session, item.uid)
    waits.fetchable(state, session, item)
    waiting = []
    for task in item.consumers:
        if task.state is states.WAITING:
            waiting.append(task)
        elif task.waiting:
            task.waiting -= 1
            if not task.waiting and task.worker is not None and task.state in states.ON_WORKER:
                task.worker.ahead -= task.body.declared.cpus
    return waiting


def unread_object(state: ServerState, session: SessionRecord, item: ObjectRecord) -> None:
    """No unfinished task reads the object. Remove it, unless it is kept or the submit is not complete."""
    if item.keep or item.pending or item.state is not states.OBJECT_FINISHED:
        return
    if session.submit_open:
        session.unread.append(item)
        return
    item.to(states.REMOVED)
    if state.feed.on:
        state.feed.removed.append(item.uid)
    for worker in (*item.holders, *item.expected):
        worker.objects.discard(item.uid)
        worker.deleting.add(item.uid)
        worker.to_remove.append(item.uid)
    item.holders = item.expected = ()
    if item.producer is not None:
        item.data = None
    _try_release(state, session, item)


def release_inputs(state: ServerState, session: SessionRecord, task: TaskRecord) -> None:
    """Release a finished task: nothing it made will ever be made again, so it becomes history. May release
    its ancestors in turn.
    """
    stack = [task]
    while stack:
        released = stack.pop()
        inputs, released.inputs = released.inputs, ()
        outputs, released.outputs = released.outputs, ()
        released.config = b""
        session.history.add(released, outputs)
        session.tasks.discard(released.uid)
        for item in outputs:
            session.objects.discard(item.uid)
        for item in inputs:
            item.lineage -= 1
            if item.lineage:
                continue
            item.consumers = ()
            if item.state is states.REMOVED:
                stack.extend(_drop_record(state, session, item))


def recover(state: ServerState, session: SessionRecord, item: ObjectRecord) -> list[TaskRecord]:
    """An object has no content anywhere. Returns the tasks to run again, whose states the caller sets.

    Goes down the lineage as deep as content is missing. Objects on the way become unfinished; consumers of
    them that were ready wait again; those assigned but not started are retracted.
    """
    rerun: dict[int, TaskRecord] = {}  # by uid: several outputs of one task may be lost
    stack = [item]
    while stack:
        lost = stack.pop()
        if lost.state is states.UNFINISHED or lost.available:
            continue
        producer = lost.producer
        needed = lost.pending > 0 or lost.keep or lost.state is states.REMOVED or session.submit_open
        if producer is None or not needed:
            continue
        lost.to(states.UNFINISHED)
        for worker in lost.expected:
            # It asks a holder that is gone: without this it would do so until its transfer has no more tries.
            worker.to_cancel.append(lost.uid)
        _unfinished_again(state, lost)
        if producer.state is states.FINISHED and producer.uid not in rerun:
            session.unfinished += 1
            session.group_of(producer)[1] -= 1
            producer.worker = None
            producer.attempt += 1
            state.counters.tasks_rerun += 1
            for source in producer.inputs:
                source.pending += 1
                if source.state is states.REMOVED and source.available:
                    source.to(states.OBJECT_FINISHED)
                elif not source.available:
                    stack.append(source)
            rerun[producer.uid] = producer
    return list(rerun.values())


def _unfinished_again(state: ServerState, item: ObjectRecord) -> None:
    for consumer in item.consumers:
        if consumer.state is states.WAITING:
            consumer.waiting += 1
        elif consumer.state is states.READY:
            consumer.to(states.WAITING)
            consumer.waiting = 1
        else:
            retract(consumer)


def retract(task: TaskRecord) -> None:
    """Ask its worker for a task back that is assigned, unless that was done already."""
    if task.state is states.ASSIGNED and not task.retracting and task.worker is not None:
        task.retracting = True
        task.worker.to_retract.append(task.uid)


def _try_release(state: ServerState, session: SessionRecord, item: ObjectRecord) -> None:
    if item.lineage:
        return
    for task in _drop_record(state, session, item):
        release_inputs(state, session, task)


def _drop_record(state: ServerState, session: SessionRecord, item: ObjectRecord) -> list[TaskRecord]:
    """A removed object that no retained task reads: drop a constant's content; its producer if that can be
    released.
    """
    producer = item.producer
    if producer is None:
        item.data = None
        if item.at_relay:
            item.at_relay = False
            state.effects.append(DropUploads([item.uid]))
        return []
    if producer.state is states.FINISHED and all(
        output.state is states.REMOVED and not output.lineage for output in producer.outputs
    ):
        return [producer]
    return []
