"""Figures for Prometheus, in its text format 0.0.4. Labels are states, workers that are there (at most
MAX_WORKERS of them) and names of fixed lists, so that the number of series is bounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from rainzmq.common.states import SessionState, TaskState, WorkerState
from rainzmq.monitoring.hub import Hub
from rainzmq.monitoring.shapes import WorkerView
from rainzmq.monitoring.views import moves, server_view, session_view, worker_views

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

MAX_WORKERS = 1000
"""Workers that have figures of their own."""

_OF_WORKER = {
    "running": ("tasks_running", "tasks that run on the worker", 1.0),
    "assigned": ("tasks_assigned", "tasks that are assigned to the worker and do not run yet", 1.0),
    "cpus": ("cpus", "cpus the worker offers", 1.0),
    "cpu_percent": ("cpu_ratio", "mean load of the cpus of the worker's machine, 0 to 1", 0.01),
    "memory_used_bytes": ("memory_used_bytes", "memory of the worker's machine in use", 1.0),
    "memory_total_bytes": ("memory_total_bytes", "memory of the worker's machine", 1.0),
    "store_bytes": ("store_bytes", "size of the objects in the worker's store", 1.0),
    "store_objects": ("store_objects", "objects in the worker's store", 1.0),
    "store_free_bytes": ("store_free_bytes", "room left where the worker's store is", 1.0),
}

Sample = tuple[dict[str, str], float | int | None]


def metrics(hub: Hub) -> str:
    """All figures, as Prometheus reads them."""
    lines: list[str] = []

    def family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> None:
        lines.extend(_family(f"rainzmq_{name}", kind, text, samples))

    server, sessions = server_view(hub), [session_view(item) for item in hub.model.sessions.values()]
    states = {state: sum(session.counts[state] for session in sessions) for state in TaskState}
    by_state = [({"state": str(state)}, count) for state, count in states.items()]
    family("tasks", "gauge", "tasks of the sessions that are known, by state", by_state)
    finished = server.counters.get("tasks_finished", states[TaskState.FINISHED])
    family("tasks_finished_total", "counter", "tasks that finished since the server's start", _one(finished))
    ended = {state: sum(session.state is state for session in sessions) for state in SessionState}
    by_state = [({"state": str(state)}, count) for state, count in ended.items()]
    family("sessions", "gauge", "sessions that are known, by state", by_state)
    live = [worker for worker in worker_views(hub.model) if worker.state is WorkerState.LIVE]
    family("workers", "gauge", "workers that are connected", _one(len(live)))
    for field, (name, text, factor) in _OF_WORKER.items():
        family(f"worker_{name}", "gauge", text, _of_workers(live, field, factor))
    moved = moves(hub.model)
    family("moved_bytes_total", "counter", "bytes moved to workers", _one(sum(item.bytes for item in moved)))
    family("moved_objects_total", "counter", "objects moved to workers", _one(sum(i.count for i in moved)))
    family("events_total", "counter", "number of the last event", _one(hub.model.number))
    family("server_connected", "gauge", "1 when the server is there, else 0", _one(int(hub.is_connected)))
    family("server_start_time_seconds", "gauge", "when the server started", _one(server.started))
    family("server_cpu_seconds_total", "counter", "cpu time the server has used", _one(server.cpu_s))
    family("server_memory_bytes", "gauge", "resident memory of the server", _one(server.memory_bytes))
    family("server_clients", "gauge", "clients that are connected, viewers too", _one(server.clients))
    return "\n".join(lines) + "\n"


def _one(value: float | int | None) -> list[Sample]:
    return [({}, value)]


def _of_workers(workers: list[WorkerView], field: str, factor: float) -> Iterable[Sample]:
    for worker in workers[:MAX_WORKERS]:
        value = getattr(worker, field)
        yield {"worker": worker.worker_id}, value if value is None or factor == 1.0 else value * factor


def _family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> list[str]:
    """The lines of one metric; none when nothing is known of it."""
    lines = []
    for labels, value in samples:
        if not isinstance(value, int | float) or not math.isfinite(value):
            continue
        inner = ",".join(f'{label}="{escaped(item)}"' for label, item in labels.items())
        lines.append(f"{name}{{{inner}}} {value}" if inner else f"{name} {value}")
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}", *lines] if lines else []


def escaped(value: str) -> str:
    """The value of a label as Prometheus reads it."""
    value = value.encode("utf-8", "replace").decode()
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
