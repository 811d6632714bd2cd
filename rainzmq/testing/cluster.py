"""The real cores of a server and its workers, run together in virtual time without processes.

Messages go through the real codec and through links that are ordered, as TCP is, but as slow as a seeded
random generator says. Jobs "run" for a random time and produce a digest of their inputs, so that the result
of a graph tells whether every task got the right inputs. `kill_worker` and `add_worker` make faults.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any, assert_never

from rainzmq.protocol.codec import Header, decode, encode
from rainzmq.protocol.messages import client as c
from rainzmq.protocol.messages import worker as w
from rainzmq.protocol.messages.shared import Endpoint
from rainzmq.server.core import invariants
from rainzmq.server.core import states as server_states
from rainzmq.server.core.engine import Engine
from rainzmq.server.core.events import (
    AnotherTurn,
    ClientJoined,
    DropUploads,
    Effect,
    ForgetPeer,
    Log,
    OfferTicket,
    PeerGone,
    Send,
    SendEvents,
    SessionOwner,
    Tick,
    UnwatchProcess,
    WatchProcess,
    WorkerGone,
    WorkerJoined,
    WorkerSaid,
)
from rainzmq.server.core.events import TurnEnded as ServerTurnEnded
from rainzmq.server.core.state import CoreOptions
from rainzmq.testing.client import CLIENT, SimulatedClient
from rainzmq.testing.server_core import RELAY
from rainzmq.worker.core import events as we
from rainzmq.worker.core import invariants as worker_invariants
from rainzmq.worker.core import jobs
from rainzmq.worker.core.engine import WorkerEngine

STALL_S = 5.0
"""A holder of which nothing was heard for so long is given up."""


class SimulatedSlot:
    """What runs on some cpus of a worker, one job after the other, as in a subworker.

    Attributes:
        queue: jobs whose outcome the core has not been told, in order.
        begun: how many of them have begun.
        made: outputs made here.
        told_at: when the core hears of the last one that ended, seconds.
    """

    def __init__(self) -> None:
        self.queue: deque[jobs.Job] = deque()
        self.begun = 0
        self.made: dict[int, bytes] = {}
        self.told_at = 0.0


class SimulatedWorker:
    """A worker's core with a store of digests and runners that only take time.

    With `cluster.ahead` over 0, jobs are queued behind running ones; their outcomes are told later, inputs
    that jobs before them make are taken from there, and what has not begun is given back now and then.
    """

    def __init__(self, cluster: SimulatedCluster, name: bytes, cpus: int, port: int) -> None:
        self.cluster = cluster
        self.name = name
        self.endpoint = Endpoint("sim", port, b"W" * 40)
        self.engine = WorkerEngine(list(range(cpus)), self._room)
        self.header = Header()
        self.store: dict[int, bytes] = {}
        self.slots: dict[tuple[int, ...], SimulatedSlot] = {}
        self.killed: set[tuple[int, int]] = set()
        self.stalled: dict[int, tuple[we.FetchObject, int]] = {}
        self.alive = True

    def handle(self, event: we.Event) -> bool:
        """Let the core handle an event and perform its effects."""
        effects = self.engine.handle(event)
        worker_invariants.check(self.engine)
        for effect in effects:
            self._perform(effect)
        return bool(effects)

    def take(self, message: we.ServerMessage) -> None:
        """The server says something."""
        match message:
            case w.WorkerWelcome():
                self.header = Header(sender_epoch=message.epoch)
            case w.WorkerHeartbeat():
                pass
            case w.WorkerRefused() | w.Fenced() | w.WorkerKnock() | w.WorkerBye():
                raise AssertionError(f"nothing here makes a server say {message}")
            case _:
                self.handle(we.Told(message))

    def turn(self) -> None:
        """End a turn."""
        while self.handle(we.StartReady()):
            pass
        self.handle(we.ReportDue())

    def _room(self, cpus: tuple[int, ...], session_id: int, body_key: int, not_short: bool) -> int:
        slot = self.slots.get(cpus)
        return 0 if slot is None or not slot.queue else self.cluster.ahead - len(slot.queue)

    def _perform(self, effect: we.Effect) -> None:
        match effect:
            case we.StartJob():
                slot = self.slots.setdefault(effect.job.cpus, SimulatedSlot())
                slot.queue.append(effect.job)
                if slot.begun == len(slot.queue) - 1:
                    self._begin(slot)
            case we.TellServer():
                frames = [encode(message, self.header) for message in effect.messages]
                self.cluster.link(self.name, b"server", lambda: self.cluster.from_worker(self, frames))
            case we.FetchObject():
                self.cluster.after(self.cluster.job_time(), lambda: self._ask_holder(effect, 0))
            case we.KillJob():
                self.killed.add((effect.job.uid, effect.job.attempt))
            case we.StoreObject():
                self.store[effect.uid] = effect.data
            case we.RemoveObjects():
                for uid in effect.uids:
                    self.store.pop(uid, None)
                    self.stalled.pop(uid, None)
            case we.ForgetPeers():
                for stalled, index in list(self.stalled.values()):
                    if stalled.holders[index] in effect.endpoints:
                        self.cluster.after(0.0, partial(self._give_up_holder, stalled, index))
            case we.ForgetSessions():
                pass  # their objects were removed by themselves, and nothing else is kept here
            case _:
                assert_never(effect)

    def _begin(self, slot: SimulatedSlot) -> None:
        job = slot.queue[slot.begun]
        slot.begun += 1
        self.cluster.after(self.cluster.job_time(), lambda: self._job_done(slot, job))

    def _job_done(self, slot: SimulatedSlot, job: jobs.Job) -> None:
        if not self.alive:
            return
        event = self._run(slot, job)
        random = self.cluster.random
        if slot.begun < len(slot.queue):
            self._begin(slot)
        delay_s = random.choice((0.0, 0.002)) if self.cluster.ahead else 0.0
        slot.told_at = max(slot.told_at, self.cluster.now + delay_s)
        self.cluster.after(slot.told_at - self.cluster.now, lambda: self._tell(slot, event))
        if self.cluster.ahead and random.random() < 0.05:
            self._give_back(slot)

    def _tell(self, slot: SimulatedSlot, event: we.Event) -> None:
        if not self.alive:
            return
        slot.queue.popleft()
        slot.begun -= 1
        if isinstance(event, we.JobEnded):
            self._take_outputs(event)
        self.handle(event)
        self.turn()

    def _give_back(self, slot: SimulatedSlot) -> None:
        """As when a job is late: what has not begun behind it is the core's again."""
        back = [slot.queue.pop() for _ in range(len(slot.queue) - slot.begun)]
        for job in reversed(back):
            self.handle(we.JobGivenBack(job.uid))
        self.turn()

    def _run(self, slot: SimulatedSlot, job: jobs.Job) -> we.Event:
        if (job.uid, job.attempt) in self.killed:
            return we.JobEnded(jobs.Outcome(job.uid, job.attempt, jobs.CANCELLED))
        digest = hashlib.sha256(str(job.uid).encode())
        for meta in job.inputs:
            content = self.store[meta.uid] if meta.size >= 0 else slot.made.get(meta.uid)
            if content is None or (meta.size < 0 and self.cluster.random.random() < 0.05):
                return we.JobGivenBack(job.uid, unmet=True)
            digest.update(content)
        outcome = jobs.Outcome(job.uid, job.attempt, jobs.FINISHED, start_time=1.0, duration_us=1000)
        event = we.JobEnded(outcome)
        for index in range(len(job.body.outputs)):
            uid = job.uid + 1 + index
            slot.made[uid] = digest.digest()
            outcome.outputs.append(jobs.Produced(data=slot.made[uid]))
        self.cluster.ran.append((job.uid, job.attempt))
        return event

    def _take_outputs(self, event: we.JobEnded) -> None:
        for index, made in enumerate(event.outcome.outputs):
            uid = event.outcome.uid + 1 + index
            assert made.data is not None
            self.store[uid] = made.data
            event.sizes.append(len(made.data))
            if self.engine.wants_output(uid) and self.cluster.random.random() < self.cluster.inline_share:
                event.inline.append((uid, made.data))

    def _ask_holder(self, effect: we.FetchObject, index: int) -> None:
        """Ask the next holder. Of a dead one nothing is heard: see `_give_up_holder`."""
        if not self.alive or effect.uid not in self.engine.replicas:
            return
        if index == len(effect.holders):
            quiet = [holder for holder in effect.holders if not self._reaches(holder)]
            silent = [f"{holder.host}:{holder.port}" for holder in quiet]
            self.handle(we.FetchFailed(effect.uid, "no holder has it", silent=silent))
            self.turn()
            return
        source = self.cluster.by_port.get(effect.holders[index].port)
        reached = self._reaches(effect.holders[index])
        if source is None or (reached and effect.uid not in source.store):
            self._ask_holder(effect, index + 1)
        elif reached:
            self.store[effect.uid] = source.store[effect.uid]
            self.handle(we.ObjectArrived(effect.uid))
            self.turn()
        else:
            self.stalled[effect.uid] = effect, index
            self.cluster.after(STALL_S, lambda: self._give_up_holder(effect, index))

    def _reaches(self, holder: Endpoint) -> bool:
        source = self.cluster.by_port.get(holder.port)
        return source is not None and source.alive and {self, source} not in self.cluster.cuts

    def _give_up_holder(self, effect: we.FetchObject, index: int) -> None:
        """A holder was silent for long, or is known to be gone."""
        if self.stalled.get(effect.uid) == (effect, index):
            del self.stalled[effect.uid]
            self._ask_holder(effect, index + 1)


