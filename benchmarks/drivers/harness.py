"""What all drivers share: `python -m benchmarks.drivers.X_driver WORKLOAD ...` measures one round.

The driver's process is the client and the root of the system's process tree. The result is a JSON file:
`figure`, `seconds` of the measured span, `cpu` seconds and `wakeups` by role, `memory_bytes` at its end,
`details`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks import processes
from benchmarks.workloads import WORKLOADS


class Meter:
    """Measures the body of a `with` block: wall time, CPU by role, memory at the end.

    Attributes:
        seconds: wall time of the block.
        cpu: CPU seconds in the block by role.
        wakeups: how often threads went to sleep in the block, by role.
        memory_bytes: memory of the process tree at its end.
        details: further figures that the driver wants in the report.
    """

    def __init__(self, roles: processes.Roles) -> None:
        self._roles = roles
        self._before: dict[str, float] = {}
        self._asleep: dict[str, float] = {}
        self._start = 0.0
        self.seconds = 0.0
        self.cpu: dict[str, float] = {}
        self.wakeups: dict[str, float] = {}
        self.memory_bytes = 0
        self.details: dict[str, float] = {}

    def __enter__(self) -> Meter:
        self._asleep = processes.wakeups_by_role(os.getpid(), self._roles)
        self._before = processes.cpu_by_role(os.getpid(), self._roles)
        self._start = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._start
        after = processes.cpu_by_role(os.getpid(), self._roles)
        self.cpu = {
            role: round(max(0.0, spent - self._before.get(role, 0.0)), 3) for role, spent in after.items()
        }
        asleep = processes.wakeups_by_role(os.getpid(), self._roles)
        self.wakeups = {role: max(0.0, n - self._asleep.get(role, 0.0)) for role, n in asleep.items()}
        self.memory_bytes = processes.tree_memory_bytes(os.getpid())


class Driver(ABC):
    """Speaks to one system. A workload is a method; it returns the figure, in the workload's unit.

    Attributes:
        roles: tell the system's processes apart.
        workers: number of 1-cpu workers.
        unstarted: methods that start the system themselves.
    """

    roles: processes.Roles = ()
    unstarted: tuple[str, ...] = ("startup",)

    def __init__(self, workers: int) -> None:
        self.workers = workers

    @abstractmethod
    def start(self) -> None:
        """Start the system; imports it."""

    @abstractmethod
    def run_one(self) -> None:
        """Run one task and wait for its result."""

    @abstractmethod
    def close(self) -> None:
        """Stop the system, if it was started."""

    @abstractmethod
    def version(self) -> str:
        """The version of the system."""

    def warm_up(self) -> None:
        """Have all workers run something, so that no process start is measured."""
        self.run_one()

    def startup(self, meter: Meter) -> float:
        """Seconds from nothing, not even an import, to the first result."""
        with meter:
            self.start()
            self.run_one()
        return meter.seconds

    def single(self, meter: Meter, count: int) -> float:
        """Median time of one task, microseconds."""
        with meter:
            times = [seconds(self.run_one) for _ in range(count)]
        return statistics.median(times) * 1e6

    def idle(self, meter: Meter, duration_s: float) -> float:
        """CPU use of all processes while nothing is to be done, percent of a core."""
        time.sleep(1.0)
        with meter:
            time.sleep(duration_s)
        return 100 * sum(meter.cpu.values()) / meter.seconds

    def efficiency(self, meter: Meter, durations: list[float]) -> float:
        """The least time these tasks can take as a share of the time they took, percent."""
        ideal = max(sum(durations) / self.workers, max(durations))
        return 100 * ideal / meter.seconds


def seconds(action: Callable[[], object]) -> float:
    """How long an action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def main(make: Callable[[int], Driver]) -> None:
    """Measure one round of a workload and write the result file; exit code 1 when that failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workload")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--result", type=Path, required=True)
    arguments = parser.parse_args()
    processes.adopt_orphans()
    processes.end_in_order_on_sigterm()
    processes.die_with_parent()
    driver = make(arguments.workers)
    code = 0
    try:
        result = _measure(driver, arguments.workload, arguments.scale)
    except BaseException as error:  # the report says why, whatever it was
        traceback.print_exc()
        first = (str(error).strip().splitlines() or [""])[0]
        result = {"error": f"{type(error).__name__}: {first}"[:300]}
        code = 1
    arguments.result.write_text(json.dumps(result))
    try:
        driver.close()
    finally:
        processes.end_descendants()
        sys.stdout.flush()
        sys.stderr.flush()
        # Some systems leave threads that would keep the interpreter from ending.
        os._exit(code)


def _measure(driver: Driver, name: str, scale: float) -> dict[str, Any]:
    workload = WORKLOADS[name]
    method = getattr(driver, workload.method)
    meter = Meter(driver.roles)
    if workload.method not in driver.unstarted:
        driver.start()
        driver.warm_up()
    figure = method(meter, **workload.scaled(scale))
    return {
        "figure": figure,
        "version": driver.version(),
        "seconds": meter.seconds,
        "cpu": meter.cpu,
        "wakeups": meter.wakeups,
        "memory_bytes": meter.memory_bytes,
        "details": meter.details,
    }
