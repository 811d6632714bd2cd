"""The cores' unions of messages leave out none: mypy proves that what is in them is handled."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from rainzmq.protocol.messages import client, worker
from rainzmq.protocol.schema import declared
from rainzmq.server.core.events import ClientMessage, WorkerMessage
from rainzmq.worker.core.events import Instruction

BEFORE_THE_CORE = {
    "client": {client.ClientHello, client.ClientResume},
    "worker": {worker.WorkerHello},
    "server": {
        worker.WorkerWelcome,
        worker.WorkerRefused,
        worker.Fenced,
        worker.WorkerHeartbeat,
        worker.WorkerKnock,
        worker.WorkerBye,
    },
}
"""What frame readers and links take themselves, by sender."""


@pytest.mark.parametrize(
    ("sender", "conversation", "union"),
    [
        ("client", client.CONVERSATION, ClientMessage),
        ("worker", worker.CONVERSATION, WorkerMessage),
        ("server", worker.CONVERSATION, Instruction),
    ],
    ids=["clients to server", "workers to server", "server to workers"],
)
def test_a_core_takes_every_message_that_may_come(sender: str, conversation: str, union: Any):
    sent = {item.cls for item in declared() if item.conversation == conversation and sender in item.senders}
    assert sent == set(get_args(union)) | BEFORE_THE_CORE[sender]
