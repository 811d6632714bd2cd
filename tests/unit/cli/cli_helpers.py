"""What tests of commands share: to run one, a run to look at, packages that are missing."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from rainzmq.cli.main import main
from rainzmq.monitoring.store import EventStore
from rainzmq.protocol.codec import Header, encode


def lacks(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Makes it look as if these were not installed."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in packages else found(name))


def database(path: Path, events: list[Any]) -> Path:
    """An event log that holds these."""
    # As of a server that has just started: nothing went before that was not seen.
    events[0].number = 0
    store = EventStore(path)
    store.begin(Header(), events[0])
    store.add(events, [encode(event, Header()) for event in events])
    store.close()
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    """What a command prints to stdout and stderr."""
    assert main(list(arguments)) == code
    printed = capsys.readouterr()
    return printed.out, printed.err
