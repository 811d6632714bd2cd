"""Histories of one session made at random, with all that can go wrong."""

from __future__ import annotations

import random
from typing import Any

from rainzmq.common.ids import make_uid
from rainzmq.monitoring.model import Model
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.shared import Failure, OutputTemplate, TaskBody

START = 1_790_000_000.0
_OUT = OutputTemplate("out", False, None, None, None, None)


class RandomHistory:
    """A model fed with a random run of one session, number 1. `model` is how it ended.

    Tasks are submitted in several messages, some read what others made, run on three workers with clocks
    that are off, are retracted, crash, get lost and run again; the session may be closed, fail, or stay open.
    """

    def __init__(self, seed: int) -> None:
        self.model = Model()
        self._rng = random.Random(seed)
        self._time = START
        self._attempts: dict[int, int] = {}
        self._skew = {worker: self._rng.choice([0.0, -0.3, 0.5]) for worker in (1, 2, 3)}
        for worker in self._skew:
            self._add(e.WorkerCame, worker, f"w:{worker}", "node", worker, 2, ["python"])
        self._add(e.SessionCame, 1, "random", "here")
        self._tasks: list[int] = []
        self._done: list[int] = []
        for _ in range(self._rng.randint(0, 4)):
            self._submit()
            self._run(self._rng.uniform(0.5, 1.2))
        self._end()

    def _add(self, kind: type, *values: Any) -> None:
        self._time += self._rng.choice([0.0, 0.001, 0.1, 1.0])
        self.model.apply(kind(self.model.number + 1, self._time, *values))

    def _submit(self) -> None:
        rng = self._rng
        first = 2 * len(self._tasks) + 1
        ids = [first + 2 * place for place in range(rng.randint(1, 12))]
        counts, inputs = [], []
        for task in ids:
            earlier = [item + 1 for item in [*self._tasks, *ids] if item < task]
            mine = rng.sample(earlier, min(len(earlier), rng.randint(0, 3)))
            mine += [2_000_000] * (rng.random() < 0.1)
            counts.append(len(mine))
            inputs += mine
        constants = [(2_000_000, None, False, None, 10)]
        body = TaskBody(1, "python/run", rng.randint(1, 2), "step/one", b"", [], [_OUT])
        self._add(e.TasksSubmitted, 1, [body], ids, [1] * len(ids), counts, inputs, [], [], [], constants, [])
        self._tasks += ids

    def _run(self, share: float) -> None:
        """Run some of what is left, in order of the ids."""
        rng = self._rng
        for task in self._tasks:
            if task in self._done:
                continue
            if rng.random() > share:
                return
            self._attempt(task)
            while rng.random() < 0.2:
                outcome = rng.choice(["retracted", "lost", "crashed"])
                uids, attempts = [make_uid(1, task)], [self._attempts.get(task, 0)]
                self._add(e.TasksReturned, self._worker, uids, attempts, outcome, ["note"])
                self._attempts[task] = self._attempts.get(task, 0) + (outcome != "retracted")
                self._attempt(task)
            self._finish(task)
            if rng.random() < 0.1:
                again = rng.choice(self._done)
                self._attempts[again] = self._attempts.get(again, 0) + 1
                self._add(
                    e.TasksRerun, [make_uid(1, again)], [self._attempts[again]], [make_uid(1, again + 1)], []
                )
                if rng.random() < 0.8:
                    self._attempt(again)
                    self._finish(again)

    def _attempt(self, task: int) -> None:
        rng = self._rng
        self._worker = rng.randint(1, 3)
        uids, attempts = [make_uid(1, task)], [self._attempts.get(task, 0)]
        self._add(e.TasksAssigned, self._worker, uids, attempts)
        row = self.model.sessions[1].tasks.row(task)
        moved = [item for item in self.model.sessions[1].input_ids(row) if rng.random() < 0.5]
        for item in moved:
            begin = self._time + rng.uniform(-0.5, 1)
            size = rng.randint(0, 1000)
            came = (make_uid(1, item), "w:2", begin, int(rng.uniform(0, 2e6)), size)
            self._add(e.ObjectsMoved, self._worker, [came])
        if rng.random() < 0.7:
            self._add(e.TasksStarted, self._worker, uids, attempts)

    def _finish(self, task: int) -> None:
        rng = self._rng
        begin = self._time + self._skew[self._worker] - rng.uniform(0, 1)
        ran = ([self._attempts.get(task, 0)], [begin], [int(rng.uniform(0, 3e6))], [0], [1], [100])
        self._add(e.TasksFinished, self._worker, [make_uid(1, task)], *ran, [], [], [])
        if task not in self._done:
            self._done.append(task)

    def _end(self) -> None:
        left = [task for task in self._tasks if task not in self._done]
        how = self._rng.choice(["open", "closed", "cancelled", "failed"])
        if how == "open":
            return
        failure = None
        if how == "failed" and left:
            self._attempt(left[0])
            failure = Failure(make_uid(1, left[0]), "step", "python/run", 0, "w:1", "it broke", "")
            begin, duration = self._rng.choice([(0.0, -1), (self._time - 1, 500_000)])
            self._add(e.TaskFailed, self._worker, failure, begin, duration)
        self._add(e.SessionEnded, 1, how, failure)
