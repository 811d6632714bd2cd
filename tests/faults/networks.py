"""Two hosts on this machine: network namespaces with a cable between them that can be pulled.

    with TwoHosts() as hosts:
        with hosts.inside(LEFT):        # processes and sockets made here are on that host
            ...
        hosts.lose(LEFT, True)          # what that host sends is lost, what is sent to it arrives
        hosts.unplug(True)              # nothing arrives, in both directions

Needs root; see `namespaces.needs_namespaces`.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

LEFT, RIGHT = 0, 1
ADDRESSES = ("10.71.0.1", "10.71.0.2")

_DEVICES = ("left0", "right0")
_NOBODY = "02:00:00:00:00:99"
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class TwoHosts:
    """See the module."""

    def __init__(self) -> None:
        command = ["unshare", "--net", "sh", "-c", "echo made; exec sleep 600"]
        self._hosts = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in ADDRESSES]
        for host in self._hosts:
            assert host.stdout is not None
            assert host.stdout.readline() == b"made\n"
        pids = [host.pid for host in self._hosts]
        self._run(
            LEFT, f"ip link add {_DEVICES[LEFT]} type veth peer name {_DEVICES[RIGHT]} netns {pids[RIGHT]}"
        )
        for side, (device, address) in enumerate(zip(_DEVICES, ADDRESSES, strict=True)):
            self._run(side, "ip link set lo up")
            self._run(side, f"ip address add {address}/24 dev {device}")
            self._run(side, f"ip link set {device} up")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for host in self._hosts:
            host.kill()
            host.communicate()

    @contextmanager
    def inside(self, side: int) -> Iterator[None]:
        """This thread, and what it starts, is on that host."""
        with open("/proc/thread-self/ns/net") as home, open(f"/proc/{self._hosts[side].pid}/ns/net") as host:
            _enter(host.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def pid(self, side: int) -> int:
        """A process on that host, for `nsenter`."""
        return self._hosts[side].pid

    def lose(self, side: int, losing: bool) -> None:
        """What that host sends is lost: it believes that the other one has another hardware address."""
        there = ADDRESSES[1 - side]
        if losing:
            self._run(side, f"ip neigh replace {there} lladdr {_NOBODY} dev {_DEVICES[side]} nud permanent")
        else:
            self._run(side, f"ip neigh del {there} dev {_DEVICES[side]}")

    def unplug(self, unplugged: bool) -> None:
        """Nothing arrives."""
        for side in (LEFT, RIGHT):
            self.lose(side, unplugged)

    def _run(self, side: int, line: str) -> None:
        command = ["nsenter", "--net", "-t", str(self._hosts[side].pid), *line.split()]
        subprocess.run(command, check=True, timeout=10)


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
