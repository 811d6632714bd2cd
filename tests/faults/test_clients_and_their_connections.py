"""A client is alive while its connection is: paused, killed, cut off, vanished. T is 2 s, but where said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from fault_cluster import FaultCluster, T
from namespaces import needs_namespaces
from networks import ADDRESSES, LEFT, RIGHT, TwoHosts
from proxy import DOWN, UP, Proxy

import rainzmq
from rainzmq import SessionException, tasks

PROGRAM = str(Path(__file__).with_name("a_client.py"))
IN_OTHER_PROCESS_SPACE = ("unshare", "--pid", "--fork", "--kill-child")
"""The server cannot see the processes of such a client, as if it were on another machine."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[FaultCluster]:
    with FaultCluster(tmp_path) as cluster:
        cluster.add_worker()
        yield cluster


@contextmanager
def program(
    access_file: Path, what: str, seconds: float = 0.0, prefix: Sequence[str] = ()
) -> Iterator[subprocess.Popen[str]]:
    """`a_client.py`, killed with its children at the end."""
    command = [*prefix, sys.executable, PROGRAM, str(access_file), what, str(seconds)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        assert process.stderr is not None
        pytest.fail(process.stderr.read())
    return line


def through(cluster: FaultCluster, proxy: Proxy) -> Path:
    """An access file whose port is the proxy's."""
    access = json.loads(cluster.access_file.read_text())
    access["port"] = proxy.port
    path = cluster.directory / "through-proxy.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(access))
    return path


def sessions(client: rainzmq.Client) -> list[str]:
    return [session["name"] for session in client.get_server_info()["sessions"]]


def wait_until(condition: Callable[[], bool], limit_s: float) -> float:
    """How long it took; fails after `limit_s`."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < limit_s, f"not within {limit_s} s"
        time.sleep(0.02)
    return time.monotonic() - start


def compute(session: rainzmq.Session, text: str) -> str:
    done = tasks.Concat([rainzmq.blob(text)]).output
    done.keep()
    session.submit()
    return done.fetch().get_str()


# -- paused ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_program_that_is_stopped_for_longer_than_all_limits_loses_nothing(cluster: FaultCluster) -> None:
    with program(cluster.access_file, "goes on", 0.01) as process:
        assert line_of(process) == "0 done"
        process.send_signal(signal.SIGSTOP)
        time.sleep(17)
        process.send_signal(signal.SIGCONT)
        start = time.monotonic()
        while int(line_of(process).split()[0]) < 300:
            assert time.monotonic() - start < 30
        assert process.poll() is None


@pytest.mark.slow
def test_a_call_that_holds_the_interpreters_lock_loses_nothing(cluster: FaultCluster) -> None:
    with program(cluster.access_file, "holds the lock", 4 * T) as process:
        assert line_of(process) == "submitted"
        assert line_of(process) == "slow"
        assert process.wait(10) == 0


# -- killed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix", [(), pytest.param(IN_OTHER_PROCESS_SPACE, marks=needs_namespaces)], ids=["here", "elsewhere"]
)
@pytest.mark.parametrize("what", ["runs for ever", "leaves a child"])
def test_everything_of_a_killed_client_is_free_within_5_s(
    cluster: FaultCluster, what: str, prefix: Sequence[str]
) -> None:
    with cluster.client() as client, program(cluster.access_file, what, 30, prefix) as process:
        assert line_of(process) == "submitted"
        wait_until(lambda: bool(client.get_server_info()["workers"][0]["tasks"]), 5)
        kill_client(process)
        took_s = wait_until(lambda: sessions(client) == [], 5)
        wait_until(lambda: client.get_server_info()["workers"][0]["tasks"] == [], 5 - took_s)


def kill_client(process: subprocess.Popen[str]) -> None:
    """Kill the program alone: not `unshare`, nor its children."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    is_unshare = Path(f"/proc/{process.pid}/comm").read_text().strip() == "unshare"
    os.kill(int(children[0]) if is_unshare else process.pid, signal.SIGKILL)


def test_a_client_that_was_stopped_and_is_then_killed_is_free_within_5_s(cluster: FaultCluster) -> None:
    with cluster.client() as client, program(cluster.access_file, "runs for ever") as process:
        assert line_of(process) == "submitted"
        process.send_signal(signal.SIGSTOP)
        time.sleep(2 * T)
        assert sessions(client) == ["runs for ever"]
        process.kill()
        wait_until(lambda: sessions(client) == [], 5)


# -- cut off -----------------------------------------------------------------------------------------


def test_a_connection_that_is_cut_again_and_again_is_taken_up_with_the_same_session(
    cluster: FaultCluster,
) -> None:
    with (
        Proxy("127.0.0.1", cluster_port(cluster)) as proxy,
        rainzmq.Client(str(through(cluster, proxy))) as client,
        client.new_session() as session,
    ):
        slow = tasks.Sleep(rainzmq.blob("slow"), 1.5).output
        slow.keep()
        session.submit()
        for number in range(5):
            proxy.cut()
            assert compute(session, f"text {number}") == f"text {number}"
        proxy.cut()
        assert slow.fetch().get_str() == "slow"
        assert session.active
        assert proxy.accepted >= 7


def cluster_port(cluster: FaultCluster) -> int:
    port: int = json.loads(cluster.access_file.read_text())["port"]
    return port


@pytest.mark.slow
def test_a_client_that_cannot_connect_for_a_while_has_its_sessions_when_it_can(cluster: FaultCluster) -> None:
    with (
        Proxy("127.0.0.1", cluster_port(cluster)) as proxy,
        rainzmq.Client(str(through(cluster, proxy))) as client,
        client.new_session() as session,
    ):
        task = tasks.Sleep(rainzmq.blob("x"), 1)
        session.submit()
        proxy.refuse(True)
        time.sleep(4 * T)
        proxy.refuse(False)
        session.wait(task)
        assert compute(session, "text") == "text"


def test_a_submit_while_the_connection_is_cut_arrives_once(cluster: FaultCluster) -> None:
    with (
        Proxy("127.0.0.1", cluster_port(cluster)) as proxy,
        rainzmq.Client(str(through(cluster, proxy))) as client,
        client.new_session() as session,
    ):
        made = []
        for number in range(200):
            if number % 20 == 10:
                proxy.cut_after(UP if number % 40 == 10 else DOWN, 200)
            made.append(tasks.Concat([rainzmq.blob(str(number))]).output)
            made[-1].keep()
            session.submit()
        assert [obj.fetch().get_str() for obj in made] == [str(number) for number in range(200)]
        assert client.get_server_info()["counters"]["tasks_submitted"] == 200


def test_sessions_of_a_client_that_stays_away_end_with_the_grace_and_it_is_told_why(tmp_path: Path) -> None:
    with (
        FaultCluster(tmp_path, options=["--client-grace-s", "1"]) as cluster,
        Proxy("127.0.0.1", cluster_port(cluster)) as proxy,
        cluster.client() as observer,
        rainzmq.Client(str(through(cluster, proxy))) as client,
        client.new_session("cut off") as session,
    ):
        proxy.refuse(True)
        wait_until(lambda: sessions(observer) == [], 5)
        proxy.refuse(False)
        with pytest.raises(
            SessionException, match=r"did not come back within 1 s; it was last heard \d"
        ) as told:
            session.wait_all()
        assert "its connection was closed" in str(told.value)
        assert "last heard" in cluster.server_log()


def test_a_server_that_is_killed_is_told_of_within_its_dead_limit(cluster: FaultCluster) -> None:
    with cluster.client() as client, client.new_session() as session:
        tasks.Sleep(rainzmq.blob("x"), 1000)
        session.submit()
        cluster.server.kill()
        start = time.monotonic()
        with pytest.raises(SessionException, match="its process has ended"):
            session.wait_all()
        assert time.monotonic() - start < T + 1


def test_a_server_that_is_stopped_is_told_of_within_its_dead_limit(cluster: FaultCluster) -> None:
    with cluster.client() as client, client.new_session() as session:
        cluster.server.signal(signal.SIGSTOP)
        start = time.monotonic()
        with pytest.raises(SessionException, match="nothing was heard from it for"):
            session.wait_all()
        assert time.monotonic() - start < T + 1
        cluster.server.signal(signal.SIGCONT)


# -- damaged -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_a_flipped_byte_costs_a_client_two_seconds_at_most(cluster: FaultCluster, direction: str) -> None:
    with (
        Proxy("127.0.0.1", cluster_port(cluster)) as proxy,
        rainzmq.Client(str(through(cluster, proxy))) as client,
        client.new_session() as session,
    ):
        assert compute(session, "before") == "before"
        proxy.flip(direction)
        start = time.monotonic()
        assert compute(session, "after") == "after"
        assert proxy.flipped == 1
        assert time.monotonic() - start < 2


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_a_flipped_byte_costs_a_worker_two_seconds_at_most(tmp_path: Path, direction: str) -> None:
    with (
        FaultCluster(tmp_path, dead_after_s=10) as cluster,
        Proxy("127.0.0.1", cluster_port(cluster)) as proxy,
        cluster.client() as client,
        client.new_session() as session,
    ):
        cluster.add_worker(access=through(cluster, proxy))
        assert compute(session, "before") == "before"
        proxy.flip(direction)
        wait_until(lambda: proxy.flipped == 1, 5)
        start = time.monotonic()
        wait_until(lambda: cluster.server_log().count(" joined") == 2, 3)
        assert compute(session, "after") == "after"
        assert time.monotonic() - start < 2


def test_a_worker_that_ends_with_its_server_outlives_a_cut_connection(tmp_path: Path) -> None:
    with (
        FaultCluster(tmp_path, dead_after_s=10) as cluster,
        Proxy("127.0.0.1", cluster_port(cluster)) as proxy,
        cluster.client() as client,
        client.new_session() as session,
    ):
        worker = cluster.add_worker(options=["--die-with-server"], access=through(cluster, proxy))
        proxy.cut()
        wait_until(lambda: cluster.server_log().count(" joined") == 2, 3)
        assert compute(session, "after") == "after"
        cluster.server.kill()
        wait_until(worker.ended, 5)


# -- vanished ----------------------------------------------------------------------------------------


@pytest.fixture
def hosts() -> Iterator[TwoHosts]:
    with TwoHosts() as hosts:
        yield hosts


@needs_namespaces
@pytest.mark.slow
@pytest.mark.parametrize("how", ["unplugged", "only the client's side", "only the server's side"])
def test_a_network_that_is_gone_for_some_seconds_costs_a_client_nothing(
    tmp_path: Path, hosts: TwoHosts, how: str
) -> None:
    with hosts.inside(LEFT):
        cluster = FaultCluster(tmp_path, host=ADDRESSES[LEFT])
    with cluster:
        with hosts.inside(LEFT):
            cluster.add_worker()
        with hosts.inside(RIGHT):
            client = cluster.client()
        with client, client.new_session() as session:
            assert compute(session, "before") == "before"
            lose(hosts, how, True)
            time.sleep(3 * T)
            lose(hosts, how, False)
            start = time.monotonic()
            assert compute(session, "after") == "after"
            assert time.monotonic() - start < 5


def lose(hosts: TwoHosts, how: str, losing: bool) -> None:
    for side in (LEFT, RIGHT):
        if how == "unplugged" or ("client" in how) == (side == RIGHT):
            hosts.lose(side, losing)


@needs_namespaces
@pytest.mark.slow
@pytest.mark.parametrize("how", ["unplugged", "only the worker's side", "only the server's side"])
def test_a_worker_is_back_within_5_s_after_a_partition(tmp_path: Path, hosts: TwoHosts, how: str) -> None:
    with hosts.inside(LEFT):
        cluster = FaultCluster(tmp_path, host=ADDRESSES[LEFT])
    with cluster:
        with hosts.inside(RIGHT):
            cluster.host = ADDRESSES[RIGHT]
            cluster.add_worker()
        with hosts.inside(LEFT):
            client = cluster.client()
        with client, client.new_session() as session:
            assert compute(session, "before") == "before"
            lose(hosts, how.replace("worker", "client"), True)
            wait_until(lambda: not client.get_server_info()["workers"], T + 1.5)
            time.sleep(2 * T)
            lose(hosts, how.replace("worker", "client"), False)
            start = time.monotonic()
            assert compute(session, "after") == "after"
            assert time.monotonic() - start < 5


@needs_namespaces
@pytest.mark.slow
def test_a_host_that_vanished_is_gone_after_half_a_minute_and_the_grace(
    tmp_path: Path, hosts: TwoHosts
) -> None:
    with hosts.inside(LEFT):
        cluster = FaultCluster(tmp_path, host=ADDRESSES[LEFT], options=["--client-grace-s", "2"])
        observer = cluster.client()
    with cluster, observer:
        prefix = ["nsenter", f"--net=/proc/{hosts.pid(RIGHT)}/ns/net"]
        with program(cluster.access_file, "runs for ever", prefix=prefix) as process:
            assert line_of(process) == "submitted"
            hosts.unplug(True)
            took_s = wait_until(lambda: sessions(observer) == [], 36)
            assert took_s > 30
            assert "its host has answered nothing for 3" in cluster.server_log()
