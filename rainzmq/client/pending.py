"""Requests of a client on their way."""

from __future__ import annotations

from typing import Any, Protocol

from rainzmq.common.errors import RainException


class Asked(Protocol):
    """Where requests are sent; see `Connection`."""

    def wait_for(self, pending: Pending, timeout_s: float | None) -> None:
        """Until the request is done, its session failed, or the time is over."""

    def forget(self, pending: Pending, tell: bool) -> None:
        """The answer is not wanted any more; with `tell` the server hears of it."""

    def warn(self) -> None:
        """Give what the server warned of."""


class Pending:
    """A request that was sent, and the parts of its answer that have come.

    Attributes:
        number: the request's number.
        parts: the messages that answer it so far.
    """

    __slots__ = ("_connection", "_is_wait", "_session_id", "done", "error", "number", "parts")

    def __init__(self, connection: Asked, number: int, session_id: int | None, is_wait: bool) -> None:
        self.number = number
        self.parts: list[Any] = []
        self.done = False
        self.error: RainException | None = None
        self._connection = connection
        self._session_id = session_id
        self._is_wait = is_wait

    def wait(self, timeout_s: float | None) -> list[Any] | None:
        """All parts of the answer, or None when it has not come within `timeout_s` (None: no limit).

        Raises:
            RainException: the request was refused.
            SessionException: the session ended, or the connection is lost.
        """
        try:
            self._connection.wait_for(self, timeout_s)
        finally:
            self._connection.warn()
        if not self.done:
            return None
        if self.error is not None:
            raise self.error
        return self.parts

    def cancel(self) -> None:
        """The answer is not wanted any more; nothing when it has come."""
        self._connection.forget(self, tell=self._is_wait)

    @property
    def session_id(self) -> int | None:
        """The session it is about; None for none."""
        return self._session_id
