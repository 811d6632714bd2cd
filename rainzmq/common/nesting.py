"""How deep values may be nested that are encoded and decoded.

Serializers written in C follow a value with the C stack, and one that is nested deep enough ends the process
with SIGSEGV. Two bounds prevent that. Those that count with Python's recursion limit (pickle, JSON) do so
only as long as that limit is sane, and programs raise it: while such a serializer runs it is at most
`MAX_RECURSION`. For those that do not count (CBOR, Arrow) the value is walked first.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from rainzmq.common.errors import RainException

T = TypeVar("T")

MAX_RECURSION = 10_000
"""Levels that pickle and JSON follow at most; each takes up to 500 bytes of a stack of 8 MiB."""

MAX_NESTING = 400
"""Containers inside one another in `info.user` and `spec.user` and in values encoded as CBOR, whose decoder
takes no more, and Arrow."""

_LEAVES = frozenset({type(None), bool, int, float, str, bytes, bytearray})
_CONTAINERS = (list, tuple, set, frozenset, deque)


def bounded(work: Callable[..., T], *args: Any) -> T:
    """What `work(*args)` returns, with a recursion limit of at most `MAX_RECURSION` while it runs."""
    limit = sys.getrecursionlimit()
    if limit <= MAX_RECURSION:
        return work(*args)
    sys.setrecursionlimit(MAX_RECURSION)
    try:
        return work(*args)
    finally:
        sys.setrecursionlimit(limit)


def check_nesting(value: Any, limit: int = MAX_NESTING) -> None:
    """RainException when more than `limit` containers stand inside one another. What is shared is looked at
    once a level; a value that contains itself is too deep.
    """
    level = [value]
    for _ in range(limit + 1):
        parts: list[Any] = []
        is_flat = True
        for item in {id(item): item for item in level}.values():
            if isinstance(item, dict):
                parts += item
                parts += item.values()
            elif isinstance(item, _CONTAINERS):
                parts += item
            elif str(getattr(item, "dtype", "")) == "object" and hasattr(item, "tolist"):
                parts += item.tolist()  # of NumPy and pandas
            else:
                continue
            is_flat = False
        if is_flat:
            return
        level = [part for part in parts if type(part) not in _LEAVES]
    raise RainException(f"it is nested more than {limit} levels deep, which is the limit")


def is_too_deep(error: BaseException | None) -> bool:
    """A serializer gave up because of the recursion limit, whatever it made of that."""
    while error is not None:
        if isinstance(error, RecursionError):
            return True
        error = error.__cause__ or error.__context__
    return False


def describe_limit() -> str:
    """What to tell when `is_too_deep`."""
    return (
        f"it is nested deeper than Python's recursion limit of {min(sys.getrecursionlimit(), MAX_RECURSION)} "
        f"allows (sys.setrecursionlimit() counts up to {MAX_RECURSION} here); make it flatter"
    )
