"""The worker process: one loop around the core; the store, transfers and runners are its hands.

DEALER --message--> WorkerEngine --StartJob--> runner --Outcome--> store
DEALER <--Report--- WorkerEngine <------------JobEnded-------------- store
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, assert_never

from rainzmq._version import __version__
from rainzmq.common.archive import ArchiveError
from rainzmq.common.errors import RainException
from rainzmq.common.ids import id_of
from rainzmq.common.limits import CHECK_VARIABLE, INLINE_OBJECT_BYTES, MESSAGE_TARGET_BYTES
from rainzmq.common.ready import write_ready
from rainzmq.common.versions import python_version
from rainzmq.protocol.messages import worker as m
from rainzmq.protocol.messages.shared import Endpoint
from rainzmq.store.objects import StoreFull
from rainzmq.transport.access import Access, find_access
from rainzmq.transport.carrier import Arrival, FetchFailure
from rainzmq.transport.control import ControlClient
from rainzmq.transport.data import DataPeer, DataPort
from rainzmq.transport.keys import KeyPair
from rainzmq.transport.loop import Loop
from rainzmq.transport.net import local_address_towards
from rainzmq.transport.sockets import Context, new_context, raise_file_limit
from rainzmq.transport.zap import Authenticator
from rainzmq.worker import guard, processes
from rainzmq.worker.builtin import BuiltinRunner
from rainzmq.worker.core import events as ev
from rainzmq.worker.core import invariants, jobs
from rainzmq.worker.core.engine import WorkerEngine
from rainzmq.worker.core.jobs import Job, Outcome
from rainzmq.worker.cpus import claims_of
from rainzmq.worker.faults import is_own
from rainzmq.worker.health import Health
from rainzmq.worker.link import ServerLink
from rainzmq.worker.programs import ProgramRunner
from rainzmq.worker.running_output import RunningOutput
from rainzmq.worker.sampling import Sampling
from rainzmq.worker.subworkers import SubworkerPool

_log = logging.getLogger(__name__)

PRESTARTED = 2
"""Python subworkers that are started before the first task asks for one, unless there are fewer cpus."""

_END_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""SIGHUP comes when the terminal is closed; under nohup it is ignored, and stays so."""
_GC_THRESHOLDS = (50_000, 50, 100)


@dataclass
class WorkerOptions:
    """How a worker is started.

    Attributes:
        server: host, host:port or path of an access file.
        cpus: number of cpus that tasks may use, at least 1.
        host, port: where other workers fetch data; None: the address that reaches the server; 0: any port.
        workdir: where data and running tasks are; None: a private directory, on a RAM disk that has room.
        logdir: where subworkers' output goes.
        ready_file: written once the server knows this worker.
        config: the parsed TOML file; what the command line says of its keys goes before.
        access_file: explicit path of the access file.
        lifeline_fd: a pipe whose end of file ends the worker.
        dies_with_server: end instead of waiting when the server is lost.
    """

    server: str
    cpus: int
    host: str | None = None
    port: int = 0
    workdir: Path | None = None
    logdir: Path | None = None
    ready_file: Path | None = None
    config: dict[str, Any] = field(default_factory=dict)
    access_file: str | None = None
    lifeline_fd: int | None = None
    dies_with_server: bool = False


class Runner(Protocol):
    """What runs jobs of some task types; gives one outcome for each."""

    def start(self, job: Job) -> None: ...
    def kill(self, uid: int) -> None: ...
    def close(self) -> None: ...


