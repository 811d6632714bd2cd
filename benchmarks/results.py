"""What was measured, as plain values: the one form that the table, the picture and other programs read."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.runner import Pair, Plan

MIB = 1 << 20


def as_json(pairs: Sequence[Pair], plan: Plan) -> dict[str, Any]:
    """Everything, and where and how it was measured."""
    return {
        "date": date.today().isoformat(),
        "machine": machine(),
        "cores": list(plan.cores),
        "workers": plan.workers,
        "rounds": plan.rounds,
        "scale": plan.scale,
        "results": with_ratios([_row(pair) for pair in pairs]),
    }


def _row(pair: Pair) -> dict[str, Any]:
    workload, figures = pair.workload, pair.figures
    row: dict[str, Any] = {
        "workload": workload.name,
        "group": workload.group,
        "title": workload.title,
        "unit": workload.unit,
        "higher_is_better": workload.higher_is_better,
        "bar": workload.bar,
        "limit": workload.limit,
        "system": pair.system.name,
        "system_title": pair.system.title,
        "version": pair.version,
        "error": pair.error,
        "figures": figures,
        "median": None,
    }
    if figures:
        row |= {
            "median": statistics.median(figures),
            "minimum": min(figures),
            "maximum": max(figures),
            "reached": workload.reaches_bar(statistics.median(figures)),
            "seconds": statistics.median(pair.seconds),
            "cpu_s": medians(pair.cpu),
            "wakeups": medians(pair.wakeups),
            "memory_mib": pair.memory_bytes / MIB,
            "details": medians(pair.details),
        }
    return row


def medians(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """By name, the median over the rounds that have it."""
    names = dict.fromkeys(name for values in rounds for name in values)
    return {name: statistics.median([values[name] for values in rounds if name in values]) for name in names}


def with_ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add `ratio` to each peer's row: how many times better rainzmq is there; None where it is unknown."""
    ours = {row["workload"]: row["median"] for row in rows if row["system"] == "rainzmq"}
    for row in rows:
        mine, theirs = ours.get(row["workload"]), row["median"]
        row["ratio"] = None
        if row["system"] not in ("rainzmq", "limits") and mine and theirs:
            row["ratio"] = mine / theirs if row["higher_is_better"] else theirs / mine
    return rows


def machine() -> str:
    """Processor, cores, system and Python in a few words."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return (
        f"{os.cpu_count()} cores of {model}, Linux {platform.release()}, Python {platform.python_version()}"
    )
