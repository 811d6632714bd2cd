"""Workers that cannot reach each other though the server reaches both, and holders that die in a transfer."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_cluster import Child, FaultCluster, T
from switch import Switch

from rainzmq import remote, tasks

sys.path.insert(0, str(Path(__file__).parents[1] / "field"))
from namespaces import needs_namespaces

pytestmark = [needs_namespaces, pytest.mark.slow, pytest.mark.usefixtures("kills_processes")]

MIB = 1 << 20
SERVER, A, B, C = range(4)

REROUTED_S = 15.0
"""A task whose input cannot be had is done elsewhere, or after its input was made again, within so long."""


@pytest.fixture
def hosts() -> Iterator[Switch]:
    with Switch(4) as switch, switch.inside(SERVER):
        yield switch


def add_worker(cluster: FaultCluster, hosts: Switch, host: int, cpus: int = 1) -> Child:
    """A worker on a host, ready."""
    with hosts.inside(host):
        return cluster.add_worker(cpus, ("--listen", f"{hosts.address(host)}:0"))


def runs(effects: Path) -> Counter[str]:
    """How often each task ran, by the name that it writes."""
    return Counter(effects.read_text().split())


def make(effects: Path, name: str, size: int = MIB) -> tasks.Execute:
    """A program that says that it runs, and makes `size` bytes."""
    made = tasks.Execute(["sh", "-c", f"echo {name} >> {effects}; head -c {size} /dev/zero"], stdout=True)
    made.keep_outputs()
    return made


def test_a_reader_that_cannot_reach_the_holder_goes_elsewhere(tmp_path: Path, hosts: Switch) -> None:
    effects = tmp_path / "effects"
    with FaultCluster(tmp_path, host=hosts.address(SERVER)) as cluster, cluster.client() as client:
        add_worker(cluster, hosts, B)
        with client.new_session() as session:
            source = make(effects, "source")
            session.submit()
            source.wait()
            add_worker(cluster, hosts, A)
            add_worker(cluster, hosts, C)
            hosts.cut(A, B)
            begin = time.monotonic()
            read = [
                tasks.Execute(["sh", "-c", "sleep 0.5; wc -c"], stdin=source.output, stdout=True)
                for _ in range(9)
            ]
            for task in read:
                task.keep_outputs()
            session.submit()
            session.wait_all()
            print(f"rerouted in {time.monotonic() - begin:.1f} s")
            assert time.monotonic() - begin < REROUTED_S
            assert {task.output.fetch().get_str().strip() for task in read} == {str(MIB)}
        assert runs(effects) == {"source": 1}
        a, b = f"{hosts.address(A)}:", f"{hosts.address(B)}:"
        assert any(
            f"worker {a}" in line and f"cannot reach worker {b}" in line
            for line in cluster.server_log().splitlines()
        )


def test_an_input_is_made_again_once_when_nobody_else_can_read_both(tmp_path: Path, hosts: Switch) -> None:
    effects = tmp_path / "effects"
    with FaultCluster(tmp_path, host=hosts.address(SERVER)) as cluster, cluster.client() as client:
        add_worker(cluster, hosts, A)
        with client.new_session() as session:
            left = make(effects, "left")
            session.submit()
            left.wait()
            add_worker(cluster, hosts, B)
            # Occupies A, so that the other input is made on B.
            busy = tasks.Execute(["sleep", "1"], stdin=left.output)
            session.submit()
            time.sleep(0.3)
            right = make(effects, "right")
            session.submit()
            session.wait_all()
            hosts.cut(A, B)
            begin = time.monotonic()

            @remote()
            def merge(ctx: Any, one: Any, other: Any) -> str:
                return str(len(one.get_bytes()) + len(other.get_bytes()))

            merged = merge(left, right)
            merged.output.keep()
            session.submit()
            assert merged.output.fetch().get_str() == str(2 * MIB)
            print(f"rerouted in {time.monotonic() - begin:.1f} s")
            assert time.monotonic() - begin < REROUTED_S
            assert busy.state
        assert max(runs(effects).values()) <= 2
        assert sum(runs(effects).values()) == 3, "one of both was made again"


@pytest.mark.parametrize("with_replica", [True, False], ids=["replica", "no replica"])
def test_the_holder_dies_at_half_of_a_transfer(tmp_path: Path, hosts: Switch, with_replica: bool) -> None:
    effects = tmp_path / "effects"
    size = 48 * MIB
    with FaultCluster(tmp_path, host=hosts.address(SERVER)) as cluster, cluster.client() as client:
        holder = add_worker(cluster, hosts, B)
        with client.new_session() as session:
            source = make(effects, "source", size)
            session.submit()
            source.wait()
            if with_replica:
                add_worker(cluster, hosts, C)
                near = [
                    tasks.Execute(["sh", "-c", "sleep 0.5; wc -c"], stdin=source.output, stdout=True)
                    for _ in "12"
                ]
                session.submit()
                session.wait_all()
                assert near
            hosts.slow(B, "160mbit")
            add_worker(cluster, hosts, A, cpus=2)
            read = tasks.Execute(["wc", "-c"], stdin=source.output, stdout=True, cpus=2)
            read.keep_outputs()
            session.submit()
            time.sleep(1.5)
            cluster.kill(holder)
            begin = time.monotonic()
            assert read.output.fetch().get_str().split()[0] == str(size)
            assert time.monotonic() - begin < T + 5.0
        assert runs(effects) == {"source": 1 if with_replica else 2}
