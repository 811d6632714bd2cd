"""The catalogue of workloads, and the drivers that implement it."""

from __future__ import annotations

import importlib
import inspect

import pytest

from benchmarks.drivers.harness import Driver
from benchmarks.systems import SYSTEMS
from benchmarks.workloads import WORKLOADS, choose


def driver_class(system: str) -> type[Driver]:
    """The driver of a system; importing it needs nothing of the system itself."""
    module = importlib.import_module(SYSTEMS[system].driver)
    return next(
        item
        for item in vars(module).values()
        if inspect.isclass(item) and issubclass(item, Driver) and item.__module__ == module.__name__
    )


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=lambda item: item.name)
def test_every_system_of_a_workload_has_its_method_with_its_parameters(workload):
    for system in workload.systems:
        method = getattr(driver_class(system), workload.method)
        parameters = list(inspect.signature(method).parameters)
        assert parameters == ["self", "meter", *parameters[2:]]
        assert set(parameters[2:]) == set(workload.params)


def test_every_system_but_our_own_environment_has_pinned_versions():
    for system in SYSTEMS.values():
        assert all("==" in requirement for requirement in system.requirements or ())


def test_limits_that_workloads_name_exist():
    for workload in WORKLOADS.values():
        assert workload.limit is None or WORKLOADS[workload.limit].systems == ("limits",)


def test_choosing_nothing_gives_all_but_the_heavy_workloads():
    chosen = choose(())
    assert [item for item in WORKLOADS.values() if not item.heavy] == chosen
    assert "shuffle-100-1m" not in {item.name for item in chosen}


def test_a_group_stands_for_its_workloads_but_the_heavy_ones():
    assert [item.name for item in choose(("sleep",))] == ["sleep-1ms", "sleep-10ms", "sleep-100ms"]
    assert "shuffle-100-1m" not in {item.name for item in choose(("shuffle",))}


def test_a_heavy_workload_can_be_named():
    assert [item.name for item in choose(("shuffle-100-1m",))] == ["shuffle-100-1m"]


def test_an_unknown_name_is_an_error():
    with pytest.raises(KeyError, match="bags"):
        choose(("bag", "bags"))


def test_scale_shrinks_counts_and_sizes_only():
    assert WORKLOADS["transfer"].scaled(0.5) == {"count": 32, "size": 4_000_000}
    assert WORKLOADS["sleep-10ms"].scaled(0.1) == {"count": 40, "duration_s": 0.01}
    assert WORKLOADS["bag"].scaled(0.000_001) == {"count": 2}


def test_a_bar_is_a_least_value_for_rates_and_a_most_value_for_costs():
    assert WORKLOADS["bag"].reaches_bar(20_000)
    assert not WORKLOADS["bag"].reaches_bar(19_999)
    assert WORKLOADS["chain"].reaches_bar(100)
    assert not WORKLOADS["chain"].reaches_bar(101)
    assert WORKLOADS["skew"].reaches_bar(1) is None
