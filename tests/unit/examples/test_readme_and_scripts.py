"""What new users and contributors meet first: two commands, links that lead somewhere, complete data."""

from __future__ import annotations

import os
import re
import statistics
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()


def test_readme_has_exactly_the_two_set_up_commands() -> None:
    assert re.findall(r"^    (\S.*)$", README.partition("## A taste")[0], re.MULTILINE) == [
        "pip install '.[dashboard]' && rainzmq local -- python examples/stdlib_report.py",
        "./scripts/test",
    ]


def test_readme_tells_what_it_is_within_a_screenful() -> None:
    assert len(README.partition("## Set up")[0].splitlines()) <= 40


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_readme_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


@pytest.mark.parametrize("script", ["scripts/test", ".ci/run"])
def test_scripts_are_executable(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)


def test_ci_runs_the_test_script() -> None:
    assert "./scripts/test" in (ROOT / ".ci/run").read_text()


def test_iris_data_have_the_published_means() -> None:
    rows = [line.split() for line in (ROOT / "examples/data/iris.libsvm").read_text().splitlines()]
    published = {
        "1": (5.006, 3.428, 1.462, 0.246),
        "2": (5.936, 2.770, 4.260, 1.326),
        "3": (6.588, 2.974, 5.552, 2.026),
    }
    for species, means in published.items():
        flowers = [[float(value.partition(":")[2]) for value in row[1:]] for row in rows if row[0] == species]
        assert len(flowers) == 50
        assert tuple(round(statistics.mean(column), 3) for column in zip(*flowers, strict=True)) == means


def test_columns_of_the_report_stay_apart_whatever_is_in_them() -> None:
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        import stdlib_report
    finally:
        sys.path.remove(str(ROOT / "examples"))
    row = {"files": 123456, "lines": 1, "comments": 0, "functions": 0, "longest": [0, ""]}
    words = Counter({"MandatoryRelease" * 2: 5, "an": 5, "x": 4})

    text = stdlib_report.report.function(None, {"a_package_with_a_long_name": row}, words)

    assert "a_package_with_a_l 123456 " in text
    assert f"{'MandatoryRelease' * 2} 5  an 5" in text
