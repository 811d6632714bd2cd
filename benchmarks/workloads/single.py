"""One tiny Python task at a time: how long a user waits for the smallest result."""

from __future__ import annotations

import statistics

from benchmarks.systems.base import System
from benchmarks.workloads.base import Workload, seconds

REPEATS = 100


def measure(system: System) -> float:
    """Median time from building a task to knowing that it is done, microseconds."""
    return statistics.median(seconds(lambda: system.run_noops(1)) for _ in range(REPEATS)) * 1e6


WORKLOAD = Workload("single", f"one no-op Python task (median of {REPEATS})", "us", False, 5_000, measure)
