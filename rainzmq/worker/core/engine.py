"""The worker's core: what to fetch, what to start, what to report. Pure.

    Assign --> fetching --(inputs arrive)--> ready --(cpus free)--> running --(outcome)--> Report

What starts when is decided in `starts.py`. A task may also go from fetching to running at once, queued behind
the tasks that make its inputs.

Everything that happened in a turn goes into one `Report` at its end.
"""

from __future__ import annotations

from typing import Any, assert_never

from rainzmq.common.ids import session_of
from rainzmq.protocol.messages import worker as m
from rainzmq.protocol.messages.shared import ObjectMeta, TaskBody
from rainzmq.worker.core import jobs, states
from rainzmq.worker.core.cpus import CpuPool
from rainzmq.worker.core.events import (
    Effect,
    Event,
    FetchFailed,
    FetchObject,
    ForgetPeers,
    ForgetSessions,
    Instruction,
    JobEnded,
    JobGivenBack,
    KillJob,
    KindsTroubled,
    ObjectArrived,
    ObjectDamaged,
    RemoveObjects,
    ReportDue,
    Reset,
    StartJob,
    StartReady,
    StoreObject,
    TellServer,
    Told,
)
from rainzmq.worker.core.jobs import Job, unmade
from rainzmq.worker.core.records import AssignedTask, Promise, Replica
from rainzmq.worker.core.reports import Reports
from rainzmq.worker.core.starts import Pipeline, Starts


