"""A bag of programs that end at once: the overhead of starting a program."""

from __future__ import annotations

from benchmarks.systems.base import System
from benchmarks.workloads.base import Workload, seconds

COUNT = 1_000


def measure(system: System) -> float:
    """Programs per second."""
    return COUNT / seconds(lambda: system.run_programs(COUNT))


WORKLOAD = Workload("programs", f"{COUNT:,} times /bin/true", "tasks/s", True, 400, measure)
