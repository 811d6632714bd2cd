"""How sessions failed or were cancelled, and what that makes of their tasks and objects."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace

from rainzmq.common.headline import why_cancelled
from rainzmq.common.ids import local_of
from rainzmq.common.specs import TaskInfo
from rainzmq.common.states import DataObjectState, SessionState, TaskState
from rainzmq.protocol.messages.client import FinishedTasks, SessionFailed
from rainzmq.protocol.messages.shared import Failure

Run = tuple[int, int]
"""First and last of consecutive ids."""


@dataclass(slots=True)
class SessionEnd:
    """The end of a session that failed or was cancelled.

    Attributes:
        state: FAILED or CANCELLED.
        failure: why.
        finished: ids of the tasks that had finished, of their outputs, and of constants, in order.
    """

    state: SessionState
    failure: Failure
    finished: list[Run]

    def task_state(self, num: int) -> TaskState:
        """Where a submitted task stands."""
        if self.failure.task and local_of(self.failure.task) == num:
            return TaskState.FAILED
        return TaskState.FINISHED if self._had_finished(num) else TaskState.CANCELLED

    def object_state(self, num: int) -> DataObjectState:
        """Where a submitted object stands: nothing is left of those that were made."""
        return DataObjectState.REMOVED if self._had_finished(num) else DataObjectState.UNFINISHED

    def task_info(self, num: int, info: TaskInfo | None) -> TaskInfo | None:
        """What is known of a task, given what was before: why it failed, or by whom it was cancelled."""
        failure, state = self.failure, self.task_state(num)
        if state is TaskState.FAILED:
            return replace(
                info or TaskInfo(), error=failure.message, worker=failure.worker, debug=failure.debug
            )
        if state is TaskState.CANCELLED:
            return replace(info or TaskInfo(), error=f"cancelled: {why_cancelled(self.state, failure)}")
        return info

    def _had_finished(self, num: int) -> bool:
        place = bisect_right(self.finished, num, key=lambda run: run[0])
        return place > 0 and num <= self.finished[place - 1][1]


class SessionEnds:
    """The ends of a client's sessions, as far as heard."""

    def __init__(self) -> None:
        self._ends: dict[int, SessionEnd] = {}
        self._finished: dict[int, list[Run]] = {}

    def take(self, message: FinishedTasks | SessionFailed) -> None:
        """Take in what the server says; the first end of a session counts."""
        session_id = message.session_id
        if isinstance(message, FinishedTasks):
            self._finished.setdefault(session_id, []).extend(zip(message.firsts, message.lasts, strict=False))
        else:
            runs = self._finished.pop(session_id, [])
            self._ends.setdefault(session_id, SessionEnd(message.state, message.failure, _joined(runs)))

    def get(self, session_id: int) -> SessionEnd | None:
        """How a session ended, None when it is not known to have."""
        return self._ends.get(session_id)


def _joined(runs: Iterable[Run]) -> list[Run]:
    """The same ids in order, in as few runs as can be."""
    joined: list[Run] = []
    for first, last in sorted(runs):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(joined[-1][1], last)
        else:
            joined.append((first, last))
    return joined
