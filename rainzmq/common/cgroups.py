"""What the control groups of a container, batch job or service allow this process: cpu time and memory.

A group is bound by its own limits and by those of every group above it, so the least of them counts. Files of
version 2 and of version 1 are looked for side by side: hosts in the middle of the change mount both. Where a
hierarchy is mounted says /proc/self/mountinfo; the usual places are looked at in any case, since a container
runtime may have mounted something else over them. Groups above a container's own are not visible inside it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_USUAL_PLACES = (("cgroup2", "/", "/sys/fs/cgroup"), ("cgroup", "/", "/sys/fs/cgroup/cpu"))
_NO_LIMIT_BYTES = 1 << 60
"""Version 1 says a little under 2^63 bytes for "no limit"."""


def cpu_quota() -> float | None:
    """How many cpus' worth of time this process and its siblings get; None for no limit."""
    quotas = [quota for group in _groups("cpu") if (quota := _quota(group)) is not None]
    return min(quotas, default=None)


def memory_limit() -> tuple[int, Path] | None:
    """The tightest memory limit in bytes, with the group that has it; None for no limit."""
    limits = []
    for group in _groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = _number(_first_line(group / name))
            if limit is not None and 0 < limit < _NO_LIMIT_BYTES:
                limits.append((limit, group))
    return min(limits, default=None)


def memory_used(group: Path) -> int:
    """Bytes of memory that a group of `memory_limit` uses, without files that are only cached."""
    for used, cached in (
        ("memory.current", "inactive_file "),
        ("memory.usage_in_bytes", "total_inactive_file "),
    ):
        number = _number(_first_line(group / used))
        if number is not None:
            lines = [line for line in _lines(str(group / "memory.stat")) if line.startswith(cached)]
            return max(0, number - sum(_number(line.split()[1]) or 0 for line in lines))
    return 0


def _quota(group: Path) -> float | None:
    amount, _, period = _first_line(group / "cpu.max").partition(" ")
    if not amount:
        amount = _first_line(group / "cpu.cfs_quota_us")
        period = _first_line(group / "cpu.cfs_period_us")
    quota_us, period_us = _number(amount), _number(period)
    # "max", and -1 in version 1, stand for no limit.
    return quota_us / period_us if quota_us and period_us and quota_us > 0 and period_us > 0 else None


def _groups(controller: str) -> Iterator[Path]:
    """Directories of the groups that limit this process in this respect, each once."""
    own = _own_paths()
    mounts = [*_mounts(), *_USUAL_PLACES, ("cgroup", "/", f"/sys/fs/cgroup/{controller}")]
    seen = set()
    for kind, root, place in mounts:
        path = own.get("" if kind == "cgroup2" else controller, "/")
        inner = os.path.relpath(path, root)
        parts = () if inner.startswith("..") else Path(inner).parts
        for depth in range(len(parts) + 1):
            group = Path(place, *parts[:depth])
            if group not in seen:
                seen.add(group)
                yield group


def _own_paths() -> dict[str, str]:
    """This process's group by controller; that of version 2 under the empty name."""
    paths = {}
    for line in _lines("/proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def _mounts() -> Iterator[tuple[str, str, str]]:
    """(cgroup or cgroup2, group at the top of it, directory) of each mounted hierarchy."""
    for line in _lines("/proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.partition(" ")[0]
        if kind in ("cgroup", "cgroup2") and len(fields) > 4:
            yield kind, fields[3], fields[4]


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []


def _first_line(path: Path) -> str:
    return next(iter(_lines(str(path))), "").strip()


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