class WorkerEngine:
    """The worker's state machine.

    Args:
        cpus: indices of the cpus it may give to tasks.
        pipeline: asked how many more jobs a runner takes behind a running one.

    Attributes:
        tasks, replicas: what the worker was given and has not dropped, by uid.
        running: jobs that runners have, by the uid of their task, also when that was dropped.
        promised: objects that tasks here are to make, by uid.
    """

    def __init__(self, cpus: list[int], pipeline: Pipeline) -> None:
        self.cpus = CpuPool(cpus)
        self.tasks: dict[int, AssignedTask] = {}
        self.replicas: dict[int, Replica] = {}
        self.running: dict[int, Job] = {}
        self.promised: dict[int, Promise] = {}
        self.starts = Starts(self.cpus, pipeline, self.replicas, self.promised)
        self._bodies: dict[tuple[int, int], TaskBody] = {}
        self._users: dict[int, bytes] = {}
        self._names: dict[int, str] = {}
        self._inline: set[int] = set()
        self._troubled: frozenset[str] = frozenset()
        self._reports = Reports()
        self._effects: list[Effect] = []

    def handle(self, event: Event) -> list[Effect]:
        """Take one event and return what is to be done, in order."""
        match event:
            case JobEnded():
                self._on_job_ended(event)
            case StartReady():
                self._start_ready()
            case ReportDue():
                self._on_turn_ended()
            case Told():
                self._on_told(event.message)
            case ObjectArrived():
                self._on_arrived(event)
            case FetchFailed():
                self._on_fetch_failed(event)
            case JobGivenBack():
                self._on_given_back(event)
            case ObjectDamaged():
                self._on_damaged(event.uid)
            case KindsTroubled():
                self._on_kinds_troubled(event.kinds)
            case Reset():
                self._on_reset()
            case _:
                assert_never(event)
        effects, self._effects = self._effects, []
        return effects

    def wants_output(self, uid: int) -> bool:
        """Whether the server asked for the content of an output with the report, if it is small."""
        return uid in self._inline

    # Messages of the server.

    def _on_told(self, message: Instruction) -> None:
        match message:
            case m.Assign():
                self._on_assign(message)
            case m.Retract():
                self._on_retract(message)
            case m.CancelFetch():
                self._on_cancel_fetch(message)
            case m.PeersGone():
                self._effects.append(ForgetPeers(message.endpoints))
            case m.Remove():
                self._on_remove(message)
            case m.EndSessions():
                self._on_end_sessions(message)
            case _:
                assert_never(message)

    def _on_assign(self, message: m.Assign) -> None:
        for session_id, body in message.bodies:
            self._bodies[session_id, body.key] = body
        self._users.update(message.spec_users)
        self._names.update(message.names)
        self._inline.update(message.inline)
        for meta, data, holders in zip(
            message.objects, message.object_data, message.object_holders, strict=True
        ):
            self._on_object(meta, data, [message.holders[index] for index in holders])
        inputs = iter(message.inputs)
        columns = zip(
            message.uids,
            message.attempts,
            message.body_keys,
            message.configs,
            message.priorities,
            message.input_counts,
            strict=True,
        )
        for uid, attempt, key, config, priority, count in columns:
            session_id = session_of(uid)
            body = self._bodies[session_id, key]
            read = [next(inputs) for _ in range(count)]
            self._add_task(AssignedTask(uid, attempt, session_id, body, config, priority, read))
        if self._troubled:
            self._give_back_troubled()  # they were under way when the server was told

    def _on_object(self, meta: ObjectMeta, data: bytes | None, holders: list[Any]) -> None:
        known = self.replicas.get(meta.uid)
        if known is not None and known.state is states.STORED:
            return
        if data is not None:
            self._effects.append(StoreObject(meta.uid, data, meta.executable))
            self._store(meta)
        elif known is None:
            self.replicas[meta.uid] = Replica(meta, states.EXPECTED)
            self._effects.append(FetchObject(meta.uid, meta.is_directory, holders, meta.executable))

    def _add_task(self, task: AssignedTask) -> None:
        self.tasks[task.uid] = task
        for uid, output in zip(self._outputs_of(task), task.body.outputs, strict=True):
            self.promised[uid] = Promise(task, not output.is_directory)
        for uid in task.inputs:
            replica = self.replicas.get(uid)
            if replica is None and uid in self.promised:
                task.missing += 1
                promise = self.promised[uid]
                promise.readers.append(task)
                self.starts.add_follower(task, promise)
            elif replica is None:
                task.missing += 1
                self._reports.current.missing.append(
                    (uid, "the worker was told that it has it, and does not", [], False)
                )
            elif replica.state is states.EXPECTED:
                task.missing += 1
                replica.readers.append(task)
        if not task.missing:
            self._make_ready(task)

    def _on_retract(self, message: m.Retract) -> None:
        for uid in message.uids:
            task = self.tasks.get(uid)
            if task is not None and task.state is not states.RUNNING:
                self._drop(task)
                self._reports.current.retracted.append((uid, task.attempt))

    def _on_cancel_fetch(self, message: m.CancelFetch) -> None:
        for uid in message.uids:
            replica = self.replicas.get(uid)
            if replica is not None and replica.state is states.EXPECTED:
                # Its readers stay as they are until the server retracts them.
                del self.replicas[uid]
                self._effects.append(RemoveObjects([uid]))
                self._reports.current.unfetched.append(uid)

    def _on_remove(self, message: m.Remove) -> None:
        for uid in message.uids:
            self.replicas.pop(uid, None)
        self._effects.append(RemoveObjects(message.uids))
        self._reports.current.removed.extend(message.uids)
        self._reports.add_bytes(9 * len(message.uids))

    def _on_end_sessions(self, message: m.EndSessions) -> None:
        ended = set(message.session_ids)
        for task in [task for task in self.tasks.values() if task.session_id in ended]:
            self._drop(task)
        for job in self.running.values():
            if job.session_id in ended:
                self._effects.append(KillJob(job))
        uids = [uid for uid in self.replicas if session_of(uid) in ended]
        for uid in uids:
            del self.replicas[uid]
        self._bodies = {key: body for key, body in self._bodies.items() if key[0] not in ended}
        self.starts.forget_sessions(ended)
        self._users = {uid: user for uid, user in self._users.items() if session_of(uid) not in ended}
        self._names = {uid: name for uid, name in self._names.items() if session_of(uid) not in ended}
        self._inline = {uid for uid in self._inline if session_of(uid) not in ended}
        self._effects.append(RemoveObjects(uids))
        self._effects.append(ForgetSessions(message.session_ids))
        self._reports.current.ended_sessions.extend(message.session_ids)

    # What happens here.

    def _on_arrived(self, event: ObjectArrived) -> None:
        uid = event.uid
        replica = self.replicas.get(uid)
        if replica is None:
            self._effects.append(RemoveObjects([uid]))
            return
        if replica.state is states.EXPECTED:
            self._reports.fetched(event)
            self._store(replica.meta)

    def _on_fetch_failed(self, event: FetchFailed) -> None:
        replica = self.replicas.get(event.uid)
        if replica is not None and replica.state is states.EXPECTED:
            del self.replicas[event.uid]
            if event.own:
                self._give_back_readers(event.uid)
                self._reports.current.unfetched.append(event.uid)
            else:
                # Its readers stay as they are until the server retracts them.
                self._reports.current.missing.append((event.uid, event.reason, event.silent, event.refused))

    def _on_job_ended(self, event: JobEnded) -> None:
        outcome = event.outcome
        job = self.running.pop(outcome.uid)
        self._release(job)
        task = self.tasks.get(outcome.uid)
        if task is None or task.attempt != outcome.attempt or task.state is not states.RUNNING:
            # Its session ended, or the server fenced us: nobody wants the result.
            made = [outcome.uid + 1 + index for index in range(len(event.sizes))]
            if made:
                self._effects.append(RemoveObjects(made))
            return
        task.job = None  # nothing is queued behind it any more
        if outcome.printed is not None:
            self._reports.printed(job, outcome.printed)
        if outcome.kind is jobs.FINISHED:
            for meta in self._reports.finished(job, event):
                self._store(meta)
        elif outcome.kind is jobs.FAILED:
            self._reports.current.failed.append(
                (
                    job.uid,
                    job.attempt,
                    outcome.start_time,
                    outcome.duration_us,
                    outcome.error,
                    outcome.debug,
                )
            )
            self._reports.add_bytes(len(outcome.error) + len(outcome.debug))
        elif outcome.kind is jobs.UNABLE:
            self._reports.current.unable.append((job.uid, job.attempt, outcome.error))
            self._reports.add_bytes(len(outcome.error))
        else:
            note = outcome.error or "it was killed"
            self._reports.current.crashed.append((job.uid, job.attempt, note))
            self._reports.add_bytes(len(note))
        self._drop(task)

    def _on_given_back(self, event: JobGivenBack) -> None:
        job = self.running.pop(event.uid)
        self._release(job)
        task = self.tasks.get(event.uid)
        if task is not None and task.job is job:
            if event.unmet:
                self.starts.was_unmet(job)
            # What it stands behind takes longer than expected, or did not make its input: the server knows
            # best where it goes now.
            self._drop(task)
            self._reports.current.retracted.append((event.uid, task.attempt))

    def _release(self, job: Job) -> None:
        """A job needs its cpus no more; one that was queued behind it on them runs from now on."""
        following = self.starts.release(job)
        task = self.tasks.get(following) if following is not None else None
        if task is not None:
            self.starts.began.append(task)

    def _on_damaged(self, uid: int) -> None:
        replica = self.replicas.pop(uid, None)
        if replica is None:
            return
        self._give_back_readers(uid)
        self._effects.append(RemoveObjects([uid]))
        self._reports.current.lost.append(uid)

    def _give_back_readers(self, uid: int) -> None:
        """Give tasks back that read an object which is not here, unless they run."""
        for task in list(self.tasks.values()):
            if uid in task.inputs and task.state in (states.FETCHING, states.READY):
                self._drop(task)
                self._reports.current.retracted.append((task.uid, task.attempt))

    def _on_kinds_troubled(self, kinds: frozenset[str]) -> None:
        self._troubled = kinds
        if kinds:
            self._give_back_troubled()

    def _give_back_troubled(self) -> None:
        """Give tasks of kinds that this worker takes none of back, unless they run."""
        for task in list(self.tasks.values()):
            kind = task.body.task_type.partition("/")[0]
            if kind in self._troubled and task.state in (states.FETCHING, states.READY):
                self._drop(task)
                self._reports.current.retracted.append((task.uid, task.attempt))

    def _on_reset(self) -> None:
        for task in list(self.tasks.values()):
            self._drop(task)
        self._effects.extend(KillJob(job) for job in self.running.values())
        uids = list(self.replicas)
        sessions = {key[0] for key in self._bodies} | {session_of(uid) for uid in uids}
        self.replicas.clear()
        self._bodies.clear()
        self.starts.forget_sessions(sessions)
        self._users.clear()
        self._names.clear()
        self._inline.clear()
        self._effects.append(RemoveObjects(uids))
        self._effects.append(ForgetSessions(sorted(sessions)))
        self._reports = Reports()

    def _on_turn_ended(self) -> None:
        for task in self.starts.began:
            if task.state is states.RUNNING and not task.reported:
                task.reported = True
                self._reports.current.started.append((task.uid, task.attempt))
        self.starts.began.clear()
        reports = self._reports.take()
        if reports:
            self._effects.append(TellServer(reports))

    # Helpers.

    def _start_ready(self) -> None:
        for task, cpus in self.starts.take():
            self._start(task, cpus)

    def _start(self, task: AssignedTask, cpus: tuple[int, ...]) -> None:
        task.to(states.RUNNING)
        uid = task.uid
        outputs = range(uid + 1, uid + 1 + len(task.body.outputs))
        users = self._users
        job = Job(
            uid,
            task.attempt,
            task.session_id,
            task.body,
            task.config,
            [self._meta(item) for item in task.inputs],
            cpus,
            self._names.get(uid, task.body.name),
            users.get(uid, b""),
            {item: users[item] for item in outputs if item in users} if users else {},
        )
        task.job = job
        self.running[uid] = job
        self._effects.append(StartJob(job))
        for item in outputs:
            promise = self.promised.get(item)
            if promise is not None:
                for reader in promise.readers:
                    if reader.state is states.FETCHING:
                        self.starts.add_follower(reader, promise)

    def _meta(self, uid: int) -> ObjectMeta:
        replica = self.replicas.get(uid)
        return unmade(uid) if replica is None else replica.meta

    def _make_ready(self, task: AssignedTask) -> None:
        task.to(states.READY)
        self.starts.add_ready(task)

    def _store(self, meta: ObjectMeta) -> None:
        replica = self.replicas.get(meta.uid)
        promise = self.promised.pop(meta.uid, None)
        readers = [] if promise is None else promise.readers
        if replica is None:
            self.replicas[meta.uid] = Replica(meta, states.STORED)
        else:
            replica.meta = meta
            if replica.state is states.EXPECTED:
                replica.to(states.STORED)
            readers, replica.readers = readers + replica.readers, []
        for task in readers:
            task.missing -= 1
            if task.state is states.FETCHING:
                if not task.missing:
                    self._make_ready(task)
                elif task.missing == 1:
                    self._look_for_maker(task)
            elif task.job is not None:
                task.job.made(meta)

    def _look_for_maker(self, task: AssignedTask) -> None:
        """A task waits for its last input: it may be queued behind what makes that."""
        for uid in task.inputs:
            promise = self.promised.get(uid)
            if promise is not None:
                if task in promise.readers:  # else it waits for an earlier promise, and to be retracted
                    self.starts.add_follower(task, promise)
                return

    def _drop(self, task: AssignedTask) -> None:
        """It is not this worker's any more. Tasks sent ahead of it wait until they are retracted."""
        task.to(states.DROPPED)
        if self.tasks.get(task.uid) is task:
            del self.tasks[task.uid]
            for uid in self._outputs_of(task):
                self.promised.pop(uid, None)

    @staticmethod
    def _outputs_of(task: AssignedTask) -> range:
        return range(task.uid + 1, task.uid + 1 + len(task.body.outputs))