class Worker:
    """The reactor: turns messages, transfers and outcomes into events, and effects into action."""

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self.exit_reason: str | None = None
        self._ready_written = False
        self._check = os.environ.get(CHECK_VARIABLE) == "1"
        self._hostname = socket.gethostname()
        self._cleanups: list[Callable[[], object]] = []
        try:
            self._open(options)
        except BaseException:
            self.close()
            raise

    def _open(self, options: WorkerOptions) -> None:
        access = find_access(options.server, None, options.access_file)
        self.loop = Loop()
        self._cleanups.append(self.loop.close)
        self._health = Health(
            self.loop,
            options.workdir,
            leave=lambda reason: self._link.rejoin(reason),
            on_object_gone=lambda uid: self._handle(ev.ObjectDamaged(uid)),
            on_troubles=self._on_troubles,
            retry_subworkers=lambda kind: self._subworkers.retry(kind),
        )
        self._cleanups.append(self._health.close)
        self.store = self._health.store
        context = new_context()
        self._cleanups.append(context.term)
        control = ControlClient(context, access, "worker")
        self._cleanups.append(control.close)
        control.connect()
        self._open_data(context, access, options)

        processes.become_subreaper()
        indices, self._pinned, claims = claims_of(options.cpus, options.config.get("pin", "auto"))
        self._cleanups.extend(claim.close for claim in claims)
        self._runners: list[Runner] = []
        self._cleanups.append(self._close_runners)
        self._open_runners()
        self.engine = WorkerEngine(indices, lambda *key: self._subworkers.accepts_more(*key))
        self._link = ServerLink(
            self.loop,
            control,
            self._make_hello,
            is_idle=lambda: not self.engine.running and self._health.lost is None,
            dies_with_server=options.dies_with_server,
            on_message=self._on_message,
            on_welcome=self._on_welcome,
            on_lost=self._on_lost,
            on_end=self._on_end,
        )
        self._cleanups.append(lambda: self._link.close(self.exit_reason or "it was stopped"))
        self._relay_key = b""
        output = RunningOutput(lambda: chain(self._programs.outputs(), self._subworkers.outputs()))
        further = partial(self._running_output, output)
        self._sampling = Sampling(self.loop, self.store, self._link.tell, further)
        self._cleanups.append(self._sampling.stop)

    def _open_runners(self) -> None:
        """Make what runs tasks, in the workplace as it is now."""
        scratch, health = self._health.workplace.scratch, self._health
        self._builtin = BuiltinRunner(self.loop, self.store, scratch / "builtin", self._on_outcome)
        self._runners.append(self._builtin)
        self._programs = ProgramRunner(
            self.loop,
            self.store,
            scratch / "programs",
            self._on_outcome,
            copy_inputs=health.copy_inputs,
            pinned=self._pinned,
        )
        self._runners.append(self._programs)
        kinds = self._options.config.get("subworkers", {})
        self._subworkers = SubworkerPool(
            self.loop,
            self.store,
            scratch / "subworkers",
            self._on_outcome,
            self._on_given_back,
            kinds={name: entry["command"] for name, entry in kinds.items()},
            logdir=self._options.logdir or scratch,
            pin_cpus=self._pinned,
            on_kind=health.on_kind,
            tell_server=lambda message: self._link.tell([message]),
        )
        self._runners.append(self._subworkers)
        health.kinds = ["builtin", *self._subworkers.kinds]
        health.remember()

    def _close_runners(self) -> None:
        while self._runners:
            _try(self._runners.pop().close)

    def _open_data(self, context: Context, access: Access, options: WorkerOptions) -> None:
        auth = Authenticator(context, self.loop)
        self._cleanups.append(auth.close)
        own = access.key("worker")
        auth.allow("data", own.public, "worker")
        auth.allow("data", access.server_public, "server")
        keys = KeyPair.new()
        self._data = DataPort(context, self.loop, self.store, keys, own, "data")
        self._cleanups.append(self._data.close)
        host = options.host or local_address_towards(access.address, access.port)
        self._data.bind(host, options.port)
        assert self._data.endpoint is not None, "it is bound"
        self._endpoint: Endpoint = self._data.endpoint

    def run(self) -> None:
        """Say hello and work until `stop`, the server's goodbye, or a reason to end (`exit_reason`)."""
        self.loop.at_turn_end(self._on_turn_end)
        if self._options.lifeline_fd is not None:
            self.loop.add_reader(self._options.lifeline_fd, self._on_lifeline)
        self._link.start()
        self._prestart()
        self._health.start()
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        self.loop.run()

    def _prestart(self) -> None:
        self._subworkers.prestart(min(self.engine.cpus.total, PRESTARTED))

    def stop(self) -> None:
        """End `run`; from signal handlers."""
        self.loop.stop()

    def close(self) -> None:
        """Stop all jobs, say goodbye, remove all files. Each step is tried, whatever the others do."""
        while self._cleanups:
            _try(self._cleanups.pop())

    # Events.

    def _on_turn_end(self) -> None:
        while self._handle(ev.StartReady()):
            pass
        self._handle(ev.ReportDue())
        if self._health.lost is not None and not self.engine.running and self.exit_reason is None:
            self._renew(self._health.lost)
        self._link.greet_if_due()
        if self._check:
            invariants.check(self.engine)
            self._subworkers.check()

    def _handle(self, event: ev.Event) -> bool:
        """Let the core handle an event and perform the effects; whether there were any."""
        effects = self.engine.handle(event)
        for effect in effects:
            self._perform(effect)
        return bool(effects)

    def _on_outcome(self, outcome: Outcome) -> None:
        """A runner is done with a job: take its outputs over, then tell the core."""
        for uid in outcome.damaged:
            if self.store.has(uid) and not self.store.verify(uid):
                _log.error("the content of %s is gone, or %s changed it", id_of(uid), id_of(outcome.uid))
                self._handle(ev.ObjectDamaged(uid))
        job = self.engine.running[outcome.uid]
        event = ev.JobEnded(self._health.judged(job, outcome))
        if outcome.kind is jobs.FINISHED:
            try:
                self._take_outputs(job, event)
            except (StoreFull, OSError, ArchiveError, ValueError) as error:
                self._drop_outputs(job)
                failed = replace(
                    outcome,
                    kind=jobs.UNABLE if is_own(error, self._health.workplace.path) else jobs.FAILED,
                    error=f"the worker cannot store its outputs: {error}",
                    outputs=[],
                    user=b"",
                    damaged=[],
                )
                event = ev.JobEnded(self._health.judged(job, failed))
        self._handle(event)

    def _take_outputs(self, job: Job, event: ev.JobEnded) -> None:
        store = self.store
        inline_bytes = 0
        for index, (made, declared) in enumerate(zip(event.outcome.outputs, job.body.outputs, strict=True)):
            uid = job.uid + 1 + index
            # An earlier attempt may have left one that the server has not told us to remove yet.
            if store.has(uid):
                store.remove(uid)
            if made.data is not None:
                size = store.put(uid, made.data)
            elif made.alias is not None:
                size = store.alias(uid, made.alias, made.inner)
            else:
                assert made.path is not None, "an output is data, a path or an alias"
                size = store.adopt(uid, made.path, declared.is_directory)
            event.sizes.append(size)
            if store.is_executable(uid):
                event.executables.append(uid)
            is_small = size <= INLINE_OBJECT_BYTES and inline_bytes + size <= MESSAGE_TARGET_BYTES
            if is_small and not declared.is_directory and self.engine.wants_output(uid):
                event.inline.append((uid, bytes(store.read(uid))))
                inline_bytes += size

    def _drop_outputs(self, job: Job) -> None:
        for index in range(len(job.body.outputs)):
            if self.store.has(job.uid + 1 + index):
                self.store.remove(job.uid + 1 + index)

    def _on_fetched(self, uid: int, failure: FetchFailure | None) -> None:
        if failure is None:
            self._handle(ev.ObjectArrived(uid))
            return
        silent = [f"{peer.host}:{peer.port}" for peer in failure.silent if isinstance(peer, DataPeer)]
        own = not failure.refused and self._health.cannot_store()
        self._handle(ev.FetchFailed(uid, failure.reason, own=own, silent=silent, refused=failure.refused))

    def _on_arrived(self, uid: int, arrival: Arrival) -> None:
        peer = arrival.source
        assert isinstance(peer, DataPeer), "data ports fetch from these"
        is_relay = peer.public_key == self._relay_key
        source = "server" if is_relay else f"{peer.host}:{peer.port}"
        start = time.time() - arrival.duration_s
        self._handle(
            ev.ObjectArrived(uid, (source, start, int(arrival.duration_s * 1e6), arrival.size_bytes))
        )

    def _on_given_back(self, job: Job, unmet: bool) -> None:
        self._handle(ev.JobGivenBack(job.uid, unmet))

    def _running_output(self, output: RunningOutput) -> list[Any]:
        return output.reports(self.loop.now())

    # Effects.

    def _perform(self, effect: ev.Effect) -> None:
        match effect:
            case ev.StartJob():
                self._runner(effect.job).start(effect.job)
            case ev.TellServer():
                self._link.tell(effect.messages)
            case ev.FetchObject():
                self._fetch(effect)
            case ev.StoreObject():
                self._store(effect)
            case ev.RemoveObjects():
                self._remove(effect.uids)
            case ev.KillJob():
                self._runner(effect.job).kill(effect.job.uid)
            case ev.ForgetPeers():
                for endpoint in effect.endpoints:
                    self._data.forget(endpoint)
            case ev.ForgetSessions():
                for session_id in effect.session_ids:
                    self.store.remove_session(session_id)
                self._subworkers.forget_sessions(effect.session_ids)
            case _:
                assert_never(effect)

    def _fetch(self, effect: ev.FetchObject) -> None:
        uid = effect.uid
        self._data.fetch(
            uid,
            effect.is_directory,
            effect.holders,
            lambda _: self._on_fetched(uid, None),
            lambda arrival: self._on_arrived(uid, arrival),
            lambda failure: self._on_fetched(uid, failure),
            executable=effect.executable,
        )

    def _remove(self, uids: list[int]) -> None:
        for uid in uids:
            self._data.cancel(uid)
            try:
                self.store.remove(uid)
            except OSError as error:
                _log.warning("%s cannot be removed: %s", id_of(uid), error)
                self._health.look_soon()

    def _runner(self, job: Job) -> Runner:
        if job.kind != "builtin":
            return self._subworkers
        return self._programs if job.method == "execute" else self._builtin

    def _store(self, effect: ev.StoreObject) -> None:
        try:
            if not self.store.has(effect.uid):
                self.store.put(effect.uid, effect.data, effect.executable)
        except (StoreFull, OSError) as error:
            # The server has the content still, and shall not send it again before there is room.
            self._health.all_ill(f"no data can be stored: {error}")
            self._handle(ev.ObjectDamaged(effect.uid))

    # What is wrong with this worker.

    def _renew(self, problem: str) -> None:
        """Nothing runs any more: make another workplace, or end."""
        self._close_runners()
        try:
            self._health.renew()
            self._open_runners()
        except (RainException, OSError) as error:
            self._on_end(f"{problem}; {error}")
            return
        _log.info("the new working directory is %s", self._health.workplace.path)
        self._prestart()

    def _on_troubles(self, troubles: dict[str, str]) -> None:
        self._link.tell([m.WorkerTrouble(sorted(troubles.items()))])
        self._handle(ev.KindsTroubled(frozenset(troubles)))

    # The server.

    def _make_hello(self, previous_epoch: int) -> m.WorkerHello:
        return m.WorkerHello(
            software=__version__,
            hostname=self._hostname,
            pid=os.getpid(),
            cpus=self.engine.cpus.total,
            data=self._endpoint,
            subworkers=[*self._health.kinds, f"python {python_version()}"],
            previous_epoch=previous_epoch,
        )

    def _on_message(self, message: ev.Instruction) -> None:
        self._handle(ev.Told(message))

    def _on_lost(self, reason: str) -> None:
        self._sampling.stop()
        self._handle(ev.Reset())

    def _on_welcome(self, welcome: m.WorkerWelcome) -> None:
        _log.info("worker %s:%d registered", self._endpoint.host, self._endpoint.port)
        self._relay_key = welcome.relay.public_key
        self._sampling.start(welcome.sample_interval_s)
        troubles = self._health.troubles.now()
        if troubles:
            self._link.tell([m.WorkerTrouble(sorted(troubles.items()))])
        if self._options.ready_file is not None and not self._ready_written:
            write_ready(self._options.ready_file)
            self._ready_written = True

    def _on_end(self, reason: str | None) -> None:
        self.exit_reason = reason
        _log.info("worker ends: %s", reason or "the server was stopped")
        self.loop.stop()

    def _on_lifeline(self) -> None:
        assert self._options.lifeline_fd is not None
        if not os.read(self._options.lifeline_fd, 64):
            _log.info("the process that started this worker is gone")
            self.loop.remove_reader(self._options.lifeline_fd)
            self.loop.stop()


def _try(step: Callable[[], object]) -> None:
    """Do a step of ending: what is left must still be cleaned up, whatever it raises."""
    try:
        step()
    except OSError as error:  # of a disk that cannot be used any more
        _log.warning("while ending: %s", error)
    except Exception:
        _log.exception("while ending")


def run_worker(options: WorkerOptions) -> int:
    """Run a worker until SIGTERM, SIGINT, the end of its lifeline or of its server; returns the exit code.

    Raises:
        RainException: the server cannot be reached or refuses, the workdir or port cannot be used.
    """
    # A signal while the worker is made waits until it can end the worker in order.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _END_SIGNALS)
    with guard.standing():
        processes.use_file_limit(raise_file_limit())
        worker = Worker(options)
        try:
            for number in _END_SIGNALS:
                if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                    continue
                signal.signal(number, lambda *_: worker.stop())
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            worker.run()
        finally:
            worker.close()
    if worker.exit_reason is not None:
        raise RainException(worker.exit_reason)
    _log.info("worker stopped")
    return 0
