"""Runs workloads on systems, round by round, so that a slow minute of the machine hits all alike.

For each round, workload and system a process of its own starts the system, warms it up, measures once and
ends. This process watches the memory of its tree meanwhile and ends what it leaves.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks import processes
from benchmarks.environments import EnvironmentFailure, python_of
from benchmarks.systems import SYSTEMS, System
from benchmarks.workloads import Workload

ROOT = Path(__file__).resolve().parent.parent
SAMPLE_S = 0.5
"""How often memory is looked at: often enough for a peak, seldom enough to cost under 1 % of a core."""

Tell = Callable[[str], None]


@dataclass
class Pair:
    """What one workload gave on one system.

    Attributes:
        figures: one for each round that worked.
        seconds: length of the measured span in each.
        cpu: CPU seconds by role in each.
        wakeups: how often threads went to sleep, by role, in each.
        memory_bytes: highest memory of the process tree of all rounds.
        details: further figures of each round.
        error: why it failed; no more rounds were run then.
    """

    workload: Workload
    system: System
    version: str = ""
    figures: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    cpu: list[dict[str, float]] = field(default_factory=list)
    wakeups: list[dict[str, float]] = field(default_factory=list)
    memory_bytes: int = 0
    details: list[dict[str, float]] = field(default_factory=list)
    error: str | None = None


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        cores: that all processes are pinned to.
        workers: 1-cpu workers of each system.
        scale: fraction of the whole size.
        log_dir: gets the output of every driver; None: it is dropped.
    """

    workloads: Sequence[Workload]
    systems: Sequence[System]
    rounds: int
    workers: int
    cores: Sequence[int]
    scale: float = 1.0
    log_dir: Path | None = None


def run(plan: Plan, tell: Tell) -> list[Pair]:
    """Measure; a pair that fails says why and never stops the others. Pins this process, too.

    Args:
        plan: what to run.
        tell: gets a line about each figure as soon as it is known.
    """
    processes.adopt_orphans()
    processes.end_in_order_on_sigterm()
    os.sched_setaffinity(0, plan.cores)
    pairs = [
        Pair(workload, system)
        for workload in plan.workloads
        for system in plan.systems
        if system.name in workload.systems
    ]
    pythons = _prepare({pair.system.name for pair in pairs}, pairs, tell)
    for number in range(1, plan.rounds + 1):
        for pair in pairs:
            if pair.error is None:
                _run_once(plan, pair, pythons[pair.system.name])
                said = pair.error or f"{pair.figures[-1]:,.4g} {pair.workload.unit}"
                tell(f"round {number}: {pair.workload.name}, {pair.system.name}: {said}")
    return pairs


def _prepare(names: set[str], pairs: Sequence[Pair], tell: Tell) -> dict[str, str]:
    pythons = {}
    for name in sorted(names):
        tell(f"environment of {name}")
        try:
            pythons[name] = python_of(SYSTEMS[name])
        except EnvironmentFailure as error:
            tell(str(error))
            for pair in pairs:
                if pair.system.name == name:
                    pair.error = str(error)
    return pythons


def _run_once(plan: Plan, pair: Pair, python: str) -> None:
    spare = processes.tree(os.getpid())[1:]
    # A short path: it becomes the start of paths of Unix sockets, which may have about 100 characters.
    with tempfile.TemporaryDirectory(prefix="rzb-", ignore_cleanup_errors=True) as place:
        try:
            result, peak = _drive(plan, pair, python, Path(place))
        finally:
            processes.end_descendants(spare)
    pair.memory_bytes = max(pair.memory_bytes, peak, result.get("memory_bytes", 0))
    if "error" in result:
        pair.error = result["error"]
        return
    pair.version = result["version"]
    pair.figures.append(result["figure"])
    pair.seconds.append(result["seconds"])
    pair.cpu.append(result["cpu"])
    pair.wakeups.append(result["wakeups"])
    pair.details.append(result["details"])


def _drive(plan: Plan, pair: Pair, python: str, place: Path) -> tuple[dict[str, Any], int]:
    """One round in a process of its own; (its result, the peak of its tree's memory in bytes)."""
    result_file, timeout_s = place / "result.json", pair.workload.timeout_s
    command = [python, "-m", pair.system.driver, pair.workload.name, "--workers", str(plan.workers)]
    command += ["--scale", str(plan.scale), "--result", str(result_file)]
    log = place / "log" if plan.log_dir is None else plan.log_dir / f"{pair.system.name}-{pair.workload.name}"
    with open(log, "ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=place,
            env=_environment(python, place),
        )
        watch = _MemoryWatch(process.pid)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            # Its tree is ended by the caller.
            return {"error": f"no result after {timeout_s:.0f} s"}, watch.stop()
        finally:
            watch.stop()
    if not result_file.exists():
        return {"error": f"the driver ended with code {process.returncode}"}, watch.stop()
    return json.loads(result_file.read_text()), watch.stop()


def _environment(python: str, place: Path) -> dict[str, str]:
    """All files of a round go into its own directory; systems find their programs and our modules."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAINZMQ_")}
    return environment | {
        "PATH": f"{Path(python).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": str(ROOT),
        "PYTHONSAFEPATH": "1",
        "TMPDIR": str(place),
        "RAINZMQ_HOME": str(place / "rainzmq"),
        "IPYTHONDIR": str(place / "ipython"),
    }


class _MemoryWatch:
    """Looks at the memory of a process tree now and then."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """No more; the peak in bytes."""
        self._end.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._end.wait(SAMPLE_S):
            self._peak = max(self._peak, processes.tree_memory_bytes(self._pid))


def default_cores(workers: int) -> list[int]:
    """As many of the cores this process may use as there are workers; all when there are fewer."""
    return sorted(psutil.Process().cpu_affinity())[: max(1, workers)]
