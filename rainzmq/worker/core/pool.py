"""Which subworker runs which job: the pure half of the subworker pool.

    start(job) --> an idle subworker of the kind: the one that last had these cpus, or knows the body
               --> or the queue of the subworker that is busy on the same cpus (pipelining)
               --> or `waiting`, and a new subworker is started; whichever is free first takes it

A subworker runs the jobs of its queue in order, one at a time. Short jobs whose duration is known are queued
behind a running one (`accepts_more`), so that the subworker never waits for the worker between them. What is
queued can be *withdrawn* as long as it has not begun; the caller knows exactly what has (`subworker_link`)
and the rest is decided here. A job that has begun when its subworker dies is blamed for it; those behind it
are not, they go to another subworker.

Nothing here performs anything: methods change the state and return effects.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import inf

from rainzmq.worker.core.jobs import Job
from rainzmq.worker.core.pool_effects import (
    Cancelled,
    Crashed,
    Effect,
    Forget,
    GiveBack,
    Kill,
    KindDown,
    Run,
    Spawn,
    StartFailed,
)
from rainzmq.worker.core.records import BodyKey, Subworker

PYTHON = "python"
"""The kind of subworker that is pipelined and of which a spare is kept."""

SHORT_S = 0.002
"""Jobs of a body with a mean duration under this are sent ahead."""

PREFETCH_S = 0.025
"""Of a body with a longer mean duration, but under this, one job may be sent ahead."""

AHEAD_S = 0.010
"""How much expected work is sent ahead to a busy subworker."""

AHEAD_JOBS = 256
"""How many jobs a subworker has at most, with the running one."""

REST_JOBS = 4
REST_S = 0.002
"""While a subworker has at least so many jobs, and work for clearly longer than this, its results are read no
more often than this: waking up for each costs more than a short task itself."""

JOB_OVERHEAD_S = 15e-6
"""What a subworker needs for a job besides its duration."""

LATE_S = 0.025
"""When a job runs longer than this, those queued behind it are taken back."""

MOVE_LIMIT = 3
"""How often a job that has not begun is moved away from dying subworkers before it is blamed itself."""

START_LIMIT = 3
"""How many starts in a row may fail, while jobs wait, until the kind counts as down."""

SPARES = 1
"""Idle Python subworkers that are kept ready once a job asked for one."""

SPARE_DELAY_S = 1.0
"""How long after a spare was taken the next one is started: that takes 0.1 s of CPU, which the first tasks of
a cluster should not have to share."""

_LOOK_AGAIN_S = 0.001
_MEAN_OVER = 8
_SAMPLE_LIMIT_S = 0.05


class PoolCore:
    """The state of the pool. `now` arguments are seconds of any monotonic clock.

    Attributes:
        waiting: jobs without a subworker, by kind; those that share cpus stand in one list.
        homes, moves: which subworker has a job, and how often it left a dying one, by uid.
        starting: how many subworkers of a kind have not said hello.
    """

    def __init__(self) -> None:
        self.subworkers: dict[int, Subworker] = {}
        self._next_number = 1
        self.waiting: dict[str, deque[list[Job]]] = {}
        self.idle: dict[str, dict[int, Subworker]] = {}
        self.busy_on: dict[tuple[int, ...], Subworker] = {}
        self._last_on: dict[tuple[int, ...], int] = {}
        self.homes: dict[int, Subworker] = {}
        self._means: dict[BodyKey, tuple[float, int]] = {}
        self.moves: dict[int, int] = {}
        self.starting: dict[str, int] = {}
        self._failed_starts: dict[str, int] = {}
        self._keep_spare = False

    # What the worker core asks.

    def accepts_more(
        self, cpus: tuple[int, ...], session_id: int, body_key: int, not_short: bool, now: float
    ) -> int:
        """How many jobs of a body may be started now on cpus on which a job runs already; 0 when none.
        `not_short`: one also when it takes up to `PREFETCH_S`.
        """
        mean = self.mean_duration(session_id, body_key)
        subworker = self.busy_on.get(cpus)
        if mean is None or mean >= PREFETCH_S or subworker is None or subworker.kind != PYTHON:
            return 0
        queue = subworker.queue
        if mean >= SHORT_S:
            return 1 if not_short and len(queue) < 2 and now - subworker.began < LATE_S else 0
        if len(queue) >= AHEAD_JOBS or now - subworker.began >= AHEAD_S:
            return 0
        room = AHEAD_S - self._queued_s(subworker)
        return min(AHEAD_JOBS - len(queue), int(room / mean) if mean > 0 else AHEAD_JOBS) if room > 0 else 0

    def rest_s(self, number: int) -> float:
        """How long the results of a subworker may be left to gather, seconds; 0 for not at all."""
        subworker = self.subworkers[number]
        if len(subworker.queue) < REST_JOBS or subworker.kind != PYTHON:
            return 0.0
        work_s = self._queued_s(subworker) + len(subworker.queue) * JOB_OVERHEAD_S
        return REST_S if 1.2 * REST_S <= work_s < inf else 0.0

    def mean_duration(self, session_id: int, body_key: int) -> float | None:
        """Mean duration of the jobs of a body, seconds; None before one was measured."""
        entry = self._means.get((session_id, body_key))
        return None if entry is None else entry[0]

    def start(self, job: Job, now: float) -> list[Effect]:
        """Run a job. Its cpus are its own, or those of a running job (as `accepts_more` allowed)."""
        busy = self.busy_on.get(job.cpus)
        if busy is not None and busy.kind == job.kind and job.cpus:
            busy.queue.append(job)
            if busy.expected_s is not None:
                busy.expected_s += self._expect(job)
            self.homes[job.uid] = busy
            return [Run(busy.number, [job])]
        return self._place([job], now)

    def prestart(self, kind: str, count: int) -> list[Effect]:
        """Have `count` idle or starting subworkers of a kind."""
        return [self._spawn(kind) for _ in range(count - self._unclaimed(kind))]

    def retry(self, kind: str) -> list[Effect]:
        """Try whether a kind that is down can be started again: its hello, or another `KindDown`, tells."""
        self._failed_starts[kind] = START_LIMIT - 1
        return [] if self.starting.get(kind) else [self._spawn(kind)]

    def needs_spare(self) -> bool:
        """No idle Python subworker is left for a next job. The caller starts one (`prestart`) a little
        later, when that does not take cpu time from the jobs that just started.
        """
        return self._keep_spare and self._unclaimed(PYTHON) < SPARES

    def where(self, uid: int) -> int | None:
        """Number of the subworker that has the job; None when it waits for one or is unknown."""
        subworker = self.homes.get(uid)
        return None if subworker is None else subworker.number

    def mark_killed(self, uid: int) -> None:
        """A job is about to be stopped: whatever its subworker still says of it does not count."""
        subworker = self.homes.get(uid)
        if subworker is not None:
            subworker.killed.add(uid)

    def kill(self, uid: int, withdrawn: Iterable[int], now: float) -> list[Effect]:
        """Stop a job. `withdrawn`: uids just withdrawn from its subworker (`where`), which have not begun."""
        subworker = self.homes.get(uid)
        if subworker is None:
            job = self._remove_waiting(uid)
            return [] if job is None else [Cancelled(job)]
        jobs = self._take_out(subworker, withdrawn)
        for job in (*jobs, *subworker.parked):
            if job.uid == uid:
                self._forget_job(uid)
                subworker.killed.discard(uid)
                subworker.parked = [other for other in subworker.parked if other is not job]
                rest = [other for other in jobs if other is not job]
                return [Cancelled(job), *self._put_back(subworker, rest, now)]
        subworker.killed.add(uid)
        subworker.parked.extend(jobs)
        return self._kill(subworker)

    def drop_sessions(self, session_ids: Iterable[int]) -> list[Effect]:
        """Sessions ended and all their jobs are gone: forget what is known of their bodies, everywhere."""
        gone = set(session_ids)
        self._means = {key: value for key, value in self._means.items() if key[0] not in gone}
        effects: list[Effect] = []
        for subworker in self.subworkers.values():
            known = sorted({session for session, _ in subworker.bodies if session in gone})
            if known:
                subworker.bodies = {key for key in subworker.bodies if key[0] not in gone}
                subworker.warm &= subworker.bodies
                effects.append(Forget(subworker.number, known))
        return effects

    # What happened.

    def on_hello(self, number: int, now: float) -> list[Effect]:
        """A subworker is ready for its first job."""
        subworker = self.subworkers[number]
        subworker.ready = True
        self.starting[subworker.kind] -= 1
        self._failed_starts.pop(subworker.kind, None)
        return self._release(subworker, now)

    def on_result(
        self, number: int, uid: int, attempt: int, duration_s: float, now: float
    ) -> tuple[Job | None, list[Effect]]:
        """The first job of a subworker's queue ended: that job, None when that is not what was reported.

        `Cancelled` stands in the effects when the job was to be killed; then its result does not count.
        """
        subworker = self.subworkers[number]
        killed = uid in subworker.killed
        job, effects = self._on_answer(subworker, uid, attempt, now)
        # Without a duration nothing of a kind that cannot be sent ahead is queued behind what is of another.
        if job is not None and not killed and subworker.kind == PYTHON:
            self._measure(subworker, (job.session_id, job.body.key), duration_s)
        return job, effects

    def on_unmet(self, number: int, uid: int, attempt: int, now: float) -> tuple[Job | None, list[Effect]]:
        """The first job of a queue was not run, for a job before it has not made its input there: that job,
        None when that is not what was reported.
        """
        subworker = self.subworkers[number]
        killed = uid in subworker.killed
        job, effects = self._on_answer(subworker, uid, attempt, now)
        if job is not None and not killed:
            effects.append(GiveBack(job, unmet=True))
        return job, effects

    def on_refused(self, number: int, uid: int, now: float) -> list[Effect]:
        """A job of a subworker's queue was not sent, because it cannot be: the caller has its outcome."""
        subworker = self.subworkers[number]
        self._take_out(subworker, (uid,))
        self._forget_job(uid)
        return [] if subworker.queue or subworker.dying else self._release(subworker, now)

    def late(self, now: float) -> list[int]:
        """Subworkers whose running job takes so long that those behind it should be withdrawn."""
        return [
            subworker.number
            for subworker in self.busy_on.values()
            if len(subworker.queue) > 1 and now - subworker.began >= LATE_S
        ]

    def late_in(self, now: float) -> float | None:
        """In how many seconds a subworker may be late that is not now; None while no job stands behind
        another one.
        """
        began = [subworker.began for subworker in self.busy_on.values() if len(subworker.queue) > 1]
        return max(_LOOK_AGAIN_S, min(began) + LATE_S - now) if began else None

    def on_withdrawn(self, number: int, withdrawn: Iterable[int], now: float) -> list[Effect]:
        """Jobs were withdrawn from a late subworker: they go back to the worker core.

        When even the first one has not begun, it is the process that had no time; then they are its again.
        """
        subworker = self.subworkers[number]
        jobs = self._take_out(subworker, withdrawn)
        if not subworker.queue:
            subworker.began = now
            return self._put_back(subworker, jobs, now)
        for job in jobs:
            self._forget_job(job.uid)
        return [GiveBack(job) for job in jobs]

    def on_leaving(self, number: int, not_run: int | None, withdrawn: Iterable[int]) -> list[Effect]:
        """A subworker ends by itself, for what tasks before made of it. No job is to blame.

        Args:
            number: which one.
            not_run: uid of the job that it could not prepare, which goes to another one; None without one.
            withdrawn: uids of its jobs that have not begun, which are the worker core's again.
        """
        subworker = self.subworkers[number]
        jobs = self._take_out(subworker, withdrawn)
        if subworker.dying:
            subworker.parked.extend(jobs)
            return []
        if subworker.queue and subworker.queue[0].uid == not_run:
            subworker.parked.append(subworker.queue.popleft())
        for job in jobs:
            self._forget_job(job.uid)
        return [*[GiveBack(job) for job in jobs], *self._kill(subworker)]

    def on_broken(self, number: int) -> list[Effect]:
        """A subworker broke the protocol: it must go, and its running job with it."""
        return self._kill(self.subworkers[number])

    def on_exit(self, number: int, withdrawn: Iterable[int], now: float) -> list[Effect]:
        """A subworker is gone, and what it sent was handled. `withdrawn`: uids of its jobs that have not
        begun.
        """
        subworker = self.subworkers.pop(number)
        self.idle.get(subworker.kind, {}).pop(number, None)
        self._leave_cpus(subworker)
        if not subworker.ready:
            self.starting[subworker.kind] -= 1
            return self._on_start_failed(subworker.kind)
        moved = subworker.parked + self._take_out(subworker, withdrawn)
        effects: list[Effect] = []
        for job in subworker.queue:
            self._forget_job(job.uid)
            effects.append(Cancelled(job) if job.uid in subworker.killed else Crashed(job))
        rest = []
        for job in moved:
            if job.has_unmade_inputs():
                # They were to be made in the process that is gone.
                self._forget_job(job.uid)
                effects.append(GiveBack(job))
                continue
            self.homes.pop(job.uid, None)
            self.moves[job.uid] = self.moves.get(job.uid, 0) + 1
            if self.moves[job.uid] > MOVE_LIMIT:
                self._forget_job(job.uid)
                effects.append(Crashed(job))
            else:
                rest.append(job)
        if rest:
            effects.extend(self._place(rest, now))
        return effects

    # Parts of the above.

    def _on_answer(
        self, subworker: Subworker, uid: int, attempt: int, now: float
    ) -> tuple[Job | None, list[Effect]]:
        """The first job of the queue is done with, when that is what was said."""
        job = subworker.queue[0] if subworker.queue else None
        if job is None or job.uid != uid or job.attempt != attempt:
            return None, []
        subworker.queue.popleft()
        subworker.expected_s = None
        self._forget_job(uid)
        subworker.began = now
        effects: list[Effect] = [] if subworker.queue or subworker.dying else self._release(subworker, now)
        if uid in subworker.killed:
            subworker.killed.discard(uid)
            effects.append(Cancelled(job))
        return job, effects

    def _place(self, jobs: list[Job], now: float) -> list[Effect]:
        """Give jobs that share cpus to an idle subworker, or let them wait for one."""
        kind = jobs[0].kind
        self._keep_spare = self._keep_spare or kind == PYTHON
        subworker = self._pick(jobs[0])
        if subworker is not None:
            return self._occupy(subworker, jobs, now)
        waiting = self.waiting.setdefault(kind, deque())
        waiting.append(jobs)
        if self.starting.get(kind, 0) < len(waiting):
            return [self._spawn(kind)]
        return []

    def _pick(self, job: Job) -> Subworker | None:
        idle = self.idle.get(job.kind)
        if not idle:
            return None
        last = idle.get(self._last_on.get(job.cpus, 0))
        if last is not None:
            return last
        body = (job.session_id, job.body.key)
        for subworker in idle.values():
            if body in subworker.bodies:
                return subworker
        return next(reversed(idle.values()))

    def _occupy(self, subworker: Subworker, jobs: list[Job], now: float) -> list[Effect]:
        self.idle.get(subworker.kind, {}).pop(subworker.number, None)
        subworker.cpus = jobs[0].cpus
        subworker.began = now
        if subworker.cpus:
            self.busy_on[subworker.cpus] = subworker
            self._last_on[subworker.cpus] = subworker.number
        subworker.queue.extend(jobs)
        subworker.expected_s = None
        for job in jobs:
            self.homes[job.uid] = subworker
        return [Run(subworker.number, jobs)]

    def _put_back(self, subworker: Subworker, jobs: list[Job], now: float) -> list[Effect]:
        """Send withdrawn jobs again, or let the subworker rest when it has none left."""
        if subworker.dying:
            subworker.parked.extend(jobs)
            return []
        if jobs:
            subworker.queue.extend(jobs)
            subworker.expected_s = None
            return [Run(subworker.number, jobs)]
        return [] if subworker.queue else self._release(subworker, now)

    def _release(self, subworker: Subworker, now: float) -> list[Effect]:
        """A subworker has nothing to do: the jobs that wait longest are its next, or it rests."""
        self._leave_cpus(subworker)
        waiting = self.waiting.get(subworker.kind)
        if waiting:
            return self._occupy(subworker, waiting.popleft(), now)
        self.idle.setdefault(subworker.kind, {})[subworker.number] = subworker
        return []

    def _take_out(self, subworker: Subworker, uids: Iterable[int]) -> list[Job]:
        """Remove jobs from the queue; in order."""
        out = set(uids)
        if not out:
            return []
        jobs = [job for job in subworker.queue if job.uid in out]
        subworker.queue = deque(job for job in subworker.queue if job.uid not in out)
        subworker.expected_s = None
        return jobs

    def _kill(self, subworker: Subworker) -> list[Effect]:
        if subworker.dying:
            return []
        subworker.dying = True
        self.idle.get(subworker.kind, {}).pop(subworker.number, None)
        self._leave_cpus(subworker)
        return [Kill(subworker.number)]

    def _on_start_failed(self, kind: str) -> list[Effect]:
        """Jobs that wait get another try, up to the limit. Then none of them has a subworker in sight but
        for those that are starting. No spare until the next job: it would be tried forever.
        """
        waiting = self.waiting.get(kind, deque())
        failed = self._failed_starts[kind] = self._failed_starts.get(kind, 0) + 1
        self._keep_spare = self._keep_spare and kind != PYTHON
        if failed < START_LIMIT:
            return [self._spawn(kind)] if len(waiting) > self.starting[kind] else []
        effects: list[Effect] = [KindDown(kind)]
        while len(waiting) > self.starting[kind]:
            for job in waiting.popleft():
                self._forget_job(job.uid)
                effects.append(StartFailed(job))
        return effects

    def _remove_waiting(self, uid: int) -> Job | None:
        for waiting in self.waiting.values():
            for batch in waiting:
                for job in batch:
                    if job.uid == uid:
                        batch.remove(job)
                        if not batch:
                            waiting.remove(batch)
                        self._forget_job(uid)
                        return job
        return None

    def _leave_cpus(self, subworker: Subworker) -> None:
        if self.busy_on.get(subworker.cpus) is subworker:
            del self.busy_on[subworker.cpus]

    def _forget_job(self, uid: int) -> None:
        self.homes.pop(uid, None)
        self.moves.pop(uid, None)

    def _spawn(self, kind: str) -> Spawn:
        number = self._next_number
        self._next_number += 1
        self.subworkers[number] = Subworker(number, kind)
        self.starting[kind] = self.starting.get(kind, 0) + 1
        return Spawn(number, kind)

    def _unclaimed(self, kind: str) -> int:
        """Idle and starting subworkers that no waiting job will take."""
        idle = len(self.idle.get(kind, ()))
        return idle + self.starting.get(kind, 0) - len(self.waiting.get(kind, ()))

    def _queued_s(self, subworker: Subworker) -> float:
        """How long the jobs of its queue take together, seconds; infinite when one is not known."""
        if subworker.expected_s is None:
            subworker.expected_s = sum(map(self._expect, subworker.queue))
        return subworker.expected_s

    def _expect(self, job: Job) -> float:
        mean = self.mean_duration(job.session_id, job.body.key)
        return inf if mean is None else mean

    def _measure(self, subworker: Subworker, key: BodyKey, duration_s: float) -> None:
        """Moving mean; one very long job counts as `_SAMPLE_LIMIT_S`, so that it is forgotten soon.

        The first job of a body in a subworker loads the function and imports modules; what that takes says
        little of the next one.
        """
        if key not in subworker.warm:
            subworker.warm.add(key)
            if duration_s >= SHORT_S:
                return
        sample = min(max(duration_s, 0.0), _SAMPLE_LIMIT_S)
        mean, count = self._means.get(key, (0.0, 0))
        count = min(count + 1, _MEAN_OVER)
        self._means[key] = (mean + (sample - mean) / count, count)
