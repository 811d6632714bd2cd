"""Python subworkers as real processes under the real pool."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pool_harness import Harness

from rainzmq.worker.core import pool
from rainzmq.worker.core.jobs import CANCELLED, CRASHED, FAILED, FINISHED, Job, Outcome

Context = Any


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    harness = Harness(tmp_path, {})
    yield harness
    harness.close()


def ready(harness: Harness, count: int = 1) -> None:
    """Wait until so many subworkers are idle."""
    harness.pool.prestart(count)
    harness.until(lambda: len(harness.pool._core.idle.get("python", {})) >= count)


def processes_of(harness: Harness) -> set[int]:
    """Process ids of all subworkers."""
    return {link.process.pid for link in harness.pool._links.values() if link.process is not None}


def value_of(harness: Harness, job: Job) -> Any:
    return json.loads(harness.value(job.output_uid(0)))


def make_pid(ctx: Context) -> int:
    import os

    return os.getpid()


def make_append() -> Any:
    def append(ctx: Context, path: str, text: str, seconds: float = 0.0) -> str:
        import time

        with open(path, "a") as file:
            file.write(text + "\n")
        time.sleep(seconds)
        return text

    return append


def by_value(function: Any) -> Any:
    """A copy of a function that travels by value, as one of a user's `__main__` does."""
    import types

    copy = types.FunctionType(
        function.__code__, {"__builtins__": __builtins__}, function.__name__, function.__defaults__
    )
    copy.__module__ = "__main__"
    copy.__annotations__ = {}
    return copy


PID = by_value(make_pid)


def test_tasks_run_and_processes_are_used_again(harness: Harness) -> None:
    jobs = [harness.call(PID) for _ in range(3)]
    pids = []
    for job in jobs:
        (outcome,) = harness.run(job)
        assert outcome.kind == FINISHED, outcome.error
        pids.append(value_of(harness, job))
    assert len(set(pids)) == 1
    assert pids[0] != os.getpid()


def test_first_task_does_not_wait_for_a_process_to_start(harness: Harness) -> None:
    ready(harness)
    idle = processes_of(harness)
    job = harness.call(PID)
    harness.run(job)
    assert value_of(harness, job) in idle


def test_short_tasks_are_sent_ahead_and_each_runs_once(harness: Harness, tmp_path: Path) -> None:
    ready(harness)
    append = by_value(make_append())
    path = str(tmp_path / "lines")
    first = harness.call(append, path, "1")
    harness.run(first)
    session, body = first.session_id, first.body.key
    for _ in range(50):  # the machine may be busy, and the first ones slow
        harness.start(harness.call(append, path, "1"))
        if harness.pool.accepts_more((0,), session, body, False) > 0:
            break
        harness.until(lambda: len(harness.outcomes) == len(harness._jobs))
    else:
        pytest.fail("nothing was accepted ahead")
    jobs = [harness.call(append, path, str(number)) for number in range(2, 8)]
    outcomes = harness.run(*jobs)
    assert {outcome.kind for outcome in outcomes} == {FINISHED}
    lines = Path(path).read_text().split()
    assert lines == ["1"] * (len(lines) - 6) + [*map(str, range(2, 8))]
    assert len({outcome.uid for outcome in outcomes}) == 6


def queue_behind_a_long_one(harness: Harness, path: str, seconds: float) -> tuple[Job, list[Job]]:
    """A job that takes long though its like were short, and four jobs sent ahead behind it."""
    ready(harness, 2)
    append = by_value(make_append())
    for number in range(3):
        harness.run(harness.call(append, path, f"warm{number}"))
    long = harness.call(append, path, "long", seconds)
    jobs = [harness.call(append, path, f"short{number}") for number in range(4)]
    harness.start(long, *jobs)
    harness.until(lambda: "long" in Path(path).read_text())
    return long, jobs


