"""rainzmq: a distributed task engine in Python over ZeroMQ.

Everything of `rainzmq.client` and `LocalCluster` can be imported from here. Names are resolved at their first
use, so that processes which need none of them (subworkers) start fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rainzmq._version import __version__

if TYPE_CHECKING:  # the names below, as type checkers and editors find them
    from rainzmq.client import *
    from rainzmq.deploy.local import LocalCluster

__all__ = [
    "Client",
    "DataObject",
    "Input",
    "InputDir",
    "LocalCluster",
    "Output",
    "OutputDir",
    "Program",
    "RainException",
    "RainWarning",
    "Remote",
    "Session",
    "SessionException",
    "Task",
    "TaskCancelled",
    "TaskException",
    "__version__",
    "blob",
    "directory",
    "get_active_session",
    "pickled",
    "remote",
    "tasks",
]

_MODULES = ("dataobj", "inputs", "outputs", "program", "session", "task")
"""Modules of the client that can be had from here, but not by `*`: users call their own variables so."""


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name == "LocalCluster":
        return import_module("rainzmq.deploy.local").LocalCluster
    if name in __all__ or name in _MODULES:
        return getattr(import_module("rainzmq.client"), name)
    raise AttributeError(f"module 'rainzmq' has no attribute {name!r}")
