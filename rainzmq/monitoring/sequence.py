"""Which events can be taken in: none is missed without being noticed.

Events are numbered. A snapshot that was asked for says from which number on to count; what comes before its
begin is not taken in. Events that belong to a snapshot have a number that was counted already.
"""

from __future__ import annotations

from typing import Any

from rainzmq.protocol.messages.events import SnapshotBegin


class Sequence:
    """Counts events. `missed` is set when a new snapshot must be asked for."""

    def __init__(self) -> None:
        self.missed = False
        self.number: int | None = None
        """Number of the last event that was taken in; None while the begin of a snapshot is awaited."""
        self._request = 0

    def asked(self, request: int) -> None:
        """A snapshot was asked for, with that number of the request."""
        self._request = request
        self.number, self.missed = None, False

    def takes(self, event: Any) -> bool:
        """Whether an event can be taken in."""
        if isinstance(event, SnapshotBegin) and event.request == self._request:
            self.number = event.number
        if self.number is None:
            return False
        if event.number > self.number + 1:
            self.number, self.missed = None, True
            return False
        self.number = max(self.number, event.number)
        return True
