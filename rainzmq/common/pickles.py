"""Pickling of users' values: the C pickler when everything in a value can be imported, cloudpickle otherwise.

Plain pickle is some 10 times faster, but names functions and classes by their module. What stands in
`__main__` or inside a function can not be imported by another process, so for a value that holds such a thing
the whole value is pickled again by cloudpickle, which sends code by value. The result of either is loaded by
`pickle.loads`.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from functools import cache
from io import BytesIO
from types import CodeType, FunctionType
from typing import IO, Any

from rainzmq.common.generators import name_of_shared_generator
from rainzmq.common.nesting import bounded

Refer = Callable[[Any], Any]
"""Called for every object met; gives the persistent id that stands for it in the pickle, None to pickle
it."""

PROTOCOL = 5

ATOMS = frozenset({type(None), bool, int, float, str, bytes})
"""Types of values that need none of what is below: the C function pickles them at once."""

_NO_FILE = "<dynamic-code>"


class NotImportable(Exception):
    """A value holds a function or class that only cloudpickle can send."""


class PlainPickler(pickle.Pickler):
    """The C pickler with references; raises `NotImportable` where code would have to be sent by value."""

    def __init__(self, file: IO[bytes], refer: Refer | None = None) -> None:
        self._refer = refer
        super().__init__(file, PROTOCOL)

    def persistent_id(self, obj: Any) -> Any:
        """What stands for `obj` in the pickle, None for the object itself."""
        return None if self._refer is None else self._refer(obj)

    def reducer_override(self, obj: Any) -> Any:
        """Stops at functions and classes that another process could not import."""
        if (type(obj) is FunctionType or isinstance(obj, type)) and not _importable(obj):
            raise NotImportable(obj)
        return name_of_shared_generator(obj) or NotImplemented


def by_value_pickler(file: IO[bytes], refer: Refer | None = None) -> pickle.Pickler:
    """A cloudpickle pickler with references."""
    pickler: pickle.Pickler = _by_value_class()(file, refer)
    return pickler


@cache
def _by_value_class() -> Any:
    # Imported late: a subworker that only loads pickles starts faster without it.
    import cloudpickle

    reduce_code = cloudpickle.Pickler.dispatch_table[CodeType]

    def reduce_with_file(code: CodeType) -> Any:
        make, parts = reduce_code(code)
        # cloudpickle 3.1.3 leaves the file out, which a traceback shows.
        return make, tuple([code.co_filename if part == _NO_FILE else part for part in parts])

    class ByValuePickler(cloudpickle.Pickler):  # type: ignore[misc]
        dispatch_table = cloudpickle.Pickler.dispatch_table.new_child({CodeType: reduce_with_file})

        def __init__(self, file: IO[bytes], refer: Refer | None) -> None:
            self._refer = refer
            super().__init__(file, PROTOCOL)

        def persistent_id(self, obj: Any) -> Any:
            return None if self._refer is None else self._refer(obj)

        def reducer_override(self, obj: Any) -> Any:
            return name_of_shared_generator(obj) or super().reducer_override(obj)

    return ByValuePickler


def dumps(value: Any, refer: Refer | None = None) -> bytes:
    """`value` as a pickle, by value where it has to be; raises whatever cloudpickle raises for it."""
    if refer is None and type(value) in ATOMS:
        return pickle.dumps(value, PROTOCOL)
    buffer = BytesIO()
    try:
        bounded(PlainPickler(buffer, refer).dump, value)
    except Exception:
        # Also for errors of other kinds: cloudpickle can do more, and its error is the one worth telling.
        return dumps_by_value(value, refer)
    return buffer.getvalue()


def dumps_by_value(value: Any, refer: Refer | None = None) -> bytes:
    """`value` as a pickle made by cloudpickle; raises whatever it raises for it."""
    buffer = BytesIO()
    bounded(by_value_pickler(buffer, refer).dump, value)
    return buffer.getvalue()


def _importable(obj: Any) -> bool:
    module = getattr(obj, "__module__", None)
    if module in ("__main__", "__mp_main__") or "<" in getattr(obj, "__qualname__", "<"):
        return False
    cloudpickle = sys.modules.get("cloudpickle")
    if cloudpickle is None or module is None:
        return True
    registered = cloudpickle.list_registry_pickle_by_value()
    return not any(module == name or module.startswith(name + ".") for name in registered)
