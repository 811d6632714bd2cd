"""The real cores together: random graphs, seeded faults, the same result as a plain loop."""

from __future__ import annotations

import hashlib
import random
from collections import Counter

import pytest

from rainzmq.common.ids import make_uid
from rainzmq.protocol.messages import client as c
from rainzmq.testing.cluster import SimulatedCluster
from rainzmq.testing.server_core import body

PAIRS = [("sim:1", "sim:2"), ("sim:2", "sim:1")]
STEP = 3
"""Ids of a task and its outputs; every fifth task has two, the others one."""


def outputs_of(local_id: int) -> list[int]:
    return [local_id + 1, local_id + 2] if local_id % (5 * STEP) == 1 else [local_id + 1]


def random_graph(rng: random.Random, tasks: int) -> dict[int, list[int]]:
    """Tasks {id: ids of input objects}; an object may be read twice by one task."""
    graph: dict[int, list[int]] = {}
    made: list[int] = []
    for index in range(tasks):
        local_id = 1 + STEP * index
        count = rng.choice((0, 1, 1, 2, 3, 5)) if made else 0
        graph[local_id] = [rng.choice(made[-40:]) for _ in range(count)]
        made += outputs_of(local_id)
    return graph


def expected(graph: dict[int, list[int]]) -> dict[int, bytes]:
    """What each object's content must be."""
    content: dict[int, bytes] = {}
    for local_id, inputs in graph.items():
        digest = hashlib.sha256(str(make_uid(1, local_id)).encode())
        for item in inputs:
            digest.update(content[item])
        content |= dict.fromkeys(outputs_of(local_id), digest.digest())
    return content


