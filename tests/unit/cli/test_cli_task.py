"""`rainzmq task` shows what the page of a task shows."""

from __future__ import annotations

import json

import pytest
from cli_helpers import database, run

from rainzmq.testing.events import demo_history


@pytest.fixture
def replay(tmp_path):
    return ["--replay", str(database(tmp_path / "events.db", demo_history()))]


def sections(text: str) -> dict[str, list[str]]:
    """The lines below each heading, with single spaces."""
    parts = [[" ".join(line.split()) for line in part.splitlines()] for part in text.split("\n\n")]
    return {part[0]: part[1:] for part in parts}


def test_task_that_failed_shows_its_error_and_all_attempts(rest, replay, capsys):
    for options in ([], replay):
        shown = sections(run(capsys, "task", "2/1", *options)[0])

        assert {"name bad", "type python/run", "state failed", "worker 127.0.0.1:5002", "needs 1 cpu"} <= set(
            shown["task 2/1"]
        )
        assert "why failed: ValueError: <img src=x>" in "\n".join(shown["task 2/1"])
        assert shown["error"] == ["ValueError: <img src=x>"]
        assert shown["debug"] == ["tried"]
        head, first, second = shown["attempts"]
        assert head == "attempt worker assigned started ran outcome note"
        assert first.split()[:2] == ["1", "127.0.0.1:5001"]
        assert first.endswith("crashed killed by signal 9")
        assert second.split()[:2] == ["2", "127.0.0.1:5002"]
        assert second.endswith("failed")


def test_task_shows_inputs_outputs_and_what_it_printed(replay, capsys):
    out, err = run(capsys, "task", "1/1", *replay)
    shown = sections(out)

    assert shown["outputs"] == ["object label state size", "1/2 out removed 1000 B"]
    assert shown["debug"] == ["loaded <b>fine</b>"]
    assert shown["==> stdout of 1/1 load/parse (32 B) <=="] == ["hello <script>alert(1)</script>"]
    assert shown["==> stderr of 1/1 load/parse (5 B) <=="] == ["oops"]
    assert "error" not in shown
    assert "inputs" not in shown
    assert err == ""

    shown = sections(run(capsys, "task", "1/41", *replay)[0])
    assert shown["inputs"] == ["object label state size of task", "1/2 out removed 1000 B 1/1"]


def test_many_inputs_are_cut(tmp_path, capsys):
    path = database(tmp_path / "events.db", demo_history(30))
    report = 4 * 30 + 1
    out, _ = run(capsys, "task", f"1/{report}", "--replay", str(path))

    shown = sections(out)["inputs (30)"]
    assert len(shown) == 1 + 20 + 1
    assert shown[-1] == "and 10 more"


def test_json_is_the_item_of_rest(rest, replay, capsys):
    live = json.loads(run(capsys, "task", "2/1", "--json")[0])
    replayed = json.loads(run(capsys, "task", "2/1", "--json", *replay)[0])

    assert live == replayed
    assert (live["id"], live["error"]) == ("2/1", "ValueError: <img src=x>")


@pytest.mark.parametrize(
    ("task", "why"), [("1", "write one of 1/1, 2/1"), ("9/1", "no task 9/1"), ("x", "'x' is not a task")]
)
def test_task_that_is_not_there_is_an_error(replay, capsys, task, why):
    assert why in run(capsys, "task", task, *replay, code=1)[1]
