"""Which cpus are free: indices, never given out twice."""

from __future__ import annotations

from heapq import heapify, heappop, heappush


class CpuPool:
    """The cpus of a worker. A *slot* is the set of indices that running jobs share.

    Jobs started behind a running one (pipelining) share its slot; it is freed with the last of them.

    Attributes:
        total: number of cpus.
        users: uids of the tasks that have each slot, in order.
    """

    def __init__(self, indices: list[int]) -> None:
        self.total = len(indices)
        self._free = list(indices)
        heapify(self._free)
        self.users: dict[tuple[int, ...], dict[int, None]] = {}

    @property
    def free(self) -> int:
        """Number of free cpus."""
        return len(self._free)

    def take(self, count: int, uid: int) -> tuple[int, ...] | None:
        """Give `count` cpus to a task, lowest indices first; None when fewer are free."""
        if count > len(self._free):
            return None
        cpus = tuple([heappop(self._free) for _ in range(count)])
        self.users[cpus] = {uid: None}
        return cpus

    def share(self, cpus: tuple[int, ...], uid: int) -> None:
        """Let a task stand behind those that have these cpus."""
        self.users[cpus][uid] = None

    def release(self, cpus: tuple[int, ...], uid: int) -> int | None:
        """A task is done with its cpus; the last one of a slot frees them. Returns who runs on them next,
        None if nobody does, or who did before still does.
        """
        users = self.users[cpus]
        was_first = next(iter(users)) == uid
        del users[uid]
        if users:
            return next(iter(users)) if was_first else None
        del self.users[cpus]
        for index in cpus:
            heappush(self._free, index)
        return None

    def is_used(self, cpus: tuple[int, ...]) -> bool:
        """Whether these cpus are a slot that some job has."""
        return cpus in self.users

    def slots(self, size: int) -> list[tuple[int, ...]]:
        """Slots in use that have `size` cpus."""
        return [cpus for cpus in self.users if len(cpus) == size]
