"""The subworker's end of the connection to its worker."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

from rainzmq.protocol.codec import decode_bare
from rainzmq.protocol.messages.subworker import CONVERSATION, Bye, CancelTasks, DropSessions, RunTasks
from rainzmq.protocol.stream import CLAIM, CLAIMS_VARIABLE, SOCKET_VARIABLE, FrameCutter, to_frame

_READ_BYTES = 1 << 18
_FRAME_LIMIT_BYTES = (1 << 32) - 1

FromWorker = RunTasks | CancelTasks | DropSessions | Bye
"""All that a worker may say."""


class WorkerConnection:
    """Messages from and to the worker, and the claims pipe (see `protocol.stream`)."""

    def __init__(self, stream: socket.socket, claims: int) -> None:
        self._stream = stream
        self._claims = claims
        self._reader = FrameCutter(_FRAME_LIMIT_BYTES)
        self._buffer = bytearray(_READ_BYTES)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> WorkerConnection:
        """The connection whose descriptors the environment names; no child of this process inherits them.

        Raises:
            ValueError: the environment does not name them: this process was not started by a worker.
        """
        try:
            stream, claims = int(environment[SOCKET_VARIABLE]), int(environment[CLAIMS_VARIABLE])
        except (KeyError, ValueError):
            raise ValueError(f"{SOCKET_VARIABLE} and {CLAIMS_VARIABLE} name no descriptors") from None
        os.set_inheritable(stream, False)
        os.set_inheritable(claims, False)
        return cls(socket.socket(fileno=stream), claims)

    def send(self, message: Any) -> None:
        """Send a message; OSError when the worker is gone."""
        self._stream.sendall(to_frame(message))

    def send_both(self, first: Any, second: Any) -> None:
        """Send two messages at once; OSError when the worker is gone."""
        self._stream.sendall(to_frame(first) + to_frame(second))

    def receive(self) -> list[FromWorker] | None:
        """Wait for messages; those that are complete, possibly none. None when the worker is gone."""
        size = self._stream.recv_into(self._buffer)
        if not size:
            return None
        payloads = self._reader.feed(memoryview(self._buffer)[:size])
        return [decode_bare(payload, CONVERSATION, "worker") for payload in payloads]

    def claim(self) -> int | None:
        """The number of the task to run now, which then begins for sure; None when there is none yet."""
        try:
            data = os.read(self._claims, CLAIM.size)
        except BlockingIOError:
            return None
        number: int | None = CLAIM.unpack(data)[0] if data else None
        return number
