from __future__ import annotations

from collections.abc import Iterator

import pytest
from rest_served import ListLog, Served

from rainzmq.monitoring.hub import Hub
from rainzmq.testing.events import demo_history, demo_hub

ROWS = 5


def demo(end: bool = True) -> Hub:
    """The made-up history, with its events in a log."""
    hub, log = demo_hub(ROWS, end), ListLog()
    log.add(demo_history(ROWS, end), [])
    hub.log = log
    return hub


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """The made-up history, over: for tests that change nothing."""
    server = Served(demo())
    yield server
    server.close()


@pytest.fixture
def live() -> Iterator[Served]:
    """A server whose first session is still open and that can cancel: for one test alone."""
    hub = demo(end=False)
    hub.is_replay, hub.is_connected = False, True
    server = Served(hub)
    yield server
    server.close()
