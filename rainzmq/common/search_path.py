"""Which `python3` tasks find: that of their client where it is there, else that of their worker.

In a virtual environment that was not activated, the interpreter's directory is not on PATH, and `python3`
would be another one, with other packages.
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache

_NAME = "python3"

_found: set[str] = set()
"""Directories that have it. One that loses it does no harm at the front of a path."""


def interpreter_directory() -> str:
    """The directory of this process's interpreter, in a virtual environment that of its link; maybe empty."""
    return os.path.dirname(sys.executable or "")


def search_path(client_directory: str, path: str) -> str:
    """`path` with the directory of the interpreter in front, unless `python3` is found there in any case."""
    for directory in (client_directory, interpreter_directory()):
        if directory and _has_python(directory):
            return _with_first(directory, path)
    return path


@lru_cache(maxsize=64)
def _with_first(directory: str, path: str) -> str:
    first = next((entry for entry in path.split(os.pathsep) if _has_python(entry)), "")
    return path if first == directory else os.pathsep.join(filter(None, (directory, path)))


def _has_python(directory: str) -> bool:
    if directory not in _found:
        if not os.access(os.path.join(directory, _NAME), os.X_OK):
            return False
        _found.add(directory)
    return True
