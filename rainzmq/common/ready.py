"""The ready file: how a started process says that it accepts connections."""

from __future__ import annotations

import os
from pathlib import Path


def write_ready(path: Path) -> None:
    """Write `ready` to a file, atomically; OSError when that is not possible."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text("ready")
    temporary.replace(path)
