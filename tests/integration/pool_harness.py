"""A subworker pool with a real loop, store and processes, but no server."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgpack

from rainzmq.common import pickles
from rainzmq.common.ids import make_uid
from rainzmq.common.pickles import dumps_by_value
from rainzmq.common.pycall import CallBody, encode_arguments, encode_body
from rainzmq.protocol.messages.shared import ObjectMeta, OutputTemplate, TaskBody
from rainzmq.store.objects import ObjectStore
from rainzmq.transport.loop import Loop
from rainzmq.worker.core.jobs import Job, Outcome
from rainzmq.worker.subworkers import SubworkerPool

FOREIGN = Path(__file__).with_name("foreign_subworker.py")
SESSION = 3


def foreign(*arguments: str) -> list[str]:
    """The command of the foreign subworker."""
    return [sys.executable, str(FOREIGN), *arguments]


def blob_output(
    label: str | None = None, content_type: str | None = None, encode: str | None = None
) -> OutputTemplate:
    """A declared blob."""
    return OutputTemplate(label, False, content_type, encode, None, None)


DIRECTORY_OUTPUT = OutputTemplate("dir", True, None, None, None, None)


class Harness:
    """Makes jobs, runs the loop until they ended, and stores outputs as a worker does."""

    def __init__(self, directory: Path, kinds: dict[str, str | list[str]]) -> None:
        self.loop = Loop()
        self.store = ObjectStore(directory / "store")
        self.outcomes: dict[int, Outcome] = {}
        self.given_back: list[int] = []
        self.kinds_down: list[tuple[str, str]] = []
        self.logdir = directory / "log"
        self.scratch = directory / "scratch"
        self.pool = SubworkerPool(
            self.loop,
            self.store,
            self.scratch,
            self._done,
            lambda job, _unmet: self.given_back.append(job.uid),
            kinds=kinds,
            logdir=self.logdir,
            pin_cpus=False,
            on_kind=lambda kind, why: self.kinds_down.append((kind, why)) if why else None,
        )
        self._jobs: dict[int, Job] = {}
        self._next = 1
        self._closed = False
        self._functions: dict[Any, tuple[TaskBody, int]] = {}

    def close_pool(self) -> None:
        """End all subworkers. No error when that was done."""
        if not self._closed:
            self._closed = True
            self.pool.close()

    def close(self) -> None:
        """End and remove everything."""
        self.close_pool()
        # One more turn: the descriptors that watched processes are closed when they are seen to have ended.
        self.loop.call_soon(lambda: None)
        self.loop._turn()
        self.store.close()
        self.loop.close()

    def put(self, data: bytes, content_type: str | None = None) -> ObjectMeta:
        """A stored blob."""
        uid = self._take_ids(1)
        self.store.put(uid, data)
        return ObjectMeta(uid, None, False, content_type, len(data), b"", b"")

    def job(
        self,
        task_type: str,
        outputs: list[OutputTemplate],
        *,
        config: Any = None,
        inputs: list[ObjectMeta] | None = None,
        cpus: tuple[int, ...] = (0,),
        name: str | None = None,
    ) -> Job:
        """A job of a foreign subworker."""
        uid = self._take_ids(1 + len(outputs))
        body = TaskBody(uid, task_type, len(cpus), None, b"", ["in"] * len(inputs or []), outputs)
        packed = b"" if config is None else msgpack.packb(config)
        return Job(uid, 0, SESSION, body, packed, inputs or [], cpus, name)

    def call(
        self, function: Callable[..., Any], *args: Any, cpus: tuple[int, ...] = (0,), attempt: int = 0
    ) -> Job:
        """A job that calls a Python function with one output, encoded as JSON. Arguments that are
        `ObjectMeta` are inputs.
        """
        uid = self._take_ids(2)
        if function not in self._functions:
            key = len(self._functions) + 1
            # A client that was used in this process has a rule for how modules travel.
            with patch.object(pickles, "_travel", [pickles._all_installed]):
                config = encode_body(CallBody(function.__name__, key, dumps_by_value(function)))
            body = TaskBody(key, "python/call", 1, None, config, [], [blob_output(encode="json")])
            self._functions[function] = (body, key)
        body, _ = self._functions[function]
        inputs = [value for value in args if isinstance(value, ObjectMeta)]

        def refer(value: Any) -> int | None:
            return inputs.index(value) if isinstance(value, ObjectMeta) else None

        config = encode_arguments(args, {}, refer)[0]
        return Job(uid, attempt, SESSION, body, config, inputs, cpus)

    def start(self, *jobs: Job) -> None:
        """Start jobs in one turn."""
        for job in jobs:
            self._jobs[job.uid] = job
            self.pool.start(job)

    def run(self, *jobs: Job) -> list[Outcome]:
        """Start jobs and wait for their outcomes."""
        self.start(*jobs)
        return self.wait(*jobs)

    def wait(self, *jobs: Job) -> list[Outcome]:
        """The outcomes of started jobs."""
        self.until(lambda: all(job.uid in self.outcomes for job in jobs))
        return [self.outcomes[job.uid] for job in jobs]

    def until(self, condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
        """Run the loop until a condition holds."""
        deadline = time.monotonic() + timeout_s
        waker = self._tick()
        while not condition():
            assert time.monotonic() < deadline, f"what was waited for did not happen; {self._state()}"
            self.loop._turn()
        waker()

    def turn_for(self, seconds: float) -> None:
        """Run the loop for a while."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end)

    def value(self, uid: int) -> bytes:
        """The content of an output."""
        return bytes(self.store.read(uid))

    def _state(self) -> str:
        outcomes = [(uid, outcome.kind, outcome.duration_us) for uid, outcome in self.outcomes.items()]
        return f"outcomes: {outcomes}; given back: {self.given_back}; pool: {self.pool._core.subworkers}"

    def _tick(self) -> Callable[[], None]:
        """Wake the loop now and then, so that a condition of time is noticed."""
        timers: list[Any] = []

        def tick() -> None:
            timers[:] = [self.loop.call_later(0.02, tick)]

        tick()
        return lambda: timers[0].cancel()

    def _take_ids(self, count: int) -> int:
        uid = make_uid(SESSION, self._next)
        self._next += count
        return uid

    def _done(self, outcome: Outcome) -> None:
        assert outcome.uid not in self.outcomes, "two outcomes of one job"
        self.outcomes[outcome.uid] = outcome
        job = self._jobs[outcome.uid]
        for index, (made, declared) in enumerate(zip(outcome.outputs, job.body.outputs, strict=False)):
            uid = job.output_uid(index)
            if made.data is not None:
                self.store.put(uid, made.data)
            elif made.alias is not None:
                self.store.alias(uid, made.alias)
            elif made.path is not None:
                self.store.adopt(uid, made.path, declared.is_directory)
