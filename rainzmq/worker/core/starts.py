"""Which tasks start, on which cpus.

Ready tasks start in order of (priority, arrival). When the first one asks for more cpus than are free,
nothing behind it starts: the cpus that become free are reserved for it, so that a wide task is not starved by
narrow ones. Jobs that a runner can queue behind a running one (`pipeline`) share the running one's cpus.

When no task is ready, those follow that only wait for what is being made on such cpus: they are queued
*behind their makers*, with inputs that are yet to be made, so that a chain of short tasks costs no wakeup of
the worker per link. The runner gives them back when it has not got such an input.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from heapq import heappop, heappush

from rainzmq.worker.core import states
from rainzmq.worker.core.cpus import CpuPool
from rainzmq.worker.core.jobs import Job
from rainzmq.worker.core.records import AssignedTask, Promise, Replica

Pipeline = Callable[[tuple[int, ...], int, int, bool], int]
"""(cpus, session id, body key, also when it is not short) -> how many jobs of that body may be queued behind
what runs on these cpus."""

UNMET_LIMIT = 4
"""When so many tasks of a body were given back without inputs, they are not queued behind makers any more."""

Cpus = tuple[int, ...]


class Starts:
    """Tasks that can start, and tasks that can be queued behind those that make their inputs.

    Args:
        cpus: what can be given out.
        pipeline: asked how many more jobs a runner takes behind a running one.
        replicas, promised: the engine's; objects that are here, and that tasks here are to make, by uid.
    """

    def __init__(
        self, cpus: CpuPool, pipeline: Pipeline, replicas: dict[int, Replica], promised: dict[int, Promise]
    ) -> None:
        self._cpus = cpus
        self._pipeline = pipeline
        self._replicas = replicas
        self._promised = promised
        self.ready: list[tuple[int, int, AssignedTask]] = []
        """A heap of those that can start, with some that cannot any more."""
        self._arrivals = 0
        self.followers: dict[Cpus, deque[AssignedTask]] = {}
        """Tasks to be queued behind makers of their inputs, by the makers' cpus."""
        self._unmet: Counter[tuple[int, int]] = Counter()
        self._rooms: dict[tuple[Cpus, int, int, bool], int] = {}
        self.began: list[AssignedTask] = []
        """Tasks that run now, not behind others: new ones are added, the caller empties it."""

    def add_ready(self, task: AssignedTask) -> None:
        """A task in state `ready` may start."""
        self._arrivals += 1
        heappush(self.ready, (-task.priority, self._arrivals, task))

    def add_follower(self, task: AssignedTask, promise: Promise) -> None:
        """A fetching task may be queued behind the maker of one of its inputs, if that runs.

        While cpus are free, only one reader of an object is: the others better run beside it.
        """
        job = promise.maker.job
        if job is None or not job.cpus or len(job.cpus) != task.body.cpus or not promise.is_blob:
            return
        if self._cpus.free and promise.readers[0] is not task:
            return
        if self._unmet[task.session_id, task.body.key] < UNMET_LIMIT:
            self.followers.setdefault(job.cpus, deque()).append(task)

    def was_unmet(self, job: Job) -> None:
        """A job came back, for its runner had not got what a job before it should have made."""
        self._unmet[job.session_id, job.body.key] += 1

    def release(self, job: Job) -> int | None:
        """A job needs its cpus no more. The uid of the one that was queued behind it and runs now, if any."""
        following = self._cpus.release(job.cpus, job.uid)
        if following is None and not self._cpus.is_used(job.cpus):
            self.followers.pop(job.cpus, None)
        return following

    def forget_sessions(self, ended: set[int]) -> None:
        """Sessions ended, after all their tasks were dropped."""
        self._unmet = Counter({key: count for key, count in self._unmet.items() if key[0] not in ended})

    def take(self) -> Iterator[tuple[AssignedTask, Cpus]]:
        """Yield tasks that start now and their cpus. The caller applies each (the task is running, its job
        made) before it asks for the next one.
        """
        self._rooms.clear()
        ready = self.ready
        while ready:
            task = ready[0][2]
            if task.state is not states.READY:
                heappop(ready)
                continue
            cpus = self._cpus.take(task.body.cpus, task.uid)
            if cpus is not None:
                # One behind a running job has not begun, and its runner may give it back.
                self.began.append(task)
            else:
                # A cpu that becomes free has other tasks to run.
                are_many = len(ready) > self._cpus.total
                cpus = self._behind_running(task, are_many)
                if cpus is None:
                    return
                self._share(cpus, task, are_many)
            heappop(ready)
            yield task, cpus
        for cpus, followers in self.followers.items():
            while followers:
                task = followers[0]
                if task.state is states.FETCHING and self._is_made_on(cpus, task):
                    # No other cpus could have it sooner, so it need not be short.
                    if self._room(cpus, task, True) < 1:
                        break
                    self._share(cpus, task, True)
                    yield task, cpus
                followers.popleft()

    def _is_made_on(self, cpus: Cpus, task: AssignedTask) -> bool:
        """All that a task waits for is made by jobs on these cpus."""
        for uid in task.inputs:
            replica = self._replicas.get(uid)
            if replica is not None:
                if replica.state is not states.STORED:
                    return False
                continue
            promise = self._promised.get(uid)
            job = promise.maker.job if promise is not None else None
            if job is None or job.cpus != cpus:
                return False
        return True

    def _behind_running(self, task: AssignedTask, not_short: bool) -> Cpus | None:
        best, most = None, 0
        for cpus in self._cpus.slots(task.body.cpus):
            room = self._room(cpus, task, not_short)
            if room > most:
                best, most = cpus, room
        return best

    def _room(self, cpus: Cpus, task: AssignedTask, not_short: bool) -> int:
        """How many jobs of the task's body may still be queued on these cpus. The runner is asked once in a
        `take`: it hears of what is started only afterwards.
        """
        key = (cpus, task.session_id, task.body.key, not_short)
        room = self._rooms.get(key)
        if room is None:
            room = self._rooms[key] = self._pipeline(*key)
        return room

    def _share(self, cpus: Cpus, task: AssignedTask, not_short: bool) -> None:
        self._cpus.share(cpus, task.uid)
        self._rooms[cpus, task.session_id, task.body.key, not_short] -= 1
