"""The event log in the making: what happened, gathered for watchers.

Handlers note what happened (`noting.py`) as events whose columns are the lists of the messages themselves
wherever possible: an event costs something per message, next to nothing per task. Nothing is noted while
nobody watches. What was gathered is handed out by `watchers.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Feed:
    """Events that have not been handed out, and who wants them.

    Attributes:
        offset: added to the engine's clock it gives s since the epoch.
        number: number of the last event.
        pending: events not handed out.
        removed: objects removed in this turn.
        keeping: nobody watches yet, but somebody is about to: all events since the start are pending.
        watchers: connections that get events, with the number of their last request.
        snapshots: what is left of the snapshots of those that asked for one.
        reasons: what was last said of why a session waits.
    """

    offset: float
    number: int = 0
    pending: list[Any] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    keeping: bool = False
    watchers: dict[bytes, int] = field(default_factory=dict)
    snapshots: dict[bytes, Iterator[list[Any]]] = field(default_factory=dict)
    reasons: dict[int, list[str]] = field(default_factory=dict)
    reasons_at: float = 0.0

    @property
    def on(self) -> bool:
        """Whether events are noted."""
        return bool(self.watchers) or self.keeping

    def add(self, now: float, kind: type, *values: Any) -> None:
        """Note an event; `values` are its fields after number and time."""
        if self.watchers or self.keeping:
            self.number += 1
            self.pending.append(kind(self.number, now + self.offset, *values))

    def forget(self, peer: bytes) -> None:
        """A watcher is gone."""
        self.watchers.pop(peer, None)
        self.snapshots.pop(peer, None)
        if not self.on:
            self.drop()

    def drop(self) -> None:
        """Forget what nobody will be told."""
        self.keeping = False
        self.pending.clear()
        self.removed.clear()
        self.reasons.clear()
