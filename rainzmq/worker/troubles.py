"""What this worker cannot do for now, and when it tries again.

    fault --ill(kind, why)--> told: none of that kind
    after 1, 2, 4 ... 60 s: try_again(kind) --> well or ill

A worker that took tasks that it cannot run would draw the work of its cluster: it is always idle. So it says
which kinds of task it takes none of, and why, until a trial of its own, without a task, went well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from rainzmq.transport.loop import Timer

_log = logging.getLogger(__name__)

FIRST_RETRY_S = 1.0
LAST_RETRY_S = 60.0
"""Each trial in vain doubles the time to the next one, from the first of these to the second. A kind that was
well for longer than the second begins with the first again."""


class TroubleLoop(Protocol):
    """What is needed of `transport.loop.Loop`."""

    def now(self) -> float:
        """Monotonic seconds."""

    def call_later(self, delay_s: float, callback: Callable[[], None], /) -> Timer:
        """Call `callback` once in so many seconds."""


@dataclass(slots=True)
class _Kind:
    why: str = ""
    retry_s: float = FIRST_RETRY_S
    well_since: float = 0.0
    timer: Timer | None = None


class Troubles:
    """The kinds of task that this worker takes none of.

    Args:
        loop: the worker's.
        changed: called with {kind: why} when it is not what it was.
        try_again: begins a trial of a kind, after which `well` or `ill` is called.
    """

    def __init__(
        self,
        loop: TroubleLoop,
        changed: Callable[[dict[str, str]], None],
        try_again: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._changed = changed
        self._try_again = try_again
        self._kinds: dict[str, _Kind] = {}

    def now(self) -> dict[str, str]:
        """The kinds that are ill, with why."""
        return {name: kind.why for name, kind in self._kinds.items() if kind.why}

    def ill(self, name: str, why: str) -> None:
        """Tasks of a kind cannot be run, for a reason that is not theirs."""
        kind = self._kinds.setdefault(name, _Kind(well_since=float("-inf")))
        was, kind.why = kind.why, why
        if not was:
            if self._loop.now() - kind.well_since > LAST_RETRY_S:
                kind.retry_s = FIRST_RETRY_S
            _log.warning("takes no %s tasks for now, tries again in %.0f s: %s", name, kind.retry_s, why)
        if kind.timer is None:
            kind.timer = self._loop.call_later(kind.retry_s, partial(self._on_timer, name))
            kind.retry_s = min(2 * kind.retry_s, LAST_RETRY_S)
        if was != why:
            self._changed(self.now())

    def well(self, name: str) -> None:
        """Tasks of a kind can be run. No error when they always could."""
        kind = self._kinds.get(name)
        if kind is None or not kind.why:
            return
        _log.info("takes %s tasks again", name)
        kind.why, kind.well_since = "", self._loop.now()
        self._cancel(kind)
        self._changed(self.now())

    def close(self) -> None:
        """Try nothing any more."""
        for kind in self._kinds.values():
            self._cancel(kind)

    def _on_timer(self, name: str) -> None:
        self._kinds[name].timer = None
        self._try_again(name)

    @staticmethod
    def _cancel(kind: _Kind) -> None:
        if kind.timer is not None:
            kind.timer.cancel()
            kind.timer = None
