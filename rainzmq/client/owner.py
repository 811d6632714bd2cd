"""What tasks and data objects need of their session, and which session new ones belong to.

That is a stack of sessions per thread (and per asyncio task), and below it one default for the whole process.
"""

from __future__ import annotations

import os
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from rainzmq.client.draft import Draft
from rainzmq.client.ended import SessionEnd
from rainzmq.common.data_instance import DataInstance
from rainzmq.common.errors import RainException


@dataclass(slots=True)
class Heard:
    """What is known of a session as a whole.

    Attributes:
        finished_batch: everything that went with this submit or an earlier one is finished.
        end: how it failed or was cancelled, None while it is not known to have been.
    """

    finished_batch: int = 0
    end: SessionEnd | None = None


class Owner(Protocol):
    """A session, for its tasks and data objects; see `Session`."""

    session_id: int
    draft: Draft
    heard: Heard

    @property
    def active(self) -> bool:
        """Whether it is open."""

    def wait(self, items: Any) -> None:
        """Wait until these are finished."""

    def update(self, items: Any) -> None:
        """Ask for the states and infos of these."""

    def fetch(self, obj: Any, path: str | os.PathLike[str] | None = None) -> DataInstance:
        """The content of an object."""

    def unkeep(self, objs: Any) -> None:
        """Undo `keep()` of these."""


_stack: ContextVar[tuple[Owner, ...]] = ContextVar("rainzmq_sessions", default=())
_default: Owner | None = None


def active_owner() -> Owner:
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


def push(session: Owner) -> None:
    """Enter a session."""
    _stack.set((*_stack.get(), session))


def pop(session: Owner) -> None:
    """Leave a session: undo its latest `push` here; nothing when there is none."""
    stack = list(_stack.get())
    for index in reversed(range(len(stack))):
        if stack[index] is session:
            del stack[index]
            _stack.set(tuple(stack))
            return


def set_default(session: Owner) -> None:
    """Use `session` when no session is entered."""
    global _default
    _default = session


def clear_default(session: Owner) -> None:
    """Undo `set_default(session)`; nothing when another session is the default."""
    global _default
    if _default is session:
        _default = None
