"""Which cpus a worker uses, so that no two workers on a host ever pin their tasks to the same ones.

Two workers that pin without knowing of each other choose the same cpus and leave others idle: half the
machine is lost, far more than pinning can bring. So a cpu is pinned to only when it was claimed before the
eyes of all users, containers, network and mount namespaces. The one list that all of these can read is
/proc/locks, and open file description locks are shown in every pid namespace. A claim is such a lock, on
the byte `_BASE + cpu` of a file in memory that only the claimer has: it needs no place that others can
write to, blocks nobody, and ends with its process.

Claims are made first and looked for afterwards: of two at once at least one sees the other, and whoever sees
another gives way and tries again a little later. Who does not see even its own claim cannot rely on the list
(a sandbox hides it, or has none) and pins nothing; the same holds where too few cpus are free.

Rejected: sockets with abstract names (of one network namespace only), locked files (of one mount namespace,
and of users who may open them), threads of a known name and affinity (not seen from another pid namespace).
"""

from __future__ import annotations

import fcntl
import os
import random
import struct
import time

_BASE = 0x7261696E << 32
"""Offset of the locks that claim cpus; nothing else locks bytes so far out."""

_MAX_CPUS = 1 << 16
_TRIES = 6
_RETRY_S = 0.02
"""Two that gave way to each other try again after a random time up to this, seconds."""


class CpuClaim:
    """Cpus that this process has claimed, until `close` or its end."""

    def __init__(self, cpus: list[int]) -> None:
        """Claims `cpus`, whoever else has claimed them. OSError when it cannot."""
        self._file = os.memfd_create("rainzmq-cpus", os.MFD_CLOEXEC)
        try:
            for cpu in cpus:
                lock = struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, _BASE + cpu, 1, 0)
                fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, lock)
        except OSError:
            self.close()
            raise

    @property
    def file_id(self) -> tuple[int, int]:
        """Device and inode of its locks in /proc/locks."""
        info = os.fstat(self._file)
        return info.st_dev, info.st_ino

    def close(self) -> None:
        """Give them up. Closing twice is allowed."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def claims_of(count: int, pin: str) -> tuple[list[int], bool, list[CpuClaim]]:
    """As `claim_cpus` for `--pin auto`; for `none` as where nothing can be claimed."""
    return claim_cpus(count) if pin == "auto" else (list(range(count)), False, [])


def claim_cpus(count: int) -> tuple[list[int], bool, list[CpuClaim]]:
    """Claim `count` cpus of this host for this process.

    Returns the indices that tasks are given, whether they are cpus that tasks should be pinned to, and what
    holds the claims, to be closed at the end. When this process may not run on enough unclaimed cpus, or
    cannot know what others have claimed, it claims none: the indices are `0 .. count-1` and tasks run
    where the system puts them.
    """
    for _ in range(_TRIES):
        others = _claimed()
        if others is None:
            break
        taken = set[int]().union(*others.values())
        indices = sorted(os.sched_getaffinity(0) - taken)[:count]
        if len(indices) < count:
            break
        try:
            claim = CpuClaim(indices)
        except OSError:  # no memory files or no such locks here
            break
        seen = _claimed() or {}
        mine = seen.pop(claim.file_id, set())
        if mine != set(indices):
            claim.close()
            break
        if mine.isdisjoint(set[int]().union(*seen.values())):
            return indices, True, [claim]
        claim.close()
        time.sleep(random.uniform(0, _RETRY_S))
    return list(range(count)), False, []


def _claimed() -> dict[tuple[int, int], set[int]] | None:
    """Cpus that are claimed on this machine, by the file of the claim; None when that cannot be known."""
    try:
        with open("/proc/locks", encoding="ascii", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    claims: dict[tuple[int, int], set[int]] = {}
    for line in lines:
        fields = line.split()
        # "1: OFDLCK ADVISORY  WRITE -1 00:01:24 <first byte> <last byte or EOF>"
        if len(fields) != 8 or fields[1] != "OFDLCK":
            continue
        try:
            first, last = int(fields[6]) - _BASE, int(fields[7]) - _BASE
            major, minor, inode = fields[5].split(":")
            file_id = os.makedev(int(major, 16), int(minor, 16)), int(inode)
        except ValueError:
            continue
        if 0 <= first <= last < _MAX_CPUS:
            claims.setdefault(file_id, set()).update(range(first, last + 1))
    return claims
