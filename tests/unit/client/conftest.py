"""Fixtures of the client's tests."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from client_wire import FakeControl, Wire, polite

from rainzmq import Session
from rainzmq.client.connection import Connection


@pytest.fixture
def control() -> Iterator[FakeControl]:
    fake = FakeControl(polite)
    yield fake
    fake.close()


@pytest.fixture
def wire(control: FakeControl) -> Iterator[Wire]:
    connection = Connection(control, "server:1")  # type: ignore[arg-type]
    connection.greet()
    uploads: list[tuple[int, Any]] = []
    downloads: list[Any] = []
    contents = SimpleNamespace(
        upload=lambda obj: uploads.append((obj.id.uid, obj.payload)),
        download=lambda obj, ticket, target: downloads.append((obj, ticket, target)),
    )

    class FakeClient(SimpleNamespace):
        @property
        def connected(self) -> bool:
            return connection.connected

    session = Session(FakeClient(connection=connection, contents=contents), 1)  # type: ignore[arg-type]
    with session.bind_only():
        yield Wire(control, connection, session, uploads, downloads)
    connection.close()
