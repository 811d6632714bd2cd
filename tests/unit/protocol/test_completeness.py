"""The unions of messages leave out none: mypy proves that what is in them is handled."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from rainzmq.protocol.messages import client, worker
from rainzmq.protocol.schema import declared
from rainzmq.server.core.events import ClientMessage, WorkerMessage
from rainzmq.worker.core.events import ServerMessage

BEFORE_THE_CORE = {
    "client": {client.ClientHello, client.ClientResume},
    "worker": {worker.WorkerHello},
    "server": set(),
}
"""What frame readers take themselves, by sender."""


@pytest.mark.parametrize(
    ("sender", "conversation", "union"),
    [
        ("client", client.CONVERSATION, ClientMessage),
        ("worker", worker.CONVERSATION, WorkerMessage),
        ("server", worker.CONVERSATION, ServerMessage),
    ],
    ids=["clients to server", "workers to server", "server to workers"],
)
def test_every_message_that_may_come_is_taken(sender: str, conversation: str, union: Any):
    sent = {item.cls for item in declared() if item.conversation == conversation and sender in item.senders}
    assert sent == set(get_args(union)) | BEFORE_THE_CORE[sender]
