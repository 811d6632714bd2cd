"""Ready tasks: for each resource request, queues by b-level.

Pushing and popping cost the same with ten and with a million ready tasks: there are few different b-levels
among them, and tasks of one level go first in, first out, session by session. A heap of tasks costs 20 steps
through cold memory with a million: a microsecond and more for each. What a session has ready goes at once
when it ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush

from rainzmq.common.ids import session_of
from rainzmq.common.states import TaskState
from rainzmq.scheduler.view import Request, TaskLike

_READY = TaskState.READY

Place = tuple[int, int]
"""(negated b-level, session id): what comes first is the least."""


class _Queues:
    """Tasks of one request, by place. `order`: a heap of places; some may have no queue any more."""

    __slots__ = ("order", "queues")

    def __init__(self) -> None:
        self.order: list[Place] = []
        self.queues: dict[Place, deque[TaskLike]] = {}


class ReadyQueues:
    """Queues of ready tasks. Tasks that left the state `ready` are skipped when they come up (lazy
    deletion).
    """

    def __init__(self) -> None:
        self._requests: dict[Request, _Queues] = {}

    def push(self, task: TaskLike, first: bool = False) -> None:
        """Add a task whose state has just become `ready`; `first` of its b-level and session."""
        request, place = task.body.request, (-task.blevel, session_of(task.uid))
        of_request = self._requests.get(request)
        if of_request is None:
            of_request = self._requests[request] = _Queues()
        queue = of_request.queues.get(place)
        if queue is None:
            queue = of_request.queues[place] = deque()
            heappush(of_request.order, place)
        if first:
            queue.appendleft(task)
        else:
            queue.append(task)

    def peek(self, request: Request) -> TaskLike | None:
        """The first ready task of a request, None without one."""
        of_request = self._requests.get(request)
        if of_request is None:
            return None
        while of_request.order:
            queue = of_request.queues.get(of_request.order[0])
            while queue:
                if queue[0].state is _READY:
                    return queue[0]
                queue.popleft()
            of_request.queues.pop(heappop(of_request.order), None)
        del self._requests[request]
        return None

    def pop(self, request: Request) -> None:
        """Remove what `peek` returned."""
        of_request = self._requests[request]
        of_request.queues[of_request.order[0]].popleft()

    def of(self, request: Request, session_id: int) -> Iterator[TaskLike]:
        """Ready tasks of a request and a session, in no order."""
        of_request = self._requests.get(request)
        for place, queue in of_request.queues.items() if of_request is not None else ():
            if place[1] == session_id:
                yield from (task for task in queue if task.state is _READY)

    def drop_session(self, session_id: int) -> None:
        """Forget all tasks of a session."""
        for of_request in self._requests.values():
            for place in [place for place in of_request.queues if place[1] == session_id]:
                del of_request.queues[place]

    def requests(self) -> list[Request]:
        """Requests that may have a ready task."""
        return list(self._requests)

    def __bool__(self) -> bool:
        return any(self.peek(request) is not None for request in self.requests())
