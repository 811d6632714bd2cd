"""The functions that all systems run. In a module of their own, so that every system sends them by name."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence


def noop(_index: int = 0) -> None:
    """The shortest task there is."""


def one(_index: int = 0) -> int:
    """A leaf of the tree."""
    return 1


def add(left: int, right: int) -> int:
    """An inner node of the tree."""
    return left + right


def step(value: int) -> int:
    """A link of the chain."""
    return value + 1


def sleep(duration_s: float) -> None:
    """A task that needs no CPU."""
    time.sleep(duration_s)


def make(size: int, index: int = 0) -> bytes:
    """`size` bytes that differ from one index to another."""
    return bytes([index % 256]) * size


def total_length(blobs: list[bytes]) -> int:
    """Needs all blobs in one place."""
    return sum(map(len, blobs))


def touch(view: memoryview) -> int:
    """Read one byte of every page, so that a mapped file counts only once it is really there."""
    return sum(view[::4096])


def true_command(inputs: Sequence[object] = ()) -> str:
    """The shortest program, as a Parsl bash app; `inputs` are what it waits for."""
    return "/bin/true"


def skewed_durations(count: int) -> list[float]:
    """Durations of 1 to 500 ms, most of them short, the same each time; seconds."""
    numbers = random.Random(7)
    return [min(0.5, max(0.001, numbers.lognormvariate(-4.6, 1.2))) for _ in range(count)]
