"""What becomes of figures: medians, ratios, tables."""

from __future__ import annotations

import pytest

from benchmarks.processes import role_of
from benchmarks.results import as_json
from benchmarks.runner import Pair, Plan
from benchmarks.systems import SYSTEMS
from benchmarks.table import as_markdown, number
from benchmarks.workloads import WORKLOADS


def pair(workload: str, system: str, *figures: float, error: str | None = None) -> Pair:
    """A measured pair with one second and some CPU in each round."""
    rounds = len(figures)
    return Pair(
        WORKLOADS[workload],
        SYSTEMS[system],
        version="1.2" if figures else "",
        figures=list(figures),
        seconds=[1.0] * rounds,
        cpu=[{"client": 0.25, "server": 0.5}] * rounds,
        wakeups=[{"client": 12.0, "server": 3400.0}] * rounds,
        memory_bytes=3 << 20,
        details=[{"longest_stall_ms": 12.0}] * rounds,
        error=error,
    )


def report(*pairs: Pair, scale: float = 1.0):
    """The JSON of a run of these pairs."""
    plan = Plan([item.workload for item in pairs], list(SYSTEMS.values()), 3, 2, [0, 1], scale)
    return as_json(pairs, plan)


def test_the_median_minimum_and_maximum_of_the_rounds_are_reported():
    [row] = report(pair("bag", "rainzmq", 100.0, 900.0, 200.0))["results"]
    assert (row["median"], row["minimum"], row["maximum"]) == (200.0, 100.0, 900.0)
    assert row["cpu_s"] == {"client": 0.25, "server": 0.5}
    assert row["wakeups"] == {"client": 12.0, "server": 3400.0}
    assert row["memory_mib"] == 3


def test_the_cost_of_a_pair_tells_wakeups_and_messages():
    measured = pair("bag", "rainzmq", 100.0)
    measured.details = [{"messages_per_task": 0.081}]
    text = as_markdown(report(measured))
    assert "| client 0.25, server 0.50 | client 12, server 3,400; 0.081 messages/task | 3 |" in text


@pytest.mark.parametrize(
    ("workload", "ours", "theirs", "ratio"), [("bag", 2_000, 500, 4), ("chain", 50, 1_000, 20)]
)
def test_a_ratio_above_one_means_that_rainzmq_is_better(workload, ours, theirs, ratio):
    mine, peer = report(pair(workload, "rainzmq", ours), pair(workload, "dask", theirs))["results"]
    assert peer["ratio"] == ratio
    assert mine["ratio"] is None


def test_there_is_no_ratio_when_rainzmq_failed():
    rows = report(pair("bag", "rainzmq", error="boom"), pair("bag", "dask", 5))["results"]
    assert [row["ratio"] for row in rows] == [None, None]


def test_a_failed_pair_is_told_with_its_reason_and_hides_nothing():
    text = as_markdown(
        report(
            pair("bag", "rainzmq", 14_000),
            pair("bag", "ray", error="RuntimeError: no room"),
            pair("bag", "dask", 500, error="no result after 300 s"),
        )
    )
    assert "- bag on ray: RuntimeError: no room" in text
    assert "- bag on dask after 1 round: no result after 300 s" in text
    assert "| **14,000** | 500 (28.0x) | failed |" in text


def test_the_table_says_whether_a_bar_was_reached():
    text = as_markdown(report(pair("bag", "rainzmq", 14_000), pair("submit-100k", "rainzmq", 20)))
    assert "| 20,000 missed |" in text
    assert "| 30.0 reached | longest stall ms 12.0 |" in text


def test_a_limit_stands_beside_the_workload_it_bounds():
    text = as_markdown(
        report(pair("bag", "rainzmq", 9), pair("bag", "ray", 3), pair("loop", "limits", 290_000))
    )
    assert "290,000 tasks/s |" in text


def test_a_run_of_a_part_of_the_sizes_says_so():
    assert "**Only 0.05 of the whole sizes.**" in as_markdown(report(pair("bag", "rainzmq", 9), scale=0.05))


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (14_388.2, "14,388"), (38.57, "38.6"), (2.04, "2"), (0.083, "0.083")]
)
def test_numbers_have_the_digits_that_matter(value, text):
    assert number(value) == text


def test_the_first_role_that_fits_a_command_line_wins():
    roles = (("server", "-m rainzmq server"), ("worker", "rainzmq"))
    assert role_of(["python", "-m", "rainzmq", "server"], roles) == "server"
    assert role_of(["python", "-m", "rainzmq", "worker"], roles) == "worker"
    assert role_of(["/bin/true"], roles) == "other"


def test_figures_of_an_earlier_version_can_be_shown():
    results = report(pair("bag", "rainzmq", 100.0))
    for row in results["results"]:
        del row["wakeups"]
    assert "| bag | rainzmq | 100 tasks/s" in as_markdown(results)
