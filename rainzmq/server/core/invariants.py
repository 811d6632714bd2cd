"""Checks of a whole core. Tests run them after each event; they are too slow for anything else."""

from __future__ import annotations

from rainzmq.common.ids import id_of
from rainzmq.server.core import states
from rainzmq.server.core.session_records import SessionRecord
from rainzmq.server.core.state import ServerState


def check(state: ServerState) -> None:
    """AssertionError with the entity when the state contradicts itself."""
    for session in state.sessions.values():
        if session.state is states.OPEN:
            _check_session(state, session)
    for worker in state.workers.values():
        load = sum(task.body.declared.cpus for task in worker.tasks.values())
        assert worker.load == load, f"worker {worker.name}: load {worker.load} is not {load}"
        ahead = sum(task.body.declared.cpus for task in worker.tasks.values() if task.waiting)
        assert worker.ahead == ahead, f"worker {worker.name}: ahead {worker.ahead} is not {ahead}"
        for uid, task in worker.tasks.items():
            assert task.worker is worker, f"task {id_of(uid)} is listed at a worker it is not on"
            assert task.state in states.ON_WORKER, f"task {id_of(uid)} is {task.state}"
        for uid, item in worker.objects.items():
            known = worker in item.holders or worker in item.expected
            assert known, f"object {id_of(uid)} is listed at a worker that it does not know"


def _check_session(state: ServerState, session: SessionRecord) -> None:
    unfinished = running = 0
    for uid, task in session.tasks.items():
        name = f"task {id_of(uid)}"
        unfinished += task.state not in states.ENDED
        running += task.state is states.RUNNING
        missing = sum(1 for item in task.inputs if item.state is states.UNFINISHED)
        if task.state is states.WAITING:
            assert task.waiting == missing > 0, f"{name} waits for {task.waiting}, {missing} are missing"
        elif task.state is states.READY:
            assert not missing, f"{name} is ready without all of its inputs"
            for item in task.inputs:
                assert item.available, f"{name} is ready, but nobody has {id_of(item.uid)}"
        elif task.state in states.ON_WORKER:
            assert task.worker is not None, f"{name} runs nowhere"
            assert uid in task.worker.tasks, f"{name} is not listed at its worker"
            assert task.worker.peer in state.workers, f"{name} is on a lost worker"
    assert session.unfinished == unfinished, f"{session.unfinished} unfinished, {unfinished} counted"
    assert session.running == running, f"{session.running} running, {running} counted"
    if session.state is states.OPEN:
        totals = [sum(column) for column in zip(*[row[1:] for row in session.groups.rows()], strict=True)]
        counted = [session.task_count - unfinished, session.task_count] if session.task_count else []
        assert totals == counted, f"groups count {totals}, not {counted}"
    for uid, item in session.objects.items():
        name = f"object {id_of(uid)}"
        live = sum(task.state is not states.FINISHED for task in item.consumers)
        assert item.pending == live, f"{name}: {item.pending} pending readers, {live} counted"
        if item.state is states.OBJECT_FINISHED:
            assert item.available, f"{name} is finished, but nobody has it"
            needed = item.keep or item.pending or session.submit_open
            assert needed, f"{name} is there although nobody needs it"
        if item.state is states.REMOVED:
            assert not item.holders, f"{name} is removed, but held"
            assert not item.pending, f"{name} is removed, but read"
        for worker in (*item.holders, *item.expected):
            assert worker.peer in state.workers, f"{name} is at a lost worker"
            assert uid in worker.objects, f"{name} is not listed at its holder"
