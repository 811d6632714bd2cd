"""Which workers cannot reach each other, and what that means for tasks.

A worker that got no answer from a live holder says so, and the two count as cut off from each other for
`CUT_S`: in both directions, for data need packets both ways. Meanwhile the policy gives no task to a worker
that could not get its inputs, and workers are not told of holders that they cannot reach. Only when no worker
at all could get all inputs of a task is one of them made again, once, elsewhere.
"""

from __future__ import annotations

from rainzmq.scheduler import policy
from rainzmq.server.core.records import TaskRecord, WorkerRecord
from rainzmq.server.core.state import ServerState

CUT_S = 60.0
"""Two workers are taken for cut off from each other for so long after one got no answer, seconds."""


def cut_off(state: ServerState, worker: WorkerRecord, holder: WorkerRecord, why: str) -> None:
    """A worker got no answer from a live one."""
    if holder not in worker.cut_off:
        state.log("warning", f"worker {worker.name} cannot reach worker {holder.name}: {why}")
    worker.cut_off[holder] = holder.cut_off[worker] = state.now + CUT_S


def forget_cuts(state: ServerState) -> None:
    """Those that were noted long ago may be mended."""
    for worker in state.workers.values():
        if worker.cut_off:
            worker.cut_off = {item: until for item, until in worker.cut_off.items() if until > state.now}


def worker_gone(worker: WorkerRecord) -> None:
    """A worker is no more; nobody is cut off from it."""
    for other in worker.cut_off:
        other.cut_off.pop(worker, None)
    worker.cut_off = {}


def runs_somewhere(state: ServerState, task: TaskRecord) -> bool:
    """Whether some worker fits a task and can get all of its inputs."""
    return any(
        policy.fits(task.body.request, worker) and policy.gets_inputs(task, worker)
        for worker in state.schedulable()
    )
