"""One thread's event loop: a `zmq.Poller` with a timer heap.

A turn: wait until something is ready or a timer is due (without a limit when there is no timer: an idle
loop costs nothing), call each ready source's callback once, then the due timers, then what was asked for
with `call_soon`, and at last the turn-end callbacks, which send what the turn produced. So whatever arrives
together is handled together and answered with one message per peer; no timer ever delays a flush.

Not asyncio: it handles one wake-up per socket and message, and a wake-up costs more here than handling a
message.

A callback is expected to drain its source, up to a bound (`DRAIN_LIMIT`), so that one busy source cannot
starve the others; what is left makes the source ready again in the next turn. An exception in a callback is
a bug of ours: it propagates out of `run`.
"""

from __future__ import annotations

import heapq
import math
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import count

import zmq

Callback = Callable[[], None]
Source = zmq.Socket[bytes] | int

DRAIN_LIMIT = 1000
"""How many messages a callback takes from its source in one turn, at most."""

_COMPACT_ABOVE = 256
"""Cancelled timers stay in the heap until they are due, or until they are this many and the majority."""


class Timer:
    """A callback that is due at a time. Made by `Loop.call_later`."""

    __slots__ = ("_callback", "_loop")

    def __init__(self, loop: Loop, callback: Callback) -> None:
        self._loop = loop
        self._callback: Callback | None = callback

    def cancel(self) -> None:
        """Do not call it. No effect once it was called or cancelled."""
        if self._callback is not None:
            self._callback = None
            self._loop.note_cancelled()

    @property
    def active(self) -> bool:
        """It has been neither called nor cancelled."""
        return self._callback is not None

    def take(self) -> Callback | None:
        """For the loop: the callback, to be called now; None when it was cancelled."""
        callback, self._callback = self._callback, None
        return callback


class _Watch:
    """The callbacks of one source."""

    __slots__ = ("reader", "writer")

    def __init__(self) -> None:
        self.reader: Callback | None = None
        self.writer: Callback | None = None


