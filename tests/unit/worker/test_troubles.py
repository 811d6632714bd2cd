"""Kinds of task that a worker takes none of for now, and when it tries again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rainzmq.worker.troubles import FIRST_RETRY_S, LAST_RETRY_S, Troubles


class Timer:
    def __init__(self, time: float, callback: Callable[[], None]) -> None:
        self.time, self.callback, self.cancelled = time, callback, False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """A loop with a clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 100.0
        self.timers: list[Timer] = []

    def now(self) -> float:
        return self.time

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        self.timers.append(Timer(self.time + delay_s, callback))
        return self.timers[-1]

    def next(self) -> float:
        """Let the next timer come; how long that took."""
        timer = min((timer for timer in self.timers if not timer.cancelled), key=lambda timer: timer.time)
        waited, self.time = timer.time - self.time, timer.time
        self.timers.remove(timer)
        timer.callback()
        return waited


class Bench:
    def __init__(self) -> None:
        self.clock = Clock()
        self.told: list[dict[str, str]] = []
        self.tried: list[str] = []
        self.troubles = Troubles(self.clock, self.told.append, self.tried.append)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_trouble_is_told_once_and_its_end_too(bench):
    bench.troubles.ill("python", "no room")
    bench.troubles.ill("python", "no room")
    bench.troubles.well("python")
    bench.troubles.well("python")
    assert bench.told == [{"python": "no room"}, {}]


def test_each_trial_in_vain_doubles_the_time_to_the_next(bench):
    bench.troubles.ill("python", "no room")
    waits = []
    for _ in range(9):
        waits.append(bench.clock.next())
        bench.troubles.ill("python", "no room")
    assert waits == [FIRST_RETRY_S * factor for factor in (1, 2, 4, 8, 16, 32)] + [LAST_RETRY_S] * 3
    assert bench.tried == ["python"] * 9
    assert len(bench.told) == 1


def test_who_was_well_only_for_a_moment_waits_longer_the_next_time(bench):
    bench.troubles.ill("c", "why")
    bench.clock.next()
    bench.troubles.well("c")
    bench.troubles.ill("c", "why")
    assert bench.clock.next() == 2 * FIRST_RETRY_S
    bench.troubles.well("c")
    bench.clock.time += LAST_RETRY_S + 1
    bench.troubles.ill("c", "why")
    assert bench.clock.next() == FIRST_RETRY_S


def test_kinds_are_apart_and_all_that_are_ill_are_told(bench):
    bench.troubles.ill("builtin", "one")
    bench.troubles.ill("python", "two")
    bench.troubles.well("builtin")
    assert bench.told == [{"builtin": "one"}, {"builtin": "one", "python": "two"}, {"python": "two"}]
    assert bench.troubles.now() == {"python": "two"}


def test_nothing_is_tried_after_the_end(bench):
    bench.troubles.ill("python", "why")
    bench.troubles.close()
    assert all(timer.cancelled for timer in bench.clock.timers)
