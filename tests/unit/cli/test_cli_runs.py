"""Which event log is meant by a path, and which server when none is named."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from cli_helpers import database, run

from rainzmq.cli.runs import LAST, find_events
from rainzmq.common.errors import RainException
from rainzmq.testing.events import demo_history
from rainzmq.transport.access import write_access


@pytest.fixture
def logs(home: Path) -> Path:
    (home / "logs").mkdir(mode=0o700)
    return home / "logs"


def left(path: Path, when: float) -> Path:
    """An event log that was last written to at a time."""
    path.parent.mkdir(parents=True)
    path.touch()
    os.utime(path, (when, when))
    return path


def test_a_database_is_meant_by_its_own_path_though_it_is_not_there(tmp_path):
    assert find_events(tmp_path / "x.db") == tmp_path / "x.db"


@pytest.mark.parametrize("name", ["events.db", "server/events.db"])
def test_a_directory_of_logs_means_the_database_in_it(tmp_path, name):
    path = left(tmp_path / "run" / name, 1.0)

    assert find_events(tmp_path / "run") == path


def test_a_directory_without_a_database_is_an_error(tmp_path):
    with pytest.raises(RainException, match=r"no event log in .*: neither events\.db nor server/events\.db"):
        find_events(tmp_path)


def test_last_is_the_run_that_was_written_to_last(logs, capsys):
    left(logs / "local-1" / "server" / "events.db", 10.0)
    newest = left(logs / "server-2" / "events.db", 30.0)
    left(logs / "local-3" / "server" / "events.db", 20.0)

    assert find_events(Path(LAST)) == newest
    assert capsys.readouterr().err == f"rainzmq: the last run: {newest}\n"

    # What a server writes stands in the file beside it until the server ends.
    wal = logs / "local-1" / "server" / "events.db-wal"
    wal.touch()
    os.utime(wal, (40.0, 40.0))
    assert find_events(Path(LAST)) == logs / "local-1" / "server" / "events.db"


def test_without_any_run_last_is_an_error(home):
    with pytest.raises(RainException, match=f"no run has left an event log in {home}/logs"):
        find_events(Path(LAST))


def test_commands_take_last_and_directories(logs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (logs / "local-1" / "server").mkdir(parents=True)
    database(logs / "local-1" / "server" / "events.db", demo_history(2))

    for place in (LAST, str(logs / "local-1")):
        assert "demo" in run(capsys, "sessions", "--replay", place)[0]
        assert run(capsys, "report", place)[0] == "wrote events.html\n"
    assert run(capsys, "report")[0] == "wrote events.html\n"


@pytest.fixture
def two_servers(rest):
    """A second server of this user runs on this machine; it is older."""
    older = replace(rest.access, port=7310, started=rest.access.started - 1, path=None)
    write_access(older)
    return rest


@pytest.mark.parametrize("command", ["sessions", "workers", "tasks", "top", "dashboard"])
def test_of_several_servers_the_one_that_is_taken_is_named(two_servers, capsys, command):
    more = ["--url"] if command == "dashboard" else []

    _, err = run(capsys, command, *more)

    assert err.startswith("rainzmq: server 127.0.0.1:7210 (2 are running; name one to choose)\n")


def test_a_server_that_was_named_is_not_named_again(two_servers, capsys, monkeypatch):
    assert run(capsys, "sessions", "--server", "127.0.0.1:7210")[1] == ""
    assert run(capsys, "sessions", "--access-file", str(two_servers.path))[1] == ""
    monkeypatch.setenv("RAINZMQ_SERVER", "127.0.0.1:7210")
    assert run(capsys, "sessions")[1] == ""


def test_the_only_server_is_not_named(rest, capsys):
    assert run(capsys, "sessions")[1] == ""
