"""Keeps what running tasks write to their standard streams from filling the disk.

Such a file only grows while its task runs, and only its end is ever read. So the space of what comes before
is given back once it is much (`fallocate`, punch hole): sizes and positions stay as they are, and those who
write notice nothing. Where the file system cannot do that, the file stays as it is.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Protocol

from rainzmq.common.tails import OUTPUT_FILE_BYTES
from rainzmq.common.workforce import Workforce
from rainzmq.transport.loop import Timer

INTERVAL_S = 1.0
"""How often files are looked at while there are some."""

KEPT_BYTES = OUTPUT_FILE_BYTES // 4
"""What stays of the end of a file that is cut."""

_PUNCH_HOLE_KEEP_SIZE = 3
_BLOCK_BYTES = 512  # of st_blocks, whatever the file system's are

_libc = ctypes.CDLL(None)


class TrimmerLoop(Protocol):
    """What is needed of `transport.loop.Loop`."""

    def call_later(self, delay_s: float, callback: Callable[[], None], /) -> Timer:
        """Call `callback` once in so many seconds."""


class Trimmer:
    """Looks at files every `INTERVAL_S`, from `wake` on until there are none.

    Args:
        loop: the worker's loop.
        files: gives the descriptors of the files of now.
    """

    def __init__(self, loop: TrimmerLoop, files: Callable[[], Iterable[int]]) -> None:
        self._loop = loop
        self._files = files
        self._timer: Timer | None = None
        self._thread = Workforce(1, "rainzmq-trim")

    def wake(self) -> None:
        """There may be files now."""
        if self._timer is None:
            self._timer = self._loop.call_later(INTERVAL_S, self._on_timer)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._thread.shutdown()

    def _on_timer(self) -> None:
        self._timer = None
        files = list(self._files())
        for file in files:
            if _allocated_bytes(file) > OUTPUT_FILE_BYTES:
                # A gigabyte takes a tenth of a second; and its owner may close it meanwhile.
                own = os.dup(file)
                try:
                    self._thread.submit(partial(_trim_and_close, own))
                except OSError:  # of no thread; it is looked at again
                    os.close(own)
        if files:
            self.wake()


def trim(file: int) -> None:
    """Give back the space of all but the last `KEPT_BYTES` of a file, which read as zeros then. No error when
    that is not possible.
    """
    # Between these two calls the writer may empty the file and begin again, which would lose its first bytes:
    # that is a matter of microseconds, and only of what people see.
    cut = os.fstat(file).st_size - KEPT_BYTES
    if cut > 0:
        _libc.fallocate(file, _PUNCH_HOLE_KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(cut))


def _trim_and_close(file: int) -> None:
    with suppress(OSError):
        trim(file)
    os.close(file)


def _allocated_bytes(file: int) -> int:
    return os.fstat(file).st_blocks * _BLOCK_BYTES
