"""Names that are too many to tell apart are folded by their parts."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest

from rainzmq.monitoring.groups import folded_groups, folded_names
from rainzmq.monitoring.model import Model
from rainzmq.monitoring.views import groups
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.shared import TaskBody
from rainzmq.testing.events import demo_hub


def ones(*names):
    return dict.fromkeys(names, 1)


def test_few_names_stay_as_they_are():
    counts = {"load/parse": 1000, "report": 1, "train/a/b": 3}
    assert folded_names(counts) == {name: name for name in counts}


def test_names_with_a_number_for_each_task_become_one():
    counts = ones(*(f"load/{2000 + at}" for at in range(40)), *(f"train/fold {at}" for at in range(7)), "x")
    shown = folded_names(counts)
    assert set(shown.values()) == {"load/", "train/", "x"}
    assert shown["train/fold 3"] == "train/"


def test_names_of_many_tasks_stay_when_others_can_be_folded():
    counts = {**ones(*(f"load/{at}" for at in range(100))), "sort/fast": 500, "sort/slow": 400}
    assert set(folded_names(counts).values()) == {"load/", "sort/fast", "sort/slow"}


def test_the_deepest_parts_go_first_and_all_at_once():
    counts = ones(*(f"train/model {at % 10}/fold {at // 10}" for at in range(50)))
    assert set(folded_names(counts).values()) == {f"train/model {at}/" for at in range(10)}
    assert set(folded_names(counts, most=9).values()) == {"train/"}


def test_chains_of_single_parts_are_cut_where_that_helps():
    counts = ones(*(f"run/{at}/only/one" for at in range(100)))
    assert set(folded_names(counts).values()) == {"run/"}


def test_a_name_that_is_alone_under_its_cut_stays_whole():
    counts = ones(*(f"a/{at}/x" for at in range(2)), *(f"a/9/{at}" for at in range(30)))
    assert set(folded_names(counts).values()) == {"a/0/x", "a/1/x", "a/9/"}


@pytest.mark.parametrize("odd", ["", "/", "//", "a//b", "a/", "/a"])
def test_odd_names_are_folded_too(odd):
    shown = folded_names({odd: 1, **ones(*(f"{odd}/{at}" for at in range(30)))})
    assert len(set(shown.values())) <= 2


def test_names_without_parts_can_not_be_folded():
    counts = ones(*(f"n{at}" for at in range(50)))
    assert folded_names(counts) == {name: name for name in counts}


def test_the_order_of_the_names_does_not_matter():
    dice = random.Random(5)
    names = [f"{dice.choice('abc')}/{dice.randrange(6)}/{dice.randrange(9)}" for _ in range(200)]
    counts = {name: names.count(name) for name in names}
    shown = folded_names(counts)
    assert len(set(shown.values())) <= 24
    for _ in range(5):
        items = list(counts.items())
        dice.shuffle(items)
        assert folded_names(dict(items)) == shown


def test_many_names_take_little_time():
    counts = ones(*(f"load/{at % 300}/{at}" for at in range(100_000)))
    begun = time.process_time()
    assert set(folded_names(counts).values()) == {"load/"}
    assert time.process_time() - begun < 3


def test_groups_of_unfolded_names_are_those_of_the_tree():
    session = demo_hub(9).model.sessions[1]
    wanted = {group.name: group for group in groups(session) if group.own}
    found = folded_groups(session)
    assert {group.name for group in found} == set(wanted)
    for group in found:
        other = wanted[group.name]
        assert (group.total, group.done, group.counts) == (other.total, other.done, other.counts)
        for field in ("mean_s", "std_s", "sum_s", "min_s", "max_s"):
            assert getattr(group, field) == pytest.approx(getattr(other, field), abs=1e-6)


def test_folded_groups_sum_over_all_their_names():
    model = Model()
    bodies = [TaskBody(key, "python/run", 1, f"load/{key}", b"", [], []) for key in range(1, 41)]
    ids = list(range(1, 41))
    model.apply(e.SessionCame(1, 1.0, 1, "s", "c"))
    model.apply(e.TasksSubmitted(2, 1.0, 1, bodies, ids, ids, [0] * 40, [], [], [], [], [], []))
    (group,) = folded_groups(model.sessions[1])
    assert (group.name, group.total, group.done, group.mean_s) == ("load/", 40, 0, None)
    assert np.isclose(group.sum_s, 0.0)
