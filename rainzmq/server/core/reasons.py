"""Why tasks that could run do not: every wait that cannot end has a reason that can be asked for."""

from __future__ import annotations

from rainzmq.common.ids import id_of
from rainzmq.scheduler import policy
from rainzmq.server.core.records import TaskRecord, WorkerRecord
from rainzmq.server.core.session_records import SessionRecord
from rainzmq.server.core.state import ServerState
from rainzmq.server.core.versions import why_no_python

MAX_REASONS = 5


def why_tasks_wait(state: ServerState, session: SessionRecord) -> list[str]:
    """Reasons human-readable why tasks of the session wait for more than their turn; empty when none does.

    While some run these are about tasks that no worker can run; otherwise also about all the others.
    """
    workers = state.schedulable()
    if not session.unfinished:
        return []
    if not state.workers:
        return ["no worker is connected to the server; start one with `rainzmq worker SERVER`"]
    if not workers:
        return [f"no worker has been heard of for {state.options.suspect_after_s:g} s"]
    unfit = {body.request for body in session.bodies.values() if not _fits_anywhere(body.request, workers)}
    reasons: list[str] = []
    for request in sorted(unfit)[:MAX_REASONS]:
        task = next(state.ready.of(request, session.session_id), None)
        if isinstance(task, TaskRecord):
            reasons += filter(None, [why_not_placed(state, session, task)])
    if not reasons and session.awaited and not session.running:
        awaited = id_of(next(iter(session.awaited)))
        reasons = [f"the upload of constant {awaited} has not arrived at the server"]
    return reasons


def why_not_placed(state: ServerState, session: SessionRecord, task: TaskRecord) -> str | None:
    """Why no worker could ever run a ready task; None when one can."""
    cpus, kind = task.body.request
    workers = state.schedulable()
    if _fits_anywhere(task.body.request, workers):
        return None
    name = session.task_name(task)
    who = f"task {id_of(task.uid)}" + (f" ({name})" if name else "")
    able = [worker for worker in workers if kind in worker.kinds]
    troubled = [worker for worker in workers if kind in worker.offered - worker.kinds and cpus <= worker.cpus]
    if troubled:
        return (
            f"{who} waits, for no worker takes {kind!r} tasks that need {cpus} cpus at the moment: "
            + "; ".join(
                f"{worker.name}: {worker.troubles[task.body.kind]}" for worker in troubled[:MAX_REASONS]
            )
        )
    if not able:
        other_python = why_no_python(session, workers) if task.body.kind == "python" else None
        if other_python is not None:
            return f"{who} {other_python}"
        offered = sorted({item for worker in workers for item in worker.offered if " " not in item})
        return (
            f"{who} is of type {task.body.declared.task_type!r}, but no worker offers {task.body.kind!r} "
            f"(they offer {', '.join(offered)}); register it in a worker's configuration: "
            f"[subworkers.{task.body.kind}]"
        )
    largest = max(able, key=lambda worker: worker.cpus)
    return f"{who} needs {cpus} cpus, but the largest worker, {largest.name}, has {largest.cpus}"


def _fits_anywhere(request: tuple[int, str], workers: list[WorkerRecord]) -> bool:
    return any(policy.fits(request, worker) for worker in workers)
