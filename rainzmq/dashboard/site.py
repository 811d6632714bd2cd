"""What all open documents share: the hub, templates, and what was computed for one version of the model."""

from __future__ import annotations

import time as clock
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import jinja2

from rainzmq.common.headline import headline
from rainzmq.dashboard.texts import NOTHING, environment, readable
from rainzmq.monitoring.hub import Hub
from rainzmq.monitoring.session import STATES

UPDATE_S = 0.5
"""Pages change at most so often, s."""

_KEPT = 200
"""Computed values that are kept."""

_Value = TypeVar("_Value")


class Site:
    """Shared by the documents of one application.

    Attributes:
        hub: what is shown.
        templates: jinja2, with autoescape for everything.
        now: a monotonic clock, s.
        views: the open documents.
    """

    def __init__(self, hub: Hub, now: Callable[[], float] = clock.monotonic) -> None:
        self.hub = hub
        self.now = now
        self.views: weakref.WeakSet[Any] = weakref.WeakSet()
        self.templates = _templates()
        self._seen: Hashable = None
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def version(self) -> Hashable:
        """Of what is shown now."""
        hub = self.hub
        return (hub.model.version, hub.is_connected, len(hub.notes))

    def tick(self) -> None:
        """Let all documents that are not up to date change, one right after the other: what is computed for
        the first of them then holds for the others. To be called every `UPDATE_S`.
        """
        for view in list(self.views):
            view.wake()

    def once(self, key: Hashable, make: Callable[[], _Value]) -> _Value:
        """What `make` returns, computed once for a version of the model. `key` names it.

        The model is fed on the thread that all documents live in: nothing changes during an update.
        """
        if self._seen != self.version():
            self._seen = self.version()
            self._kept.clear()
        if key in self._kept:
            self._kept.move_to_end(key)
            found: _Value = self._kept[key]
            return found
        value = make()
        self._kept[key] = value
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return value


def _templates() -> jinja2.Environment:
    made = environment(
        "rainzmq.dashboard",
        clock=clock_text,
        percent=lambda value: NOTHING if value is None else f"{value:.0f} %",
        headline=lambda value: headline(readable(value)),
    )
    made.globals.update(STATES=STATES)
    return made


def clock_text(value: float | None) -> str:
    """A time of day, `14:05:22.3`."""
    if value is None:
        return NOTHING
    tenths = int(value * 10 + 0.5)
    return clock.strftime("%H:%M:%S", clock.localtime(tenths // 10)) + f".{tenths % 10}"
