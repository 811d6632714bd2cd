"""The threads of numerical libraries follow the cpus of each task.

What a task loads reads its number from the environment; what an earlier task loaded has one already, and is
told the new number. So there is something to do only when the number of cpus changes.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from rainzmq.common.threads import thread_variables


class Threads:
    """Knows which number the libraries of this process were told."""

    def __init__(self) -> None:
        self.count = 0
        self._names = thread_variables(os.environ)
        self._found: list[Any] = []
        self._modules_seen = len(sys.modules)

    def follow(self, count: int) -> None:
        """A task with another number of cpus than `self.count` begins."""
        before, self.count = self.count, count
        for name in self._names:
            os.environ[name] = str(count)
        # Before the first task nothing is loaded that has threads.
        if self._names and before:
            for library in self._libraries():
                library.set_num_threads(count)

    def _libraries(self) -> list[Any]:
        """Looking for them takes a fifth of a millisecond, so it is done when something was imported."""
        if len(sys.modules) != self._modules_seen:
            from threadpoolctl import ThreadpoolController

            self._found = ThreadpoolController().lib_controllers
            self._modules_seen = len(sys.modules)
        return self._found
