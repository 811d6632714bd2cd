"""The built-in tasks but `Execute`: joining, waiting, and moving data between the store and file systems.

Waiting is a timer and short joins are done at once. All that touches file systems goes to a few threads,
since a file system may hang; the loop hears of the end through `call_threadsafe`. A job that is killed
meanwhile stops at its next look at `Attempt.cancelled`, its files are removed, and its outcome is CANCELLED
whatever it did.
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Protocol

import msgpack

from rainzmq.common.archive import ArchiveError
from rainzmq.common.limits import MEMORY_OBJECT_BYTES
from rainzmq.common.room import is_full
from rainzmq.common.trees import TreeCancelled, remove_tree
from rainzmq.common.workforce import Workforce
from rainzmq.store import ObjectStore
from rainzmq.worker import filework
from rainzmq.worker.core.jobs import FAILED, UNABLE, Job, Outcome, Produced
from rainzmq.worker.faults import Attempt, TaskFault, describe, is_own

_log = logging.getLogger(__name__)

_THREADS = 4


class _Timer(Protocol):
    def cancel(self) -> None: ...


class BuiltinLoop(Protocol):
    """What is needed of `transport.loop.Loop`."""

    def call_later(self, delay_s: float, callback: Callable[[], None], /) -> _Timer:
        """Call `callback` once after a while."""

    def call_soon(self, callback: Callable[[], None], /) -> None:
        """Call `callback` in this turn of the loop."""

    def call_threadsafe(self, callback: Callable[[], None], /) -> None:
        """Call `callback` in the loop's thread."""


class BuiltinRunner:
    """Runs jobs of the types `builtin/...` except `builtin/execute`. `scratch` is a directory of its own."""

    def __init__(
        self, loop: BuiltinLoop, store: ObjectStore, scratch: Path, done: Callable[[Outcome], None]
    ) -> None:
        self._loop = loop
        self._store = store
        self._scratch = scratch
        self._done = done
        self._attempts: dict[int, Attempt] = {}
        self._timers: dict[int, _Timer] = {}
        self._numbers = count(1)
        self._threads = Workforce(_THREADS, "rainzmq-files")
        self._closed = False
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)

    def start(self, job: Job) -> None:
        """Run a job; its outcome may come before this returns."""
        attempt = self._attempts[job.uid] = Attempt(job)
        try:
            self._start(attempt, job)
        except TaskFault as error:
            self._end(attempt.failed(str(error)))
        except OSError as error:  # of no thread
            self._end(attempt.unable(f"{_NAMES[job.method]}: {describe(error)}"))

    def kill(self, uid: int) -> None:
        """Stop a job; its outcome CANCELLED comes soon after. No error when it has ended."""
        attempt = self._attempts.get(uid)
        if attempt is None or attempt.cancelled:
            return
        attempt.cancelled = True
        timer = self._timers.pop(uid, None)
        if timer is not None:
            timer.cancel()
            self._loop.call_soon(partial(self._end, attempt.cancelled_outcome()))

    def close(self) -> None:
        """Stop all jobs without outcomes and remove their files; waits for what is being copied right now."""
        self._closed = True
        for attempt in self._attempts.values():
            attempt.cancelled = True
        for timer in self._timers.values():
            timer.cancel()
        self._threads.shutdown(cancel=True)
        remove_tree(self._scratch)

    def _start(self, attempt: Attempt, job: Job) -> None:
        if job.method == "sleep":
            self._start_sleep(attempt)
        elif job.method == "concat":
            self._start_concat(attempt)
        elif job.method in filework.METHODS:
            self._in_thread(attempt, filework.METHODS[job.method])
        else:
            known = ", ".join(sorted(["concat", "execute", "sleep", *filework.METHODS]))
            raise TaskFault(f"there is no built-in task {job.method!r}; there are {known}")

    def _start_sleep(self, attempt: Attempt) -> None:
        job = attempt.job
        try:
            (seconds,) = msgpack.unpackb(job.config)
            delay_s = max(0.0, float(seconds))
        except (ValueError, TypeError):
            raise TaskFault("Sleep: its configuration is not one number of seconds") from None
        if len(job.inputs) != 1:
            raise TaskFault(f"Sleep takes one input, not {len(job.inputs)}")
        self._timers[job.uid] = self._loop.call_later(delay_s, partial(self._end_sleep, attempt))

    def _end_sleep(self, attempt: Attempt) -> None:
        passed = attempt.job.inputs[0]
        del self._timers[attempt.job.uid]
        self._end(attempt.finished([Produced(alias=passed.uid, content_type=passed.content_type)]))

    def _start_concat(self, attempt: Attempt) -> None:
        inputs = attempt.job.inputs
        for index, item in enumerate(inputs):
            if item.is_directory:
                raise TaskFault(f"Concat joins blobs, but input {index} is a directory")
        if len(inputs) == 1 and not inputs[0].executable:  # what is joined is no program
            self._end(attempt.finished([Produced(alias=inputs[0].uid)]))
        elif sum(item.size for item in inputs) <= MEMORY_OBJECT_BYTES:
            joined = b"".join([self._store.read(item.uid) for item in inputs])
            self._end(attempt.finished([Produced(data=joined)]))
        else:
            self._in_thread(attempt, filework.concat)

    def _in_thread(self, attempt: Attempt, work: filework.Work) -> None:
        temporary = str(self._scratch / str(next(self._numbers)))
        self._threads.submit(partial(self._run, attempt, work, temporary))

    def _run(self, attempt: Attempt, work: filework.Work, temporary: str) -> None:
        """In a thread: do the work, then hand the outcome to the loop."""
        outcome = attempt.cancelled_outcome()
        try:
            if not attempt.cancelled:
                outcome = attempt.finished(work(attempt, self._store, temporary))
        except TreeCancelled:
            _log.debug("task %d was killed while files were copied", attempt.job.uid)
        except (TaskFault, ArchiveError, OSError) as error:
            remove_tree(temporary)  # what there is room for is told without it
            needed = filework.needed_bytes(attempt.job) if is_full(error) else 0
            reason = describe(error, needed, os.path.dirname(temporary))
            kind = UNABLE if is_own(error, self._store.root.parent) else FAILED
            outcome = attempt.failed(f"{_NAMES[attempt.job.method]}: {reason}", kind)
        except Exception:  # an exception in a thread would be lost, and the task would never end
            _log.exception("built-in task %s", attempt.job.method)
            outcome = attempt.failed(f"an error of rainzmq itself:\n{traceback.format_exc()}")
        if self._closed:
            remove_tree(temporary)
        else:
            self._loop.call_threadsafe(partial(self._end_thread, attempt, outcome, temporary))

    def _end_thread(self, attempt: Attempt, outcome: Outcome, temporary: str) -> None:
        if attempt.cancelled:
            outcome = attempt.cancelled_outcome()
        self._end(outcome)
        with suppress(OSError):
            remove_tree(temporary)

    def _end(self, outcome: Outcome) -> None:
        if not self._closed:
            del self._attempts[outcome.uid]
            self._done(outcome)


_NAMES = {
    "concat": "Concat",
    "load": "Load",
    "load_dir": "LoadDir",
    "store": "Store",
    "make_directory": "MakeDirectory",
    "slice_directory": "SliceDirectory",
}