def submit(cluster: SimulatedCluster, graph: dict[int, list[int]], keep: list[int], parts: int) -> None:
    ids = list(graph)
    step = -(-len(ids) // parts)
    bodies = [body(1, cpus=1), body(2, cpus=2), body(3, cpus=1, outputs=2)]
    for start in range(0, len(ids), step):
        part = ids[start : start + step]
        made = {item for local_id in part for item in outputs_of(local_id)}
        cluster.say(
            c.Submit(
                1,
                bodies if start == 0 else [],
                part,
                [3 if len(outputs_of(item)) == 2 else 2 if item % 11 == 1 else 1 for item in part],
                [b""] * len(part),
                [len(graph[item]) for item in part],
                [source for item in part for source in graph[item]],
                [],
                [],
                [],
                [item for item in keep if item in made],
                [],
                start + step >= len(ids),
            )
        )


AHEAD = pytest.mark.parametrize("ahead", [0, 8], ids=["one by one", "queued"])


@AHEAD
@pytest.mark.parametrize("seed", range(6))
def test_a_random_graph_gives_the_right_results(seed, ahead):
    rng = random.Random(seed)
    cluster = SimulatedCluster(seed, inline_share=rng.choice((0.0, 0.5, 1.0)), ahead=ahead)
    for cpus in (1, 2, 4):
        cluster.add_worker(cpus)
    graph = random_graph(rng, 60)
    cluster.say(c.NewSession(1, "sim"))
    content = expected(graph)
    submit(cluster, graph, list(content), parts=rng.randint(1, 3))
    cluster.run_until(lambda: cluster.finished(1))
    for local_id, value in content.items():
        holders = cluster.server.state.sessions[1].objects[make_uid(1, local_id)].holders
        assert holders
        for holder in holders:
            assert cluster.workers[holder.peer].store[make_uid(1, local_id)] == value
    assert len(cluster.ran) == len(graph), "without faults every task runs once"


@AHEAD
@pytest.mark.parametrize("seed", range(12))
def test_workers_die_and_the_results_are_the_same(seed, ahead):
    rng = random.Random(seed)
    cluster = SimulatedCluster(seed, inline_share=rng.choice((0.0, 0.5)), ahead=ahead)
    for cpus in (2, 2, 3, 2):
        cluster.add_worker(cpus)
    graph = random_graph(rng, 80)
    content = expected(graph)
    keep = sorted(rng.sample(list(content), 10))

    def strike() -> None:
        cluster.kill_worker(rng.choice(list(cluster.workers.values())))
        cluster.add_worker(rng.choice((2, 3)))
        if cluster.now < 2.0:
            cluster.after(rng.random() * 0.08, strike)

    cluster.after(0.02, strike)
    cluster.say(c.NewSession(1, "sim"))
    submit(cluster, graph, keep, parts=2)
    cluster.run_until(lambda: cluster.now > 2.2 and cluster.finished(1))
    session = cluster.server.state.sessions[1]
    for local_id in keep:
        item = session.objects[make_uid(1, local_id)]
        held = [cluster.workers[holder.peer].store[item.uid] for holder in item.holders]
        held += [item.data] if item.data is not None else []
        assert held
        assert set(held) == {content[local_id]}


@AHEAD
@pytest.mark.parametrize("seed", range(5))
def test_a_run_whose_workers_keep_dying_ends_soon_after_they_stop(seed, ahead):
    rng = random.Random(seed)
    storm_s, unnoticed_s = 4.0, 2.0
    cluster = SimulatedCluster(seed, inline_share=rng.choice((0.0, 0.5)), ahead=ahead, notice_s=unnoticed_s)
    for _ in range(4):
        cluster.add_worker(2)
    graph = random_graph(rng, 100)
    content = expected(graph)
    keep = sorted(rng.sample(list(content), 10))

    def strike(worker):
        if cluster.now < storm_s:
            cluster.kill_worker(worker)
            other = cluster.add_worker(2)
            cluster.after(rng.expovariate(1.0), lambda: strike(other))

    for worker in list(cluster.workers.values()):
        cluster.after(rng.expovariate(1.0), lambda worker=worker: strike(worker))
    cluster.say(c.NewSession(1, "sim"))
    submit(cluster, graph, keep, parts=2)
    over_s = storm_s + unnoticed_s + 0.1
    cluster.run_until(lambda: cluster.now > over_s and cluster.finished(1), limit_s=over_s + 10)
    session = cluster.server.state.sessions[1]
    for local_id in keep:
        item = session.objects[make_uid(1, local_id)]
        held = [cluster.workers[holder.peer].store[item.uid] for holder in item.holders]
        assert set(held) | ({item.data} - {None}) == {content[local_id]}
    assert len(set(cluster.ran)) == len(cluster.ran), "no attempt runs twice"


def run_with_a_cut(seed: int, workers: int) -> tuple[SimulatedCluster, dict[int, bytes], list[int]]:
    """A run in which two of some workers cannot reach each other, to its end, well or not; (cluster, what
    each object must be, what is kept).
    """
    rng = random.Random(seed)
    cluster = SimulatedCluster(seed, inline_share=0.0)
    made = [cluster.add_worker(2) for _ in range(workers)]
    cluster.cuts.append(set(made[:2]))
    graph = random_graph(rng, 100)
    content = expected(graph)
    keep = sorted(rng.sample(list(content), 10))
    cluster.say(c.NewSession(1, "sim"))
    submit(cluster, graph, keep, parts=2)
    session = cluster.server.state.sessions[1]
    cluster.run_until(lambda: session.failure is not None or not session.unfinished, limit_s=60)
    assert max(Counter(uid for uid, _ in cluster.ran).values()) <= 2, "no task runs more than twice"
    return cluster, content, keep


@pytest.mark.parametrize("seed", range(5))
def test_tasks_run_around_two_workers_that_cannot_reach_each_other(seed):
    cluster, content, keep = run_with_a_cut(seed, 4)
    assert len(cluster.ran) == 100, "there is always another worker that reaches both"
    session = cluster.server.state.sessions[1]
    for local_id in keep:
        item = session.objects[make_uid(1, local_id)]
        held = [cluster.workers[holder.peer].store[item.uid] for holder in item.holders]
        assert set(held) == {content[local_id]}


@pytest.mark.parametrize("seed", range(5))
def test_the_error_names_two_workers_that_cannot_reach_each_other_and_have_no_other(seed):
    cluster, _, _ = run_with_a_cut(seed, 2)
    failure = cluster.server.state.sessions[1].failure
    if failure is not None:
        assert any(f"{one} cannot reach {other}" in failure.message for one, other in PAIRS)


def test_all_objects_are_gone_when_nothing_is_kept():
    cluster = SimulatedCluster(3)
    workers = [cluster.add_worker(2), cluster.add_worker(2)]
    cluster.say(c.NewSession(1, "sim"))
    submit(cluster, random_graph(random.Random(3), 60), [], parts=3)
    cluster.run_until(lambda: cluster.finished(1) and not any(worker.store for worker in workers))
    cluster.run_until(lambda: not any(r.deleting for r in cluster.server.state.workers.values()))
    session = cluster.server.state.sessions[1]
    assert (len(session.tasks), len(session.history)) == (0, 60), "every record is released"


@pytest.mark.parametrize("seed", range(6))
def test_the_clients_connection_breaks_and_nothing_is_lost_or_done_twice(seed):
    rng = random.Random(seed)
    cluster = SimulatedCluster(seed)
    for cpus in (2, 2, 3):
        cluster.add_worker(cpus)
    graph = random_graph(rng, 80)
    content = expected(graph)
    keep = sorted(rng.sample(list(content), 10))
    asked = iter(range(1, 1000))

    def strike() -> None:
        cluster.client.break_connection(rng.choice((0.001, 0.1, 3.0)))
        cluster.say(c.Wait(next(asked), 1, [rng.choice(keep)], "all"))
        if cluster.now < 2.0:
            cluster.after(rng.random() * 0.1, strike)

    cluster.say(c.NewSession(next(asked), "sim"))
    cluster.after(0.002, strike)
    cluster.after(0.05, lambda: submit(cluster, graph, keep, parts=4))
    cluster.run_until(lambda: cluster.now > 20 and cluster.finished(1))
    cluster.say(c.NewSession(next(asked), "last"))
    answered = [message.request for message in cluster.client.inbox]
    assert sorted(answered) == list(range(1, next(asked))), "each request is answered once"
    assert cluster.server.state.counters.tasks_submitted == len(graph)
    assert len(cluster.ran) == len(graph)
    session = cluster.server.state.sessions[1]
    for local_id in keep:
        item = session.objects[make_uid(1, local_id)]
        for holder in item.holders:
            assert cluster.workers[holder.peer].store[item.uid] == content[local_id]
