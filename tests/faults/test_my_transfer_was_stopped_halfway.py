"""Uploads and downloads of a program that is stopped, or whose connection is cut, halfway."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from fault_cluster import FaultCluster, wait_until
from proxy import DOWN, UP, Proxy

MIB = 1 << 20
SIZE = 200 * MIB
PROGRAM = str(Path(__file__).with_name("a_transfer.py"))

LIMITS_S = 3.0
"""Of tickets, and of receivers that say nothing; a minute each where it is not a test."""

STOPPED_S = 18.0
"""Longer than those, and than three stalls of 5 s, after which a receiver gives a sender up."""

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("kills_processes")]


def digest_of(what: str) -> str:
    if what == "uploads":
        return hashlib.sha256(bytes(range(256)) * (SIZE // 256)).hexdigest()
    return hashlib.sha256(b"0123456\n" * (SIZE // 8)).hexdigest()


@dataclass
class Transfer:
    """A program that transfers, and the proxy on its way."""

    what: str
    process: subprocess.Popen[str]
    proxy: Proxy

    @property
    def direction(self) -> str:
        return UP if self.what == "uploads" else DOWN

    def line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line:
            assert self.process.stderr is not None
            pytest.fail(self.process.stderr.read())
        return line

    def wait_until_halfway(self) -> None:
        wait_until(lambda: self.proxy.passed[self.direction] > SIZE // 2, 60)


@contextmanager
def transfer(cluster: FaultCluster, what: str) -> Iterator[Transfer]:
    with cluster.client() as client:
        welcome = client.connection.welcome
        assert welcome is not None
        port = welcome.data_port
    with Proxy("127.0.0.1", port) as proxy:
        path = str(cluster.directory / "fetched")
        command = [sys.executable, "-P", PROGRAM, str(cluster.access_file), what]
        command += [str(SIZE // MIB), str(proxy.port), path]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                one = Transfer(what, process, proxy)
                assert one.line() == "begins"
                yield one
            finally:
                process.kill()


def test_programs_stopped_halfway_for_longer_than_all_limits_go_on(tmp_path: Path) -> None:
    options = ["--data-limits-s", str(LIMITS_S)]
    with FaultCluster(tmp_path, options=options) as cluster, ExitStack() as running:
        cluster.add_worker(2)
        both = []
        for what in ("uploads", "downloads"):
            one = running.enter_context(transfer(cluster, what))
            one.wait_until_halfway()
            one.process.send_signal(signal.SIGSTOP)
            both.append(one)
        time.sleep(STOPPED_S)
        for one in both:
            one.process.send_signal(signal.SIGCONT)
        for one in both:
            assert one.line() == digest_of(one.what)
            assert one.process.wait(20) == 0


@pytest.mark.parametrize("what", ["uploads", "downloads"])
def test_a_connection_cut_halfway_is_made_again(tmp_path: Path, what: str) -> None:
    with FaultCluster(tmp_path) as cluster:
        cluster.add_worker()
        with transfer(cluster, what) as one:
            one.wait_until_halfway()
            one.proxy.cut()
            assert one.line() == digest_of(what)
            assert one.process.wait(20) == 0
            assert one.proxy.passed[one.direction] < 1.2 * SIZE, "it went on where it was"


def test_an_upload_that_is_cut_again_and_again_goes_on(tmp_path: Path) -> None:
    with FaultCluster(tmp_path) as cluster:
        cluster.add_worker()
        with transfer(cluster, "uploads") as one:
            for number in range(1, 7):
                wait_until(lambda number=number: one.proxy.passed[UP] > number * 25 * MIB, 60)
                one.proxy.cut()
            assert one.line() == digest_of("uploads")
            assert one.process.wait(20) == 0
