"""Naming a process so that another one can tell whether it sees the same, and whether it still runs."""

from __future__ import annotations

import os
from pathlib import Path


def process_space() -> str:
    """The boot of this machine and the namespace of process ids; empty where that cannot be told. Processes
    with the same one mean the same by a process id, whatever their host names, networks and containers.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks after the boot; None when there is none with that id."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name, in brackets, may hold anything.
    return int(text.rpartition(")")[2].split()[19])
