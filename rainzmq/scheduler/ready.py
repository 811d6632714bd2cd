"""Ready tasks: one heap per resource request, ordered by b-level, then by age."""

from __future__ import annotations

from heapq import heappop, heappush

from rainzmq.scheduler.view import Request, TaskView

READY = "ready"


class ReadyQueues:
    """Heaps of ready tasks. Tasks that left the state `ready` are skipped when they come up (lazy
    deletion).
    """

    def __init__(self) -> None:
        self._heaps: dict[Request, list[tuple[int, int, TaskView]]] = {}
        self._pushed = 0

    def push(self, task: TaskView) -> None:
        """Add a task whose state has just become `ready`."""
        self._pushed += 1
        heappush(self._heaps.setdefault(task.body.request, []), (-task.blevel, self._pushed, task))

    def peek(self, request: Request) -> tuple[int, int, TaskView] | None:
        """The first ready task of a request with its order, None without one."""
        heap = self._heaps.get(request)
        while heap:
            if heap[0][2].state == READY:
                return heap[0]
            heappop(heap)
        if heap is not None:
            del self._heaps[request]
        return None

    def pop(self, request: Request) -> None:
        """Remove what `peek` returned."""
        heappop(self._heaps[request])

    def requests(self) -> list[Request]:
        """Requests that may have a ready task."""
        return list(self._heaps)

    def __bool__(self) -> bool:
        return any(self.peek(request) is not None for request in self.requests())
