"""Whose fault it is when a worker vanishes.

A task whose own process ends is to blame, and its worker says so. But when a worker's connection breaks and
does not come back, that may be the doing of a task it ran (one that took all memory, or killed what it
found), of its machine, of its owner, or of the network. Nothing tells them apart but what else happened:

- It left, or fell silent, or comes back later: no task did that.
- Several tasks ran there: any of them may have done it, so none is blamed.
- One ran there alone, whenever a worker died under it, and no other worker died meanwhile or shortly before:
  that one is blamed, from the `crash_limit`th time on.
- Whatever happens to others, a task is not tried any more after `MAX_DEATHS` workers died under it.

So in a cluster whose machines come and go all the time no task fails of it; and one task that kills every
worker it is given to ends soon where nothing else fails, and at some time anywhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

MAX_DEATHS = 100
"""A task that was running on so many workers when they died is not tried again."""

STORM_S = 60.0
"""Another worker that died so long before or later shows that workers die without this task, seconds."""

MAX_REMEMBERED = 1000
MAX_NOTES = 5
"""How many deaths an error lists."""


class Death(NamedTuple):
    """A worker that vanished. `attempts`: the tasks it ran that may have done it, and the attempt of each."""

    time: float
    epoch: int
    worker: str
    reason: str
    attempts: Mapping[int, int]


class Deaths:
    """The last workers that vanished, oldest first."""

    def __init__(self) -> None:
        self._deaths: deque[Death] = deque(maxlen=MAX_REMEMBERED)

    def add(self, death: Death) -> None:
        """A worker is gone, not on purpose."""
        self._deaths.append(death)

    def withdraw(self, epoch: int) -> None:
        """The worker that had this epoch is back: it was its connection that had died."""
        for death in self._deaths:
            if death.epoch == epoch:
                self._deaths.remove(death)
                return

    def verdict(self, uid: int, crash_limit: int) -> str | None:
        """Why a task is not tried again, human-readable; None when it may be."""
        own = [death for death in self._deaths if uid in death.attempts]
        if len(own) >= MAX_DEATHS:
            return f"{len(own)} workers died while it ran on them; it is not tried again.\n{_notes(uid, own)}"
        if len(own) < crash_limit or any(len(death.attempts) > 1 for death in own):
            return None
        since = own[0].time - STORM_S
        if any(uid not in death.attempts and death.time >= since for death in self._deaths):
            return None
        return (
            f"{len(own)} workers died while it alone ran on them, and no other worker died; it is not tried "
            f"again.\n{_notes(uid, own)}"
        )


def _notes(uid: int, deaths: list[Death]) -> str:
    lines = [f"({len(deaths) - MAX_NOTES} more)"] if len(deaths) > MAX_NOTES else []
    for death in deaths[-MAX_NOTES:]:
        attempt = death.attempts[uid] + 1
        lines.append(f"attempt {attempt} on {death.worker}: it was lost while the task ran ({death.reason})")
    return "\n".join(lines)
