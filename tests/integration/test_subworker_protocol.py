"""Foreign subworkers: a program that knows only docs/subworker_protocol.md works with the real pool."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pool_harness import DIRECTORY_OUTPUT, FOREIGN, Harness, blob_output, foreign

from rainzmq.protocol import stream
from rainzmq.worker import subworker_link
from rainzmq.worker.core.jobs import CANCELLED, CRASHED, FAILED, FINISHED, UNABLE


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    kinds: dict[str, str | list[str]] = {"mini": foreign(), "text": "/bin/echo 'not a subworker'"}
    kinds["missing"] = "/no/such/program --flag"
    for how in ("exit", "silent", "version", "name", "garbage", "huge"):
        kinds[how] = foreign(f"--hello={how}")
    harness = Harness(tmp_path, kinds)
    yield harness
    harness.close()


def test_foreign_subworker_imports_only_the_standard_library() -> None:
    imported = [line for line in FOREIGN.read_text().splitlines() if line.startswith(("import ", "from "))]
    assert imported == [
        f"import {name}" for name in ["json", "os", "signal", "socket", "struct", "sys", "time"]
    ]


def test_subworker_of_the_page_works(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "subworker_protocol.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    script = tmp_path / "subworker.py"
    script.write_text(program)
    harness = Harness(tmp_path, {"shout": f"{sys.executable} {script}"})
    try:
        small = harness.job("shout/upper", [blob_output()], inputs=[harness.put(b"hello")])
        large = harness.job("shout/upper", [blob_output()], inputs=[harness.put(b"hello" * 50_000)])
        harness.run(small, large)
        assert harness.value(small.output_uid(0)) == b"HELLO"
        assert harness.value(large.output_uid(0)) == b"HELLO" * 50_000
        (outcome,) = harness.run(harness.job("shout/lower", []))
        assert outcome.error == "Subworker 'shout' has no method 'lower'; it has: upper"
    finally:
        harness.close()


def test_inputs_in_memory_and_in_files_are_concatenated(harness: Harness) -> None:
    large = b"L" * 300_000
    job = harness.job("mini/concat", [blob_output()], inputs=[harness.put(b"small "), harness.put(large)])
    (outcome,) = harness.run(job)
    assert outcome.kind == FINISHED, outcome.error
    assert harness.value(job.output_uid(0)) == b"small " + large
    assert outcome.debug == "a debug line"


def test_result_file_is_taken_over_and_the_tasks_directory_is_removed(harness: Harness) -> None:
    job = harness.job("mini/repeat", [blob_output()], config=[50_000], inputs=[harness.put(b"abc")])
    (outcome,) = harness.run(job)
    assert outcome.kind == FINISHED, outcome.error
    assert harness.value(job.output_uid(0)) == b"abc" * 50_000
    harness.until(lambda: not list(harness.scratch.glob("subworker-*/*")))


def test_result_directory_is_taken_over(harness: Harness) -> None:
    job = harness.job("mini/tree", [DIRECTORY_OUTPUT])
    harness.run(job)
    path = harness.store.path(job.output_uid(0))
    assert path is not None
    assert (Path(path) / "sub" / "file").read_text() == "in a tree"


def test_task_is_told_all_about_itself(harness: Harness) -> None:
    job = harness.job("mini/info", [blob_output()], inputs=[harness.put(b"x")], cpus=(1, 3), name="a name")
    (outcome,) = harness.run(job)
    assert json.loads(harness.value(job.output_uid(0))) == {
        "id": [3, 2],
        "attempt": 0,
        "method": "info",
        "directory_is_empty": True,
        "cpus": [1, 3],
        "name": "a name",
        "task_type": "mini/info",
        "labels": ["in"],
        "kind": "mini",
    }
    assert outcome.outputs[0].content_type == "json"
    assert outcome.outputs[0].user == b'{"made": "here"}'


def test_input_is_passed_on_without_a_copy(harness: Harness) -> None:
    given = harness.put(b"L" * 300_000)
    job = harness.job("mini/pass", [blob_output()], inputs=[given])
    (outcome,) = harness.run(job)
    assert outcome.outputs[0].alias == given.uid
    assert harness.store.path(job.output_uid(0)) == harness.store.path(given.uid)


def test_failure_has_the_subworkers_text_and_the_next_task_runs(harness: Harness) -> None:
    (outcome,) = harness.run(harness.job("mini/fail", []))
    assert (outcome.kind, outcome.error) == (FAILED, "ValueError: this method always fails")
    (outcome,) = harness.run(harness.job("mini/concat", [blob_output()]))
    assert outcome.kind == FINISHED
    assert len(harness.pool._links) == 1  # the same process


def test_unknown_method_fails_and_the_known_ones_are_named(harness: Harness) -> None:
    (outcome,) = harness.run(harness.job("mini/nonsense", []))
    assert outcome.kind == FAILED
    assert outcome.error.startswith("Subworker 'mini' has no method 'nonsense'; it has: concat, crash, fail,")


def test_unknown_kind_fails_and_says_how_to_register_it(harness: Harness) -> None:
    (outcome,) = harness.run(harness.job("other/method", []))
    assert outcome.kind == FAILED
    assert "no subworker for task type 'other/method'" in outcome.error
    assert "[subworkers.other] command" in outcome.error


def test_wrong_number_of_outputs_fails(harness: Harness) -> None:
    (outcome,) = harness.run(harness.job("mini/concat", [blob_output(), blob_output()]))
    assert (outcome.kind, outcome.error) == (FAILED, "the subworker gave 1 results for 2 outputs")


def test_data_for_a_directory_fails(harness: Harness) -> None:
    (outcome,) = harness.run(harness.job("mini/concat", [DIRECTORY_OUTPUT]))
    assert "which is a directory" in outcome.error


def test_content_type_must_be_a_subtype(harness: Harness) -> None:
    (outcome,) = harness.run(harness.job("mini/info", [blob_output(content_type="text")]))
    assert "declared as content type 'text', but the subworker made 'json'" in outcome.error


@pytest.mark.parametrize("path", ["../../../secret", "/etc/passwd", "link", "linked/secret", ".", "nothing"])
def test_paths_outside_the_tasks_directory_are_not_taken(harness: Harness, tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_text("s")
    (outcome,) = harness.run(harness.job("mini/steal", [blob_output()], config=[path]))
    assert outcome.kind == FAILED
    assert "the subworker gave" in outcome.error
    assert (tmp_path / "secret").read_text() == "s"


def test_crash_names_the_signal_and_what_was_written(harness: Harness) -> None:
    (outcome,) = harness.run(harness.job("mini/crash", []))
    assert outcome.kind == CRASHED
    assert "was killed by signal 11 (SIGSEGV) while it ran this task" in outcome.error
    assert "about to crash" in outcome.error
    (outcome,) = harness.run(harness.job("mini/concat", [blob_output()]))
    assert outcome.kind == FINISHED


@pytest.mark.parametrize("method", ["garbage", "stray"])
def test_message_that_breaks_the_protocol_crashes_the_task(harness: Harness, method: str) -> None:
    (outcome,) = harness.run(harness.job(f"mini/{method}", []))
    assert outcome.kind == CRASHED
    reasons = {"garbage": "no message of the subworker protocol", "stray": "sent a result of task 99/99"}
    assert reasons[method] in outcome.error
    (outcome,) = harness.run(harness.job("mini/concat", [blob_output()]))
    assert outcome.kind == FINISHED


def test_killed_task_is_cancelled_and_its_process_is_gone(harness: Harness) -> None:
    job = harness.job("mini/sleep", [], config=[30])
    harness.start(job)
    harness.turn_for(0.5)
    harness.pool.kill(job.uid)
    (outcome,) = harness.wait(job)
    assert outcome.kind == CANCELLED


def test_two_tasks_on_different_cpus_run_in_two_processes(harness: Harness) -> None:
    jobs = [harness.job("mini/sleep", [], config=[0.2], cpus=(cpu,)) for cpu in (0, 1)]
    harness.run(*jobs)
    assert len(harness.pool._links) == 2


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("exit", ["exit code 3", "text on stdout", "text on stderr"]),
        (
            "text",
            ["`/bin/echo 'not a subworker'` ended with exit code 0 before it said hello", "not a subworker"],
        ),
        ("missing", ["`/no/such/program --flag` could not be run", "No such file"]),
        ("version", ["speaks version 99", "this worker speaks version 1"]),
        ("name", ["says it is 'somebody-else', but was started as 'name'"]),
        ("garbage", ["no message of the subworker protocol"]),
        ("huge", ["a frame of 4294967295 bytes"]),
    ],
)
def test_three_subworkers_that_do_not_register_put_their_kind_down_and_give_the_task_back(
    harness: Harness, kind: str, texts: list[str]
) -> None:
    (outcome,) = harness.run(harness.job(f"{kind}/method", []))
    assert outcome.kind == UNABLE
    for text in [f"Subworker {kind!r} could not be started", *texts]:
        assert text in outcome.error
    assert harness.kinds_down == [(kind, outcome.error)]


def test_subworkers_that_stay_silent_give_their_task_back_in_time(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stream.HELLO_TIMEOUT_S == 10.0
    monkeypatch.setattr(subworker_link, "HELLO_TIMEOUT_S", 0.5)
    (outcome,) = harness.run(harness.job("silent/method", []))
    assert outcome.kind == UNABLE
    assert "did not say hello within 0.5 s" in outcome.error
    assert "waiting for nothing" in outcome.error
