"""Process trees: their CPU time by role, their memory, their end. Linux only; needs psutil."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import psutil

Roles = Sequence[tuple[str, str]]
"""(role, part of the command line) pairs; the first that fits names the role of a process."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_GRACE_S = 3.0


def adopt_orphans() -> None:
    """Make descendants whose parent ends children of this process, so that none is lost from the tree."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_in_order_on_sigterm() -> None:
    """Let SIGTERM raise `SystemExit`, so that cleaning up is not skipped."""
    signal.signal(signal.SIGTERM, _exit)


def die_with_parent() -> None:
    """Get SIGTERM when the parent ends, however it does."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _exit(number: int, _frame: FrameType | None) -> None:
    # A second one must not cut the cleaning up short.
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def tree(pid: int) -> list[psutil.Process]:
    """A process and its descendants; empty when it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def cpu_by_role(pid: int, roles: Roles) -> dict[str, float]:
    """CPU seconds of a process tree until now, user and system, by role; the root's role is `client`.

    Children that ended count for the process that waited for them.
    """
    result: dict[str, float] = {}
    for process in tree(pid):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            role = "client" if process.pid == pid else role_of(process.cmdline(), roles)
            spent = times.user + times.system + times.children_user + times.children_system
            result[role] = result.get(role, 0.0) + spent
    return result


def wakeups_by_role(pid: int, roles: Roles) -> dict[str, float]:
    """How often the threads of a process tree went to sleep until now, by role: each time, something had to
    wake one up.
    """
    result: dict[str, float] = {}
    for process in tree(pid):
        with contextlib.suppress(psutil.Error, OSError):
            role = "client" if process.pid == pid else role_of(process.cmdline(), roles)
            for thread in Path(f"/proc/{process.pid}/task").iterdir():
                with contextlib.suppress(OSError):  # it has just ended
                    text = (thread / "status").read_text()
                    found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE)
                    result[role] = result.get(role, 0.0) + (int(found[1]) if found else 0)
    return result


def role_of(command: Sequence[str], roles: Roles) -> str:
    """The role of a process by its command line, `other` when none fits."""
    line = " ".join(command)
    return next((role for role, part in roles if part in line), "other")


def memory_bytes(pid: int) -> int:
    """Memory of a process: its own pages, and its share of those it shares with others (PSS)."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0


def tree_memory_bytes(pid: int) -> int:
    """Memory of a process tree."""
    return sum(memory_bytes(process.pid) for process in tree(pid))


def end_all(processes: Sequence[psutil.Process]) -> None:
    """SIGTERM, and SIGKILL to those that are still there after a while."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)
        _, alive = psutil.wait_procs(processes, timeout=_GRACE_S)
        if not alive:
            return
        processes = alive


def end_descendants(spare: Sequence[psutil.Process] = ()) -> None:
    """End all descendants of this process and reap them, but for those to spare and their descendants."""
    deadline = time.monotonic() + 3 * _GRACE_S
    while time.monotonic() < deadline:
        kept = {process.pid for item in spare for process in tree(item.pid)}
        ending = [process for process in tree(os.getpid())[1:] if process.pid not in kept]
        if not ending:
            return
        end_all(ending)
