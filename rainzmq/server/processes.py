"""Watching processes of this machine: that one has ended is known at once, whatever it leaves open."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from rainzmq.common.machine import start_ticks
from rainzmq.transport.loop import Loop

OnSeen = Callable[[int, bool], None]
"""Called with a key and whether the process lives: once when it was found, once when it has ended."""


class ProcessWatch:
    """Processes by a key of the owner's, in a loop. Costs a descriptor each."""

    def __init__(self, loop: Loop, on_seen: OnSeen) -> None:
        self._loop = loop
        self._on_seen = on_seen
        self._descriptors: dict[int, int] = {}

    def watch(self, key: int, pid: int, started: int) -> None:
        """Watch the process that has that id and started then (`machine.start_ticks`). Nothing is said of one
        that cannot be found or watched: it may be hidden from us.
        """
        if key in self._descriptors or pid <= 0:
            return
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            return
        if start_ticks(pid) != started:
            os.close(descriptor)
            return
        self._descriptors[key] = descriptor
        self._loop.add_reader(descriptor, partial(self._on_ended, key))
        # Not from inside: the one who asked may be in the middle of it.
        self._loop.call_soon(partial(self._tell_found, key))

    def forget(self, key: int) -> None:
        """Watch it no more; no error when it was not watched."""
        descriptor = self._descriptors.pop(key, None)
        if descriptor is not None:
            self._loop.remove_reader(descriptor)
            os.close(descriptor)

    def close(self) -> None:
        """Watch none."""
        for key in list(self._descriptors):
            self.forget(key)

    def _tell_found(self, key: int) -> None:
        if key in self._descriptors:
            self._on_seen(key, True)

    def _on_ended(self, key: int) -> None:
        self.forget(key)
        self._on_seen(key, False)
