"""Virtual environments of the systems, made on demand in a cache directory."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.systems import System

INSTALL_TIMEOUT_S = 1_200.0


class EnvironmentFailure(Exception):
    """An environment could not be made; says why."""


def cache_dir() -> Path:
    """Where environments are kept: `$RAINZMQ_BENCHMARKS_CACHE`, else `~/.cache/rainzmq-benchmarks`."""
    named = os.environ.get("RAINZMQ_BENCHMARKS_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "rainzmq-benchmarks"


def python_of(system: System) -> str:
    """The interpreter of a system's environment, which is made when it is not there.

    Its directory is named after the pinned versions and the Python version, so a new pin makes a new one.

    Raises:
        EnvironmentFailure: pip failed, with the end of what it said.
    """
    if system.requirements is None:
        return sys.executable
    key = "\n".join((sys.version, *system.requirements))
    place = cache_dir() / f"{system.name}-{hashlib.sha256(key.encode()).hexdigest()[:10]}"
    python = place / "bin" / "python"
    done = place / "complete"
    if done.exists():
        return str(python)
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    _call([sys.executable, "-m", "venv", str(place)], system)
    _call([str(python), "-m", "pip", "install", "-q", *system.requirements], system)
    done.touch()
    return str(python)


def _call(command: list[str], system: System) -> None:
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentFailure(f"no environment for {system.name}: {error}") from None
    if result.returncode:
        last = (result.stderr.strip() or result.stdout.strip() or "no message").splitlines()[-1]
        raise EnvironmentFailure(f"no environment for {system.name}: {last[:200]}")
