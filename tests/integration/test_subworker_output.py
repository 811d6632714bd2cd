"""What tasks write to their standard streams, told by real subworkers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from pool_harness import Harness, foreign

from rainzmq.common.tails import OUTPUT_FILE_BYTES, TAIL_BYTES
from rainzmq.worker import trimmer
from rainzmq.worker.core import pool
from rainzmq.worker.core.jobs import CANCELLED, CRASHED, FAILED, FINISHED, Outcome, Printed, unmade

Context = Any


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Harness]:
    monkeypatch.setattr(pool, "LATE_S", 60.0)  # on a busy machine, too, jobs stay where they are queued
    harness = Harness(tmp_path, {"mini": foreign()})
    # Functions of this module travel by value, as those of a user's program do.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield harness
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    harness.close()


def warm_up(harness: Harness, *functions: Callable[..., Any]) -> None:
    """Have one subworker that has loaded the functions, so that jobs can stand behind others."""
    for function in functions:
        harness.run(harness.call(function))


def say(ctx: Context, out: str = "", err: str = "") -> int:
    import sys

    print(out, end="")
    print(err, end="", file=sys.stderr)
    return 1


def say_and_end(ctx: Context, out: str, code: int) -> int:
    import os
    import sys

    print(out)
    print("its end", file=sys.stderr)
    if code < 0:
        raise ValueError("failed")
    os._exit(code)


def children(ctx: Context, text: str) -> int:
    import os
    import subprocess

    os.write(1, b"raw ")
    subprocess.run(["sh", "-c", f"echo {text}; echo {text}! >&2"], check=True)
    return 1


def flood(ctx: Context, megabytes: int) -> int:
    import os

    for _ in range(megabytes):
        os.write(1, b"y" * (1 << 20))
    os.write(1, b"the end")
    return 1


def leave_thread(ctx: Context, path: str) -> int:
    """A thread writes once `path` is there, and makes `path`.done."""
    import os
    import threading
    import time

    def write() -> None:
        while not os.path.exists(path):
            time.sleep(0.01)
        os.write(1, b"of nobody")
        open(path + ".done", "w").close()

    threading.Thread(target=write, daemon=True).start()
    return 1


def nothing(ctx: Context) -> int:
    return 1


def add_one(ctx: Context, before: Any = None) -> int:
    if before is None:
        return 0
    value = before.load() + 1
    if value % 3 == 0:
        print("value", value)
    return value


def printed(outcome: Outcome) -> tuple[str, str] | None:
    """The texts of an outcome; they must be whole, so that their sizes are known."""
    told = outcome.printed
    if told is None:
        return None
    assert (len(told.stdout), len(told.stderr)) == (told.stdout_bytes, told.stderr_bytes)
    return told.stdout, told.stderr


def test_a_task_that_writes_has_its_output_and_one_that_does_not_has_none(harness: Harness) -> None:
    outcomes = [harness.run(job)[0] for job in (harness.call(say, "out", "err"), harness.call(nothing))]
    assert [printed(outcome) for outcome in outcomes] == [("out", "err"), None]


def test_many_tasks_sent_ahead_have_each_their_own_output(harness: Harness) -> None:
    warm_up(harness, say)
    jobs = [harness.call(say, f"{n}|" * (n % 3), f"e{n}" * (n % 2)) for n in range(200)]
    outcomes = harness.run(*jobs)
    for n, outcome in enumerate(outcomes):
        texts = (f"{n}|" * (n % 3), f"e{n}" * (n % 2))
        assert printed(outcome) == (texts if any(texts) else None)


def test_output_of_children_and_raw_writes_is_the_tasks(harness: Harness) -> None:
    jobs = [harness.call(children, text) for text in ("one", "two")]
    assert [printed(item) for item in harness.run(*jobs)] == [
        ("raw one\n", "one!\n"),
        ("raw two\n", "two!\n"),
    ]


def test_failed_task_has_its_output(harness: Harness) -> None:
    (outcome,) = harness.run(harness.call(say_and_end, "before", -1))
    assert (outcome.kind, printed(outcome)) == (FAILED, ("before\n", "its end\n"))


def test_crashed_task_has_its_output_and_not_that_of_the_tasks_before_it(harness: Harness) -> None:
    warm_up(harness, say, nothing)
    jobs = [harness.call(say, "second"), harness.call(nothing), harness.call(say_and_end, "third", 3)]
    jobs.append(harness.call(say, "fourth"))
    outcomes = harness.run(*jobs)
    assert [outcome.kind for outcome in outcomes] == [FINISHED, FINISHED, CRASHED, FINISHED]
    texts = [("second", ""), None, ("third\n", "its end\n"), ("fourth", "")]
    assert [printed(outcome) for outcome in outcomes] == texts
    assert outcomes[2].error.endswith("Its last output:\nthird\nits end")


def test_killed_task_has_no_output(harness: Harness) -> None:
    job = harness.call(leave_and_wait)
    harness.start(job)
    harness.until(lambda: any(link.output.peek() for link in harness.pool._links.values()))
    (link,) = [link for link in harness.pool._links.values() if link.output.peek()]
    assert link.output.peek() == Printed("so far\n", "", 7, 0), "what a running task wrote can be looked at"
    harness.pool.kill(job.uid)
    (outcome,) = harness.wait(job)
    assert (outcome.kind, outcome.printed) == (CANCELLED, None)


def leave_and_wait(ctx: Context) -> int:
    import time

    print("so far")
    time.sleep(30)
    return 1


def test_what_is_written_while_no_task_runs_is_of_none(harness: Harness, tmp_path: Path) -> None:
    path = tmp_path / "go"
    harness.run(harness.call(leave_thread, str(path)))
    path.touch()
    harness.until((tmp_path / "go.done").exists)
    outcomes = [harness.run(job)[0] for job in (harness.call(nothing), harness.call(say, "mine"))]
    assert [printed(outcome) for outcome in outcomes] == [None, ("mine", "")]


def test_flood_is_counted_and_its_file_is_emptied(harness: Harness) -> None:
    megabytes = OUTPUT_FILE_BYTES // (1 << 20) + 1
    flooded, after = harness.run(harness.call(flood, megabytes), harness.call(say, "after"))
    assert flooded.printed is not None
    assert flooded.printed.stdout_bytes == (megabytes << 20) + 7
    assert len(flooded.printed.stdout) == TAIL_BYTES
    assert flooded.printed.stdout.endswith("ythe end")
    assert printed(after) == ("after", "")
    files = [file for link in harness.pool._links.values() for file in link.output.descriptors()]
    assert max(os.fstat(file).st_size for file in files) < 100


def flood_and_wait(ctx: Context, path: str) -> int:
    import os
    import time

    for _ in range(24):
        os.write(1, b"y" * (1 << 20))
    while not os.path.exists(path):
        time.sleep(0.01)
    os.write(1, b"the end")
    return 1


def test_a_running_task_that_floods_does_not_fill_the_disk(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trimmer, "INTERVAL_S", 0.05)
    job = harness.call(flood_and_wait, str(tmp_path / "go"))
    harness.start(job)
    harness.until(lambda: largest(harness).st_size == 24 << 20)
    harness.until(lambda: largest(harness).st_blocks * 512 < OUTPUT_FILE_BYTES)
    (tmp_path / "go").touch()
    (outcome,) = harness.wait(job)
    assert outcome.printed is not None
    assert outcome.printed.stdout_bytes == (24 << 20) + 7
    assert outcome.printed.stdout == "y" * (TAIL_BYTES - 7) + "the end"


def largest(harness: Harness) -> os.stat_result:
    """Of the files of output."""
    files = [file for link in harness.pool._links.values() for file in link.output.descriptors()]
    return max(map(os.fstat, files), key=lambda info: info.st_size)


def test_tasks_of_a_chain_have_each_their_own_output(harness: Harness) -> None:
    warm_up(harness, nothing, add_one)
    chain = [harness.call(nothing)]
    for _ in range(20):
        # Its input is made by the job before it, in the same process.
        chain.append(harness.call(add_one, unmade(chain[-1].output_uid(0))))
    outcomes = harness.run(*chain)
    assert harness.value(chain[-1].output_uid(0)) == b"21"
    told = [printed(outcome) for outcome in outcomes]
    assert told == [None if n % 3 else (f"value {n}\n", "") for n in range(1, 22)]


def test_each_task_of_a_foreign_subworker_has_its_own_output(harness: Harness) -> None:
    jobs = [harness.job("mini/say", [], config=[f"out {n}", "" if n else "err"]) for n in range(3)]
    outcomes = [harness.run(job)[0] for job in (*jobs, harness.job("mini/info", []))]
    assert [printed(o) for o in outcomes[:3]] == [("out 0", "err"), ("out 1", ""), ("out 2", "")]
    assert outcomes[3].printed is None


def test_crash_of_a_foreign_subworker_has_only_the_output_of_its_task(harness: Harness) -> None:
    harness.run(harness.job("mini/say", [], config=["before", "before"]))
    (outcome,) = harness.run(harness.job("mini/crash", []))
    assert outcome.kind == CRASHED
    assert "before" not in outcome.error
    assert outcome.printed is None or "before" not in outcome.printed.stdout + outcome.printed.stderr


def test_a_foreign_subworker_that_floods_has_its_file_emptied(harness: Harness) -> None:
    text = "z" * 60_000
    harness.run(harness.job("mini/say", [], config=["start", ""]))
    (out,) = [link.output.descriptors()[0] for link in harness.pool._links.values() if link.kind == "mini"]
    os.ftruncate(out, OUTPUT_FILE_BYTES)
    (outcome,) = harness.run(harness.job("mini/say", [], config=[text, ""]))
    assert outcome.printed == Printed("z" * TAIL_BYTES, "", 60_000, 0)
    assert os.fstat(out).st_size == 0
