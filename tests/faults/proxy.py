"""A TCP proxy for tests: it cuts connections, refuses new ones, delays, swallows, and flips bits.

    with Proxy("127.0.0.1", port) as proxy:      # listens on proxy.port
        proxy.cut()                              # all connections, at once; new ones are taken
        proxy.refuse(True)                       # nobody listens any more, until refuse(False)
        proxy.delay_s = 0.05                     # each piece is handed on so much later
        proxy.swallow(UP, True)                  # nothing passes in that direction, nothing is closed
        proxy.flip(DOWN)                         # one bit of the next piece in that direction
        proxy.cut_after(DOWN, 1 << 20)           # cut when so many more bytes have passed

UP is from who connected towards the target, DOWN is back.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import Self

UP, DOWN = "up", "down"

_PIECE_BYTES = 64 << 10


class Proxy:
    """See the module. Attributes may be set at any time.

    Attributes:
        port: where it listens, on 127.0.0.1; stays the same while connections are refused.
        delay_s: how long each piece is held back.
        accepted: how many connections it has taken.
        flipped: how many bits it has flipped.
        passed: bytes handed on, by direction.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.delay_s = 0.0
        self.accepted = self.flipped = 0
        self.passed = {UP: 0, DOWN: 0}
        self._flips = {UP: 0, DOWN: 0}
        self._swallowing = {UP: False, DOWN: False}
        self._cut_at: dict[str, int | None] = {UP: None, DOWN: None}
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closing = False
        self.port = 0
        self._listener: socket.socket | None = None
        self._listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cut all, stop listening, wait for the threads."""
        self._closing = True
        self.refuse(True)
        for thread in self._threads:
            thread.join(10)

    def cut(self) -> None:
        """Close every connection, on both sides."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            _shut_down(pair)

    def refuse(self, refusing: bool) -> None:
        """Cut all and let nobody listen on the port, or listen again."""
        if refusing and self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
            self.cut()
        elif not refusing and self._listener is None:
            self._listen()

    def flip(self, direction: str, count: int = 1) -> None:
        """Flip a bit in each of the next `count` pieces of that direction."""
        self._flips[direction] += count

    def swallow(self, direction: str, swallowing: bool) -> None:
        """Lose what comes in that direction; a connection that lost something is broken for good."""
        self._swallowing[direction] = swallowing

    def cut_after(self, direction: str, size_bytes: int) -> None:
        """Cut all connections once so many more bytes have passed in that direction."""
        self._cut_at[direction] = self.passed[direction] + size_bytes

    def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(128)
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._start(self._accept, listener)

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        thread.start()
        self._threads.append(thread)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near = listener.accept()[0]
            except OSError:
                return
            try:
                far = socket.create_connection(self._target, timeout=5)
            except OSError:
                near.close()
                continue
            self.accepted += 1
            for end in (near, far):
                end.settimeout(None)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._pairs.append((near, far))
            ends = threading.Barrier(2, action=lambda pair=(near, far): _close(pair))
            self._start(self._pump, near, far, UP, ends)
            self._start(self._pump, far, near, DOWN, ends)

    def _pump(
        self, source: socket.socket, target: socket.socket, direction: str, ends: threading.Barrier
    ) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE_BYTES):
                if self.delay_s:
                    time.sleep(self.delay_s)
                if self._swallowing[direction]:
                    continue
                if self._flips[direction] > 0:
                    self._flips[direction] -= 1
                    self.flipped += 1
                    piece = piece[:-1] + bytes([piece[-1] ^ 1])
                self.passed[direction] += len(piece)  # before a peer can have it, and ask for this
                target.sendall(piece)
                limit = self._cut_at[direction]
                if limit is not None and self.passed[direction] >= limit:
                    self._cut_at[direction] = None
                    self.cut()
        _shut_down((source, target))
        # The last of the two threads closes both: a descriptor in use by the other must not be taken again.
        with suppress(threading.BrokenBarrierError):
            ends.wait()


def _shut_down(pair: tuple[socket.socket, socket.socket]) -> None:
    for end in pair:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _close(pair: tuple[socket.socket, socket.socket]) -> None:
    for end in pair:
        end.close()
