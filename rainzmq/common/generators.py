"""Random generators in what is pickled.

A generator object travels with its state, so every task that gets a copy draws the same numbers; mostly that
is not meant. The generators that `random` and `numpy.random` have for themselves are another matter: their
functions are methods of one hidden object, which is found by its name where the pickle is loaded, so that
`from random import random` means the generator of that process.
"""

from __future__ import annotations

import random
import sys
from functools import lru_cache
from typing import Any

_GENERATORS = {
    "numpy.random": ("Generator", "RandomState", "BitGenerator"),
    "torch": ("Generator",),
}
_HIDDEN = {"random": "_inst", "numpy.random.mtrand": "_rand"}

RECIPE = (
    "give every call a seed of its own, as in [f(seed) for seed in numpy.random.SeedSequence().spawn(n)], "
    "and make the generator from it inside the function"
)


def generator_kind(value: Any) -> str | None:
    """What kind of generator `value` is, human-readable; None when it is none, when it has no state to repeat
    (`SystemRandom`), or when it is the one of its module (`name_of_shared_generator`).
    """
    kind: Any = type(value)
    if not _is_generator_type(kind) or name_of_shared_generator(value) is not None:
        return None
    return f"{kind.__module__.partition('._')[0]}.{kind.__qualname__}"


@lru_cache(maxsize=128)  # asked for every object; bounded, as it keeps the types alive
def _is_generator_type(kind: type) -> bool:
    if issubclass(kind, random.Random):
        return not issubclass(kind, random.SystemRandom)
    for module_name, names in _GENERATORS.items():
        module = sys.modules.get(module_name)
        if module is not None and issubclass(
            kind, tuple(filter(None, (getattr(module, name, None) for name in names)))
        ):
            return True
    return False


def name_of_shared_generator(value: Any) -> str | None:
    """The name, within the module of its type, of the generator that functions such as `random.random` and
    `numpy.random.rand` use; None for any other object.
    """
    module_name = type(value).__module__
    name = _HIDDEN.get(module_name)
    if name is not None and getattr(sys.modules.get(module_name), name, None) is value:
        return name
    return None
