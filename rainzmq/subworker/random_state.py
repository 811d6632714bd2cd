"""The generators of `random` and `numpy.random`: no two tasks draw the same numbers unless they seed them.

Every subworker starts as a new program, so its generators begin with fresh entropy. A task that seeds one, or
sets its state, makes everything after it predictable; so after such a task the generator is seeded afresh.
"""

from __future__ import annotations

import random
import sys
from typing import Any

from rainzmq.subworker.tripwires import watch_functions

_NUMPY = "numpy.random.mtrand"


class RandomState:
    """Whether the generators were seeded. One per process."""

    def __init__(self) -> None:
        self._seeded: set[str] = set()
        self._bit_generator: Any = None
        self._modules_seen = 0
        hidden: Any = random._inst
        self._seed = hidden.seed
        for name in ("seed", "setstate"):
            # Also at the hidden object, whose methods are what functions that travel refer to.
            watch_functions((random, hidden), name, lambda _: self._seeded.add("random"))

    def refresh(self) -> None:
        """A task ended: give the generators that it seeded fresh entropy. Never raises."""
        if len(sys.modules) != self._modules_seen:
            self._modules_seen = len(sys.modules)
            if self._bit_generator is None and _NUMPY in sys.modules:
                self._watch_numpy()
        if self._seeded:
            if "random" in self._seeded:
                self._seed()
            if "numpy" in self._seeded:
                self._seed_numpy()
            self._seeded.clear()

    def _watch_numpy(self) -> None:
        """NumPy was imported, maybe by this task, which may have seeded it at once."""
        module: Any = sys.modules[_NUMPY]
        places = (module, sys.modules["numpy.random"])
        try:
            self._bit_generator = module.get_bit_generator()
        except AttributeError:  # still being imported by a thread, or older than NumPy 1.24
            self._bit_generator = module._rand._bit_generator
        for name in ("seed", "set_state", "set_bit_generator"):
            watch_functions(places, name, lambda _: self._seeded.add("numpy"))
        self._seeded.add("numpy")

    def _seed_numpy(self) -> None:
        module: Any = sys.modules[_NUMPY]
        rand = module._rand
        if rand._bit_generator is not self._bit_generator:
            module.set_bit_generator(self._bit_generator)
        rand.seed()
