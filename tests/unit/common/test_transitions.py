"""Changes of state are checked, and the states before are remembered."""

from __future__ import annotations

import pytest

from rainzmq.common.transitions import REMEMBERED, IllegalTransition, Past

TABLE = {
    "open": frozenset({"shut", "gone"}),
    "shut": frozenset({"open"}),
    "gone": frozenset(),
}


def test_a_past_tells_the_states_in_order():
    past = Past(TABLE, "open")["shut"]["open"]["gone"]
    assert past.states == ("open", "shut", "open", "gone")


def test_a_step_that_the_table_does_not_have_is_an_error_and_changes_nothing():
    past = Past(TABLE, "open")["gone"]
    with pytest.raises(KeyError):
        past["open"]
    assert past.states == ("open", "gone")
    assert len(past) == 0


def test_things_with_the_same_past_share_it():
    root = Past(TABLE, "open")
    assert root["shut"] is root["shut"]


def test_there_is_an_end_to_what_is_remembered():
    root = past = Past(TABLE, "open")
    for _ in range(50):
        past = past["shut"]["open"]
    assert past.states == ("shut", "open") * (REMEMBERED // 2)
    assert past is past["shut"]["open"], "no further ones are made"
    assert root.states == ("open",)


def test_the_error_names_the_thing_its_past_and_the_step():
    error = IllegalTransition("task", "1/7", ("ready", "running"), "ready")
    assert str(error) == "task 1/7: ready -> running -> ready: the last step is not a legal transition"
