"""The closed list of errors that users meet.

`RainException` is anything wrong with a request or a connection, `SessionException` anything that ends a
session, `TaskException` a task that failed (which fails its session too), `TaskCancelled` what was cancelled
on request. Every error says what, where, why and what to do.
"""

from __future__ import annotations

from rainzmq.common.ids import ID


class RainException(Exception):
    """Base of every error of rainzmq."""


class SessionException(RainException):
    """The session cannot go on: it was closed, its server is gone, or one of its tasks failed.

    Attributes:
        session_id: the session, or None when it is not known.
    """

    def __init__(self, message: str, session_id: int | None = None) -> None:
        super().__init__(message)
        self.session_id = session_id


class TaskException(SessionException):
    """A task failed. Its text holds the task, the remote message, where the task was made, and its debug
    messages.

    Attributes:
        task_id: the failed task, or None when it is not known.
        task_name: its name, or None.
        task_type: its type, such as `builtin/execute`, or None.
        attempt: the attempt that failed (the first is 0), or None.
        worker: the `worker_id` it ran on, or None.
    """

    def __init__(
        self,
        message: str,
        session_id: int | None = None,
        *,
        task_id: ID | None = None,
        task_name: str | None = None,
        task_type: str | None = None,
        attempt: int | None = None,
        worker: str | None = None,
    ) -> None:
        super().__init__(message, session_id)
        self.task_id = task_id
        self.task_name = task_name
        self.task_type = task_type
        self.attempt = attempt
        self.worker = worker


class TaskCancelled(TaskException):
    """What is asked for was cancelled on request, with its whole session. Attributes as those of
    `TaskException`."""


class RainWarning(Warning):
    """Something that works but is likely not what was meant, such as a very large pickled argument."""
