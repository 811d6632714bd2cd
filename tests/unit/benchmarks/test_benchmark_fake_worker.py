"""Workers that answer at once say what a real worker would say."""

from __future__ import annotations

from typing import Any

from benchmarks.drivers import fake_worker
from rainzmq.protocol.messages.shared import ObjectMeta
from rainzmq.protocol.messages.worker import Assign


def assign(uids: list[int], **columns: Any) -> Assign:
    """An `Assign` of tasks without inputs."""
    count = len(uids)
    message = Assign([], uids, [0] * count, [1] * count, [b""] * count, [0] * count, [0] * count,
                     [], [], [], [], [], [], [], [])  # fmt: skip
    for name, value in columns.items():
        setattr(message, name, value)
    return message


def test_every_assigned_task_is_finished_with_outputs_of_no_bytes():
    [report] = fake_worker.reports(assign([10, 20], attempts=[0, 2]), [1, 2], [])
    assert report.finished == [10, 20]
    assert report.attempts == [0, 2]
    assert report.output_counts == [1, 2]
    assert report.sizes == [0, 0, 0]
    assert len(report.start_times) == len(report.durations_us) == 2


def test_outputs_that_are_asked_for_come_with_the_report():
    [report] = fake_worker.reports(assign([10, 20], inline=[22]), [1, 2], [])
    assert report.inline == [(22, b"")]


def test_inputs_count_as_fetched_before_the_tasks_finish():
    meta = ObjectMeta(5, None, False, None, 0, b"", b"")
    message = assign([10], objects=[meta], object_data=[None], object_holders=[[]])
    first, second = fake_worker.reports(message, [0], [5])
    assert first.fetched == [5]
    assert second.finished == [10]


def test_a_report_of_very_many_tasks_is_split():
    uids = list(range(fake_worker.TASKS_PER_REPORT + 1))
    first, second = fake_worker.reports(assign(uids), [0] * len(uids), [])
    assert first.finished + second.finished == uids
    assert len(second.finished) == 1
