"""The unions of messages leave out none: mypy proves that what is in them is handled."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from rainzmq.protocol.messages import client, subworker, worker
from rainzmq.protocol.schema import declared
from rainzmq.server.core.events import ClientMessage, WorkerMessage
from rainzmq.subworker.connection import FromWorker
from rainzmq.worker.core.events import ServerMessage
from rainzmq.worker.subworker_link import SubworkerMessage

BEFORE_THE_CORE = {client.ClientHello, client.ClientResume, worker.WorkerHello}
"""What the server's frame reader takes itself."""


@pytest.mark.parametrize(
    ("sender", "conversation", "union"),
    [
        ("client", client.CONVERSATION, ClientMessage),
        ("worker", worker.CONVERSATION, WorkerMessage),
        ("server", worker.CONVERSATION, ServerMessage),
        ("worker", subworker.CONVERSATION, FromWorker),
        ("subworker", subworker.CONVERSATION, SubworkerMessage),
    ],
    ids=[
        "clients to server",
        "workers to server",
        "server to workers",
        "workers to subworkers",
        "subworkers to workers",
    ],
)
def test_every_message_that_may_come_is_taken(sender: str, conversation: str, union: Any):
    sent = {item.cls for item in declared() if item.conversation == conversation and sender in item.senders}
    assert sent - BEFORE_THE_CORE == set(get_args(union))
