"""Chains of short Python tasks, which workers queue: what each link gets, and what happens when one fails."""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from rainzmq import Client, LocalCluster, Output, Session, TaskException, remote

PICKLED = [Output(encode="pickle")]


@pytest.fixture
def session(client: Client) -> Iterator[Session]:
    with client.new_session("chains") as session:
        yield session


@remote(outputs=PICKLED, auto_load=True)
def step(ctx: Any, value: int) -> int:
    return value + 1


def chain(length: int, first: Any = 0) -> Any:
    value = first
    for _ in range(length):
        value = step(value)
    return value


def result(session: Session, task: Any) -> Any:
    task.output.keep()
    session.submit()
    return task.output.fetch().load()


def test_each_link_gets_what_the_one_before_made(session: Session) -> None:
    assert result(session, chain(400)) == 400
    assert result(session, chain(400, chain(3))) == 403


def test_many_chains_at_once(session: Session) -> None:
    chains = [chain(40, index) for index in range(20)]
    for last in chains:
        last.output.keep()
    session.submit()
    assert [last.output.fetch().load() for last in chains] == [40 + index for index in range(20)]


def test_links_that_make_files(session: Session) -> None:
    @remote(outputs=PICKLED, auto_load=True)
    def grow(ctx: Any, value: Any) -> Any:
        number, size = value[0] + 1, 100_000 if value[0] % 3 == 0 else 10
        return number, b"x" * size

    value: Any = (0, b"")
    for _ in range(60):
        value = grow(value)
    assert result(session, value)[0] == 60


def test_what_a_link_says_of_its_output_reaches_the_next(session: Session) -> None:
    @remote(outputs=[Output("made", content_type="text")])
    def make(ctx: Any, before: Any = None) -> Any:
        said = "" if before is None else f"{before.content_type} {before.info.user} {before.spec.label} "
        said += "" if before is None else f"{before.spec.user} {before.size}"
        instance = ctx.blob(said, content_type="text-utf-8")
        instance.info.user["number"] = 1
        return instance

    value = make()
    for _ in range(30):
        value.output.spec.user["of"] = "the client"
        value = make(value)
    text = result(session, value)
    assert text == "text-utf-8 {'number': 1} made {'of': 'the client'} " + text.rpartition(" ")[2]


def test_a_failing_link_is_named_and_nothing_after_it_runs(session: Session, tmp_path: Any) -> None:
    @remote(outputs=PICKLED, auto_load=True)
    def fails_at(ctx: Any, value: int, bad: int, where: str) -> int:
        open(os.path.join(where, str(value)), "w").close()
        if value == bad:
            raise ValueError("the bad one")
        return value + 1

    value: Any = 0
    links = []
    for _ in range(100):
        value = fails_at(value, 60, str(tmp_path))
        links.append(value)
    session.submit()
    with pytest.raises(TaskException, match="the bad one") as caught:
        session.wait_all()
    assert f"({links[60].id}, python/call)" in str(caught.value)
    assert sorted(map(int, os.listdir(tmp_path))) == list(range(61))


def test_a_link_that_crashes_is_run_again_and_the_rest_follows(session: Session) -> None:
    @remote(outputs=PICKLED, auto_load=True)
    def crashes_at(ctx: Any, value: int, bad: int) -> int:
        if value == bad and os.environ["RAINZMQ_ATTEMPT"] == "0":
            os._exit(3)
        return value + 1

    value: Any = 0
    for _ in range(100):
        value = crashes_at(value, 60)
    assert result(session, value) == 100


def test_a_long_link_holds_no_other_task_while_a_cpu_is_free(session: Session) -> None:
    @remote(outputs=PICKLED, auto_load=True)
    def sleeps_at(ctx: Any, value: int, long: int) -> Any:
        if value == long:
            time.sleep(1.0)
        return value + 1

    value: Any = 0
    for _ in range(30):
        value = sleeps_at(value, 29)
    beside = [sleeps_at(100 + index, 0) for index in range(20)]
    session.submit()
    session.wait(beside)
    finished = time.monotonic()
    session.wait_all()
    assert time.monotonic() - finished > 0.5


def test_closing_a_session_stops_a_chain(client: Client, tmp_path: Any) -> None:
    @remote(outputs=PICKLED, auto_load=True)
    def notes(ctx: Any, value: int, where: str) -> int:
        open(os.path.join(where, str(value)), "w").close()
        time.sleep(0.001 if value < 50 else 0.2)
        return value + 1

    closing = client.new_session()
    with closing.bind_only():
        value: Any = 0
        for _ in range(200):
            value = notes(value, str(tmp_path))
        closing.submit()
        while len(os.listdir(tmp_path)) < 52:
            time.sleep(0.01)
        closing.close()
    with client.new_session() as session:
        assert result(session, chain(20)) == 20
    assert len(os.listdir(tmp_path)) < 60


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cpus", [[1, 1], [3]], ids=["two workers", "one worker"])
def test_a_random_graph_of_short_long_large_and_crashing_tasks(home: Any, seed: int, cpus: list[int]) -> None:
    @remote(outputs=PICKLED, auto_load=True)
    def mix(ctx: Any, number: int, sources: list[bytes], size: int, sleep_s: float, crash: bool) -> bytes:
        time.sleep(sleep_s)
        if crash and os.environ["RAINZMQ_ATTEMPT"] == "0":
            os._exit(3)
        return digest(number, sources) + b"x" * size

    def digest(number: int, sources: list[bytes]) -> bytes:
        return hashlib.sha256(str(number).encode() + b"".join(item[:32] for item in sources)).digest()

    rng = random.Random(seed)
    made: list[Any] = []
    wanted: list[bytes] = []
    with LocalCluster(workers=cpus) as cluster, cluster.client() as client, client.new_session() as session:
        for number in range(400):
            count = rng.choice((0, 1, 1, 1, 2, 3)) if made else 0
            sources = [rng.randrange(max(0, number - 20), number) for _ in range(count)]
            size, sleep_s = rng.choice((0,) * 30 + (5000, 100_000)), rng.choice((0.0,) * 60 + (0.002, 0.06))
            crash = rng.random() < 0.005
            made.append(mix(number, [made[item] for item in sources], size, sleep_s, crash))
            wanted.append(digest(number, [wanted[item] for item in sources]))
        made[-1].output.keep()
        made[200].output.keep()
        session.submit()
        session.wait_all()
        assert made[-1].output.fetch().load()[:32] == wanted[-1]
        assert made[200].output.fetch().load()[:32] == wanted[200]
