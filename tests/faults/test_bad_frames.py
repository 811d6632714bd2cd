"""A peer with a key that sends nonsense over one connection after the other."""

from __future__ import annotations

import time
from pathlib import Path

import zmq
from fault_cluster import FaultCluster

from rainzmq.transport.access import read_access
from rainzmq.transport.sockets import make_curve_client


def test_a_peer_that_sends_nonsense_for_long_is_named_and_counted_in_few_lines(tmp_path: Path) -> None:
    with FaultCluster(tmp_path) as cluster:
        access = read_access(cluster.access_file)
        context = zmq.Context()
        for _ in range(40):
            socket = context.socket(zmq.DEALER)
            make_curve_client(socket, access.key("worker"), access.server_public)
            socket.connect(f"tcp://127.0.0.1:{access.port}")
            for _ in range(50):
                socket.send(b"\x93nonsense")
            socket.close(linger=2000)
        context.term()
        deadline = time.monotonic() + 10
        while "(512 so far)" not in cluster.server_log():
            assert time.monotonic() < deadline, cluster.server_log()
            time.sleep(0.05)
        with cluster.client() as client:
            assert client.get_server_info()["workers"] == []
        lines = [line for line in cluster.server_log().splitlines() if " an unknown " in line]
        assert any("bad message of an unknown worker at 127.0.0.1 (256 so far)" in line for line in lines)
        assert len(lines) < 30