class SimulatedCluster:
    """A server's core, workers and one client, in virtual time.

    Args:
        seed: of all that is random.
        inline_share: share of small outputs that come with reports, 0 to 1.
        ahead: how many jobs workers queue on cpus in use, with the running one.
        notice_s: how long it takes at most until the server notices that a worker died, seconds.
    """

    def __init__(self, seed: int, inline_share: float = 0.5, ahead: int = 0, notice_s: float = 0.0) -> None:
        self.random = random.Random(seed)
        self.inline_share = inline_share
        self.ahead = ahead
        self.notice_s = notice_s
        self.now = 0.0
        self.ran: list[tuple[int, int]] = []
        self.by_port: dict[int, SimulatedWorker] = {}
        self.workers: dict[bytes, SimulatedWorker] = {}
        self.cuts: list[set[SimulatedWorker]] = []
        """Pairs of workers without a way between them."""
        self.client = SimulatedClient(self, self._server)
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._link_free: dict[tuple[bytes, bytes], float] = {}
        self._ports = count(1)
        numbers = random.Random(seed + 1)
        options = CoreOptions(
            random_id=lambda: numbers.getrandbits(61) + 1,
            software="sim",
            heartbeat_interval_s=2.0,
            suspect_after_s=6.0,
            dead_after_s=10.0,
            crash_limit=1000,
        )
        self.server = Engine(options, RELAY, 2, 0.0)
        self._server(ClientJoined(CLIENT, c.ClientHello("sim", "sim", 1), False))
        self.after(2.0, self._tick)

    def job_time(self) -> float:
        """A random duration, seconds."""
        return self.random.choice((0.0005, 0.002, 0.01, 0.05))

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something later."""
        heapq.heappush(self._queue, (self.now + delay_s, next(self._order), action))

    def link(self, source: bytes, target: bytes, action: Callable[[], None]) -> None:
        """Deliver something over an ordered link with a random delay."""
        at = max(self._link_free.get((source, target), 0.0), self.now + self.random.random() * 0.003)
        self._link_free[source, target] = at
        heapq.heappush(self._queue, (at, next(self._order), action))

    def add_worker(self, cpus: int) -> SimulatedWorker:
        """A new worker says hello."""
        port = next(self._ports)
        worker = SimulatedWorker(self, b"w%d" % port, cpus, port)
        self.workers[worker.name] = self.by_port[port] = worker
        hello = w.WorkerHello(
            software="sim",
            hostname="sim",
            pid=1,
            cpus=cpus,
            data=worker.endpoint,
            subworkers=["python"],
            previous_epoch=0,
        )
        self._server(WorkerJoined(worker.name, hello))
        return worker

    def kill_worker(self, worker: SimulatedWorker) -> None:
        """A worker dies; the server notices after a random time, when its last messages have come."""
        worker.alive = False
        del self.workers[worker.name]
        last = partial(self._server, PeerGone(worker.name, "killed"))
        delay_s = self.random.random() * self.notice_s
        self.link(worker.name, b"server", lambda: self.after(delay_s, last))

    def say(self, message: Any) -> None:
        """The client says something."""
        self.client.say(message)

    def run_until(self, done: Callable[[], bool], limit_s: float = 600.0) -> None:
        """Let virtual time pass until `done`; AssertionError when nothing happens any more or it takes too
        long.
        """
        while not done():
            assert self._queue, "nothing happens any more"
            at, _, action = heapq.heappop(self._queue)
            assert at < limit_s, f"not done after {limit_s} s of virtual time"
            self.now = at
            action()

    def from_worker(self, worker: SimulatedWorker, frames: list[bytes]) -> None:
        """Frames of a worker arrive at the server."""
        for frame in frames:
            header, message = decode(frame, w.CONVERSATION, "worker")
            self._server(WorkerSaid(worker.name, header.sender_epoch, message), end=False)
        self._server(ServerTurnEnded())

    def _tick(self) -> None:
        for worker in self.workers.values():
            epoch = self.server.state.workers[worker.name].epoch
            self._server(WorkerSaid(worker.name, epoch, w.WorkerHeartbeat()))
        self.client.heartbeat()
        self._server(Tick())
        self.after(2.0, self._tick)

    def _server(self, event: Any, end: bool = True) -> None:
        events = [event, ServerTurnEnded()] if end and not isinstance(event, ServerTurnEnded) else [event]
        for item in events:
            for effect in self.server.handle(item, self.now):
                self._perform(effect)
            invariants.check(self.server.state)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Send():
                self._deliver(effect)
            case SendEvents():
                self.watched(effect)
            case OfferTicket() | DropUploads() | WorkerGone():
                pass  # there is no relay
            case ForgetPeer() | SessionOwner() | WatchProcess() | UnwatchProcess():
                pass  # nor are there connections and processes
            case Log() | AnotherTurn():
                pass  # other events make turns
            case _:
                assert_never(effect)

    def watched(self, effect: SendEvents) -> None:
        """Events for watchers, which are not part of this; for subclasses that watch."""

    def _deliver(self, send: Send) -> None:
        if send.peer == self.client.peer:
            self.client.deliver(send.messages)
            return
        worker = self.workers.get(send.peer)
        if worker is not None:
            frames = [encode(message, Header()) for message in send.messages]
            self.link(b"server", send.peer, lambda: self._to_worker(worker, frames))

    def _to_worker(self, worker: SimulatedWorker, frames: list[bytes]) -> None:
        if not worker.alive:
            return
        for frame in frames:
            _, message = decode(frame, w.CONVERSATION, "server")
            worker.take(message)
        worker.turn()

    def finished(self, session_id: int) -> bool:
        """Every task of a session is finished."""
        session = self.server.state.sessions[session_id]
        assert session.state is server_states.OPEN, session.failure
        return not session.unfinished
