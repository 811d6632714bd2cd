"""Transfers whose connections are cut and whose other ends die: others go on, and so do they."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest
from fault_cluster import Child, FaultCluster, wait_until
from proxy import DOWN, Proxy

from rainzmq import Client, tasks
from rainzmq.client.client import _connect_data

HERE = Path(__file__).parent
MIB = 1 << 20
PATTERN = b"0123456\n"

GONE_S = 5.0
"""Within so long after receivers died another download of 50 MB is done; it takes 1 s on an idle machine."""

FLIP_S = 8.0
"""What one flipped bit costs a download of 50 MB at most: a stall, and the download itself."""

SILENT_S = 12.0
"""The same when they are silent but for all the sender knows alive."""


class StoppingWorker(Child):
    """Stops when the first piece of a transfer comes."""

    program = (str(HERE / "stopping_worker.py"),)


def is_stopped(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_STOPPED


def download_s(client: Client, size: int) -> float:
    """How long a fresh object of that size takes to be made and fetched, seconds."""
    begin = time.monotonic()
    with client.new_session() as session:
        made = tasks.Execute(["head", "-c", str(size), "/dev/zero"], stdout=True)
        made.keep_outputs()
        session.submit()
        assert made.output.fetch().get_bytes() == bytes(size)
    return time.monotonic() - begin


@pytest.mark.slow
@pytest.mark.usefixtures("kills_processes")
@pytest.mark.parametrize(
    ("killed", "bound_s"), [(True, GONE_S), (False, SILENT_S)], ids=["killed", "stopped"]
)
def test_a_download_does_not_wait_for_nine_clients_that_vanished_in_theirs(
    tmp_path: Path, killed: bool, bound_s: float
) -> None:
    command = [sys.executable, "-P", str(HERE / "stopping_client.py")]
    with FaultCluster(tmp_path, dead_after_s=60.0) as cluster, cluster.client() as client:
        cluster.add_worker(cpus=2)
        others = [subprocess.Popen([*command, str(cluster.access_file)]) for _ in range(9)]
        try:
            wait_until(lambda: all(is_stopped(other.pid) for other in others), 60)
            if killed:
                for other in others:
                    other.kill()
            assert download_s(client, 50 * MIB) < bound_s
        finally:
            for other in others:
                other.kill()
                other.wait()


@pytest.mark.slow
@pytest.mark.usefixtures("kills_processes")
def test_a_worker_does_not_wait_for_nine_that_were_killed_while_they_fetched(tmp_path: Path) -> None:
    effects = tmp_path / "effects"
    with FaultCluster(tmp_path) as cluster, cluster.client() as client, client.new_session() as session:
        cluster.add_worker(cpus=1)
        make = tasks.Execute(["sh", "-c", f"echo >> {effects}; head -c {20 * MIB} /dev/zero"], stdout=True)
        make.keep_outputs()
        session.submit()
        make.wait()
        doomed = [cluster.start_worker(2, kind=StoppingWorker) for _ in range(9)]
        for worker in doomed:
            worker.wait_ready(60)
        read = [tasks.Execute(["wc", "-c"], stdin=make.output, stdout=True, cpus=2) for _ in range(9)]
        for task in read:
            task.keep_outputs()
        session.submit()
        wait_until(lambda: all(is_stopped(worker.pid) for worker in doomed), 60)
        for worker in doomed:
            cluster.kill(worker)
        cluster.add_worker(cpus=2)
        begin = time.monotonic()
        assert [task.output.fetch().get_str().split()[0] for task in read] == [str(20 * MIB)] * 9
        assert time.monotonic() - begin < GONE_S + cluster.dead_after_s
    assert effects.read_text() == "\n", "the producer runs once"


@contextmanager
def fetch_by_proxy(cluster: FaultCluster, size: int) -> Iterator[tuple[Proxy, Callable[[], bytes]]]:
    """A proxy on the way of a client's downloads, and what fetches an object of so many bytes."""
    cluster.add_worker()
    with cluster.client() as client, client.new_session() as session:
        made = tasks.Execute(["sh", "-c", f"yes 0123456 | head -c {size}"], stdout=True)
        made.keep_outputs()
        session.submit()
        made.wait()
        with Proxy("127.0.0.1", client.connection.welcome.data_port) as proxy:
            access = replace(client._access, port=proxy.port)
            client._data._connect = partial(_connect_data, client._context, access)
            yield proxy, lambda: made.output.fetch().get_bytes()


@pytest.mark.slow
def test_a_download_that_is_cut_again_and_again_arrives_whole(tmp_path: Path) -> None:
    size, step, cuts = 200 * MIB, 12 * MIB, 10
    cluster = FaultCluster(tmp_path, dead_after_s=10.0)
    with cluster, fetch_by_proxy(cluster, size) as (proxy, fetch):
        ending = threading.Event()
        done: list[int] = []
        cutter = threading.Thread(target=cut, args=(proxy, cuts, step, ending, done))
        cutter.start()
        begin = time.monotonic()
        content = fetch()
        took_s = time.monotonic() - begin
        ending.set()
        cutter.join()
        assert content == PATTERN * (size // len(PATTERN))
        assert len(done) == cuts
        assert proxy.passed[DOWN] < size + cuts * 10 * MIB, "it was resumed, not restarted"
        assert took_s < 3 * cuts


@pytest.mark.slow
def test_a_flipped_bit_in_a_download_is_noticed_and_sent_again(tmp_path: Path) -> None:
    size = 50 * MIB
    cluster = FaultCluster(tmp_path, dead_after_s=10.0)
    with cluster, fetch_by_proxy(cluster, size) as (proxy, fetch):
        for _ in range(2):
            proxy.flip(DOWN)
            flipped, begin = proxy.flipped, time.monotonic()
            assert fetch() == PATTERN * (size // len(PATTERN))
            assert proxy.flipped == flipped + 1
            assert time.monotonic() - begin < FLIP_S


def cut(proxy: Proxy, cuts: int, step: int, ending: threading.Event, done: list[int]) -> None:
    """Cut the connection so often, each time after `step` bytes more."""
    for number in range(cuts):
        target = proxy.passed[DOWN] + step
        proxy.cut_after(DOWN, step)
        while proxy.passed[DOWN] < target:
            if ending.wait(0.002):
                return
        done.append(number)
