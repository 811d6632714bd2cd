"""`rainzmq report` writes one file, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_helpers import lacks

from rainzmq.cli.main import main
from rainzmq.monitoring.store import EventStore
from rainzmq.protocol.codec import Header, encode
from rainzmq.testing.events import demo_history

BEGIN = "<!DOCTYPE html>"


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The database of a small run; the current directory is another one."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    history = demo_history(2)
    store = EventStore(tmp_path / "logs" / "events.db")
    store.begin(Header(), history[0])
    store.add(history, [encode(event, Header()) for event in history])
    store.close()
    return store.path


def test_report_is_put_here_unless_a_place_is_named(events, capsys):
    assert main(["report", str(events)]) == 0

    assert capsys.readouterr().out == "wrote events.html\n"
    assert Path("events.html").read_text().startswith(BEGIN)
    assert [path.name for path in Path().iterdir()] == ["events.html"]


def test_old_report_is_replaced(events, tmp_path, capsys):
    target = tmp_path / "report.html"
    target.write_text("old")

    assert main(["report", str(events), "-o", str(target)]) == 0

    assert target.read_text().startswith(BEGIN)


def test_report_to_stdout(events, capfdbinary):
    assert main(["report", str(events), "-o", "-"]) == 0

    assert capfdbinary.readouterr().out.startswith(BEGIN.encode())
    assert list(Path().iterdir()) == []


def test_place_that_can_not_be_is_told_before_the_work(events, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("rainzmq.monitoring.store.open_replay", None)

    for place, why in (
        (tmp_path, "is a directory"),
        (tmp_path / "no" / "x.html", f"there is no directory {tmp_path / 'no'}"),
        (events, "is the database itself"),
    ):
        assert main(["report", str(events), "-o", str(place)]) == 1
        assert why in capsys.readouterr().err


def test_file_that_can_not_be_written_leaves_the_old_one(events, capsys, monkeypatch):
    Path("events.html").write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)

    assert main(["report", str(events)]) == 1

    assert "cannot be written to events.html: No space left on device" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in Path().iterdir()] == [("events.html", "old")]


def test_no_database_is_an_error(events, capsys):
    assert main(["report", "nothing.db"]) == 1

    printed = capsys.readouterr().err
    assert "nothing.db" in printed
    assert "Traceback" not in printed


def test_missing_extra_is_an_error_that_says_what_helps(events, capsys, monkeypatch):
    lacks(monkeypatch, "numpy", "bokeh")

    assert main(["report", str(events)]) == 1

    said = "rainzmq: error: a report needs numpy, bokeh: pip install 'rainzmq[dashboard]'\n"
    assert capsys.readouterr().err == said
