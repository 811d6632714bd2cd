"""Groups over several sessions, and the rows of their tree."""

from __future__ import annotations

import math

from rainzmq.dashboard.groups import merged, tree
from rainzmq.monitoring.views import GroupView, StateCounts, groups
from rainzmq.testing.events import demo_hub


def group(name, depth, done, mean, std=0.0, leaf=True):
    own = done if leaf else 0
    counts = StateCounts(finished=done)
    return GroupView(name, depth, leaf, own, done, counts, done, mean, std, done * mean, mean, mean)


def test_groups_of_one_session_stay_as_they_are():
    own = groups(demo_hub(6).model.sessions[1])
    assert merged([own]) == own


def test_groups_of_one_name_count_together():
    first = [group("a", 0, 2, 1.0, leaf=False), group("a/x", 1, 2, 1.0)]
    second = [group("a", 0, 2, 3.0, leaf=False), group("a/y", 1, 2, 3.0), group("b", 0, 1, 5.0)]
    found = merged([first, second])
    assert [item.name for item in found] == ["a", "a/x", "a/y", "b"]
    assert (found[0].done, found[0].mean_s, found[0].sum_s) == (4, 2.0, 8.0)
    assert math.isclose(found[0].std_s, 1.0)
    assert (found[0].min_s, found[0].max_s) == (1.0, 3.0)


def test_the_tree_shows_the_parts_of_open_groups_only_and_sorts_siblings():
    everything = [
        group("a", 0, 3, 1.0, leaf=False),
        group("a/x", 1, 1, 1.0),
        group("a/y", 1, 2, 1.0),
        group("b", 0, 9, 1.0),
    ]
    assert [item.name for item in tree(everything, "", frozenset(), 10)] == ["a", "b"]
    opened = frozenset({"a"})
    assert [item.name for item in tree(everything, "", opened, 10)] == ["a", "a/x", "a/y", "b"]
    assert [item.name for item in tree(everything, "-sum", opened, 10)] == ["b", "a", "a/y", "a/x"]
    assert [item.name for item in tree(everything, "sum", opened, 10)] == ["a", "a/x", "a/y", "b"]
    assert [item.name for item in tree(everything, "nonsense", opened, 2)] == ["a", "a/x"]
