"""A server's core under test: few words to build a situation, then one event, then what it said."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

from rainzmq.common.ids import make_uid
from rainzmq.protocol.messages import client as c
from rainzmq.protocol.messages import worker as w
from rainzmq.protocol.messages.shared import Endpoint, ObjectMeta, OutputTemplate, TaskBody
from rainzmq.server.core import invariants
from rainzmq.server.core.engine import Engine
from rainzmq.server.core.events import (
    ClientJoined,
    ClientSaid,
    Effect,
    Event,
    Send,
    Tick,
    TurnEnded,
    WorkerJoined,
    WorkerSaid,
)
from rainzmq.server.core.records import ObjectRecord, TaskRecord, WorkerRecord
from rainzmq.server.core.session_records import SessionRecord
from rainzmq.server.core.state import CoreOptions

RELAY = Endpoint("127.0.0.1", 1, b"R" * 40)


def body(key: int = 1, outputs: int = 1, cpus: int = 1, task_type: str = "python/call") -> TaskBody:
    """A task body with unlabelled blob outputs."""
    template = OutputTemplate(None, False, None, None, None, None)
    return TaskBody(key, task_type, cpus, None, b"", [], [template] * outputs)


def report(**columns: Any) -> w.Report:
    """A report with the given columns, the others empty."""
    names = list(w.Report.__dataclass_fields__)
    return w.Report(*[columns.get(name, []) for name in names])


class ServerUnderTest:
    """An engine with a manual clock, one client, and any number of workers, whose invariants are checked
    after each event.
    """

    def __init__(self, **options: Any) -> None:
        numbers = count(1000)
        defaults = CoreOptions(
            random_id=lambda: next(numbers),
            software="test",
            heartbeat_interval_s=2.0,
            suspect_after_s=6.0,
            dead_after_s=10.0,
            crash_limit=3,
        )
        self.now = 0.0
        self.engine = Engine(replace(defaults, **options), RELAY, 2, 0.0)
        self.effects: list[Effect] = []
        self.sent: dict[bytes, list[Any]] = {}
        self._requests = count(1)
        self._ports = count(5000)
        self.client = b"client"
        self.event(ClientJoined(self.client, c.ClientHello("test", "host", 1), False))

    def event(self, event: Event) -> list[Effect]:
        """Handle one event, check invariants, gather what was sent."""
        effects = self.engine.handle(event, self.now)
        invariants.check(self.engine.state)
        for effect in effects:
            if isinstance(effect, Send):
                self.sent.setdefault(effect.peer, []).extend(effect.messages)
            else:
                self.effects.append(effect)
        return effects

    def turn(self) -> None:
        """End the turn: schedule and send."""
        self.event(TurnEnded())

    def pass_time(self, seconds: float) -> None:
        """Let time pass in steps of the heartbeat interval."""
        step = self.engine.state.options.heartbeat_interval_s
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + step)
            self.event(Tick())
            self.turn()

    def take(self, peer: bytes, kind: type | None = None) -> list[Any]:
        """What was sent to a peer since the last call; only messages of `kind` if given: the others go."""
        messages = self.sent.pop(peer, [])
        return [message for message in messages if kind is None or isinstance(message, kind)]

    def worker(
        self, name: bytes, cpus: int = 1, kinds: tuple[str, ...] = ("builtin", "python")
    ) -> WorkerRecord:
        """Let a worker join."""
        endpoint = Endpoint("127.0.0.1", next(self._ports), b"W" * 40)
        self.event(
            WorkerJoined(
                name,
                w.WorkerHello(
                    software="test",
                    hostname="host",
                    pid=2,
                    cpus=cpus,
                    data=endpoint,
                    subworkers=list(kinds),
                    previous_epoch=0,
                ),
            )
        )
        self.turn()
        self.take(name)
        return self.engine.state.workers[name]

    def session(self) -> SessionRecord:
        """Open a session of the client."""
        self.say(c.NewSession(next(self._requests), "test"))
        self.turn()
        session_id = self.take(self.client, c.SessionOpened)[0].session_id
        return self.engine.state.sessions[session_id]

    def say(self, message: Any, peer: bytes | None = None) -> None:
        """The client (or another one) says something."""
        peer = peer or self.client
        self.event(ClientSaid(peer, self.engine.state.clients[peer].epoch, message))

    def submit(
        self,
        session: SessionRecord,
        tasks: dict[int, list[int]],
        *,
        keep: tuple[int, ...] = (),
        bodies: list[TaskBody] | None = None,
        body_of: dict[int, int] | None = None,
        consts: dict[int, bytes] | None = None,
        configs: dict[int, bytes] | None = None,
        last: bool = True,
        turn: bool = True,
    ) -> None:
        """Submit tasks {id: input ids}, all of the first body unless `body_of` says otherwise."""
        known = bodies if bodies is not None else ([] if 1 in session.bodies else [body()])
        metas = [
            ObjectMeta(make_uid(session.session_id, item), None, False, None, len(data), b"", b"")
            for item, data in (consts or {}).items()
        ]
        self.say(
            c.Submit(
                session.session_id,
                known,
                list(tasks),
                [(body_of or {}).get(item, 1) for item in tasks],
                [(configs or {}).get(item, b"") for item in tasks],
                [len(inputs) for inputs in tasks.values()],
                [item for inputs in tasks.values() for item in inputs],
                [],
                metas,
                list((consts or {}).values()),
                list(keep),
                [],
                last,
            )
        )
        if turn:
            self.turn()

    def reports(self, worker: WorkerRecord, turn: bool = True, **columns: Any) -> None:
        """A worker sends a report."""
        self.event(WorkerSaid(worker.peer, worker.epoch, report(**columns)))
        if turn:
            self.turn()

    def finishes(
        self, worker: WorkerRecord, *tasks: TaskRecord, size: int = 10, turn: bool = True, **more: Any
    ) -> None:
        """A worker reports that tasks finished."""
        self.reports(
            worker,
            turn,
            finished=[task.uid for task in tasks],
            attempts=[task.attempt for task in tasks],
            start_times=[1.0] * len(tasks),
            durations_us=[100] * len(tasks),
            cpus=[0] * len(tasks),
            output_counts=[len(task.outputs) for task in tasks],
            sizes=[size for task in tasks for _ in task.outputs],
            **more,
        )

    @staticmethod
    def task(session: SessionRecord, local_id: int) -> TaskRecord:
        """A task of the session."""
        return session.tasks[make_uid(session.session_id, local_id)]

    @staticmethod
    def object(session: SessionRecord, local_id: int) -> ObjectRecord:
        """An object of the session."""
        return session.objects[make_uid(session.session_id, local_id)]
