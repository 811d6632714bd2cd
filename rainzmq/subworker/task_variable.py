"""The environment variable RAINZMQ_TASK_ID, whose text is changed where it stands.

`setenv` of glibc keeps every value that a variable ever had, and looks each new one up among them: 64 bytes
per task that never come back, and a search that grows. `putenv` takes a text of ours as it is.
"""

from __future__ import annotations

import ctypes
import os

NAME = b"RAINZMQ_TASK_ID"

_ROOM = 64
_START = len(NAME) + 1

# Part of the process's environment from `put` on, so it must never be freed.
_text = ctypes.create_string_buffer(NAME + b"=", _ROOM)
_bytes = memoryview(_text).cast("B")
_putenv = ctypes.CDLL(None).putenv


def put() -> None:
    """Make it part of the environment, again if something took it out or put another in its place."""
    if _putenv(_text) != 0:
        raise MemoryError(f"{os.fsdecode(NAME)} does not fit into the environment")


def set_value(value: bytes) -> None:
    """Change its value, a few dozen characters at most, in the environment of this process.

    `os.environ` is not told.
    """
    end = _START + len(value)
    _bytes[_START : end + 1] = value + b"\0"
