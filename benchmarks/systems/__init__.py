"""The systems that are compared. One file for each; a new one is added to `SYSTEMS`."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.systems.base import System
from benchmarks.systems.rainzmq_system import RainzmqSystem

SYSTEMS: dict[str, Callable[[int], System]] = {"rainzmq": RainzmqSystem}
"""By name: what starts the system with so many 1-cpu workers."""
