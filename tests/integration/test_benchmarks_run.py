"""The benchmarks run from the command line, on real processes but at a tiny scale. Nothing is timed here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, timeout: int = 100) -> subprocess.CompletedProcess[str]:
    """`python -m benchmarks ...` in the checkout."""
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=timeout)


def measure(tmp_path: Path, *names: str) -> tuple[str, dict[str, Any]]:
    """The table, and the JSON rows by workload, of a tiny run of our own workloads and limits."""
    file = tmp_path / "figures.json"
    options = ["--rounds", "1", "--scale", "0.005", "--system", "rainzmq", "--system", "limits"]
    result = run("run", *names, *options, "--json", str(file))
    assert result.returncode == 0, result.stderr
    rows = json.loads(file.read_text())["results"]
    assert [row["error"] for row in rows] == [None] * len(rows), result.stderr
    return result.stdout, {row["workload"]: row for row in rows}


def test_a_run_prints_tables_and_writes_every_figure(tmp_path: Path) -> None:
    text, rows = measure(tmp_path, "single", "bag", "pipe")

    assert re.search(r"^\| one Python task, submit to result \| us \| ", text, re.MULTILINE)
    assert set(rows) == {"single", "bag", "pipe"}
    assert rows["bag"]["median"] > 0
    assert rows["bag"]["memory_mib"] > 10


@pytest.mark.parametrize("name", ["merge-100k-w4", "submit-100k", "hold-1m"])
def test_the_server_can_be_measured_without_workers(tmp_path: Path, name: str) -> None:
    _, rows = measure(tmp_path, name)

    assert len(rows[name]["figures"]) == 1


def test_a_workload_that_does_not_exist_is_refused() -> None:
    result = run("run", "no-such-workload")

    assert result.returncode == 2
    assert "no workload or group 'no-such-workload'" in result.stderr


def test_the_catalogue_is_listed() -> None:
    result = run("list")

    assert result.returncode == 0
    assert "shuffle-100-1m (shuffle): " in result.stdout
