"""What a process that ended has left running: descendants that left its group (setsid, double fork).

They must be gone before the outputs of a program are taken, or an object would go on changing after it was
finished; and nearly no program has any. Reading all of /proc after every program would cost more than
starting a small one. But process ids are given out in order: whatever a process started has an id between its
own and the newest one, which /proc/loadavg tells. For a short program these are a few, and known.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container
from functools import cache

_MAX_PROBED = 256
"""With more ids in between, the processes that exist are listed instead of asking for each id."""


def newest_pid() -> int:
    """The process id (or thread id) that was given out last in this pid namespace; 0 when it is not known."""
    try:
        return int(os.pread(_load_average(), 256, 0).split()[-1])
    except (OSError, ValueError, IndexError):
        return 0


@cache
def _load_average() -> int:
    """Kept open, for opening it takes five times as long as reading it."""
    return os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)


def left_by(
    pid: int, known: Container[int], is_its_own: Callable[[int], bool], is_alive: Callable[[int], bool]
) -> list[int]:
    """Processes that were started since `pid` was, are none of `known`, and are `is_its_own` and `is_alive`.

    One that forks and ends, again and again, is never there when it is looked for; but those that ended are,
    as zombies. So as long as younger ones of its own are found, the next ones are looked for.
    """
    while True:
        newest = newest_pid()
        own = [each for each in _between(pid, newest) if each not in known and is_its_own(each)]
        alive = [each for each in own if is_alive(each)]
        if alive or not own or newest < pid:
            return alive
        pid = newest


def _between(pid: int, newest: int) -> list[int]:
    """Processes younger than one, until the newest one."""
    if pid <= newest <= pid + _MAX_PROBED:
        return [each for each in range(pid + 1, newest + 1) if _exists(each)]
    # More, or the ids began from 1 again.
    every = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [each for each in every if each != os.getpid() and (each > pid or newest < pid)]


def _exists(pid: int) -> bool:
    """Whether there is such a process that this one may kill; zombies count."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
