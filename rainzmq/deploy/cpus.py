"""How many cpus there are, and how they are shared out between workers."""

from __future__ import annotations

import os
from collections.abc import Sequence

from rainzmq.common.cgroups import cpu_quota
from rainzmq.common.errors import RainException


def available_cpus() -> int:
    """Number of cpus this process may keep busy, at least 1: those of its affinity mask, but no more than the
    quota of cpu time of its container, batch job or service pays for.

    A quota of one and a half cpus counts as one: with two, both tasks would be stopped in every period, and
    tasks would take longer than one after the other.
    """
    cpus = len(os.sched_getaffinity(0))
    quota = cpu_quota()
    return cpus if quota is None else max(1, min(cpus, int(quota)))


def share_cpus(workers: int | Sequence[int] | None, cpus: int | None) -> list[int]:
    """The cpus of each worker of a cluster.

    Args:
        workers: how many workers share `cpus`, or the cpus of each; None is one worker.
        cpus: all cpus together, None for those of this machine (but at least one for each worker).

    Returns:
        One count for each worker, each at least 1. A number of workers gets equal shares; the first ones get
        one cpu more when the division leaves a rest.

    Raises:
        RainException: a count under 1, fewer cpus than workers, or `cpus` together with a list of counts.
    """
    if cpus is not None:
        _check_count(cpus, "cpus")
    if workers is None:
        return [cpus or available_cpus()]
    if isinstance(workers, int):
        _check_count(workers, "workers")
        total = cpus or max(available_cpus(), workers)
        if total < workers:
            raise RainException(
                f"{total} cpus cannot be shared by {workers} workers: each needs at least one"
            )
        share, rest = divmod(total, workers)
        return [share + (index < rest) for index in range(workers)]
    counts = list(workers)
    if cpus is not None:
        raise RainException("give either cpus or a list of the cpus of each worker, not both")
    if not counts:
        raise RainException("the list of workers is empty: a cluster needs at least one worker")
    for count in counts:
        _check_count(count, "cpus of a worker")
    return counts


def _check_count(value: object, what: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise RainException(f"{what} must be a whole number of at least 1, not {value!r}")
