"""What the control plane's sockets have in common: limits, and messages that a peer has not taken yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress

import zmq

LINGER_MS = 1000
HIGH_WATER = 200
"""Messages that libzmq holds per peer and direction. Low, because it counts messages, not their bytes."""

MAX_QUEUED_BYTES = 64 << 20
"""A peer for which more is waiting is given up."""


class Outbox:
    """Messages that a peer has not taken yet."""

    __slots__ = ("messages", "size_bytes")

    def __init__(self) -> None:
        self.messages: deque[list[bytes]] = deque()
        self.size_bytes = 0

    def add(self, frames: list[bytes]) -> None:
        self.messages.append(frames)
        self.size_bytes += sum(map(len, frames))

    def flush(self, send: Callable[[list[bytes]], None]) -> None:
        """Send from the front until `send` raises `zmq.Again`."""
        with suppress(zmq.Again):
            while self.messages:
                send(self.messages[0])
                self.size_bytes -= sum(map(len, self.messages.popleft()))
