"""What a user is told of an exception: the traceback of their own code, notes, causes, and groups."""

from __future__ import annotations

import os
import traceback
from types import TracebackType

from rainzmq.common.errors import RainException
from rainzmq.common.limits import INFO_LIMIT_BYTES

_OWN_CODE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_HEAD_BYTES = INFO_LIMIT_BYTES // 4


def describe(error: BaseException) -> str:
    """The text of an exception that ended a task, at most INFO_LIMIT_BYTES long in UTF-8. Never raises an
    `Exception`, whatever the exception's own methods do.

    Frames of this package are left out. An error of ours that the user's code had no part in is its message
    alone.
    """
    try:
        text = _format(error)
    except Exception as problem:  # whatever __str__, __notes__ or __cause__ of a user's class do
        frames = [item for item in traceback.extract_tb(error.__traceback__) if not _is_own(item.filename)]
        head = "Traceback (most recent call last):\n" if frames else ""
        text = head + "".join(traceback.format_list(frames))
        text += f"{type(error).__qualname__} (its text cannot be shown: {type(problem).__qualname__})"
    return cut(text)


def cut(text: str, limit_bytes: int = INFO_LIMIT_BYTES) -> str:
    """`text` without lone surrogates and, when it is too long, without its middle."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit_bytes:
        return text if len(data) == len(text) else data.decode()
    head = min(_HEAD_BYTES, limit_bytes // 4)
    mark = f"\n[... {len(data) - limit_bytes} bytes left out ...]\n".encode()
    tail = data[-(limit_bytes - head - len(mark)) :]
    return (data[:head] + mark + tail).decode("utf-8", "ignore")


def _format(error: BaseException) -> str:
    if isinstance(error, RainException) and not _has_user_frames(error.__traceback__):
        text = str(error)
        if error.__cause__ is not None:
            text += "\n\n" + _format(error.__cause__)
        return text
    shown = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
    _drop_own_frames(shown)
    text = "".join(shown.format()).rstrip("\n")
    if isinstance(error, SystemExit):
        text += f"\nThe task asked its process to exit with code {error.code!r}, which fails the task."
    elif isinstance(error, KeyboardInterrupt):
        text += "\nThe task was interrupted by SIGINT."
    return text


def _has_user_frames(trace: TracebackType | None) -> bool:
    while trace is not None:
        if not _is_own(trace.tb_frame.f_code.co_filename):
            return True
        trace = trace.tb_next
    return False


def _is_own(filename: str) -> bool:
    return filename.startswith(_OWN_CODE)


def _drop_own_frames(shown: traceback.TracebackException) -> None:
    """Remove this package's frames from an exception, its causes, its context and its group."""
    todo: list[traceback.TracebackException | None] = [shown]
    while todo:
        item = todo.pop()
        if item is None:
            continue
        if item.stack is not None:
            kept = [frame for frame in item.stack if not _is_own(frame.filename)]
            # Without a stack no "Traceback" headline is written.
            item.stack = traceback.StackSummary.from_list(kept) if kept else None  # type: ignore[assignment]
        todo += [item.__cause__, item.__context__, *(item.exceptions or ())]
