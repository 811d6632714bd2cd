"""Functions of a user's program in processes that a task starts (`multiprocessing`, `concurrent.futures`).

Such functions and classes stand in no module that another process could import, so the pickler of
`multiprocessing` refuses them. It is taught to send a name instead: `(key of their globals, file, name)`.

    this process            globals G of the task's function, registered under a key before the task, and
                            those of functions in its arguments, while it runs
    a child made by fork    has G as well, under the same key: the very same objects
    one made by spawn       reads the file once: functions and classes of G, which share their globals there

So an initializer that sets a global has its effect for all functions, as in a program of its own, results may
be of the program's classes, and a large closure is not sent with every call. The file is in the directory of
this process and made when it is first needed. What is not in G by its name, such as a lambda, goes by value.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from multiprocessing.reduction import ForkingPickler
from types import FunctionType
from typing import Any

from rainzmq.common.pickles import MAIN_NAMES, dumps_by_value

_MAX_NAMESPACES = 64


class _Namespace:
    """The globals of functions. `written`: what its file has; None before there is one."""

    def __init__(self, names: dict[str, Any], path: str) -> None:
        self.names = names
        self.path = path
        self.written: frozenset[str] | None = None


_namespaces: OrderedDict[str, _Namespace] = OrderedDict()
_keys: dict[int, str] = {}
_of_arguments: list[str] = []
_numbers = count(1)


def install() -> None:
    """Have `multiprocessing` send what it cannot name in a way that `load` understands."""
    ForkingPickler.reducer_override = _reduce  # type: ignore[method-assign]


def use(function: Any, directory: str) -> None:
    """A task calls this function; files for children may be made in `directory`."""
    names = getattr(function, "__globals__", None)
    if names is None or id(names) in _keys:
        return
    number = next(_numbers)
    key = f"{os.getpid()}-{number}"
    _keys[id(names)] = key
    _namespaces[key] = _Namespace(names, os.path.join(directory, f"functions-{number}"))
    if len(_namespaces) > _MAX_NAMESPACES:
        _, oldest = _namespaces.popitem(last=False)
        del _keys[id(oldest.names)]


def use_arguments(functions: Iterable[Any], directory: str) -> None:
    """The same of functions in the arguments of a task, until `forget_arguments`."""
    for function in functions:
        if id(function.__globals__) not in _keys:
            use(function, directory)
            _of_arguments.append(next(reversed(_namespaces)))


def forget_arguments() -> None:
    """The task ended; what its arguments referred to may be large. Never raises."""
    while _of_arguments:
        namespace = _namespaces.pop(_of_arguments.pop(), None)
        if namespace is not None:
            del _keys[id(namespace.names)]


def end_lost_fork_server() -> None:
    """A task ended, and its temporary files are gone: when the socket of the fork server was among them,
    `multiprocessing` is to start another one. Never raises.
    """
    module: Any = sys.modules.get("multiprocessing.forkserver")
    if module is None:
        return
    server = module._forkserver
    address = server._forkserver_address
    if address is not None and not os.path.exists(address):
        with suppress(OSError):  # it would remove the socket
            server._stop()
        server._forkserver_address = None


def load(key: str, path: str, name: str) -> Any:
    """What `_reduce` named, in a process that may have to read it from the file."""
    namespace = _namespaces.get(key)
    if namespace is None:
        install()  # what this process sends back may be of the same kind
        with open(path, "rb") as file:
            namespace = _namespaces[key] = _Namespace(pickle.load(file), path)
        namespace.written = frozenset(namespace.names)
    return namespace.names[name]


def load_value(data: bytes) -> Any:
    """The same of something that was sent by value."""
    install()
    return pickle.loads(data)


def _reduce(_pickler: Any, obj: Any) -> Any:
    if not (type(obj) is FunctionType or isinstance(obj, type)) or _is_importable(obj):
        return NotImplemented
    name = obj.__qualname__
    for key, namespace in reversed(_namespaces.items()):
        if namespace.names.get(name) is obj and name in _written(namespace):
            return load, (key, namespace.path, name)
    return load_value, (dumps_by_value(obj),)


def _written(namespace: _Namespace) -> frozenset[str]:
    """The names in the file of a namespace, which is made now if there is none."""
    if namespace.written is None:
        sent = {
            name: value
            for name, value in namespace.names.items()
            if (type(value) is FunctionType or isinstance(value, type)) and not _is_importable(value)
        }
        try:
            data = dumps_by_value(sent)
        except Exception:  # of one that cannot be sent; others can, by themselves
            namespace.written = frozenset()
            return namespace.written
        temporary = f"{namespace.path}.{os.getpid()}"
        with open(temporary, "wb") as file:
            file.write(data)
        os.replace(temporary, namespace.path)  # a child made by fork may do the same just now
        namespace.written = frozenset(sent)
    return namespace.written


def _is_importable(obj: Any) -> bool:
    """Whether another process finds the object by its module and name."""
    module = sys.modules.get(obj.__module__ or "")
    if module is None or obj.__module__ in MAIN_NAMES:
        return False
    found: Any = module
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is obj
