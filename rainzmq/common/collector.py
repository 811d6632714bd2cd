"""Garbage collection in small steps, for processes that hold millions of objects.

Python's collector looks at young objects often, and at all of them now and then: with a million tasks that is
a pause of a third of a second. Nearly nothing that server and worker hold becomes cyclic garbage: records of
tasks and objects refer to each other, and are taken apart when their session ends. So each object is looked
at once, when it is young; what is left then is *frozen* and never looked at again (`gc.freeze`). It is still
freed when its last reference goes. Cycles that become garbage later wait for `rest`, when little is held.
"""

from __future__ import annotations

import gc

YOUNG_OBJECTS = 20_000
"""So many new objects are looked at together: about 2 ms."""


_MANY_STEPS = 50


class GarbageCollector:
    """Takes over from the automatic collector of this process, once it is started."""

    def __init__(self) -> None:
        self._steps = 0

    def start(self) -> None:
        """Freeze what is there, and collect only in `step` and `rest` from now on."""
        gc.disable()
        gc.collect()
        gc.freeze()

    def step(self) -> None:
        """Look at the new objects, if there are enough."""
        if gc.get_count()[0] >= YOUNG_OBJECTS:
            gc.collect(0)
            gc.freeze()
            self._steps += 1

    def rest(self) -> None:
        """Little is held now: look at everything, if much has come and gone since the last time."""
        if self._steps >= _MANY_STEPS:
            self._steps = 0
            gc.unfreeze()
            gc.collect()
            gc.freeze()
