from __future__ import annotations

from collections.abc import Iterator

import pytest
from rest_served import Served, demo


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
