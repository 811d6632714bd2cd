"""Noticing what a task changes in its process, where it is changed.

To compare everything that a task might have changed costs more than a short task. So the functions that
change such things are replaced by ones that also note that they were called, at no cost for tasks that call
none of them; lists of the interpreter (`sys.path`) are replaced by lists that note changes. What goes past
that, as C code can, is found by comparing, where that is done (`surroundings`).

Audit hooks would see some of these calls as well (not `umask`, `setuid` or `signal.signal`), but they slow
down every `id()` and `open()` of users' code, and cannot be taken off again.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

_IMPORT_FILE = "<frozen importlib._bootstrap>"


def is_importing() -> bool:
    """An import is what called, from near or far."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == _IMPORT_FILE:
            return True
        frame = frame.f_back
    return False


def places_of(module: Any, name: str) -> list[Any]:
    """A module, and others that have the same function under the same name, as `posix` those of `os`."""
    real = getattr(module, name, None)
    if real is None:
        return []
    home = sys.modules.get(getattr(real, "__module__", None) or "")
    return [module] if home is None or getattr(home, name, None) is not real else [module, home]


def watch_functions(places: Iterable[Any], name: str, note: Callable[[tuple[Any, ...]], None]) -> None:
    """Replace the function of this name in modules (or objects) by one that calls `note` with its arguments
    after each call that does not fail. Nothing happens where there is none.
    """
    real = next((getattr(place, name) for place in places if hasattr(place, name)), None)
    if real is None:
        return

    def watched(*args: Any, **kwargs: Any) -> Any:
        result = real(*args, **kwargs)
        note(args)
        return result

    functools.update_wrapper(watched, real)
    watched.__qualname__ = name  # what it is found by, and so pickled by
    for place in places:
        if hasattr(place, name):
            setattr(place, name, watched)


def watch_names(module: types.ModuleType, note: Callable[[str], None]) -> None:
    """Have `note(name)` called whenever a name of the module is set or deleted as its attribute."""

    class Watched(types.ModuleType):
        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            note(name)

        def __delattr__(self, name: str) -> None:
            super().__delattr__(name)
            note(name)

        def __reduce__(self) -> Any:
            return import_module, (self.__name__,)  # as all modules are pickled where they can be

    module.__class__ = Watched


def _watched_method(name: str) -> Any:
    real = getattr(list, name)

    @functools.wraps(real)
    def method(self: WatchedList, *args: Any, **kwargs: Any) -> Any:
        before = list(self)
        try:
            return real(self, *args, **kwargs)
        finally:
            if self.note is not None:
                self.note(before)

    return method


class WatchedList(list[Any]):
    """A list that, after each change, calls `note` with what it was before."""

    note: Callable[[list[Any]], None] | None = None

    append = _watched_method("append")
    insert = _watched_method("insert")
    extend = _watched_method("extend")
    remove = _watched_method("remove")
    pop = _watched_method("pop")
    clear = _watched_method("clear")
    sort = _watched_method("sort")
    reverse = _watched_method("reverse")
    __setitem__ = _watched_method("__setitem__")
    __delitem__ = _watched_method("__delitem__")
    __iadd__ = _watched_method("__iadd__")
    __imul__ = _watched_method("__imul__")

    def __reduce_ex__(self, protocol: Any) -> Any:
        return list, (list(self),)
