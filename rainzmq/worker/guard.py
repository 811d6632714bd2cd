"""Ends what a killed worker leaves behind.

A worker ends the processes of its tasks itself, unless it is killed. So each has a *guard*: a fork of it,
made while it has one thread, that waits for the end of a pipe of which only the worker has the other end.
However the worker ended, the guard then kills every process that has the worker's marks, which those that
left their session and parents have, too (`processes.kill_marked`), removes its working directory and ends.

A fork rather than a program of its own, because it takes a millisecond and shares the worker's memory. A
subreaper above the worker would need no marks, but it would be the process that people see, signal and wait
for.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rainzmq.store.workdir import remove_abandoned
from rainzmq.worker import processes

KILL_TIMEOUT_S = 10.0
"""A tree that grows faster than it is killed for so long is left."""


_pipe = -1


@contextmanager
def standing() -> Iterator[None]:
    """Have a guard as long as this lasts. The process must have one thread, and the signals that end it
    blocked.
    """
    global _pipe
    reading, _pipe = os.pipe()
    gc.freeze()  # what the collector does not touch stays shared
    pid = os.fork()
    if pid == 0:
        _be_guard(reading)
    os.close(reading)
    processes.exempt(pid)
    try:
        yield
    finally:
        os.close(_pipe)
        _pipe = -1
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


def watch(workdir: Path) -> None:
    """Have this directory removed when the worker is killed. Nothing in a process without a guard."""
    if _pipe >= 0:
        with suppress(OSError):  # somebody killed the guard
            os.write(_pipe, os.fsencode(workdir) + b"\0")


def _be_guard(pipe: int) -> None:
    """The guard's whole life; never returns."""
    try:
        os.setsid()
        os.dup2(pipe, 3)
        null = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(null, number)  # who waits for the end of the worker's output must not wait for us
        os.closerange(4, 1 << 16)
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        told = b""
        while data := os.read(3, 4096):
            told += data
        processes.kill_marked(KILL_TIMEOUT_S)
        for path in told.split(b"\0")[:-1]:
            remove_abandoned(Path(os.fsdecode(path)))
    finally:
        os._exit(0)
