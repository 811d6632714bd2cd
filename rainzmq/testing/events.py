"""A made-up history of a small cluster, event by event: for tests and for trying what shows it.

Two workers with two cpus each; session 1 "demo" runs `rows` chains of load/parse, train/model-1..3 and a
final report; one task of session 2 "broken" fails. Deterministic.
"""

from __future__ import annotations

from typing import Any

from rainzmq.common.ids import make_uid
from rainzmq.common.states import AttemptState, SessionState
from rainzmq.monitoring.hub import Hub
from rainzmq.protocol.codec import Header, encode
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.shared import Failure, OutputTemplate, TaskBody

START = 1_790_000_000.0
"""When the made-up server started, s since the epoch."""

_OUT = OutputTemplate("out", False, None, None, None, None)


class SimulatedHistory:
    """Events in the making; `events` are those so far."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.number = 0

    def add(self, kind: type, time: float, *values: Any) -> None:
        """One more event, `time` seconds after the start."""
        self.number += 1
        self.events.append(kind(self.number, START + time, *values))


def demo_history(rows: int = 20, end: bool = True) -> list[Any]:
    """The events of the made-up run. `end`: session 1 is closed at its end."""
    history = SimulatedHistory()
    add = history.add
    add(e.SnapshotBegin, 0.0, 1, "0.0", START)
    add(e.SnapshotEnd, 0.0, 1)
    for worker in (1, 2):
        address = f"127.0.0.1:{5000 + worker}"
        add(e.WorkerCame, 0.1, worker, address, "node", 100 + worker, 2, ["builtin", "python"])
    add(e.SessionCame, 0.2, 1, "demo", "node (pid 99)")
    ids = _submitted(history, rows)
    time = _run(history, rows, ids)
    _broken(history, time)
    for second in range(int(time) + 1):
        for worker in (1, 2):
            load = [50.0 + 10 * worker, 20.0 + second % 7]
            sizes = [4 << 30, 16 << 30, *[1000 * second] * 4, 500, 5, 1 << 30]
            add(e.WorkerSampled, float(second), worker, load, *sizes)
        add(e.ServerSampled, float(second), 0.1 * second, 50 << 20, 1, {"tasks_finished": second})
    if end:
        add(e.SessionEnded, time + 1, 1, SessionState.CLOSED, None)
    history.events.sort(key=lambda event: event.time)
    # The first two are the snapshot of a server that nothing has happened to.
    for number, event in enumerate(history.events, -1):
        event.number = max(0, number)
    return history.events


def _submitted(history: SimulatedHistory, rows: int) -> list[int]:
    bodies = [
        TaskBody(1, "builtin/load", 1, "load/parse", b"", [], [_OUT]),
        TaskBody(2, "python/run", 1, None, b"", [], [_OUT]),
        TaskBody(3, "python/run", 2, "report", b"", [], [_OUT]),
    ]
    names = [(2 * rows + 2 * row + 1, f"train/model-{row % 3 + 1}") for row in range(rows)]
    ids = [2 * row + 1 for row in range(2 * rows + 1)]
    keys = [1] * rows + [2] * rows + [3]
    counts = [0] * rows + [1] * rows + [rows]
    inputs = [2 * row + 2 for row in range(2 * rows)]
    graph: tuple[Any, ...] = (1, bodies, ids, keys, counts, inputs, names, [], [], [], [4 * rows + 2])
    history.add(e.TasksSubmitted, 0.3, *graph)
    return ids


def _run(history: SimulatedHistory, rows: int, ids: list[int]) -> float:
    """Let the tasks run; when the last one was done."""
    add, time = history.add, 0.4
    free = {(worker, cpu): time for worker in (1, 2) for cpu in (0, 1)}
    for index, local_id in enumerate(ids):
        (worker, cpu), begin = min(free.items(), key=lambda item: item[1])
        if index == 2 * rows:
            begin = max(free.values())
        uid = make_uid(1, local_id)
        duration = 0.2 + 0.05 * (index % 5)
        add(e.TasksAssigned, begin, worker, [uid], [0])
        if index >= rows:
            moved = (make_uid(1, ids[index - rows] + 1), f"127.0.0.1:{5003 - worker}")
            add(e.ObjectsMoved, begin + 0.05, worker, [(*moved, START + begin + 0.01, 40_000, 5000)])
        add(e.TasksStarted, begin + 0.06, worker, [uid], [0])
        time = free[worker, cpu] = begin + 0.06 + duration
        debugs = [(uid, "loaded <b>fine</b>")] if index == 0 else []
        ran = ([uid], [0], [START + begin + 0.05], [int(duration * 1e6)], [cpu], [1], [1000 * (index + 1)])
        add(e.TasksFinished, time, worker, *ran, [], [], debugs)
        if index == 0:
            row = (uid, 0, "hello <script>alert(1)</script>\n", "oops\n", 32, 5)
            add(e.TasksPrinted, time, worker, [row])
    add(e.ObjectsRemoved, time, [make_uid(1, 2 * row + 2) for row in range(2 * rows)])
    return time


def _broken(history: SimulatedHistory, time: float) -> None:
    add = history.add
    add(e.SessionCame, time / 2, 2, "broken <script>", "node (pid 98)")
    body = TaskBody(1, "python/run", 1, "bad", b"", [], [])
    add(e.TasksSubmitted, time / 2 + 0.1, 2, [body], [1, 2], [1, 1], [0, 0], [], [], [], [], [], [])
    uid = make_uid(2, 1)
    add(e.TasksAssigned, time / 2 + 0.2, 1, [uid], [0])
    add(e.TasksReturned, time / 2 + 0.3, 1, [uid], [0], AttemptState.CRASHED, ["killed by signal 9"])
    add(e.TasksAssigned, time / 2 + 0.4, 2, [uid], [1])
    add(e.TasksStarted, time / 2 + 0.45, 2, [uid], [1])
    failure = Failure(
        task=uid,
        name="bad",
        task_type="python/run",
        attempt=1,
        worker="127.0.0.1:5002",
        message="ValueError: <img src=x>",
        debug="tried",
    )
    add(e.TaskFailed, time / 2 + 0.5, 2, failure, START + time / 2 + 0.42, 50_000)
    add(e.SessionEnded, time / 2 + 0.5, 2, SessionState.FAILED, failure)


def demo_hub(rows: int = 20, end: bool = True) -> Hub:
    """A hub that has taken in `demo_history`."""
    hub = Hub(source="a made-up history", is_replay=True)
    events = demo_history(rows, end)
    hub.take(events, [encode(event, Header()) for event in events])
    return hub
