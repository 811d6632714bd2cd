"""A few threads of our own, on a machine that may have no more of them.

Where the number of processes is limited (`pids.max` of a container, `ulimit -u`), a thread may not start. A
`ThreadPoolExecutor` raises then, but keeps the work in its queue: a thread that exists, or one that is
started later, does it all the same. Here either it is done or the caller is told.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress


class Workforce:
    """Up to `threads` threads with the given name, started when there is work. For use by one thread."""

    def __init__(self, threads: int, name: str) -> None:
        self._threads = threads
        self._name = name
        self._pool: ThreadPoolExecutor | None = None

    def submit(self, work: Callable[[], object]) -> None:
        """Have `work`, which must not raise, done by one of the threads.

        Raises:
            OSError: EAGAIN, not one thread can be started; `work` is not done.
        """
        if self._pool is None:
            pool = ThreadPoolExecutor(self._threads, self._name)
            try:
                pool.submit(work)
            except RuntimeError as error:
                pool.shutdown(wait=False, cancel_futures=True)
                reason = f"{error}: the limit on processes of this user or container is reached"
                raise OSError(errno.EAGAIN, reason) from None
            self._pool = pool
            return
        # When no further thread can be started, there is one that takes this in its turn.
        with suppress(RuntimeError):
            self._pool.submit(work)

    def shutdown(self, cancel: bool = False) -> None:
        """Wait for what is being done; `cancel`: what has not begun is not done any more."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=cancel)
