"""The examples and the README's first command do what they show, on a real cluster."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rainzmq import LocalCluster

ROOT = Path(__file__).parents[2]


def _run_example(
    cluster: LocalCluster, cwd: Path, name: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=100,
        env={**os.environ, "RAINZMQ_SERVER": str(cluster.access_file), **environment},
    )


def test_hello(shared_cluster: LocalCluster, tmp_path: Path) -> None:
    result = _run_example(shared_cluster, tmp_path, "hello.py")

    assert (result.stdout, result.returncode) == (
        "HELLO, ADA!\nHELLO, GRACE!\nHELLO, EVERYBODY!\n",
        0,
    ), result.stderr


def test_report_on_the_standard_library(shared_cluster: LocalCluster, tmp_path: Path) -> None:
    result = _run_example(
        shared_cluster, tmp_path, "stdlib_report.py", "--limit", "120", "--output", "report.txt"
    )

    assert result.returncode == 0, result.stderr
    report = (tmp_path / "report.txt").read_text()
    assert report in result.stdout
    assert re.search(r"^all \d+ +120 ", report, re.MULTILINE)
    assert re.search(r"\bself \d+", report)
    assert int(re.search(r"(\d+) tasks;", result.stdout)[1]) > 240  # type: ignore[index]


@pytest.mark.parametrize("limit", ["0", "-1", "many"])
def test_report_says_what_a_bad_argument_is(limit: str, shared_cluster: LocalCluster, tmp_path: Path) -> None:
    result = _run_example(shared_cluster, tmp_path, "stdlib_report.py", "--limit", limit)

    assert result.returncode == 2
    assert f"argument --limit: invalid positive value: '{limit}'" in result.stderr


def test_cross_validation_of_the_iris_data(shared_cluster: LocalCluster, tmp_path: Path) -> None:
    result = _run_example(shared_cluster, tmp_path, "cross_validation.py", "--folds", "5")

    assert result.returncode == 0, result.stderr
    accuracies = re.findall(r"([0-9.]+) % ±", result.stdout)
    assert len(accuracies) == 5
    assert max(map(float, accuracies)) > 94


def test_cross_validation_says_what_to_install(shared_cluster: LocalCluster, tmp_path: Path) -> None:
    result = _run_example(shared_cluster, tmp_path, "cross_validation.py", PATH="/nowhere")

    assert result.returncode == 1
    assert "apt-get install libsvm-tools" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_first_command_of_the_readme(home: Path, tmp_path: Path) -> None:
    example = str(ROOT / "examples" / "stdlib_report.py")
    arguments = [sys.executable, "-m", "rainzmq", "local", "--", sys.executable, example, "--limit", "60"]

    result = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path, timeout=100)

    assert result.returncode == 0, result.stderr
    assert "Most frequent words:" in result.stdout
    assert (tmp_path / "stdlib_report.txt").exists()


def _pieces(page: str) -> list[str]:
    """The sections of a page as programs: its first piece of Python, then those of the section."""
    first, *sections = re.split(r"^## ", (ROOT / page).read_text(), flags=re.MULTILINE)
    start = _python(first)
    return [f"{start}\n{_python(section)}" for section in sections if _python(section)]


def _python(text: str) -> str:
    return "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("page", ["docs/user_guide.md", "docs/tour.md", "README.md"])
def test_code_of_the_page_prints_what_its_comments_say(
    page: str, shared_cluster: LocalCluster, tmp_path: Path
) -> None:
    programs = _pieces(page)
    assert programs
    for program in programs:
        result = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=60,
            env={**os.environ, "RAINZMQ_SERVER": str(shared_cluster.access_file)},
        )
        assert result.returncode == 0, f"{program}\n{result.stderr}"
        assert result.stdout.splitlines() == re.findall(r"^ *print\(.*\)  # (.*)$", program, re.MULTILINE)
