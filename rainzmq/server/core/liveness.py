"""Silence: which workers are alive, suspect, dead; and what waits for a kind of worker that nobody offers.

Clients are judged by their connections instead (`presence.py`).
"""

from __future__ import annotations

from rainzmq.protocol.messages.client import ClientHeartbeat
from rainzmq.protocol.messages.worker import WorkerHeartbeat
from rainzmq.server.core import states
from rainzmq.server.core.on_worker import Loss, worker_lost
from rainzmq.server.core.presence import judge_clients
from rainzmq.server.core.reach import forget_cuts
from rainzmq.server.core.reasons import why_not_placed
from rainzmq.server.core.records import TaskRecord
from rainzmq.server.core.state import ServerState
from rainzmq.server.core.tasks import task_failed

KIND_GRACE_S = 10.0
"""How long tasks wait for a worker that offers their kind while other workers are there, seconds."""


def on_tick(state: ServerState, unanswered: dict[bytes, float]) -> None:
    """Judge silence, send heartbeats, fail what no worker will ever run. `unanswered`: see `events.Tick`."""
    options = state.options
    late = state.last_tick is not None and state.now - state.last_tick > 2 * options.heartbeat_interval_s + 1
    state.last_tick = state.now
    if late:
        # We stalled ourselves: what peers sent meanwhile may still wait in our queues.
        state.log("warning", "the server stalled; all timers are reset")
        for heard in state.workers.values():
            heard.last_heard = state.now
    for worker in list(state.workers.values()):
        silence = state.now - worker.last_heard
        if silence >= options.dead_after_s:
            worker_lost(state, worker, f"silent for {silence:.1f} s", Loss.SILENT)
            continue
        if silence >= options.suspect_after_s and worker.state is states.LIVE:
            worker.to(states.SUSPECT)
        state.tell(worker.peer, WorkerHeartbeat())
    judge_clients(state, unanswered)
    for client in state.clients.values():
        if client.away_since is None:
            state.tell(client.peer, ClientHeartbeat(client.received))
    forget_cuts(state)
    _fail_unservable(state)


def _fail_unservable(state: ServerState) -> None:
    workers = state.schedulable()
    waiting: dict[str, TaskRecord] = {}
    for request in state.ready.requests():
        top = state.ready.peek(request)
        if top is not None and workers and not any(request[1] in worker.offered for worker in workers):
            assert isinstance(top, TaskRecord)
            waiting[request[1]] = top
    for kind in [kind for kind in state.unservable_since if kind not in waiting]:
        del state.unservable_since[kind]
    for kind, task in waiting.items():
        since = state.unservable_since.setdefault(kind, state.now)
        session = state.session_of(task.uid)
        if session is not None and state.now - since >= KIND_GRACE_S:
            reason = why_not_placed(state, session, task)
            task_failed(state, session, task, f"nothing can run it: {reason}", "")