def test_tasks_behind_a_long_one_are_given_back_and_never_run_there(harness: Harness, tmp_path: Path) -> None:
    path = str(tmp_path / "lines")
    long, jobs = queue_behind_a_long_one(harness, path, 0.5)
    harness.until(lambda: len(harness.given_back) == 4)
    assert sorted(harness.given_back) == [job.uid for job in jobs]
    assert long.uid not in harness.outcomes
    again = [Job(job.uid, 1, job.session_id, job.body, job.config, [], (1,)) for job in jobs]
    for job in again:
        harness.run(job)
    assert long.uid not in harness.outcomes
    harness.wait(long)
    harness.turn_for(0.1)
    lines = Path(path).read_text().split()
    assert sorted(lines) == sorted(["warm0", "warm1", "warm2", "long", *(f"short{n}" for n in range(4))])


def test_killing_a_queued_task_does_not_disturb_the_running_one(harness: Harness, tmp_path: Path) -> None:
    path = str(tmp_path / "lines")
    long, jobs = queue_behind_a_long_one(harness, path, 0.3)
    harness.pool.kill(jobs[0].uid)
    (outcome,) = harness.wait(jobs[0])
    assert outcome.kind == CANCELLED
    assert long.uid not in harness.outcomes
    (outcome,) = harness.wait(long)
    assert outcome.kind == FINISHED
    assert "short0" not in Path(path).read_text()


def test_killing_a_running_task_ends_all_it_started_and_the_next_does_not_wait(
    harness: Harness, tmp_path: Path
) -> None:
    @by_value
    def spawn(ctx: Context, path: str) -> None:
        import subprocess
        import time

        child = subprocess.Popen(["sleep", "60"])
        with open(path, "w") as file:
            file.write(str(child.pid))
        time.sleep(60)

    ready(harness, 2)
    pid_file = tmp_path / "pid"
    job = harness.call(spawn, str(pid_file))
    harness.start(job)
    harness.until(lambda: pid_file.exists() and pid_file.read_text() != "")
    there = processes_of(harness)
    harness.pool.kill(job.uid)
    (killed,) = harness.wait(job)
    assert killed.kind == CANCELLED
    following = harness.call(PID)
    harness.run(following)
    assert value_of(harness, following) in there  # the spare, so nothing had to be started
    child = int(pid_file.read_text())
    harness.until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie")


def crash_with(harness: Harness, how: str) -> Outcome:
    @by_value
    def crash(ctx: Context, how: str) -> None:
        import os
        import signal
        import sys

        print("printed before", flush=True)
        if how == "segfault":
            import ctypes

            ctypes.string_at(0)
        elif how == "exit":
            os._exit(7)
        elif how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif how == "close":
            os.closerange(3, 1 << 16)
        sys.exit("unreachable" if how != "close" else None)

    (outcome,) = harness.run(harness.call(crash, how))
    return outcome


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("segfault", "signal 11 (SIGSEGV)"),
        ("exit", "exit code 7"),
        ("kill", "signal 9 (SIGKILL)"),
        ("close", "ended with exit code 1"),
    ],
)
def test_crash_is_told_with_its_cause_and_last_output(harness: Harness, how: str, text: str) -> None:
    outcome = crash_with(harness, how)
    assert outcome.kind == CRASHED
    assert text in outcome.error
    assert "printed before" in outcome.error
    if how == "segfault":
        assert "Fatal Python error: Segmentation fault" in outcome.error
    (outcome,) = harness.run(harness.call(PID))
    assert outcome.kind == FINISHED


def test_tasks_behind_a_crash_run_elsewhere_and_are_not_blamed(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "LATE_S", 60.0)  # on a busy machine, too, jobs stay where they are queued

    @by_value
    def maybe_crash(ctx: Context, path: str, text: str) -> str:
        import os
        import time

        with open(path, "a") as file:
            file.write(text + "\n")
        if text == "crash":
            time.sleep(0.01)
            os._exit(1)
        return text

    ready(harness, 2)
    path = str(tmp_path / "lines")
    for number in range(3):
        harness.run(harness.call(maybe_crash, path, f"warm{number}"))
    jobs = [harness.call(maybe_crash, path, text) for text in ("a", "crash", "b", "c")]
    outcomes = harness.run(*jobs)
    assert [outcome.kind for outcome in outcomes] == [FINISHED, CRASHED, FINISHED, FINISHED], outcomes
    assert Path(path).read_text().split()[3:] == ["a", "crash", "b", "c"]


