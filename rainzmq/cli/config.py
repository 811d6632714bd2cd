"""The worker's TOML file: read and checked completely before anything starts.

pin = "auto"                               # or "none", as --pin

[subworkers.NAME]
command = "program and its arguments"      # or a list: ["program", "argument"]
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from rainzmq.common.errors import RainException

_TOP_KEYS = ("subworkers", "pin")
_SUBWORKER_KEYS = ("command",)
_OWN_KINDS = ("builtin", "python")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def read_config(path: Path | None) -> dict[str, Any]:
    """What the file holds, as `tomllib` gives it; {} without a file.

    Raises:
        RainException: it cannot be read, is not TOML (says the line), or holds unknown or wrong things.
    """
    if path is None:
        return {}
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise RainException(f"cannot read the configuration {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RainException(f"{path} is not a text in UTF-8: {error}") from error
    try:
        config = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RainException(f"{path} is not valid TOML: {error}") from error
    _check_keys(path, "", config, _TOP_KEYS)
    if config.get("pin", "auto") not in ("auto", "none"):
        raise RainException(f"{path}: pin must be 'auto' or 'none', not {config['pin']!r}")
    subworkers = config.get("subworkers", {})
    if not isinstance(subworkers, dict):
        raise RainException(f"{path}: subworkers must be a table: [subworkers.NAME]")
    for name, entry in subworkers.items():
        _check_subworker(path, name, entry)
    return config


def _check_subworker(path: Path, name: str, entry: Any) -> None:
    if not _NAME.fullmatch(name):
        raise RainException(
            f"{path}: {name!r} cannot name a subworker: use letters, digits, '_', '-' and '.' "
            "(it becomes the first part of task types, as in NAME/method)"
        )
    if name in _OWN_KINDS:
        raise RainException(f"{path}: the subworker name {name!r} is rainzmq's own; choose another")
    if not isinstance(entry, dict):
        raise RainException(f'{path}: subworkers.{name} must be a table with command = "..."')
    _check_keys(path, f"subworkers.{name}", entry, _SUBWORKER_KEYS)
    command = entry.get("command")
    if command is None:
        raise RainException(f'{path}: subworkers.{name} has no command = "..."')
    parts = [command] if isinstance(command, str) else command
    if not isinstance(parts, list) or not parts or not all(isinstance(part, str) for part in parts):
        raise RainException(f"{path}: subworkers.{name}.command must be a string or a list of strings")
    if not parts[0].strip():
        raise RainException(f"{path}: subworkers.{name}.command is empty")


def _check_keys(path: Path, where: str, table: dict[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            place = f"in [{where}]" if where else "at the top"
            raise RainException(f"{path}: unknown key {key!r} {place}; known: {', '.join(known)}")
