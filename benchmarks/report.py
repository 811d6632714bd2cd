"""Results as JSON, for programs, and as a Markdown table, for people."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.runner import Result


def as_json(results: Sequence[Result], workers: int) -> dict[str, Any]:
    """Everything that was measured, and where."""
    return {
        "date": date.today().isoformat(),
        "machine": machine(),
        "workers": workers,
        "results": [
            {
                "workload": result.workload.name,
                "unit": result.workload.unit,
                "system": result.system,
                "version": result.version,
                "median": result.median,
                "figures": result.figures,
                "bar": result.workload.bar,
            }
            for result in results
        ],
    }


def as_markdown(results: Sequence[Result], workers: int) -> str:
    """A table with a row for each result, under a line that says when and where."""
    rounds = len(results[0].figures)
    lines = [
        f"{date.today().isoformat()}, {machine()}; {workers} workers with one cpu each; {rounds} rounds.",
        "",
        "| workload | system | median | worst | best | bar | |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for result in results:
        workload = result.workload
        verdict = "reached" if workload.passes(result.median) else "missed"
        lines.append(
            f"| {workload.description}, {workload.unit} | {result.system} {result.version} "
            f"| {result.median:,.0f} | {result.worst:,.0f} | {result.best:,.0f} "
            f"| {workload.bar:,.0f} | {verdict} |"
        )
    return "\n".join(lines) + "\n"


def machine() -> str:
    """Processor, cores and Python in a few words."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return (
        f"{os.cpu_count()} cores of {model}, Linux {platform.release()}, Python {platform.python_version()}"
    )
