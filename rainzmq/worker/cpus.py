"""Which cpus a worker uses, so that several workers on a host pin their tasks to different ones."""

from __future__ import annotations

import os
import socket


def claim_cpus(count: int) -> tuple[list[int], bool, list[socket.socket]]:
    """Claim `count` cpus of this host for this process.

    Returns the indices that tasks are given, whether they are cpus that tasks should be pinned to, and what
    holds the claims: sockets to keep open as long as they should last. They end with the process in any case.

    A claim is a bound socket with an abstract name, which no file and no dead process can leave behind. It
    holds between processes of one user and network namespace. When this process may not run on enough
    unclaimed cpus, it claims none: the indices are `0 .. count-1` and tasks run where the system puts them.
    """
    claims: list[socket.socket] = []
    indices: list[int] = []
    for cpu in sorted(os.sched_getaffinity(0)):
        if len(indices) == count:
            break
        claim = _claim(cpu)
        if claim is not None:
            claims.append(claim)
            indices.append(cpu)
    if len(indices) == count:
        return indices, True, claims
    for claim in claims:
        claim.close()
    return list(range(count)), False, []


def _claim(cpu: int) -> socket.socket | None:
    """The claim of one cpu; None when another process has it."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0rainzmq-cpu-{os.geteuid()}-{cpu}")
    except OSError:
        claim.close()
        return None
    return claim
