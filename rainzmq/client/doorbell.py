"""What a thread sleeps on that waits for the server: the connection, and a bell for other threads to ring."""

from __future__ import annotations

import os
import select
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rainzmq.transport.control import ControlClient


class Doorbell:
    """Of one connection. `ring` may be called while another thread is in `sleep`."""

    def __init__(self, control: ControlClient) -> None:
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.watch(control)

    def watch(self, control: ControlClient) -> None:
        """The sockets of `control` are new ones; who sleeps on the old ones must be rung."""
        self._poll = select.poll()
        for descriptor in (control.socket.fileno(), control.monitor.fileno(), self._bell):
            self._poll.register(descriptor, select.POLLIN)

    def sleep(self, timeout_s: float | None) -> None:
        """Until the connection has something, the bell rings, or the time is over (None: no limit)."""
        self._poll.poll(None if timeout_s is None else int(timeout_s * 1000) + 1)

    def ring(self) -> None:
        """Wake who sleeps, or who does so next before `clear`."""
        os.eventfd_write(self._bell, 1)

    def clear(self) -> None:
        """Forget that it rang, if it did."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._bell)

    def close(self) -> None:
        """Nobody sleeps any more."""
        os.close(self._bell)
