"""Threads and children that tasks left running. They may stay until their session ends, as a pool that a
program keeps in a global; then the process ends, and they with it.

Threads of native libraries do not count: they belong to the library, which stays.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable
from typing import Any

from rainzmq.subworker.tripwires import watch_functions

_STARTERS = (
    ("fork", ("os", "posix")),
    ("forkpty", ("os", "posix")),
    ("posix_spawn", ("os", "posix")),
    ("posix_spawnp", ("os", "posix")),
    ("fork_exec", ("_posixsubprocess",)),
    ("_fork_exec", ("subprocess",)),
)

_threads: Any = threading._active  # type: ignore[attr-defined]


class Leftovers:
    """What sessions left in this process. One per process."""

    def __init__(self) -> None:
        self._started = False
        self._sessions: set[int] = set()
        for name, modules in _STARTERS:
            places = [sys.modules[module] for module in modules if module in sys.modules]
            watch_functions(places, name, self._on_start)

    def _on_start(self, _args: tuple[Any, ...]) -> None:
        self._started = True

    def look(self, session_id: int) -> None:
        """A task of this session ended."""
        if self._started or len(_threads) > 1:
            self._started = False
            if self.exist():
                self._sessions.add(session_id)

    def exist(self) -> bool:
        """Whether a thread of Python or a child is running here, of whatever session."""
        return has_others()

    def outlast(self, session_ids: Iterable[int]) -> bool:
        """Sessions ended: whether something that one of them may have left is still running."""
        ended = self._sessions.intersection(session_ids)
        self._sessions -= ended
        return bool(ended) and self.exist()


def has_others() -> bool:
    """Whether this process has another thread of Python, or a child (one that ended and was not waited for
    included).
    """
    if len(_threads) > 1:
        return True
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
