"""Several hosts on this machine, on one switch: network namespaces whose ways to each other can be cut.

    with Switch(3) as hosts:
        with hosts.inside(0):           # processes and sockets made here are on that host
            ...
        hosts.cut(1, 2)                 # what host 1 sends to host 2 is lost; all else arrives
        hosts.slow(2, "80mbit")         # what host 2 sends

Needs root; see `namespaces.needs_namespaces`.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

_NOBODY = "02:00:00:00:00:99"
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Switch:
    """See the module. Host 0 has the switch itself."""

    def __init__(self, count: int) -> None:
        command = ["unshare", "--net", "sh", "-c", "echo made; exec sleep 600"]
        self._hosts = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(count)]
        for host in self._hosts:
            assert host.stdout is not None
            assert host.stdout.readline() == b"made\n"
        self._run(0, "ip link add name switch type bridge")
        self._run(0, f"ip address add {self.address(0)}/24 dev switch")
        for line in ("ip link set lo up", "ip link set switch up"):
            self._run(0, line)
        for number in range(1, count):
            pid = self._hosts[number].pid
            self._run(0, f"ip link add name port{number} type veth peer name cable netns {pid}")
            self._run(0, f"ip link set port{number} master switch up")
            for line in (
                f"address add {self.address(number)}/24 dev cable",
                "link set cable up",
                "link set lo up",
            ):
                self._run(number, f"ip {line}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for host in self._hosts:
            host.kill()
            host.communicate()

    @staticmethod
    def address(number: int) -> str:
        """The address of a host."""
        return f"10.72.0.{number + 1}"

    @contextmanager
    def inside(self, number: int) -> Iterator[None]:
        """This thread, and what it starts, is on that host."""
        with (
            open("/proc/thread-self/ns/net") as home,
            open(f"/proc/{self._hosts[number].pid}/ns/net") as host,
        ):
            _enter(host.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def cut(self, source: int, target: int) -> None:
        """What a host (not 0) sends to another is lost: it has a wrong hardware address for it."""
        self._run(source, f"ip neigh replace {self.address(target)} lladdr {_NOBODY} dev cable nud permanent")

    def slow(self, number: int, rate: str) -> None:
        """Let a host (not 0) send no faster than that."""
        self._run(number, f"tc qdisc add dev cable root tbf rate {rate} burst 256kb latency 400ms")

    def slow_towards(self, number: int, rate: str) -> None:
        """Let a host (not 0) receive no faster than that."""
        self._run(0, f"tc qdisc add dev port{number} root tbf rate {rate} burst 64kb latency 400ms")

    def _run(self, number: int, line: str) -> None:
        command = ["nsenter", "--net", "-t", str(self._hosts[number].pid), *line.split()]
        subprocess.run(command, check=True, timeout=10)


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
