"""A bag of tiny Python tasks: the overhead of a task when there are many."""

from __future__ import annotations

from benchmarks.systems.base import System
from benchmarks.workloads.base import Workload, seconds

COUNT = 10_000


def measure(system: System) -> float:
    """Tasks per second."""
    return COUNT / seconds(lambda: system.run_noops(COUNT))


WORKLOAD = Workload("bag", f"{COUNT:,} no-op Python tasks", "tasks/s", True, 5_000, measure)
