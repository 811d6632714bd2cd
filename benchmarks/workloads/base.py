"""What a workload is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.systems.base import System


@dataclass(frozen=True)
class Workload:
    """One figure of a system.

    Attributes:
        name: short, for the command line and the table.
        description: one line.
        unit: of the figure, such as `tasks/s`.
        higher_is_better: False for times.
        bar: what rainzmq must reach at least (at most, for times).
        measure: runs it once on a warm system and returns the figure.
    """

    name: str
    description: str
    unit: str
    higher_is_better: bool
    bar: float
    measure: Callable[[System], float]

    def passes(self, figure: float) -> bool:
        """Whether `figure` reaches the bar."""
        return figure >= self.bar if self.higher_is_better else figure <= self.bar


def seconds(action: Callable[[], object]) -> float:
    """How long `action` takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
