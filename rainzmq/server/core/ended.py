"""What the client of a session that failed or was cancelled is told before all of it is forgotten: what had
finished. As runs of ids, for there may be a million: ids of outputs follow that of their task.
"""

from __future__ import annotations

from collections.abc import Iterator

from rainzmq.common.ids import local_of
from rainzmq.protocol.messages.client import FinishedTasks
from rainzmq.protocol.schema import UInt32s
from rainzmq.server.core import states
from rainzmq.server.core.session_records import SessionRecord

RUNS = 50_000
"""Runs of one message."""


def finished_tasks(session: SessionRecord) -> Iterator[FinishedTasks]:
    """Messages with all tasks that are finished, their outputs, and constants."""
    # Columns of numbers: a million pairs would keep the garbage collector busy for seconds.
    firsts, lasts = [], []
    for first, last in session.history.runs():
        firsts.append(local_of(first))
        lasts.append(local_of(last))
    done = [task for task in session.tasks.values() if task.state is states.FINISHED]
    ids = [local_of(task.uid) for task in done]
    firsts += ids
    lasts += [num + len(task.outputs) for num, task in zip(ids, done, strict=True)]
    constants = list(map(local_of, session.consts))
    firsts += constants
    lasts += constants
    for start in range(0, len(firsts), RUNS):
        part = slice(start, start + RUNS)
        yield FinishedTasks(session.session_id, UInt32s(firsts[part]), UInt32s(lasts[part]))
