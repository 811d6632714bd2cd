"""Whether this worker can work: its workplace with the store in it, and what it cannot do for now."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rainzmq.common.errors import RainException
from rainzmq.common.ids import id_of
from rainzmq.store import is_noexec
from rainzmq.store.objects import ObjectStore
from rainzmq.transport.loop import Loop, Timer
from rainzmq.worker import processes
from rainzmq.worker.core.jobs import CRASHED, FAILED, UNABLE, Job, Outcome
from rainzmq.worker.faults import NOEXEC
from rainzmq.worker.namespace import protect, unprotect
from rainzmq.worker.troubles import Troubles
from rainzmq.worker.workplace import Workplace

_log = logging.getLogger(__name__)

RENEWALS = 3
RENEWALS_WITHIN_S = 600.0
"""A worker whose workplace must be made again more often than so often within so long ends: whatever takes it
away will do so again."""

LOOK_INTERVAL_S = 5.0
"""How often the workplace is looked at while nothing gives a reason."""

FULL_AFTER_S = 0.2
"""A disk that is full so long after a task failed is not full of what that task wrote."""

_NOEXEC_SIGNS = ("Permission denied", "failed to map segment")
"""What programs, shells and Python say of what cannot be run or loaded."""

_TRIAL_COMMAND = ["/bin/sh", "-c", ":"]


class Health:
    """The workplace, made again when it was lost, and troubles.

    Attributes:
        workplace: the directories of now.
        store: the data objects; the same store after a renewal, empty and in another directory.
        copy_inputs: links into the store are not safe here.
        lost: why the workplace cannot be used any more, until it is renewed; None while it can.
        troubles: kinds of task that cannot be run for now.
        kinds: all that this worker offers.
    """

    def __init__(
        self,
        loop: Loop,
        wanted: Path | None,
        *,
        leave: Callable[[str], None],
        on_object_gone: Callable[[int], object],
        on_troubles: Callable[[dict[str, str]], None],
        retry_subworkers: Callable[[str], None],
    ) -> None:
        """To be made before the first thread: see `namespace.protect`.

        Args:
            loop: the worker's.
            wanted: the base of the working directory, None for a default.
            leave: called when the workplace is lost, with why: leave the server and stop all tasks.
            on_object_gone: called with the uid of a stored object whose content is gone.
            on_troubles: called with {kind: why} when that is not what it was.
            retry_subworkers: try to start a subworker of a kind; `on_kind` is to be told.

        Raises:
            RainException, OSError: there is no place for a working directory.
        """
        self._loop = loop
        self._wanted = wanted
        self._leave = leave
        self._on_object_gone = on_object_gone
        self._retry_subworkers = retry_subworkers
        self._timer: Timer | None = None
        self._down: set[str] = set()
        self._renewed: deque[float] = deque(maxlen=RENEWALS)
        self.lost: str | None = None
        self.kinds: list[str] = []
        self.troubles = Troubles(loop, on_troubles, self._try_again)
        self.workplace = self._new_workplace()
        try:
            self.store = ObjectStore(self.workplace.store_root)
            self._protect(is_private=False)
        except OSError:
            self.workplace.release()
            raise

    def _new_workplace(self) -> Workplace:
        workplace = Workplace(self._wanted)
        self._is_noexec = is_noexec(workplace.path)
        if self._is_noexec:
            _log.warning("%s", NOEXEC.format(workplace.path))
        return workplace

    def _protect(self, *, is_private: bool) -> None:
        reason = protect(self.store, is_private=is_private)
        self.copy_inputs = reason is not None
        if reason is not None:
            _log.info("inputs of programs are copied instead of linked: %s", reason)

    def remember(self) -> None:
        """All directories have been made. Raises `OSError`."""
        self.workplace.remember()

    def start(self) -> None:
        """Look at the workplace now and then: an idle worker must not get tasks to find out with."""
        self._timer = self._loop.call_later(LOOK_INTERVAL_S, self.start)
        self._look()

    def look_soon(self) -> None:
        """Something may be wrong with the workplace."""
        # Not from within the performing of effects: all tasks are dropped when something is.
        self._loop.call_soon(self._look)

    def _look(self) -> None:
        """Give up a workplace that cannot be used, with all it holds. Without any room take no tasks."""
        problem = self._problem()
        if problem is not None and self.lost is None:
            self.lost = problem
            self._leave(problem)
        elif self.lost is None and self.workplace.is_full:
            self.cannot_store()

    def _problem(self) -> str | None:
        return self.lost or self.workplace.problem()

    def judged(self, job: Job, outcome: Outcome) -> Outcome:
        """The outcome of a job that came to nothing, seen with what may be wrong with this worker. Others
        stay as they are.
        """
        if outcome.kind not in (FAILED, CRASHED, UNABLE):
            return outcome
        problem = self._problem()
        if problem is not None:
            self.look_soon()
            return replace(outcome, kind=UNABLE, error=problem)
        if self.workplace.is_full:  # of what this task wrote, perhaps: that is being removed
            self._loop.call_later(FULL_AFTER_S, self._look)
        store = self.store
        gone = [item.uid for item in job.inputs if store.has(item.uid) and not store.is_there(item.uid)]
        for uid in gone:
            _log.error("the content of %s is gone from %s", id_of(uid), store.objects_dir)
            self._on_object_gone(uid)
        if gone:
            names = ", ".join(str(id_of(uid)) for uid in gone)
            return replace(outcome, kind=UNABLE, error=f"the content of its input {names} was gone")
        if outcome.kind is UNABLE and not outcome.damaged:
            self.troubles.ill(job.kind, outcome.error)
        if self._is_noexec and any(sign in outcome.error for sign in _NOEXEC_SIGNS):
            return replace(outcome, error=f"{outcome.error}\n{NOEXEC.format(self.workplace.path)}")
        return outcome

    def cannot_store(self) -> bool:
        """Whether nothing at all can be written here, now that something could not. Then tasks of all kinds
        are refused.
        """
        if self._problem() is not None:
            self.look_soon()
            return True
        why = self.workplace.trial()
        if why is not None:
            self.all_ill(why)
        return why is not None

    def all_ill(self, why: str) -> None:
        """No tasks can be run."""
        for kind in self.kinds:
            self.troubles.ill(kind, why)

    def renew(self) -> None:
        """Make a workplace again, with an empty store. No task may be running, and no runner be open.

        Raises `RainException`, `OSError`: this is not possible, or has happened too often.
        """
        now = self._loop.now()
        if len(self._renewed) == RENEWALS and now - self._renewed[0] < RENEWALS_WITHIN_S:
            minutes = RENEWALS_WITHIN_S / 60
            raise RainException(
                f"that happened more than {RENEWALS} times within {minutes:.0f} minutes, so this worker "
                "ends; give it another --workdir"
            )
        self._renewed.append(now)
        with suppress(OSError):
            unprotect(self.store)
        self.workplace.release()
        self.workplace = self._new_workplace()
        self.store.move_to(self.workplace.store_root)
        self._protect(is_private=not self.copy_inputs)
        self.lost = None

    def on_kind(self, kind: str, why: str | None) -> None:
        """Subworkers of a kind cannot be started, or (None) one was."""
        if why is not None:
            self._down.add(kind)
            self.troubles.ill(kind, why)
        elif kind in self._down:
            self._down.discard(kind)
            self.troubles.well(kind)

    def close(self) -> None:
        """Remove the workplace with all that is in it."""
        self.troubles.close()
        if self._timer is not None:
            self._timer.cancel()
        try:
            unprotect(self.store)
            self.store.close()
        except OSError as error:
            _log.warning("while ending: %s", error)
        self.workplace.release()

    def _try_again(self, kind: str) -> None:
        """Find out whether tasks of a kind can be run, without one."""
        why = self.workplace.trial() or self._why_no_process()
        if why is not None:
            self.troubles.ill(kind, why)
        elif kind in self._down:
            self._retry_subworkers(kind)
        else:
            self.troubles.well(kind)

    def _why_no_process(self) -> str | None:
        try:
            processes.spawn(self._loop, _TRIAL_COMMAND, cwd="/", env=os.environ, on_exit=lambda process: None)
        except FileNotFoundError:
            return None  # a machine without a shell
        except OSError as error:
            return f"no process can be started: {error.strerror}"
        return None
