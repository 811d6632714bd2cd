"""A loop whose time passes when it is told to, for tests of what waits and gives up."""

from __future__ import annotations

from typing import Any


class ManualLoop:
    """Has the clock and the timers of `transport.loop.Loop`, and nothing to read."""

    def __init__(self) -> None:
        self.time = 0.0
        self.timers: list[tuple[float, Any]] = []

    def now(self) -> float:
        """The time, seconds."""
        return self.time

    def call_later(self, delay_s: float, callback: Any) -> None:
        """Call `callback` once after a while."""
        self.timers.append((self.time + delay_s, callback))

    def pass_time(self, seconds: float) -> None:
        """Let time pass; what is due meanwhile is called in order."""
        end = self.time + seconds
        while due := [timer for timer in self.timers if timer[0] <= end]:
            timer = min(due, key=lambda item: item[0])
            self.timers.remove(timer)
            self.time = max(self.time, timer[0])
            timer[1]()
        self.time = end
