"""Where tasks run: locality first, then the least backlog, and a bounded queue ahead of what runs.

Ready tasks are taken by b-level (the longest path to an end of the graph: Hu 1961, the core of HEFT).
Candidates for a task are the holders of its inputs and the least loaded worker that fits; the cheapest
estimated start wins. A worker holds a queue ahead of what runs, long enough to bridge a round trip (`AHEAD_S`
of expected work, and at least one task per cpu), so that it never waits for the server, and short enough that
little has to be taken back. When the first task of a request fits nowhere now, the fitting worker with the
least load is reserved for it, so that a stream of small tasks does not starve a wide one. A worker that idles
while nothing is ready gets queued tasks of the fullest one: `retractions` names them.

The alternative of binding tasks late, with no queue at all, costs a round trip per task: 250 us and more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappop, heapreplace

from rainzmq.common.states import DataObjectState, TaskState
from rainzmq.scheduler.ready import ReadyQueues
from rainzmq.scheduler.view import Assignments, Request, TaskLike, WorkerLike

AHEAD_S = 0.05
"""Expected work a worker may hold per cpu beyond what fills its cpus, seconds."""

UNMEASURED_S = AHEAD_S
"""Assumed duration of a task whose body was never measured, seconds."""

MAX_AHEAD = 1024
"""Tasks per cpu that a worker may hold, whatever they take."""

BANDWIDTH_BYTES_PER_S = 400e6
"""Assumed speed of a transfer between workers."""

TRANSFER_S = 0.001
"""Assumed fixed cost of a transfer, seconds."""

AHEAD_INPUTS = 16
"""A task with more inputs is not sent ahead: looking at them again and again would be quadratic."""

AHEAD_FETCH_BYTES = 64 << 10
"""A task with a larger finished input elsewhere is placed when all of its inputs are known, bytes."""

AHEAD_CONSUMERS = 2
"""Consumers of one task that are sent ahead, per cpu of the worker."""

MAX_CANDIDATES = 4
"""Inputs whose holders are looked at for placing their reader, largest first, and holders of each."""

_WAITING = TaskState.WAITING
_ASSIGNED = TaskState.ASSIGNED
_ON_WORKER = (TaskState.ASSIGNED, TaskState.RUNNING)
_UNFINISHED = DataObjectState.UNFINISHED

STEAL_MIN_S = 0.02
"""A worker whose backlog per cpu is under this is left alone, seconds."""


def assign(ready: ReadyQueues, workers: Sequence[WorkerLike], now: float) -> Assignments:
    """Yield (task, worker) pairs for ready tasks, best first.

    The caller applies each pair (the task leaves the state `ready`, the worker's load grows) before it asks
    for the next one. Ends when no ready task fits anywhere.
    """
    reserved: set[int] = set()
    least_loaded: dict[Request, _LeastLoaded] = {}
    open_requests = ready.requests()
    while open_requests:
        task: TaskLike | None = None
        best_request = open_requests[0]
        for request in list(open_requests):
            top = ready.peek(request)
            if top is None:
                open_requests.remove(request)
            elif task is None or _comes_before(top, task):
                task, best_request = top, request
        if task is None:
            return
        least = least_loaded.get(best_request)
        if least is None:
            least = least_loaded[best_request] = _LeastLoaded(best_request, workers, reserved, now)
        worker = _place(task, least)
        if worker is None:
            _reserve(best_request, workers, reserved)
            open_requests.remove(best_request)
        else:
            ready.pop(best_request)
            yield task, worker


def _comes_before(one: TaskLike, other: TaskLike) -> bool:
    """Whether a task goes before one of another request: longer paths first, then older tasks."""
    return one.blevel > other.blevel or (one.blevel == other.blevel and one.uid < other.uid)


def send_ahead(worker: WorkerLike) -> Iterator[TaskLike]:
    """Yield waiting tasks whose unfinished inputs are all about to be made by this worker, as far as it has
    room.

    Sent along with the tasks that make their inputs, they cost no round trip to the server. The caller
    applies each (the task is assigned, and joins the worker's frontier itself) before it asks for the next
    one.
    """
    frontier = worker.frontier
    while frontier:
        task = frontier[0]
        if task.worker is worker and task.state in _ON_WORKER:
            for consumer in _consumers(task, AHEAD_CONSUMERS * worker.cpus):
                if not _made_here(consumer, worker):
                    continue
                if not _has_room(consumer.body.request, expected_s(consumer), worker):
                    return
                yield consumer
        frontier.popleft()


def fits(request: Request, worker: WorkerLike) -> bool:
    """Whether the worker could ever run a task of this request."""
    return request[0] <= worker.cpus and request[1] in worker.kinds


def gets_inputs(task: TaskLike, worker: WorkerLike) -> bool:
    """Whether the worker could get all finished inputs of a task: it has each, or reaches a holder."""
    cut_off = worker.cut_off
    for item in task.inputs:
        holders = item.holders
        if holders and worker not in holders and all(holder in cut_off for holder in holders):
            return False
    return True


def _serves_readers(task: TaskLike, worker: WorkerLike) -> bool:
    """Whether those that read a task's outputs could get what they read besides, if it ran here."""
    readers = [reader for item in task.outputs for reader in item.consumers[:MAX_CANDIDATES]]
    return all(gets_inputs(reader, worker) for reader in readers)


def expected_s(task: TaskLike) -> float:
    """How long the task is expected to take, seconds."""
    mean = task.body.mean_s
    return UNMEASURED_S if mean is None else mean


def retractions(workers: Sequence[WorkerLike], ready: ReadyQueues, now: float) -> Iterator[TaskLike]:
    """Yield assigned tasks that an idle worker should rather have; none while tasks are ready.

    A victim keeps as many tasks that can run as it has cpus: of one chain of tasks, however long, nothing is
    taken.
    """
    idle = [worker for worker in workers if worker.load < worker.cpus]
    if not idle or len(workers) < 2 or ready:
        return
    for thief in idle:
        victims = [worker for worker in workers if worker is not thief and _surplus(worker) > 0]
        if not victims:
            return
        victim = max(victims, key=lambda worker: _behind_s(worker, now))
        if _behind_s(victim, now) < STEAL_MIN_S:
            continue
        spare = thief.cpus - thief.load
        budget_s = (victim.backlog_s - thief.backlog_s) / 2
        surplus = _surplus(victim)
        for task in reversed(list(victim.tasks.values())):
            if surplus <= 0 or (spare <= 0 and budget_s <= 0):
                break
            movable = task.state is _ASSIGNED and not task.retracting and not task.waiting
            if thief.cut_off and not gets_inputs(task, thief):
                continue
            if movable and fits(task.body.request, thief):
                yield task
                budget_s -= task.expected_s
                spare -= task.body.request[0]
                surplus -= task.body.request[0]


def _surplus(worker: WorkerLike) -> int:
    """How many cpus its tasks that can run now ask for beyond what it has."""
    return worker.load - worker.ahead - worker.cpus


def _consumers(task: TaskLike, limit: int) -> list[TaskLike]:
    """Waiting consumers of a task's outputs, at most `limit`: a fan-out is better spread when it is ready."""
    found = []
    for item in task.outputs:
        for consumer in item.consumers:
            if consumer.state is _WAITING and len(consumer.inputs) <= AHEAD_INPUTS:
                found.append(consumer)
                if len(found) >= limit:
                    return found
    return found


def _made_here(task: TaskLike, worker: WorkerLike) -> bool:
    """Whether the worker is about to make all unfinished inputs of a fitting task, and has the large ones."""
    if task.state is not _WAITING or not fits(task.body.request, worker):
        return False
    if worker.cut_off and not gets_inputs(task, worker):
        return False
    for item in task.inputs:
        if item.state is _UNFINISHED:
            producer = item.producer
            if producer is None or producer.worker is not worker or producer.state not in _ON_WORKER:
                return False
            if producer.retracting:
                return False  # it is about to be given back, and made elsewhere
        elif item.size > AHEAD_FETCH_BYTES and worker not in item.holders and worker not in item.expected:
            return False
    return True


def _has_room(request: Request, task_s: float, worker: WorkerLike) -> bool:
    cpus = request[0]
    load = worker.load
    if load + cpus <= 2 * worker.cpus:
        return True
    if load + cpus > worker.cpus * MAX_AHEAD:
        return False
    return worker.backlog_s + task_s <= AHEAD_S * worker.cpus


class _LeastLoaded:
    """The workers that fit a request, the one where a task would start first on top.

    Loads only grow while tasks are assigned, so a stale entry of the heap is a lower bound: it is brought
    up to date when it comes up. A worker without room has none for the rest of the round.
    """

    def __init__(
        self, request: Request, workers: Sequence[WorkerLike], reserved: set[int], now: float
    ) -> None:
        self.request = request
        self.reserved = reserved
        self.has_cuts = any(worker.cut_off for worker in workers)
        self._now = now
        self._heap = [(self.key(w), index, w) for index, w in enumerate(workers) if fits(request, w)]
        self.fitting = [item[2] for item in self._heap] if self.has_cuts else []
        heapify(self._heap)

    def key(self, worker: WorkerLike) -> tuple[float, float]:
        """When a task would start there, seconds from now, and how full the worker is."""
        busy = worker.load + self.request[0] > worker.cpus
        return (_behind_s(worker, self._now) if busy else 0.0, worker.load / worker.cpus)

    def takes(self, worker: WorkerLike, task_s: float) -> bool:
        """Whether a task that takes so long may be assigned to a worker now."""
        return id(worker) not in self.reserved and _has_room(self.request, task_s, worker)

    def best(self, task_s: float) -> WorkerLike | None:
        """The least loaded worker that has room for a task; None without one."""
        heap = self._heap
        while heap:
            old, index, worker = heap[0]
            key = self.key(worker)
            if key != old:
                heapreplace(heap, (key, index, worker))
            elif self.takes(worker, task_s):
                return worker
            else:
                heappop(heap)
        return None


def _place(task: TaskLike, least: _LeastLoaded) -> WorkerLike | None:
    """The worker where the task would start first, of those that hold its inputs and the least loaded one;
    None when none of them has room.
    """
    if least.has_cuts:
        return _cheapest(task, _unhampered(task, least), least)
    task_s = expected_s(task)
    best = least.best(task_s)
    heavy = [item for item in task.inputs if item.holders or item.expected]
    if not heavy:
        return best
    candidates = {} if best is None else {id(best): best}
    for item in sorted(heavy, key=lambda item: -item.size)[:MAX_CANDIDATES]:
        for worker in (*item.holders, *item.expected)[:MAX_CANDIDATES]:
            if fits(least.request, worker) and least.takes(worker, task_s):
                candidates[id(worker)] = worker
    return _cheapest(task, candidates.values(), least)


def _cheapest(task: TaskLike, candidates: Iterable[WorkerLike], least: _LeastLoaded) -> WorkerLike | None:
    """Where of some workers the task would start first, None of none."""
    best: WorkerLike | None = None
    best_key: tuple[float, float] | None = None
    heavy = [item for item in task.inputs if item.holders or item.expected]
    for worker in candidates:
        start_s, load = least.key(worker)
        for item in heavy:
            if worker not in item.holders and worker not in item.expected:
                start_s += TRANSFER_S + max(item.size, 0) / BANDWIDTH_BYTES_PER_S
        if best_key is None or (start_s, load) < best_key:
            best, best_key = worker, (start_s, load)
    return best


def _unhampered(task: TaskLike, least: _LeastLoaded) -> list[WorkerLike]:
    """Workers with room for a task, while some cannot reach each other: those that can get its inputs, and
    rather those whose outputs its readers can get. All that fit when none can, so that its input is missed.
    """
    able = [worker for worker in least.fitting if gets_inputs(task, worker)] or least.fitting
    able = [worker for worker in able if _serves_readers(task, worker)] or able
    task_s = expected_s(task)
    return [worker for worker in able if least.takes(worker, task_s)]


def _behind_s(worker: WorkerLike, now: float) -> float:
    """How long a new task would wait on a busy worker, seconds: what its tasks are expected to take, and, as
    expectations can be wrong, at least as long as nothing has come from it.
    """
    return worker.backlog_s / worker.cpus + max(0.0, now - worker.progress_at)


def _reserve(request: Request, workers: Iterable[WorkerLike], reserved: set[int]) -> None:
    """Keep the fitting worker with the least load for the request during this round."""
    candidates = [worker for worker in workers if fits(request, worker) and id(worker) not in reserved]
    if candidates:
        reserved.add(id(min(candidates, key=lambda worker: worker.load / worker.cpus)))
