"""The ready file: how a started process says that it accepts connections."""

from __future__ import annotations

import os
from pathlib import Path

from rainzmq.common.private import private_opener


def write_ready(path: Path) -> None:
    """Write `ready` to a file, atomically; OSError when that is not possible."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "w", opener=private_opener) as file:
        file.write("ready")
    temporary.replace(path)