def test_failed_task_tells_the_remote_traceback(harness: Harness) -> None:
    @by_value
    def fail(ctx: Context) -> None:
        error = ValueError("remote")
        error.add_note("noted")
        raise error

    (outcome,) = harness.run(harness.call(fail))
    assert outcome.kind == FAILED
    assert "in fail" in outcome.error
    assert outcome.error.endswith("ValueError: remote\nnoted")


def test_large_result_is_moved_into_the_store(harness: Harness) -> None:
    @by_value
    def large(ctx: Context) -> str:
        return "x" * 1_000_000

    job = harness.call(large)
    (outcome,) = harness.run(job)
    assert outcome.outputs[0].path is not None
    assert not os.path.exists(outcome.outputs[0].path)
    assert value_of(harness, job) == "x" * 1_000_000


def test_output_goes_to_the_log_and_empty_logs_are_removed(harness: Harness) -> None:
    @by_value
    def talk(ctx: Context) -> None:
        print("words of a task")

    ready(harness, 2)
    harness.run(harness.call(talk))
    harness.close_pool()
    (log,) = harness.logdir.iterdir()
    assert log.read_text() == "words of a task\n"
    assert log.stat().st_mode & 0o777 == 0o600


def test_sessions_functions_are_forgotten(harness: Harness) -> None:
    @by_value
    def count(ctx: Context) -> int:
        function = ctx.function
        function.calls = getattr(function, "calls", 0) + 1
        return function.calls

    jobs = [harness.call(count) for _ in range(3)]
    harness.run(jobs[0])
    harness.run(jobs[1])
    harness.pool.forget_sessions([jobs[0].session_id])
    harness.run(jobs[2])
    assert [value_of(harness, job) for job in jobs] == [1, 2, 1]


def test_subworker_ends_with_its_worker(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = """
import os, sys, time
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from pool_harness import Harness
harness = Harness(Path(sys.argv[1]), {})
harness.pool.prestart(2)
harness.until(lambda: len(harness.pool._core.idle.get("python", {})) == 2)
def busy(ctx):
    import time
    while True: time.sleep(0.1)
harness.start(harness.call(busy))
harness.turn_for(0.3)
print(*[link.process.pid for link in harness.pool._links.values()], flush=True)
os._exit(0)
"""
    here = str(Path(__file__).parent)
    made = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), here],
        stdout=subprocess.PIPE,
        text=True,
        timeout=30,
        check=True,
    )
    pids = [int(pid) for pid in made.stdout.split()]
    assert len(pids) >= 2
    deadline = time.monotonic() + 5
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_hand_started_subworker_says_what_is_wrong() -> None:
    import subprocess
    import sys

    made = subprocess.run(
        [sys.executable, "-m", "rainzmq.subworker"],
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
    )
    assert made.returncode == 2
    assert made.stderr.startswith("A subworker is started by a worker, not by hand")


def test_jobs_behind_one_that_is_killed_just_when_it_has_ended_still_run(harness: Harness) -> None:
    def nap(ctx: Any, seconds: float) -> None:
        time.sleep(seconds)

    harness.run(harness.call(nap, 0.0))
    first, second, third = (harness.call(nap, seconds) for seconds in (0.02, 0.4, 0.0))
    harness.start(first, second, third)
    harness.loop._turn()
    time.sleep(0.1)  # the first has ended, the second runs, and nothing was read
    harness.pool.kill(first.uid)
    harness.until(lambda: second.uid in harness.outcomes)
    harness.until(lambda: third.uid in harness.outcomes or third.uid in harness.given_back)
