"""Values that users attached, as plain JSON values: whatever they hold, they can be shown."""

from __future__ import annotations

import json
import math
from typing import Any

from rainzmq.common.errors import RainException
from rainzmq.protocol.codec import unpack
from rainzmq.protocol.schema import ProtocolError

_MAX_DEPTH = 50


def plain(value: Any, depth: int = 0) -> Any:
    """A value of msgpack or JSON as a JSON value: bytes as a note of their length, no NaN, not too deep."""
    if depth > _MAX_DEPTH:
        return "..."
    if isinstance(value, dict):
        return {str(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def decoded_user(data: bytes) -> Any:
    """`user` of a spec or info; {} for none, None when it cannot be read."""
    if not data:
        return {}
    try:
        return plain(json.loads(data))
    except (ValueError, RecursionError):
        return None


def decoded_config(shared: bytes, own: bytes) -> Any:
    """What a task was told: {"shared": .., "own": ..} when its body and itself say something."""
    told = {name: _unpacked(data) for name, data in (("shared", shared), ("own", own)) if data}
    return told if len(told) == 2 else next(iter(told.values()), None)


def _unpacked(data: bytes) -> Any:
    try:
        return plain(unpack(data))
    except (ProtocolError, RainException):
        return f"<{len(data)} bytes>"
