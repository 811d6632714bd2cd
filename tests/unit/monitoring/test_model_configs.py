"""What tasks were told each is kept as far as there is room."""

from __future__ import annotations

import pytest

from rainzmq.monitoring import model as module
from rainzmq.monitoring.model import Model
from rainzmq.monitoring.views import task_detail
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.shared import TaskBody


def submitted(first: int, count: int, config: bytes) -> e.TasksSubmitted:
    body = TaskBody(1, "python/call", 1, "f", b"", [], [])
    ids = list(range(first, first + count))
    told = [(task, config) for task in ids]
    return e.TasksSubmitted(2, 1.0, 1, [body], ids, [1] * count, [0] * count, [], [], told, [], [], [])


def test_the_oldest_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONFIGS_BYTES", 10_000)
    model = Model()
    model.apply(e.SessionCame(1, 1.0, 1, "s", "c"))
    for first in (1, 101, 201):
        model.apply(submitted(first, 30, b"x" * 50))
    assert set(model.sessions[1].configs) == set(range(201, 231)), "30 take 6,000 bytes"
    model.apply(submitted(301, 300, b"x" * 50))
    assert set(model.sessions[1].configs) == set(range(301, 601)), "the last are kept, however many"


def test_arguments_that_are_not_known_are_said_to_be_so() -> None:
    model = Model()
    model.apply(e.SessionCame(1, 1.0, 1, "s", "c"))
    model.apply(submitted(1, 1, b""))
    detail = task_detail(model, model.sessions[1], 0)
    assert (detail.arguments, detail.config) == (None, None)