class Loop:
    """The loop of one thread. Only `call_threadsafe` and `stop` may be called from other threads."""

    def __init__(self) -> None:
        self._poller = zmq.Poller()
        self._watches: dict[Source, _Watch] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._timer_numbers = count()
        self._cancelled = 0
        self._soon: deque[Callback] = deque()
        self._from_threads: deque[Callback] = deque()
        self._turn_end: list[Callback] = []
        self._stopping = False
        self._woken = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.add_reader(self._wake_read, self._on_wake)

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def add_reader(self, source: Source, callback: Callback) -> None:
        """Call `callback` once in every turn in which the socket or file descriptor has something to read.

        Replaces an earlier callback. The source must be removed before it is closed.
        """
        self._watch(source).reader = callback
        self._register(source)

    def remove_reader(self, source: Source) -> None:
        """Stop reading from a source; no error when it has no reader."""
        watch = self._watches.get(source)
        if watch is not None:
            watch.reader = None
            self._register(source)

    def add_writer(self, source: Source, callback: Callback) -> None:
        """Call `callback` once in every turn in which the source takes something. Remove it when there is
        nothing to write, or the loop never rests.
        """
        self._watch(source).writer = callback
        self._register(source)

    def remove_writer(self, source: Source) -> None:
        """Stop writing to a source; no error when it has no writer."""
        watch = self._watches.get(source)
        if watch is not None:
            watch.writer = None
            self._register(source)

    def call_later(self, delay_s: float, callback: Callback) -> Timer:
        """Call `callback` once, in the first turn after `delay_s` seconds."""
        timer = Timer(self, callback)
        heapq.heappush(self._timers, (self.now() + delay_s, next(self._timer_numbers), timer))
        return timer

    def note_cancelled(self) -> None:
        """For timers: one of them was cancelled."""
        self._cancelled += 1
        if self._cancelled > _COMPACT_ABOVE and self._cancelled * 2 > len(self._timers):
            self._timers = [entry for entry in self._timers if entry[2].active]
            heapq.heapify(self._timers)
            self._cancelled = 0

    def call_soon(self, callback: Callback) -> None:
        """Call `callback` within this turn, before the turn-end callbacks (from one of those: in the next
        turn).
        """
        self._soon.append(callback)

    def call_threadsafe(self, callback: Callback) -> None:
        """From any thread: call `callback` in the loop's thread, in order of the calls."""
        self._from_threads.append(callback)
        if not self._woken:
            self._wake()

    def at_turn_end(self, callback: Callback) -> None:
        """Call `callback` at the end of every turn, after all turn-end callbacks added before."""
        self._turn_end.append(callback)

    def run(self) -> None:
        """Turn until `stop`; an exception of a callback propagates. In the main thread signals end the
        waiting, so that their Python handlers run at once.
        """
        in_main = threading.current_thread() is threading.main_thread()
        previous = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False) if in_main else -1
        try:
            while not self._stopping:
                self._turn()
        finally:
            self._stopping = False
            if in_main:
                signal.set_wakeup_fd(previous)

    def stop(self) -> None:
        """End `run` after this turn (at once, if it has not begun). From any thread or signal handler."""
        self._stopping = True
        self._wake()

    def close(self) -> None:
        """Free the loop's own descriptors; it must not be running."""
        self._watches.clear()
        self._poller = zmq.Poller()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _turn(self) -> None:
        for source, mask in self._poller.poll(self._timeout_ms()):
            # An earlier callback of this turn may have removed this source.
            watch = self._watches.get(source)
            if watch is not None and mask & ~zmq.POLLOUT and watch.reader is not None:
                watch.reader()
                watch = self._watches.get(source)
            if watch is not None and mask & ~zmq.POLLIN and watch.writer is not None:
                watch.writer()
        self._call_due()
        while self._soon:
            self._soon.popleft()()
        for callback in self._turn_end:
            callback()

    def _timeout_ms(self) -> int | None:
        if self._soon:
            return 0
        while self._timers and not self._timers[0][2].active:
            heapq.heappop(self._timers)
            self._cancelled -= 1
        if not self._timers:
            return None
        left_s = self._timers[0][0] - self.now()
        # Rounded up: rounded down, the loop would spin through the last fraction of a millisecond.
        return math.ceil(left_s * 1000) if left_s > 0 else 0

    def _call_due(self) -> None:
        if not self._timers:
            return
        now = self.now()
        # Collected first: a timer that a callback adds with delay 0 waits for the next turn, so sources get
        # theirs.
        due = []
        while self._timers and self._timers[0][0] <= now:
            due.append(heapq.heappop(self._timers)[2])
        for timer in due:
            callback = timer.take()
            if callback is None:
                self._cancelled -= 1
            else:
                callback()

    def _watch(self, source: Source) -> _Watch:
        return self._watches.setdefault(source, _Watch())

    def _register(self, source: Source) -> None:
        watch = self._watches[source]
        flags = (zmq.POLLIN if watch.reader else 0) | (zmq.POLLOUT if watch.writer else 0)
        if flags:
            self._poller.register(source, flags)
            return
        del self._watches[source]
        if source in self._poller:
            self._poller.unregister(source)

    def _wake(self) -> None:
        self._woken = True
        # A full pipe wakes the loop as well.
        with suppress(BlockingIOError):
            os.write(self._wake_write, b"\0")

    def _on_wake(self) -> None:
        # Nothing left to read is no fault: several wake-ups may have been taken by one read.
        with suppress(BlockingIOError):
            while len(os.read(self._wake_read, 4096)) == 4096:
                continue
        # Cleared before the queue is emptied: a thread that still sees it set has queued before this.
        self._woken = False
        for _ in range(len(self._from_threads)):
            self._from_threads.popleft()()
