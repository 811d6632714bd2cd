"""More than a line, a server or a port can take: nobody is taken for dead, and memory stays bounded."""

from __future__ import annotations

import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from fault_cluster import FaultCluster, wait_until
from switch import Switch

from rainzmq import Client, remote, tasks
from rainzmq.transport.access import read_access
from rainzmq.transport.control import ControlClient
from rainzmq.transport.sockets import new_context

sys.path.insert(0, str(Path(__file__).parents[1] / "field"))
from namespaces import needs_namespaces

pytestmark = pytest.mark.slow

MIB = 1 << 20


def private_bytes(pid: int) -> int:
    return int(psutil.Process(pid).memory_full_info().uss)


@needs_namespaces
@pytest.mark.usefixtures("kills_processes")
def test_four_senders_to_a_slow_receiver_grow_by_no_more_than_64_mib(tmp_path: Path) -> None:
    senders, size = 4, 64 * MIB
    receiver = senders + 1
    with Switch(receiver + 1) as hosts, hosts.inside(0):
        cluster = FaultCluster(tmp_path, dead_after_s=10.0, host=hosts.address(0))
        with cluster, cluster.client() as client, client.new_session() as session:
            for host in range(1, receiver):
                with hosts.inside(host):
                    cluster.add_worker(1, ("--listen", f"{hosts.address(host)}:0"))
            line = f"head -c {size} /dev/zero; sleep 2"  # long enough that each worker makes one
            sources = [tasks.Execute(["sh", "-c", line], stdout=True) for _ in range(senders)]
            for source in sources:
                source.keep_outputs()
            session.submit()
            session.wait_all()
            assert (
                len([worker for worker in client.get_server_info()["workers"] if worker["objects"]])
                == senders
            )
            hosts.slow_towards(receiver, "8mbit")
            with hosts.inside(receiver):
                cluster.add_worker(2, ("--listen", f"{hosts.address(receiver)}:0"))
            processes = [cluster.server.pid, *(worker.pid for worker in cluster.workers)]
            before = {pid: private_bytes(pid) for pid in processes}
            for source in sources:
                tasks.Execute(["wc", "-c"], stdin=source.output, stdout=True, cpus=2)
            session.submit()
            trips = control_trips(client, 12.0)
            after = {pid: private_bytes(pid) for pid in processes}
            assert max(after[pid] - before[pid] for pid in processes) < 64 * MIB
            assert trips[int(len(trips) * 0.99)] < 0.25
            info = client.get_server_info()
            assert (len(info["workers"]), info["counters"]["workers_lost"]) == (senders + 1, 0)
            assert info["sessions"][0]["running"] == 0, "the receiver is still at it"
            session.close()


def control_trips(client: Client, duration_s: float) -> list[float]:
    """How long questions to the server took, seconds, in order."""
    trips = []
    end = time.monotonic() + duration_s
    while time.monotonic() < end:
        begin = time.monotonic()
        client.get_server_info()
        trips.append(time.monotonic() - begin)
        time.sleep(0.02)
    return sorted(trips)


def test_2000_connections_that_come_and_go_in_a_load_of_20000_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAINZMQ_CHECK", "0")  # it would look at all tasks after every turn
    with FaultCluster(tmp_path, dead_after_s=10.0) as cluster, cluster.client() as client:
        for _ in range(2):
            cluster.add_worker()
        run_load(client)  # so that what is kept for good is there
        server = psutil.Process(cluster.server.pid)
        memory, descriptors = server.memory_info().rss, server.num_fds()
        loads = threading.Thread(target=run_load, args=(client,))
        loads.start()
        come_and_go(cluster.access_file, 2000)
        loads.join()
        counters = client.get_server_info()["counters"]
        assert counters["tasks_finished"] == 40_000
        assert counters["workers_lost"] == counters["tasks_rerun"] == 0
        wait_until(lambda: server.num_fds() <= descriptors, 10)
        wait_until(lambda: server.memory_info().rss < memory + 20 * MIB, 10)


def run_load(client: Client) -> None:
    @remote()
    def one(ctx: Any, number: int) -> str:
        return str(number)

    with client.new_session() as session:
        made = [one(number) for number in range(20_000)]
        made[-1].output.keep()
        session.submit()
        session.wait_all()
        assert made[-1].output.fetch().get_str() == "19999"


def come_and_go(access_file: Path, count: int) -> None:
    """One in ten proves its key and leaves without a word; the others say nothing, or nonsense."""
    access = read_access(access_file)
    context = new_context()
    for number in range(count):
        if number % 10 == 0:
            control = ControlClient(context, access, "client")
            control.connect()
            control.close()
        else:
            with socket.create_connection((access.address, access.port)) as stranger:
                if number % 2:
                    stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
    context.destroy(linger=0)
