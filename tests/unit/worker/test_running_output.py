"""What running jobs have written is told while they run, ever more seldom."""

from __future__ import annotations

import itertools

import pytest

from rainzmq.protocol.messages.shared import TaskBody
from rainzmq.worker.core.jobs import Job, Printed
from rainzmq.worker.running_output import RunningOutput

BODY = TaskBody(1, "python/call", 1, None, b"", [], [])


def job(uid, attempt=0):
    return Job(uid, attempt, 0, BODY, b"", [])


def printed(size):
    return Printed("x" * min(size, 9), "", size, 0)


@pytest.fixture
def jobs():
    return {}


@pytest.fixture
def output(jobs):
    return RunningOutput(lambda: [(job(*key), said) for key, said in jobs.items()])


def told(output, now):
    return [row for report in output.reports(now) for row in report.printed]


def test_jobs_that_write_nothing_are_not_told_of(output, jobs):
    jobs[1, 0] = None
    assert output.reports(0.0) == []


def test_the_first_line_is_told_at_once(output, jobs):
    jobs[1, 2] = printed(3)
    assert told(output, 0.0) == [(1, 2, "xxx", "", 3, 0)]


def test_nothing_is_told_twice(output, jobs):
    jobs[1, 0] = printed(3)
    told(output, 0.0)
    assert told(output, 500.0) == []


def test_a_talkative_job_is_told_of_ever_more_seldom(output, jobs):
    times = []
    for second in range(400):
        jobs[1, 0] = printed(second + 1)
        if told(output, float(second)):
            times.append(second)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps[:6] == [1, 2, 4, 8, 16, 32]
    assert set(gaps[6:]) == {60}


def test_another_attempt_begins_anew(output, jobs):
    jobs[1, 0] = printed(3)
    told(output, 0.0)
    jobs.clear()
    jobs[1, 1] = printed(3)
    assert told(output, 0.1) == [(1, 1, "xxx", "", 3, 0)]


def test_only_so_many_are_told_of_at_once_and_the_others_next_time(output, jobs):
    jobs.update({(uid, 0): printed(uid + 1) for uid in range(30)})
    first, second = told(output, 0.0), told(output, 0.5)
    assert (len(first), len(second)) == (20, 10)
    assert {row[0] for row in first + second} == set(range(30))
