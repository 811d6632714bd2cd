"""How many threads numerical libraries start: what their environment variables say when they are loaded.

Without a word from them each takes all cpus of the machine: eight tasks on eight cpus then run 64 threads.
"""

from __future__ import annotations

from collections.abc import Mapping

_FOR_ALL = "OMP_NUM_THREADS"
"""Most libraries look at this when their own variable is not set."""

_VARIABLES = (
    _FOR_ALL,
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
)
"""Not NUMBA_NUM_THREADS: numba refuses to work when that changes, and counts the cpus it may use anyway."""


def thread_variables(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The variables that tell a task's libraries how many cpus it has; those that are set stay as they are.

    None at all when it sets OMP_NUM_THREADS, which the others would go before.
    """
    if _FOR_ALL in environment:
        return ()
    return tuple([name for name in _VARIABLES if name not in environment])
