"""Counting without a line for each."""

from __future__ import annotations

from rainzmq.common.tally import MAX_NAMES, OTHERS, Tally


def test_the_first_and_each_doubling_is_worth_a_line() -> None:
    tally = Tally()
    assert [tally.note("peer") for _ in range(9)] == [1, 2, 0, 4, 0, 0, 0, 8, 0]
    assert tally["peer"] == 9


def test_names_are_bounded() -> None:
    tally = Tally()
    for number in range(MAX_NAMES + 50):
        tally.note(str(number))
    assert len(tally) == MAX_NAMES + 1
    assert tally[OTHERS] == 50
    assert tally.note("0") == 2
