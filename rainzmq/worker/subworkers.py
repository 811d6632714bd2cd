"""The subworker pool: runs the jobs of all kinds but `builtin`, each in a process of its kind.

    start(job) -> core.pool -> Run effects -> outbox of a link -> one `run` message a turn -> subworker
    subworker -> `result` messages -> Outcome -> done

What is decided is decided in `core.pool`; here are the processes, sockets and files. Nothing a subworker
does raises here: a bad frame, a wrong path or an early end becomes the outcome of its job.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import assert_never

from rainzmq.common.ids import id_of
from rainzmq.common.limits import MESSAGE_TARGET_BYTES
from rainzmq.common.states import AttemptState
from rainzmq.common.trees import remove_tree
from rainzmq.common.workforce import Workforce
from rainzmq.protocol.messages.shared import TaskBody
from rainzmq.protocol.messages.subworker import (
    DropSessions,
    Leaving,
    PackagesDiffer,
    SubworkerHello,
    SubworkerTask,
    TaskPrinted,
    TaskResult,
    UnmetInputs,
)
from rainzmq.protocol.messages.worker import VersionsDiffer
from rainzmq.store.objects import ObjectStore
from rainzmq.transport.loop import Loop, Timer
from rainzmq.worker import processes
from rainzmq.worker.core import invariants, pool
from rainzmq.worker.core import pool_effects as pe
from rainzmq.worker.core.jobs import CANCELLED, CRASHED, FAILED, UNABLE, Job, Outcome, Printed
from rainzmq.worker.output_files import OutputFiles
from rainzmq.worker.subworker_jobs import to_outcome, to_task
from rainzmq.worker.subworker_link import Callbacks, SubworkerLink, SubworkerMessage
from rainzmq.worker.trimmer import Trimmer

_log = logging.getLogger(__name__)

PYTHON_COMMAND = (sys.executable, "-P", "-m", "rainzmq.subworker")


class SubworkerPool:
    """Runs jobs in subworkers; see `worker.core.jobs` for what a runner owes.

    Attributes:
        kinds: kinds of subworker, with the command that starts each.
    """

    def __init__(
        self,
        loop: Loop,
        store: ObjectStore,
        scratch: Path,
        done: Callable[[Outcome], None],
        given_back: Callable[[Job, bool], None],
        *,
        kinds: Mapping[str, str | Sequence[str]],
        logdir: Path,
        pin_cpus: bool,
        on_kind: Callable[[str, str | None], None],
        tell_server: Callable[[VersionsDiffer], None] = lambda _: None,
    ) -> None:
        """`done` gets each job's outcome. `given_back` gets jobs that were queued, have not begun and are the
        caller's again, and whether that is because an input was not made. Both are called from the loop,
        never from within a method of the pool.

        Args:
            loop: the worker's loop.
            store: where inputs are.
            scratch: directory for the tasks' directories, on the store's file system.
            done: see above.
            given_back: see above.
            kinds: commands of foreign subworkers, split as a shell does when they are a str.
            logdir: directory for the subworkers' output.
            pin_cpus: cpu indices are cpus of this host, which Python tasks set as their affinity.
            on_kind: told that subworkers of a kind cannot be started, with why; with None that one was
                started after all. `retry` tries that.
            tell_server: gets what the server should know at once.
        """
        self.kinds: dict[str, list[str]] = {pool.PYTHON: list(PYTHON_COMMAND)}
        for kind, command in kinds.items():
            self.kinds[kind] = shlex.split(command) if isinstance(command, str) else list(command)
        for directory in (scratch, logdir):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._loop = loop
        self._store = store
        self._scratch = scratch
        self._done = done
        self._given_back = given_back
        self._logdir = logdir
        self._pin_cpus = pin_cpus
        self._tell_server = tell_server
        self._on_kind = on_kind
        self._core = pool.PoolCore()
        self._links: dict[int, SubworkerLink] = {}
        self._unflushed: dict[int, SubworkerLink] = {}
        self._directories: dict[int, str] = {}
        self._ended: list[Outcome] = []
        self._returned: list[pe.GiveBack] = []
        self._soon = False
        self._late_timer: Timer | None = None
        self._spare_timer: Timer | None = None
        self._remover = Workforce(1, "rainzmq-remove")
        self._trimmer = Trimmer(loop, self._output_files)
        self._callbacks = Callbacks(
            self._on_hello, self._on_messages, self._on_broken, self._on_exit, self._rest_s
        )

    # What the worker asks.

    def prestart(self, count: int) -> None:
        """Have `count` Python subworkers ready, so that the first tasks do not wait for them to start."""
        self._perform(self._core.prestart(pool.PYTHON, count))

    def accepts_more(self, cpus: tuple[int, ...], session_id: int, body_key: int, not_short: bool) -> int:
        """How many more jobs of a body may be started on cpus of a running job, to run behind it; see
        `pool.PoolCore.accepts_more`.
        """
        return self._core.accepts_more(cpus, session_id, body_key, not_short, self._loop.now())

    def start(self, job: Job) -> None:
        """Run a job, on cpus of its own or, as far as `accepts_more` allows, on those of a running one."""
        if job.kind not in self.kinds:
            known = ", ".join(sorted(self.kinds))
            self._end(
                job,
                FAILED,
                f"This worker has no subworker for task type {job.body.task_type!r}; it has: {known}. "
                f"A worker's configuration file registers one: [subworkers.{job.kind}] command = ...",
            )
            return
        self._perform(self._core.start(job, self._loop.now()))

    def kill(self, uid: int) -> None:
        """Stop a job, with all the processes it started; its outcome, CANCELLED, follows. No error when it
        ended.
        """
        self._core.mark_killed(uid)
        number = self._core.where(uid)
        if number is not None:
            self._catch_up(self._links[number])
            number = self._core.where(uid)  # None now when it has just ended: then those behind it stay
        withdrawn = [] if number is None else self._links[number].withdraw()
        self._perform(self._core.kill(uid, withdrawn, self._loop.now()))

    def retry(self, kind: str) -> None:
        """Try whether a subworker of a kind that is down can be started; `on_kind` is told."""
        self._perform(self._core.retry(kind))

    def forget_sessions(self, session_ids: Iterable[int]) -> None:
        """Sessions ended, after all their jobs: forget their functions."""
        self._perform(self._core.drop_sessions(session_ids))

    def check(self) -> None:
        """AssertionError when the state of the pool contradicts itself."""
        invariants.check_pool(self._core)

    def close(self) -> None:
        """Kill all subworkers and what they started; no outcome comes any more."""
        links = list(self._links.values())
        processes.end([link.process for link in links if link.process is not None])
        for link in links:
            link.close()
        self._links.clear()
        for timer in (self._late_timer, self._spare_timer):
            if timer is not None:
                timer.cancel()
        self._remover.shutdown(cancel=True)
        self._trimmer.close()

    # Effects of the core.

    def _perform(self, effects: Iterable[pe.Effect]) -> None:
        queue = deque(effects)
        while queue:
            effect = queue.popleft()
            match effect:
                case pe.Run():
                    link = self._links[effect.number]
                    link.outbox += effect.jobs
                    self._unflushed[effect.number] = link
                    self._call_soon()
                case pe.Spawn():
                    queue.extend(self._spawn(effect))
                case pe.Kill():
                    self._links[effect.number].kill()
                case pe.GiveBack():
                    self._returned.append(effect)
                    self._call_soon()
                case pe.Cancelled():
                    self._end(effect.job, CANCELLED, "")
                case pe.Forget():
                    self._links[effect.number].send(DropSessions(effect.session_ids))
                case pe.Crashed() | pe.StartFailed() | pe.KindDown():
                    raise AssertionError(f"{effect} is only known where a subworker ended")
                case _:
                    assert_never(effect)

    def _spawn(self, effect: pe.Spawn) -> list[pe.Effect]:
        number, kind = effect.number, effect.kind
        directory = self._scratch / f"subworker-{number}"
        output = OutputFiles(self._logdir, f"subworker-{kind}-{os.getpid()}-{number}")
        link = SubworkerLink(
            loop=self._loop,
            number=number,
            kind=kind,
            command=self.kinds[kind],
            directory=directory,
            output=output,
            callbacks=self._callbacks,
        )
        self._links[number] = link
        try:
            link.start(claims=kind == pool.PYTHON, pin_cpus=self._pin_cpus, environment=os.environ)
        except OSError as error:
            return self._on_not_started(link, error)
        return []

    def _flush(self) -> None:
        """Send what the turn brought together: one message for each subworker, unless it gets too long."""
        links, self._unflushed = self._unflushed, {}
        for link in links.values():
            if link.fault is not None:
                continue  # its exit is near, and the jobs move then
            jobs, link.outbox = link.outbox, []
            batch: list[Job] = []
            tasks: list[SubworkerTask] = []
            size = 0
            for job in jobs:
                task = self._to_task(link, job)
                if task is None:
                    continue
                if batch and (batch[0].session_id != job.session_id or size > MESSAGE_TARGET_BYTES):
                    link.run(self._new_bodies(link, batch), batch, tasks)
                    batch, tasks, size = [], [], 0
                batch.append(job)
                tasks.append(task)
                size += len(task.config) + sum(len(item.data or b"") for item in task.inputs)
            if batch:
                link.run(self._new_bodies(link, batch), batch, tasks)
        if links:
            self._trimmer.wake()
        if self._late_timer is None:
            self._look_for_late_ones()

    def outputs(self) -> Iterator[tuple[Job, Printed | None]]:
        """Running jobs, with what they have written so far. Short ones may count for those before them."""
        for number, subworker in self._core.subworkers.items():
            if subworker.queue:
                yield subworker.queue[0], self._links[number].output.peek()

    def _output_files(self) -> list[int]:
        """Descriptors of what running jobs write to."""
        busy = [number for number, subworker in self._core.subworkers.items() if subworker.queue]
        return [file for number in busy for file in self._links[number].output.descriptors()]

    def _look_for_late_ones(self) -> None:
        delay_s = self._core.late_in(self._loop.now())
        self._late_timer = None if delay_s is None else self._loop.call_later(delay_s, self._check_late)

    def _to_task(self, link: SubworkerLink, job: Job) -> SubworkerTask | None:
        """The job as a message; None when it ended instead."""
        if link.methods is not None and job.method not in link.methods:
            known = ", ".join(sorted(link.methods)) or "none"
            self._refuse(
                link,
                job,
                FAILED,
                f"Subworker {link.kind!r} has no method {job.method!r}; it has: {known}",
            )
            return None
        directory = link.directory
        if link.kind != pool.PYTHON:
            # Python subworkers make a directory for each task themselves.
            directory = os.path.join(directory, f"{job.uid}-{job.attempt}")
            try:
                os.mkdir(directory, 0o700)
            except OSError as error:
                self._refuse(link, job, UNABLE, f"its directory cannot be made: {error}")
                return None
            self._directories[job.uid] = directory
        try:
            return to_task(job, self._store, directory)
        except KeyError as error:
            lost = error.args[0]
            self._refuse(link, job, UNABLE, f"its input {id_of(lost)} is not on this worker any more", [lost])
            return None

    def _new_bodies(self, link: SubworkerLink, jobs: list[Job]) -> list[TaskBody]:
        known = self._core.subworkers[link.number].bodies
        new = []
        for job in jobs:
            key = (job.session_id, job.body.key)
            if key not in known:
                known.add(key)
                new.append(job.body)
        return new

    def _refuse(
        self, link: SubworkerLink, job: Job, kind: AttemptState, error: str, lost: Sequence[int] = ()
    ) -> None:
        self._perform(self._core.on_refused(link.number, job.uid, self._loop.now()))
        self._end(job, kind, error, damaged=lost)

    def _end(
        self,
        job: Job,
        kind: AttemptState,
        error: str,
        printed: Printed | None = None,
        damaged: Sequence[int] = (),
    ) -> None:
        outcome = Outcome(job.uid, job.attempt, kind, error, damaged=list(damaged), printed=printed)
        self._ended.append(outcome)
        self._call_soon()

    def _call_soon(self) -> None:
        if not self._soon:
            self._soon = True
            self._loop.call_soon(self._run_soon)

    def _run_soon(self) -> None:
        self._soon = False
        self._tell()
        self._flush()
        if self._spare_timer is None and self._core.needs_spare():
            self._spare_timer = self._loop.call_later(pool.SPARE_DELAY_S, self._start_spare)

    def _start_spare(self) -> None:
        self._spare_timer = None
        if self._core.needs_spare():
            self.prestart(pool.SPARES)

    def _tell(self) -> None:
        """Give the worker core what has come together."""
        while self._ended or self._returned:
            ended, self._ended = self._ended, []
            returned, self._returned = self._returned, []
            for outcome in ended:
                self._done(outcome)
                directory = self._directories.pop(outcome.uid, None)
                if directory is not None:
                    self._remove(directory)
            for effect in returned:
                self._given_back(effect.job, effect.unmet)

    def _remove(self, directory: str) -> None:
        """Remove a directory; one with something in it in a thread, since that can take long."""
        try:
            os.rmdir(directory)
        except OSError:
            try:
                self._remover.submit(partial(_remove_logged, directory))
            except OSError:  # of no thread
                _remove_logged(directory)

    def _catch_up(self, link: SubworkerLink) -> None:
        """Handle what the subworker has sent so far."""
        self._on_messages(link, link.read())
        if link.fault is not None:
            self._on_broken(link)

    def _check_late(self) -> None:
        self._late_timer = None
        for number in self._core.late(self._loop.now()):
            link = self._links[number]
            self._catch_up(link)
            # What was just read may show that it is not late at all.
            if number in self._core.late(self._loop.now()):
                self._perform(self._core.on_withdrawn(number, link.withdraw(), self._loop.now()))
        self._look_for_late_ones()

    def _rest_s(self, link: SubworkerLink) -> float:
        return self._core.rest_s(link.number)

    # What happens to subworkers.

    def _on_hello(self, link: SubworkerLink) -> None:
        self._on_kind(link.kind, None)
        self._perform(self._core.on_hello(link.number, self._loop.now()))

    def _on_messages(self, link: SubworkerLink, messages: list[SubworkerMessage]) -> None:
        """Results arrived. What comes after a wrong one is not looked at."""
        now = self._loop.now()
        for message in messages:
            match message:
                case TaskResult() | UnmetInputs():
                    if not self._on_answer(link, message, now):
                        return
                case TaskPrinted():
                    link.note_printed(message)
                case PackagesDiffer():
                    self._tell_server(VersionsDiffer(message.session_id, message.rows))
                case SubworkerHello():
                    link.fault = "said hello twice"
                    return
                case Leaving():
                    self._on_leaving(link, message)
                    break
                case _:
                    assert_never(message)
        if self._ended:
            self._call_soon()

    def _on_answer(self, link: SubworkerLink, message: TaskResult | UnmetInputs, now: float) -> bool:
        """A job ended, or was not run; False when it was not the one that runs."""
        uid = message.id[0] << 32 | message.id[1]
        if isinstance(message, TaskResult):
            duration_s = message.duration_us / 1e6
            job, effects = self._core.on_result(link.number, uid, message.attempt, duration_s, now)
        else:
            job, effects = self._core.on_unmet(link.number, uid, message.attempt, now)
        if job is None:
            link.fault = f"sent a result of task {id_of(uid)}, which it was not running"
            return False
        link.forget(uid)
        printed = link.take_printed(job)
        if effects:
            self._perform(effects)
        if not isinstance(message, TaskResult) or any(isinstance(e, pe.Cancelled) for e in effects):
            return True
        directory = self._directories.get(uid, link.directory)
        outcome = to_outcome(job, message, self._store, directory)
        outcome.printed = printed
        self._ended.append(outcome)
        return True

    def _on_leaving(self, link: SubworkerLink, message: Leaving) -> None:
        """It must be replaced."""
        _log.warning("subworker %s (number %d) is replaced: %.1000s", link.kind, link.number, message.reason)
        not_run = None if message.not_run is None else message.not_run[0] << 32 | message.not_run[1]
        self._perform(self._core.on_leaving(link.number, not_run, link.withdraw()))

    def _on_broken(self, link: SubworkerLink) -> None:
        """It cannot be used any more."""
        _log.warning("subworker %s (number %d): %s", link.kind, link.number, link.fault)
        self._perform(self._core.on_broken(link.number))

    def _on_not_started(self, link: SubworkerLink, error: OSError | None) -> list[pe.Effect]:
        """It ended without a hello; the effects that are left to perform."""
        reason = link.why_not_started(error)
        _log.warning("%s", reason)
        effects = self._core.on_exit(link.number, (), self._loop.now())
        self._drop(link)
        for effect in effects:
            if isinstance(effect, pe.KindDown):
                self._on_kind(effect.kind, reason)
            elif isinstance(effect, pe.StartFailed):
                self._end(effect.job, UNABLE, reason)
        return [effect for effect in effects if not isinstance(effect, pe.StartFailed | pe.KindDown)]

    def _on_exit(self, link: SubworkerLink) -> None:
        """Its process is gone."""
        if not self._core.subworkers[link.number].ready:
            self._perform(self._on_not_started(link, None))
            return
        self._on_messages(link, link.read())
        effects = self._core.on_exit(link.number, link.withdraw(), self._loop.now())
        crashed = [effect for effect in effects if isinstance(effect, pe.Crashed)]
        if crashed or link.fault is not None:
            reason, kind = (link.why_unable(), UNABLE) if link.was_unable else (link.why_crashed(), CRASHED)
            _log.warning("%s", reason)
            for effect in crashed:
                self._end(effect.job, kind, reason, link.take_printed_by_crashed(effect.job))
        self._perform(effect for effect in effects if not isinstance(effect, pe.Crashed))
        self._tell()
        self._drop(link)
        self._call_soon()  # a spare may be due

    def _drop(self, link: SubworkerLink) -> None:
        link.close()
        del self._links[link.number]
        self._unflushed.pop(link.number, None)
        self._remove(link.directory)
        self._remove(link.temporary)


def _remove_logged(directory: str) -> None:
    try:
        remove_tree(directory)
    except OSError as error:
        _log.warning("could not remove %s: %s", directory, error)
