"""What the commands that look at a cluster print: tables human-readable, JSON for programs."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_helpers import database, lacks, run

from rainzmq.cli.main import main
from rainzmq.common.ids import make_uid
from rainzmq.monitoring.hub import Hub
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.shared import TaskBody
from rainzmq.testing.events import demo_history, demo_hub

EVIL = "\x1b]0;owned\x07[bold red]x[/]\n\u202egnp"


@pytest.fixture
def replay(tmp_path: Path) -> list[str]:
    """Options that choose the made-up history."""
    return ["--replay", str(database(tmp_path / "events.db", demo_history()))]


@pytest.fixture
def evil(tmp_path: Path) -> list[str]:
    """Options that choose a run whose names try to harm a terminal."""
    worker = (1, "w:1", EVIL, 1, 1, ["python"])
    body = TaskBody(1, "python/run", 1, EVIL, b"", [], [])
    events: list[Any] = [
        e.SnapshotBegin(1, 1.0, 1, "0.0", 1.0),
        e.SnapshotEnd(1, 1.0, 1),
        e.WorkerCame(2, 1.0, *worker),
        e.SessionCame(3, 1.0, 1, EVIL, EVIL),
        e.TasksSubmitted(4, 1.0, 1, [body], [1], [1], [0], [], [], [], [], [], []),
        e.TasksAssigned(5, 1.0, 1, [make_uid(1, 1)], [0]),
        e.TasksFinished(6, 2.0, 1, [make_uid(1, 1)], [0], [1.0], [5], [0], [0], [], [], [], []),
        e.TasksPrinted(7, 2.0, 1, [(make_uid(1, 1), 0, EVIL + "\ttab\r\n", "", 9000, 0)]),
    ]
    return ["--replay", str(database(tmp_path / "evil.db", events))]


@pytest.mark.parametrize("command", ["tasks", "workers", "sessions", "top"])
def test_live_server_and_finished_run_look_the_same(rest, replay, capsys, command):
    live, _ = run(capsys, command)
    replayed, _ = run(capsys, command, *replay)

    def lines(text: str) -> list[list[str]]:
        return [line.split() for line in text.splitlines() if "127.0.0.1:500" in line or "node" in line]

    assert [line[:3] for line in lines(live)] == [line[:3] for line in lines(replayed)] != []


@pytest.mark.parametrize("command", ["tasks", "workers", "sessions"])
def test_json_is_the_items_of_rest(rest, replay, capsys, command):
    live, _ = run(capsys, command, "--json", *(["--limit", "0"] if command == "tasks" else []))
    replayed, _ = run(capsys, command, "--json", *replay, *(["--limit", "0"] if command == "tasks" else []))

    assert json.loads(live) == json.loads(replayed)
    assert len(json.loads(live)) == {"tasks": 43, "workers": 2, "sessions": 2}[command]


def test_tasks_are_chosen_by_session_state_and_name(replay, capsys):
    out, err = run(capsys, "tasks", "--session", "demo", "--name", "train/", "--limit", "3", *replay)
    assert [line.split()[0] for line in out.splitlines()] == ["task", "1/41", "1/43", "1/45"]
    assert "these are 3 of 20 tasks; --limit 0 lists all" in err

    out, err = run(capsys, "tasks", "--session", "1", "--state", "running", *replay)
    assert out == ""
    assert "no task" in err


def test_name_of_a_group_is_enough_to_see_its_tasks(rest, replay, capsys):
    for options in ([], replay):
        group, _ = run(capsys, "tasks", "--session", "demo", "--name", "train", *options)
        assert group == run(capsys, "tasks", "--session", "demo", "--name", "train/", *options)[0]
        assert len(group.splitlines()) == 21


def test_where_no_task_is_like_what_is_wanted_that_is_said(rest, replay, capsys):
    for options, place in (([], "on 127.0.0.1:7210"), (replay, f"in {replay[1]}")):
        for wanted, said in (
            (["--failed", "--session", "1"], f"no task of session 1 {place} has failed (of 41)"),
            (
                ["--name", "x"],
                f"no task {place} has the name 'x', or one that begins with it and a / (of 43)",
            ),
            (["--state", "running", "--name", "bad"], f"no task {place} is running and has the name 'bad'"),
        ):
            assert said in run(capsys, "tasks", *wanted, *options)[1]


def test_failed_tasks_are_listed_with_their_errors(rest, replay, capsys):
    for options in ([], replay):
        out, err = run(capsys, "tasks", "--failed", *options)
        head, line = out.splitlines()
        assert line.split()[:4] == ["2/1", "bad", "python/run", "failed"]
        assert head.split()[-1] == "why"
        assert line.endswith("ValueError: <img src=x>")
        assert (
            err
            == f"rainzmq: all about one, its whole error too: rainzmq task {' '.join(['2/1', *options])}\n"
        )


def test_tasks_that_do_not_run_are_listed_with_what_they_wait_for(rest, replay, capsys, monkeypatch):
    for options in ([], replay):
        line = run(capsys, "tasks", "--session", "2", "--state", "cancelled", *options)[0].splitlines()[1]
        assert line.split()[:2] == ["2/2", "bad"]
    hub = demo_hub(2, end=False)
    hub.is_connected, hub.is_replay = True, False
    body = TaskBody(9, "python/run", 99, "big", b"", [], [])
    time = hub.model.now
    hub.show([e.TasksSubmitted(999, time, 1, [body], [91, 93, 95], [9] * 3, [0] * 3, *[[]] * 6)])
    rest.hub = hub

    out, _ = run(capsys, "tasks", "--state", "ready")
    assert "it needs 99 cpus, but the largest worker, 127.0.0.1:5001, has 2" in out

    rest.asked.clear()
    monkeypatch.setattr("rainzmq.cli.tasks._MOST_WHYS", 2)
    out, _ = run(capsys, "tasks", "--state", "ready")
    assert out.count("it needs 99 cpus") == 2
    assert sum(path.startswith("/api/v1/tasks/") for path, _ in rest.asked) == 2


@pytest.mark.parametrize("width", [60, 80, 100, 120, 140, 200])
def test_tables_of_tasks_fit_into_the_terminal(rest, monkeypatch, width):
    from rich.console import Console

    out = io.StringIO()
    terminal = Console(file=out, width=width, markup=False, emoji=False)
    monkeypatch.setattr("rainzmq.cli.terminal.console", lambda: terminal)

    assert main(["tasks", "--failed"]) == 0

    head, line = out.getvalue().splitlines()
    assert "ValueError" in line
    assert max(len(head), len(line)) <= width


def test_session_that_is_not_there_is_an_error_that_lists_them(replay, capsys):
    _, err = run(capsys, "tasks", "--session", "nope", *replay, code=1)

    assert f"there is no session 'nope' in {replay[1]} (there are: 1 'demo', 2 'broken <script>')" in err


def test_logs_show_the_ends_of_both_streams(rest, replay, capsys):
    for options in ([], replay):
        out, _ = run(capsys, "logs", "1/1", *options)
        assert out == (
            "==> stdout of 1/1 load/parse (32 B) <==\nhello <script>alert(1)</script>\n"
            "==> stderr of 1/1 load/parse (5 B) <==\noops\n"
        )
    assert run(capsys, "logs", "1/1", "--stream", "stderr", *replay) == ("oops\n", "")


def test_logs_as_json(replay, capsys):
    out, _ = run(capsys, "logs", "1/1", "--json", *replay)

    told = json.loads(out)
    assert (told["id"], told["stdout_bytes"], told["stderr"]) == ("1/1", 32, "oops\n")


def test_logs_say_why_there_are_none(replay, capsys):
    assert "task 1/3 'load/parse' wrote nothing" in run(capsys, "logs", "1/3", *replay)[1]


@pytest.mark.parametrize(
    ("task", "why"),
    [
        ("1", "1 may be the task of several sessions; write one of 1/1, 2/1"),
        ("1/2", "there is no task 1/2: it is a data object, 'out', made by task 1/1"),
        ("9/1", "there is no task 9/1"),
        ("x/y", "'x/y' is not a task; write SESSION/TASK, such as 3/17"),
        ("-0", "No such option"),
        ("1/99999999999999", "is not an id"),
    ],
)
def test_task_that_is_not_there_is_an_error(replay, capsys, task, why):
    code = 2 if task.startswith("-") else 1
    assert why in run(capsys, "logs", task, *replay, code=code)[1]


def test_number_alone_is_enough_where_there_is_one_session(evil, capsys):
    assert "1/1" in run(capsys, "logs", "1", *evil)[0]


@pytest.mark.parametrize(
    "command", [["tasks"], ["workers"], ["sessions"], ["top"], ["logs", "1/1"], ["task", "1/1"]]
)
def test_names_and_output_can_not_harm_a_terminal(evil, capsys, command):
    out, err = run(capsys, *command, *evil)

    for text in (out, err):
        assert all(char.isprintable() or char in "\n\t" for char in text)
    assert "\\x1b]0;owned\\x07[bold red]x[/]" in out


def test_cut_output_says_how_much_there_was(evil, capsys):
    out, _ = run(capsys, "logs", "1/1", *evil)

    assert "(the last 37 B of 8.79 KiB)" in out
    assert out.endswith("\\u202egnp\ttab\n")


def test_pipes_get_no_colours_and_whole_names(rest, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")

    out, _ = run(capsys, "sessions")

    assert "\x1b" not in out
    assert "2/1 bad: ValueError: <img src=x>" in out


def test_workers_that_are_gone_are_listed_only_when_asked_for(rest, capsys):
    rest.hub.model.workers[1].went, rest.hub.model.workers[1].why = 2e9, "it was lost"

    assert "5001" not in run(capsys, "workers")[0]
    assert "it was lost" in run(capsys, "workers", "--all")[0]


def test_columns_of_states_are_named_as_the_states_they_count(rest, capsys):
    for command in ("sessions", "top"):
        out, _ = run(capsys, command)
        heading = next(line for line in out.splitlines() if " running " in line)
        assert " could run " in heading, "ready and assigned ones together"
        assert " ready " not in heading
    assert " assigned " in run(capsys, "workers")[0].splitlines()[0]


def test_top_outside_of_a_terminal_prints_once(rest, capsys):
    rest.hub.notes.append("events are kept in memory only")

    out, _ = run(capsys, "top")

    assert out.startswith("rainzmq 0.0")
    assert "note: events are kept in memory only" in out
    assert "2 workers, 4 cpus" in out
    told = json.loads(run(capsys, "top", "--json")[0])
    assert told["groups_of"] == 2
    assert len(told["sessions"]) == 2


def test_server_and_replay_contradict_each_other(replay, capsys):
    assert "not both" in run(capsys, "tasks", "--server", "x", *replay, code=2)[1]


def test_database_that_is_none_is_an_error(tmp_path, capsys):
    _, err = run(capsys, "tasks", "--replay", str(tmp_path / "no.db"), code=1)

    assert "no.db" in err
    assert "Traceback" not in err


def test_a_list_with_nothing_in_it_says_of_what(rest, tmp_path, capsys):
    begin = [e.SnapshotBegin(1, 1.0, 1, "0.0", 1.0), e.SnapshotEnd(2, 1.0, 1)]
    path = database(tmp_path / "empty.db", begin)
    for command in ("tasks", "sessions", "workers"):
        what = command[:-1]
        assert f"rainzmq: no {what} in {path}" in run(capsys, command, "--replay", str(path))[1]
    rest.hub = Hub(is_connected=True)
    for command in ("tasks", "sessions", "workers"):
        assert f"rainzmq: no {command[:-1]} on 127.0.0.1:7210\n" == run(capsys, command)[1]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["tasks", "--replay"], "an event log needs numpy: "),
        (["task", "1/1", "--replay"], "an event log needs numpy: "),
        (["workers", "--replay"], "an event log needs numpy: "),
        (["sessions", "--replay"], "an event log needs numpy: "),
        (["logs", "1/1", "--replay"], "an event log needs numpy: "),
        (["top", "--replay"], "an event log needs numpy: "),
        (["dashboard", "--replay"], "the dashboard needs numpy, bokeh, tornado: "),
    ],
)
def test_missing_extra_is_an_error_that_says_what_helps(replay, capsys, monkeypatch, command, said):
    lacks(monkeypatch, "numpy", "bokeh", "tornado")

    _, err = run(capsys, *command, replay[1], code=1)

    assert err == f"rainzmq: error: {said}pip install 'rainzmq[dashboard]'\n"


def test_a_running_server_is_asked_without_the_extra(rest, capsys, monkeypatch):
    lacks(monkeypatch, "numpy", "bokeh", "tornado")

    assert "2 workers, 4 cpus" in run(capsys, "top")[0]


def test_help_is_fast_because_nothing_heavy_is_imported():
    code = "import sys, rainzmq.cli.main; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert not {"numpy", "rich", "bokeh", "sqlite3", "tornado"} & set(done.stdout.split())


def test_top_leaves_the_terminal_as_it_was(rest, monkeypatch):
    from rich.console import Console

    out = io.StringIO()
    terminal = Console(file=out, force_terminal=True, width=90, height=30, markup=False, emoji=False)
    monkeypatch.setattr("rainzmq.cli.terminal.console", lambda: terminal)
    looks = iter([False, False, True])

    def wait(seconds: float) -> bool:
        rest.answer = (lambda path: (503, b"{}")) if len(rest.asked) < 12 else (lambda path: None)
        return next(looks)

    monkeypatch.setattr("rainzmq.cli.top._key_within", wait)

    assert main(["top"]) == 0

    shown = out.getvalue()
    assert shown.count("\x1b[?1049h") == shown.count("\x1b[?1049l") == 1
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    assert "answered 503" in shown
    assert "tasks/s" in shown
    assert "2/1 bad: ValueError" in shown


def test_many_groups_and_workers_fit_into_the_height():
    from rich.console import Console

    from rainzmq.cli.top import _view

    counts = dict.fromkeys(("waiting", "ready", "assigned", "running", "finished", "failed"), 1)
    group = {"depth": 0, "total": 6, "done": 1, "mean_s": 1.0, "counts": counts}
    worker = dict.fromkeys(
        ("cpu_percent", "memory_used_bytes", "memory_total_bytes", "store_bytes", "why"), None
    ) | {"hostname": "h", "cpus": 1, "running": 1, "assigned": 0, "finished": 3, "state": "live"}
    server = dict.fromkeys(("started", "now", "memory_bytes"), None) | {
        "version": "1", "source": "s", "is_replay": False, "is_connected": False, "notes": []
    }  # fmt: skip
    look = {
        "server": server,
        "sessions": [],
        "groups": [{**group, "name": f"g{number}"} for number in range(30)],
        "groups_of": 1,
        "workers": [{**worker, "worker_id": f"w{number}"} for number in range(50)],
    }
    out = io.StringIO()

    Console(file=out, width=100).print(_view(look, "q ends", 100, 40))

    lines = out.getvalue().splitlines()
    assert len(lines) <= 40
    assert "NOT CONNECTED" in lines[0]
    assert any("23 others" in line and "138" in line for line in lines)
    assert "more" in lines[-1]
