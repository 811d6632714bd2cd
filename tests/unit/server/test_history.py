"""What is kept of past tasks."""

from __future__ import annotations

from rainzmq.protocol.messages.shared import Endpoint
from rainzmq.protocol.messages.worker import WorkerHello
from rainzmq.server.core.history import PAGE_BITS, History, PastOutput, PastTask
from rainzmq.server.core.records import BodyRecord, ObjectRecord, TaskRecord, WorkerRecord
from rainzmq.testing.server_core import body

BODY = BodyRecord(body(1), [0, 0])
WORKER = WorkerRecord(b"w", 1, WorkerHello("s", "h", 1, 1, Endpoint("h", 7, b"K" * 40), [], 0), 0.0)


def past(history: History, uid: int, outputs: int, worker: WorkerRecord | None = WORKER) -> None:
    task = TaskRecord(uid, BODY, b"", ())
    task.start_time, task.duration_us, task.worker = 12.5, 1 << 40, worker
    items = [ObjectRecord(uid + 1 + index, task) for index in range(outputs)]
    for index, item in enumerate(items):
        item.size = (1 << 41) + index
    history.add(task, items)


def test_tasks_and_outputs_are_found_by_uid() -> None:
    history = History()
    past(history, 10, 2)
    past(history, 13, 0, worker=None)
    assert len(history) == 2
    assert history.task(10) == PastTask(BODY, 12.5, 1 << 40, "h:7")
    assert history.task(13) == PastTask(BODY, 12.5, 1 << 40, None)
    assert history.output(12) == PastOutput(BODY, 1, (1 << 41) + 1)
    assert [uid for uid in range(9, 15) if uid in history] == [10, 11, 12, 13]
    assert history.task(11) is history.output(10) is history.task(1 << 40) is history.output(9) is None


def test_outputs_may_stand_on_the_next_pages() -> None:
    history = History()
    size = 1 << PAGE_BITS
    past(history, size - 2, 2 * size)
    assert history.output(size - 1) == PastOutput(BODY, 0, 1 << 41)
    for index in (1, size, 2 * size - 1):
        assert history.output(size - 1 + index) == PastOutput(BODY, index, (1 << 41) + index)
    assert history.output(size - 1 + 2 * size) is None


def test_it_takes_few_bytes_for_a_task() -> None:
    import tracemalloc

    history = History()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for uid in range(1, 20_001, 2):
        past(history, uid, 1)
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert used / 10_000 < 80


def test_runs_are_consecutive_uids_page_by_page() -> None:
    history = History()
    size = 1 << PAGE_BITS
    past(history, 10, 2)
    past(history, 13, 0)
    past(history, 20, 1)
    past(history, size - 2, size + 3)
    assert list(history.runs()) == [
        (10, 13),
        (20, 21),
        (size - 2, size - 1),
        (size, 2 * size - 1),
        (2 * size, 2 * size + 1),
    ]
