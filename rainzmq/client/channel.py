"""A session's way to the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from rainzmq.client.connection import Connection
from rainzmq.client.contents import RelayContents
from rainzmq.client.draft import Draft
from rainzmq.client.explain import SubmittedTasks, failure_error
from rainzmq.client.owner import Heard
from rainzmq.common.errors import RainException, SessionException


class SessionClient(Protocol):
    """What a session needs of its `Client`."""

    connection: Connection
    contents: RelayContents

    @property
    def connected(self) -> bool:
        """Whether it is connected, as far as is known."""


class SessionChannel:
    """Requests in the name of a session. What becomes of them because the session failed is its failure, with
    all that is known here of the task."""

    def __init__(
        self, client: SessionClient | None, draft: Draft, heard: Heard, submitted: SubmittedTasks
    ) -> None:
        """`draft` says whether the session is closed, `heard` gets its failure once there is one, `submitted`
        explains it."""
        self.session_id = draft.session_id
        self._draft = draft
        self._client = client
        self._heard = heard
        self._submitted = submitted
        self._told = False

    @property
    def client(self) -> SessionClient:
        """The client; RainException for a session without one."""
        if self._client is None:
            raise RainException("The session has no client")
        return self._client

    @property
    def connected(self) -> bool:
        """Whether there is a client that is connected, as far as is known."""
        return self._client is not None and self._client.connected

    @property
    def connection(self) -> Connection:
        """The client's connection; RainException for a session without a client."""
        return self.client.connection

    @property
    def error(self) -> SessionException | None:
        """The error that ended the session, as far as it was heard of; None while there is none."""
        if self._heard.end is None and self.connected:
            self._heard.end = self.connection.ends.get(self.session_id)
        return self._failure_error(False)

    def check(self) -> None:
        """Raises what ended the session or the connection, after taking in what has come."""
        self._draft.check_open()
        self._check_failure()

    def reason(self, error: RainException) -> RainException:
        """Why a request ended with `error`: the session's failure, if there is one."""
        try:
            self._check_failure()
        except SessionException as failure:
            return failure
        return error

    def ask(self, make: Callable[[int], Any]) -> Any:
        """A request and its answer; raises the session's failure in place of what came of it."""
        try:
            return self.connection.ask(make, self.session_id)
        except RainException as error:
            raise self.reason(error) from None

    def _check_failure(self) -> None:
        if self._heard.end is None:
            self._heard.end = self.connection.end_of(self.session_id)
        error = self._failure_error(self._told)
        if error is not None:
            self._told = True
            raise error from None

    def _failure_error(self, told: bool) -> SessionException | None:
        # A new one each time: an exception that is raised again and again collects tracebacks.
        end = self._heard.end
        return None if end is None else failure_error(end, self.session_id, self._submitted, told)
