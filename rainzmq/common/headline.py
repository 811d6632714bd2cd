"""Errors in one line, for lists."""

from __future__ import annotations

from typing import Protocol

from rainzmq.common.ids import id_of
from rainzmq.common.states import SessionState

_LONGEST_LINE = 300


class EndReason(Protocol):
    """Why a session ended; see `protocol.messages.shared.Failure`."""

    task: int
    name: str | None
    task_type: str | None
    message: str


def why_cancelled(session: SessionState, failure: EndReason | None) -> str:
    """By whom a task was cancelled that had not finished when its session ended."""
    if session is SessionState.CLOSED or failure is None:
        return "its session was closed before it was done"
    if failure.task:
        name = failure.name or failure.task_type
        return f"its session failed because of {id_of(failure.task)}{f' ({name})' if name else ''}"
    how = "was cancelled" if session is SessionState.CANCELLED else "failed"
    return f"its session {how}: {headline(failure.message)}"


def headline(text: str) -> str:
    """The line of an error that says most: the first, or of a traceback that of the (last) exception. Of a
    program, how it ended and the last that it wrote.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return "no reason was given"
    line = lines[0].strip()
    if line.startswith("Traceback ("):
        last = max(at for at, item in enumerate(lines) if item.strip().startswith("Traceback ("))
        # What was called is indented; messages may go on in further lines.
        said = [item for item in lines[last + 1 :] if not item[0].isspace()]
        line = said[0] if said else lines[-1].strip()
    elif len(lines) > 2 and lines[1].startswith(("Standard output", "Standard error")):
        line = f"{line}: {lines[-1].strip()}"
    return line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 3] + "..."
