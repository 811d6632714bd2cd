"""Which cpus are free: indices, never given out twice."""

from __future__ import annotations

from heapq import heapify, heappop, heappush


class CpuPool:
    """The cpus of a worker. A *slot* is the set of indices that running jobs share.

    Jobs started behind a running one (pipelining) share its slot; it is freed with the last of them.
    """

    def __init__(self, indices: list[int]) -> None:
        self.total = len(indices)
        self._free = list(indices)
        heapify(self._free)
        self._users: dict[tuple[int, ...], set[int]] = {}

    @property
    def free(self) -> int:
        """Number of free cpus."""
        return len(self._free)

    def take(self, count: int, uid: int) -> tuple[int, ...] | None:
        """Give `count` cpus to a task, lowest indices first; None when fewer are free."""
        if count > len(self._free):
            return None
        cpus = tuple([heappop(self._free) for _ in range(count)])
        self._users[cpus] = {uid}
        return cpus

    def share(self, cpus: tuple[int, ...], uid: int) -> None:
        """Let a task stand behind those that have these cpus."""
        self._users[cpus].add(uid)

    def release(self, cpus: tuple[int, ...], uid: int) -> None:
        """A task is done with its cpus; the last one of a slot frees them."""
        users = self._users[cpus]
        users.remove(uid)
        if not users:
            del self._users[cpus]
            for index in cpus:
                heappush(self._free, index)

    def slots(self, size: int) -> list[tuple[int, ...]]:
        """Slots in use that have `size` cpus."""
        return [cpus for cpus in self._users if len(cpus) == size]
