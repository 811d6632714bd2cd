"""A server that is a function, and the control connection to it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rainzmq import Session
from rainzmq.client.connection import Connection
from rainzmq.common.states import SessionState
from rainzmq.protocol.codec import Header, decode, encode
from rainzmq.protocol.messages.client import (
    CONVERSATION,
    ClientHeartbeat,
    ClientHello,
    ClientWelcome,
    CloseSession,
    Done,
    SessionFailed,
    Unkeep,
)
from rainzmq.protocol.messages.shared import Failure

SERVER_HEADER = Header(cluster_id=7, server_epoch=8, sender_epoch=9)
Answer = Callable[[Any], Any]


class Descriptor:
    """Something with a file descriptor that is readable when told so."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.closed = False

    def fileno(self) -> int:
        return self._fd

    def signal(self) -> None:
        os.eventfd_write(self._fd, 1)

    def clear(self) -> None:
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            return

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            os.close(self._fd)


@dataclass
class FakeControl:
    """Takes the place of `ControlClient`: what is sent is decoded and kept, and answered at once."""

    answer: Answer = lambda message: None
    sent: list[Any] = field(default_factory=list)
    lost: bool = False
    connected: bool = True
    ended: bool = False
    answers: bool = True
    socket: Descriptor = field(default_factory=Descriptor)
    monitor: Descriptor = field(default_factory=Descriptor)
    _incoming: list[list[bytes]] = field(default_factory=list)

    def push(self, *messages: Any, header: Header = SERVER_HEADER) -> None:
        """The server sends messages."""
        self.push_raw(*[encode(message, header) for message in messages])

    def push_raw(self, *frames: bytes) -> None:
        self._incoming += [[frame] for frame in frames]
        self.socket.signal()

    def cut(self) -> None:
        """The connection breaks."""
        self.lost = True
        self.monitor.signal()

    def end(self) -> None:
        """The server's process ends, and with it the connection."""
        self.ended = True
        self.cut()

    def send(self, frames: list[bytes]) -> None:
        _, message = decode(frames[0], CONVERSATION, "client")
        self.sent.append(message)
        replies = self.answer(message)
        if replies is not None:
            self.push(*(replies if isinstance(replies, list) else [replies]))
        self.socket.clear()  # as with ZeroMQ, whose descriptor tells only what came after the last use

    def receive(self, timeout_s: float | None = None) -> list[list[bytes]]:
        if not self._incoming and timeout_s:
            time.sleep(min(timeout_s, 0.01))
        self.socket.clear()
        taken, self._incoming = self._incoming, []
        return taken

    def disconnected(self) -> bool:
        return self.lost

    def reconnect(self) -> None:
        self.lost, self.connected = False, False

    def back(self) -> None:
        """There is a new connection."""
        self.connected = True
        self.monitor.signal()

    def host_answers(self) -> bool:
        return self.answers

    def server_ended(self) -> bool:
        return self.ended

    def break_if_unanswered(self, limit_s: float) -> bool:
        if self.answers:
            return False
        self.cut()
        return True

    def close(self) -> None:
        self.socket.close()
        self.monitor.close()

    def of(self, kind: type) -> list[Any]:
        """Messages of a type that were sent."""
        return [message for message in self.sent if type(message) is kind]


def welcome(**changes: Any) -> ClientWelcome:
    fields = {"software": "1", "epoch": 5, "data_port": 1, "heartbeat_interval_s": 60.0, "dead_after_s": 99.0}
    fields["grace_s"] = 60.0
    return ClientWelcome(**{**fields, **changes})


def first_of(*answers: Answer) -> Answer:
    """The first answer that is one."""

    def answer(message: Any) -> Any:
        return next((reply for reply in (one(message) for one in answers) if reply is not None), None)

    return answer


def polite(message: Any) -> Any:
    """Greets, and carries out what needs no thought."""
    if isinstance(message, ClientHello):
        return welcome()
    if isinstance(message, (CloseSession, Unkeep)):
        return Done(message.request)
    if isinstance(message, ClientHeartbeat):
        return ClientHeartbeat(0)
    return None


def failure(
    task_uid: int, message: str = "it broke", state: SessionState = SessionState.FAILED, **changes: Any
) -> SessionFailed:
    fields: dict[str, Any] = {"name": "n", "task_type": "a/b", "attempt": 0, "worker": "h:1", "debug": ""}
    why = Failure(**{"task": task_uid, "message": message, **fields, **changes})
    return SessionFailed(task_uid >> 32, state, why)


@dataclass
class Wire:
    """A session whose server is a function."""

    control: FakeControl
    connection: Connection
    session: Session
    uploads: list[tuple[int, Any]]
    downloads: list[Any]

    def answer(self, answer: Answer) -> None:
        """Requests are answered like this, what is left of them politely."""
        self.control.answer = first_of(
            lambda message: answer(message) if hasattr(message, "request") else None, polite
        )
