"""Tracebacks without this package's frames, at the border between a user's program and it.

Who reads the traceback of an error that says what is wrong looks for the own line that led there. A handler
that changes an exception's `__traceback__` and raises it again with a bare `raise` adds no entry for its own
frame, so nothing of ours is left. Only errors that were made for users are treated so: of a bug of ours every
frame is wanted. `sys.excepthook` stays as it is, so this holds for scripts, notebooks and debuggers alike.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, TypeVar

from rainzmq.common.errors import RainException

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

_P = ParamSpec("_P")
_R = TypeVar("_R")


def at_border(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorator of what users call: a `RainException` comes without frames of this package."""

    @functools.wraps(function)
    def called(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except RainException as error:
            drop_own_frames(error)
            raise

    return called


def drop_own_frames(error: BaseException) -> None:
    """Take this package's frames out of the tracebacks of an exception and of its causes. Whoever handles it
    then raises it again by a bare `raise`.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        cause.__traceback__ = users_frames(cause.__traceback__)
        cause = cause.__cause__


def users_frames(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames of this package, changed in place; None when no other is left."""
    kept = []
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(_PACKAGE):
            kept.append(trace)
        trace = trace.tb_next
    for entry, following in zip(kept, [*kept[1:], None], strict=False):
        entry.tb_next = following
    return kept[0] if kept else None
