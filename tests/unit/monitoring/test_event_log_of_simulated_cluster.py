"""The event log tells what happens: a model that is fed by it agrees with the server, whatever gets lost."""

from __future__ import annotations

import random

import numpy as np
import pytest

from rainzmq.common.ids import make_uid
from rainzmq.monitoring.model import Model
from rainzmq.monitoring.sequence import Sequence
from rainzmq.monitoring.session import ASSIGNED, FINISHED, READY, RUNNING, WAITING
from rainzmq.protocol.codec import Header, decode, encode
from rainzmq.protocol.messages import client as c
from rainzmq.protocol.messages import events as e
from rainzmq.server.core import states
from rainzmq.server.core.events import ClientJoined, ClientSaid, Flush, SendEvents, WatcherMissed
from rainzmq.testing.cluster import SimulatedCluster
from tests.unit.testing.test_simulated_cluster import random_graph, submit

WATCHER = b"watcher"

CODES = {
    states.WAITING: WAITING,
    states.READY: READY,
    states.ASSIGNED: ASSIGNED,
    states.RUNNING: RUNNING,
    states.FINISHED: FINISHED,
}


class WatchedCluster(SimulatedCluster):
    """A cluster with somebody who watches and loses a share of what he is told."""

    def __init__(self, seed: int, lost_share: float, **more: object) -> None:
        self.model = Model()
        self.sequence = Sequence()
        self.lost_share = lost_share
        self.lost = self.requests = 0
        self.watching = False
        super().__init__(seed, **more)

    def watch(self) -> None:
        """Begin to watch."""
        self._server(ClientJoined(WATCHER, c.ClientHello("sim", "sim", 2), True))
        self.watching = True
        self.ask()
        self.flush()

    def ask(self) -> None:
        """Ask for a snapshot."""
        self.requests += 1
        self.sequence.asked(self.requests)
        self.watcher_says(e.Watch(self.requests))

    def watcher_says(self, message: object) -> None:
        """The watcher says something."""
        self._server(ClientSaid(WATCHER, self.server.state.clients[WATCHER].epoch, message))

    def flush(self) -> None:
        """Hand out events now and then."""
        self._server(Flush())
        self.watcher_says(c.ClientHeartbeat(0))
        self.after(self.random.random() * 0.02, self.flush)

    def watched(self, effect: SendEvents) -> None:
        """Some of it arrives."""
        assert effect.peers == [WATCHER]
        if self.random.random() < self.lost_share:
            self.lost += 1
            snapshot = (e.SnapshotBegin, e.TaskStates, e.SnapshotEnd)
            if self.random.random() < 0.5 or any(isinstance(item, snapshot) for item in effect.messages):
                # The server knows what it did not send; otherwise the gap in the numbers must be enough.
                self.after(0.01, lambda: self._server(WatcherMissed(WATCHER)))
            return
        for message in effect.messages:
            event = decode(encode(message, Header()), c.CONVERSATION, "server")[1]
            if self.sequence.takes(event):
                self.model.apply(event)
        if self.sequence.missed:
            self.ask()

    def settle(self) -> None:
        """Let all arrive that is under way."""
        self.lost_share = 0.0
        state = self.server.state
        self._server(WatcherMissed(WATCHER))
        for _ in range(100):
            self._server(Flush())
            if not state.feed.snapshots and not state.feed.pending and self.sequence.number is not None:
                return
        raise AssertionError("snapshots do not end")

    def check(self) -> None:
        """The model agrees with the server."""
        self.settle()
        for session in self.server.state.sessions.values():
            log = self.model.sessions[session.session_id]
            ids = log.tasks["ids"].tolist()
            expected, attempts, workers = [], [], []
            for local_id in ids:
                task = session.tasks.get(make_uid(session.session_id, local_id))
                past = session.history.task(make_uid(session.session_id, local_id))
                assert task is not None or past is not None, local_id
                expected.append(FINISHED if task is None else CODES[task.state])
                attempts.append(None if task is None else task.attempt)
                on = task is not None and task.worker is not None and task.state != states.FINISHED
                workers.append(task.worker.number if on else None)
            assert len(ids) == session.task_count
            assert log.states().tolist() == expected
            told = log.tasks["attempt"].tolist()
            assert all(mine in (None, said) for mine, said in zip(attempts, told, strict=True))
            told = log.tasks["worker"].tolist()
            assert all(mine in (None, said) for mine, said in zip(workers, told, strict=True))
            for item in session.objects.values():
                row = log.objects.row(item.uid & 0xFFFFFFFF)
                assert not np.isnan(log.objects["finished"][row]) or item.state == states.UNFINISHED
                assert np.isnan(log.objects["removed"][row]) == (item.state != states.REMOVED)
        there = {worker.number for worker in self.server.state.workers.values()}
        assert {worker.number for worker in self.model.workers.values() if worker.is_there()} == there


def run(seed: int, lost_share: float, kills: int, ahead: int, late: bool) -> WatchedCluster:
    rng = random.Random(seed)
    cluster = WatchedCluster(seed, lost_share, inline_share=rng.choice((0.0, 1.0)), ahead=ahead)
    for cpus in (1, 2, 4):
        cluster.add_worker(cpus)
    if not late:
        cluster.watch()
    cluster.say(c.NewSession(1, "sim"))
    graph = random_graph(rng, 90)
    submit(cluster, graph, [item + 1 for item in graph], parts=rng.choice((1, 4)))
    for number in range(kills):
        cluster.after(
            0.1 * (number + 1), lambda: cluster.kill_worker(rng.choice(list(cluster.workers.values())))
        )
        cluster.after(0.1 * (number + 1) + 0.02, lambda: cluster.add_worker(2))
    if late:
        cluster.after(0.15, cluster.watch)
    for at in (0.05, 0.2, 0.4):
        end = cluster.now + at
        cluster.run_until(lambda end=end: cluster.now >= end or cluster.finished(1))
        if cluster.watching:
            share, cluster.lost_share = cluster.lost_share, 0.0
            cluster.check()
            cluster.lost_share = share
    cluster.run_until(lambda: cluster.finished(1) and cluster.watching)
    cluster.check()
    return cluster


@pytest.mark.parametrize("ahead", [0, 8], ids=["one by one", "queued"])
@pytest.mark.parametrize("seed", range(4))
def test_a_model_that_is_told_all_agrees_with_the_server(seed, ahead):
    cluster = run(seed, 0.0, kills=0, ahead=ahead, late=False)
    assert cluster.requests == 1


@pytest.mark.parametrize("seed", range(6))
def test_it_agrees_when_workers_die(seed):
    run(seed, 0.0, kills=3, ahead=8, late=False)


@pytest.mark.parametrize("seed", range(6))
def test_what_was_lost_on_the_way_is_noticed_and_healed(seed):
    cluster = run(seed, 0.2, kills=2, ahead=8, late=False)
    assert cluster.lost
    assert cluster.requests > 1


@pytest.mark.parametrize("seed", range(4))
def test_who_comes_late_gets_a_snapshot_of_what_was(seed):
    run(seed, 0.0, kills=1, ahead=8, late=True)
