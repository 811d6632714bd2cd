"""The functions of `functions`, as remote functions of rainzmq."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.drivers import functions
from rainzmq import Output, remote

_PICKLED = [Output(encode="pickle")]


@remote(outputs=0)
def noop(ctx: Any, index: int = 0) -> None:
    """The shortest task there is."""


@remote(outputs=1)
def empty(ctx: Any) -> bytes:
    """The shortest task with a result."""
    return b""


@remote(outputs=_PICKLED, auto_load=True)
def one(ctx: Any, index: int = 0) -> int:
    """A leaf of the tree."""
    return functions.one(index)


@remote(outputs=_PICKLED, auto_load=True)
def add(ctx: Any, left: int, right: int) -> int:
    """An inner node of the tree."""
    return functions.add(left, right)


@remote(outputs=_PICKLED, auto_load=True)
def step(ctx: Any, value: int) -> int:
    """A link of the chain."""
    return functions.step(value)


@remote(outputs=0)
def sleep(ctx: Any, duration_s: float) -> None:
    """A task that needs no CPU."""
    time.sleep(duration_s)


@remote(outputs=0, cpus=2)
def two_cpus(ctx: Any) -> None:
    """Runs only where there are two cpus."""


@remote(outputs=1)
def make(ctx: Any, size: int, index: int = 0) -> bytes:
    """Some bytes."""
    return functions.make(size, index)


@remote(outputs=_PICKLED, cpus=2)
def total_length(ctx: Any, blobs: list[Any]) -> int:
    """Needs all blobs in one place with two cpus."""
    return sum(len(blob.memoryview()) for blob in blobs)


@remote
def group(ctx: Any, source: Any, parts: int) -> list[bytes]:
    """A source cut into equal parts, one output for each."""
    view = source.memoryview()
    size = len(view) // parts
    return [bytes(view[index * size : (index + 1) * size]) for index in range(parts)]


@remote(outputs=1)
def cut(ctx: Any, part: Any) -> Any:
    """A piece: what a sort would have in place of one part; passes it on."""
    return part


@remote(outputs=_PICKLED)
def length(ctx: Any, column: Any) -> int:
    """The merge of a column."""
    return len(column.memoryview())


@remote(outputs=_PICKLED, auto_load=True)
def total(ctx: Any, lengths: list[int]) -> int:
    """The sum of all."""
    return sum(lengths)
