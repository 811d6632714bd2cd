"""A server for other machines, on hosts whose name resolves to nothing that others can reach."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from namespaces import needs_namespaces, shell_in_namespaces

from rainzmq import Client, RainException

_NO_NAME = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', "no-such-name-anywhere"]


@contextmanager
def _server(tmp_path: Path, interfaces: Sequence[str], *options: str) -> Iterator[tuple[Path, list[str]]]:
    """The access file of a server in a network of its own, and what it logged until it was ready."""
    access = tmp_path / "access.json"
    arguments = ["--listen", "0.0.0.0:0", "--no-dashboard", "--access-file", str(access), *options]
    arguments += ["--logdir", str(tmp_path / "logs"), "--ready-file", str(tmp_path / "ready")]
    command = [*_NO_NAME, sys.executable, "-m", "rainzmq", "server", *arguments]
    lines = []
    with subprocess.Popen(
        shell_in_namespaces(interfaces, command, network=True), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if "access file:" in line:
                break
        try:
            yield access, lines
        finally:
            process.send_signal(signal.SIGTERM)
            lines += process.stderr.read().splitlines()


def _address(access: Path) -> str:
    address: str = json.loads(access.read_text())["address"]
    return address


def _interface(name: str, address: str) -> list[str]:
    return [
        f"ip link add {name} type veth peer name {name}-p",
        f"ip addr add {address} dev {name}",
        f"ip link set {name} up",
        f"ip link set {name}-p up",
    ]


@needs_namespaces
def test_the_address_towards_the_network_is_in_the_access_file(tmp_path: Path) -> None:
    interfaces = [*_interface("a0", "10.9.8.7/24"), *_interface("b0", "10.1.1.1/24")]
    interfaces.append("ip route add default via 10.9.8.1 dev a0")
    with _server(tmp_path, interfaces) as (access, lines):
        assert _address(access) == "10.9.8.7"
    assert "--advertise" not in "".join(lines)


@needs_namespaces
def test_without_a_default_route_it_is_that_of_an_interface_and_not_one_for_containers(
    tmp_path: Path,
) -> None:
    interfaces = [*_interface("docker0", "172.17.0.1/16"), *_interface("z0", "10.1.1.1/24")]
    with _server(tmp_path, interfaces) as (access, lines):
        assert _address(access) == "10.1.1.1"
    assert "--advertise" not in "".join(lines)


@needs_namespaces
def test_what_is_advertised_is_in_the_access_file(tmp_path: Path) -> None:
    with _server(tmp_path, [], "--advertise", "node7.cluster") as (access, lines):
        assert _address(access) == "node7.cluster"
    assert "warning" not in "".join(lines)


@needs_namespaces
def test_a_server_that_nobody_else_can_reach_says_so_and_so_does_who_tries(tmp_path: Path) -> None:
    with _server(tmp_path, []) as (access, lines):
        assert _address(access) == "127.0.0.1"
        with pytest.raises(RainException, match="--advertise HOST") as failed:
            Client(str(access))
    assert "no-such-name-anywhere" in str(failed.value)
    assert "--advertise" in "".join(lines)


def test_nothing_is_hinted_at_when_the_server_was_on_this_machine(tmp_path: Path) -> None:
    from rainzmq.transport.access import Access

    here = Access("127.0.0.1", 7210, b"", {}, 1, 1, 0.0, tmp_path, hostname=socket.gethostname())
    there = Access("10.0.0.1", 7210, b"", {}, 1, 1, 0.0, tmp_path, hostname="elsewhere")
    assert here.hint == there.hint == ""
