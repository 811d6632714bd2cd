"""Runs workloads on systems, round by round, so that a slow minute of the machine hits all alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.systems import SYSTEMS
from benchmarks.systems.base import System
from benchmarks.workloads.base import Workload

WARM_UP_TASKS = 50


@dataclass
class Result:
    """The figures of one workload on one system, one for each round."""

    workload: Workload
    system: str
    version: str
    figures: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The figure to compare."""
        return statistics.median(self.figures)

    @property
    def best(self) -> float:
        """The best round."""
        return max(self.figures) if self.workload.higher_is_better else min(self.figures)

    @property
    def worst(self) -> float:
        """The worst round."""
        return min(self.figures) if self.workload.higher_is_better else max(self.figures)


def run(
    systems: Sequence[str],
    workloads: Sequence[Workload],
    rounds: int,
    workers: int,
    tell: Callable[[str], None],
) -> list[Result]:
    """Measures every workload on every system; a fresh, warm system in each round.

    Args:
        tell: gets a line about each figure as soon as it is known.
    """
    results: dict[tuple[str, str], Result] = {}
    for number in range(1, rounds + 1):
        for name in systems:
            system = SYSTEMS[name](workers)
            try:
                _warm_up(system)
                for workload in workloads:
                    figure = workload.measure(system)
                    result = Result(workload, name, system.version)
                    results.setdefault((workload.name, name), result).figures.append(figure)
                    tell(f"round {number}: {name} {workload.name}: {figure:,.0f} {workload.unit}")
            finally:
                system.close()
    return list(results.values())


def _warm_up(system: System) -> None:
    system.run_noops(WARM_UP_TASKS)
    system.run_programs(WARM_UP_TASKS)
