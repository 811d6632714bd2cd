"""How busy this machine is and how full the store, told to the server at the interval it asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Protocol, TypeVar

import psutil

from rainzmq.common.cgroups import memory_limit, memory_used
from rainzmq.common.room import free_bytes
from rainzmq.protocol.messages.worker import Sample
from rainzmq.store.objects import ObjectStore
from rainzmq.transport.loop import Timer

T = TypeVar("T")

MIN_INTERVAL_S = 0.1
"""Samples are never sent more often than this, whatever the server asks for."""

_MAX_INT = (1 << 62) - 1


class SampleLoop(Protocol):
    """What is needed of `transport.loop.Loop`."""

    def call_later(self, delay_s: float, callback: Callable[[], None], /) -> Timer:
        """Call `callback` once in so many seconds."""


class Sampling:
    """Sends a `Sample` every interval between `start` and `stop`.

    Args:
        loop: the worker's loop.
        store: whose size is told.
        tell: sends messages to the server.
        further: further messages to be sent with a sample.
    """

    def __init__(
        self,
        loop: SampleLoop,
        store: ObjectStore,
        tell: Callable[[list[Any]], None],
        further: Callable[[], list[Any]] = list,
    ) -> None:
        self._loop = loop
        self._store = store
        self._tell = tell
        self._further = further
        self._interval_s = 0.0
        self._timer: Timer | None = None

    def start(self, interval_s: float) -> None:
        """Begin again with this interval; 0 for never."""
        self.stop()
        if interval_s > 0:
            self._interval_s = max(interval_s, MIN_INTERVAL_S)
            _cpu_percent()  # the load is that since the last call
            self._timer = self._loop.call_later(self._interval_s, self._on_timer)

    def stop(self) -> None:
        """Send no more. No error when none were sent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = self._loop.call_later(self._interval_s, self._on_timer)
        self._tell([sample(self._store), *self._further()])


def sample(store: ObjectStore) -> Sample:
    """The sample of now; what this machine does not tell is 0. Never raises."""
    used, total = _try(_memory, (0, 0))
    sent, received = _try(_network, (0, 0))
    read, written = _try(_disks, (0, 0))
    free = _try(lambda: free_bytes(store.root), 0)
    numbers = (used, total, sent, received, read, written, store.used_bytes, store.object_count, free)
    return Sample(_cpu_percent(), *[min(max(int(number), 0), _MAX_INT) for number in numbers])


def _try(look: Callable[[], T], otherwise: T) -> T:
    """What `look` gives. Containers hide files of /proc or change their form, at which psutil raises
    whatever comes up.
    """
    try:
        return look()
    except Exception:  # a machine that cannot be looked at still works
        return otherwise


def _cpu_percent() -> list[float]:
    percents: Iterable[float] = _try(lambda: psutil.cpu_percent(percpu=True), [])
    return [min(100.0, max(0.0, float(percent))) for percent in percents]


def _memory() -> tuple[int, int]:
    memory = psutil.virtual_memory()
    limit = _memory_limit()
    if limit is None or limit[0] >= memory.total:
        return memory.total - memory.available, memory.total
    return memory_used(limit[1]), limit[0]


_memory_limit = cache(memory_limit)
"""Looked up once: a group's limit hardly ever changes, and all groups above must be looked at."""


def _network() -> tuple[int, int]:
    cards = [card for name, card in psutil.net_io_counters(pernic=True).items() if name != "lo"]
    return sum(card.bytes_sent for card in cards), sum(card.bytes_recv for card in cards)


def _disks() -> tuple[int, int]:
    disks = psutil.disk_io_counters()
    return (0, 0) if disks is None else (disks.read_bytes, disks.write_bytes)
