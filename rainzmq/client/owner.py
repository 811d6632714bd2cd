"""Which session the tasks and data objects being made belong to.

A stack per thread (and per asyncio task), and below it one default session for the whole process.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from rainzmq.common.errors import RainException

if TYPE_CHECKING:
    from rainzmq.client.session import Session

_stack: ContextVar[tuple[Session, ...]] = ContextVar("rainzmq_sessions", default=())
_default: Session | None = None


def get_active_session() -> Session:
    """The innermost session that was entered in this thread, else the default one.

    Raises:
        RainException: "No active session": there is none. Enter one by `with session:` or
            `with session.bind_only():`, in each thread that makes tasks, or make one the default for all
            threads by `session.set_as_default()`.
    """
    stack = _stack.get()
    if stack:
        return stack[-1]
    if _default is not None and _default.active:
        return _default
    raise RainException("No active session")


def push(session: Session) -> None:
    """Enter a session."""
    _stack.set((*_stack.get(), session))


def pop(session: Session) -> None:
    """Leave a session: undo its latest `push` here; nothing when there is none."""
    stack = list(_stack.get())
    for index in reversed(range(len(stack))):
        if stack[index] is session:
            del stack[index]
            _stack.set(tuple(stack))
            return


def set_default(session: Session) -> None:
    """Use `session` when no session is entered."""
    global _default
    _default = session


def clear_default(session: Session) -> None:
    """Undo `set_default(session)`; nothing when another session is the default."""
    global _default
    if _default is session:
        _default = None
