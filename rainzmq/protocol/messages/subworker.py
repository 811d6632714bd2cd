"""Worker and subworker, over an inherited stream socket; `docs/subworker_protocol.md` is the page for
implementers.

Messages have no header. A field may be added only with a new subworker protocol version.
"""

from __future__ import annotations

from typing import Annotated

from rainzmq.protocol.schema import message, struct

CONVERSATION = "subworker"
_WORKER = "worker"
_SUBWORKER = "subworker"


@struct
class SubworkerInput:
    """One input of a task."""

    label: Annotated[str | None, "label of the input, None without one"]
    id: Annotated[tuple[int, int], "session and number of the data object"]
    is_directory: Annotated[bool, "a directory rather than a blob"]
    content_type: Annotated[str | None, "content type, None for unknown"]
    size: Annotated[int, "bytes; for a directory the sum of its files; -1 when not made yet"]
    data: Annotated[bytes | None, "the content when it is small, else None"]
    path: Annotated[
        str | None,
        "file or directory with the content, read only, when `data` is None; None with `data` None only for "
        "Python subworkers: the object is made by an earlier task on this connection",
    ]
    spec_user: Annotated[bytes, "`spec.user` as JSON, empty for {}"]
    info_user: Annotated[bytes, "`info.user` as JSON, empty for {}"]
    own_label: Annotated[str | None, "label of the object itself"]


@struct
class SubworkerOutput:
    """One output a task must make."""

    label: Annotated[str | None, "label of the output, None without one"]
    id: Annotated[tuple[int, int], "session and number of the data object"]
    is_directory: Annotated[bool, "a directory rather than a blob"]
    content_type: Annotated[str | None, "declared content type; the actual one must be a subtype of it"]
    encode: Annotated[str | None, "content type to serialize the value to, None for none"]
    size_hint: Annotated[int | None, "expected size in bytes"]
    user: Annotated[bytes, "`spec.user` as JSON, empty for {}"]


@struct
class SubworkerTask:
    """A task to run."""

    id: Annotated[tuple[int, int], "session and number of the task"]
    attempt: Annotated[int, "from 0"]
    method: Annotated[str, "part of the task type after the `/`"]
    body: Annotated[int, "key of the shared part of its configuration, within its session"]
    config: Annotated[bytes, "the task's own configuration; for foreign subworkers msgpack, may be empty"]
    inputs: Annotated[list[SubworkerInput], "its inputs, in order"]
    outputs: Annotated[list[SubworkerOutput], "its outputs, in order"]
    directory: Annotated[str, "private empty directory; results may be files in it"]
    cpus: Annotated[list[int], "indices of the cpus it was given"]
    name: Annotated[str | None, "the task's name"]
    task_type: Annotated[str, "the whole task type"]
    user: Annotated[bytes, "`spec.user` as JSON, empty for {}"]


@struct
class SubworkerResult:
    """One output a task made."""

    data: Annotated[bytes | None, "the content, when it is not a file"]
    path: Annotated[str | None, "file or directory inside the task's directory that the worker takes over"]
    content_type: Annotated[str | None, "content type, None for the declared one"]
    user: Annotated[bytes, "`info.user` as JSON, empty for {}"]


@message("hello", CONVERSATION, _SUBWORKER)
class SubworkerHello:
    """First message of a subworker, within 10 s of its start."""

    version: Annotated[int, "version of the subworker protocol"]
    name: Annotated[str, "kind of subworker, as in the environment variable RAINZMQ_SUBWORKER"]
    pid: Annotated[int, "its process"]
    methods: Annotated[list[str] | None, "methods it knows; None: any, it will say so itself"]


@message("run", CONVERSATION, _WORKER)
class RunTasks:
    """Run these tasks one after the other; answer each with `result` as soon as it ends."""

    bodies: Annotated[list[tuple[int, int, bytes]], "(session, key, shared configuration) not sent before"]
    tasks: Annotated[list[SubworkerTask], "tasks"]


@message("result", CONVERSATION, _SUBWORKER)
class TaskResult:
    """A task ended."""

    id: Annotated[tuple[int, int], "session and number of the task"]
    attempt: Annotated[int, "the attempt that was asked for"]
    ok: Annotated[bool, "it finished"]
    error: Annotated[str, "why it failed, human-readable; empty when it finished"]
    outputs: Annotated[list[SubworkerResult], "its outputs, in order; empty when it failed"]
    user: Annotated[bytes, "`info.user` of the task as JSON, empty for {}"]
    debug: Annotated[str, "its debug messages, one a line"]
    start_time: Annotated[float, "when it began, s since the epoch"]
    duration_us: Annotated[int, "how long it ran, microseconds"]


@message("printed", CONVERSATION, _SUBWORKER)
class TaskPrinted:
    """What a task that ended wrote to its standard streams, which both sides have as files. Comes before its
    `result`, when there is something. Only of Python subworkers: the worker looks itself after each task of
    others, which get one at a time.
    """

    id: Annotated[tuple[int, int], "session and number of the task"]
    attempt: Annotated[int, "the attempt that was asked for"]
    stdout: Annotated[str, "the end of its standard output, up to 4 KiB; what is no UTF-8 is U+FFFD"]
    stderr: Annotated[str, "the same of its standard error"]
    stdout_bytes: Annotated[int, "bytes it wrote to its standard output"]
    stderr_bytes: Annotated[int, "the same of its standard error"]
    stdout_end: Annotated[int, "where in the file the output of the next task begins, bytes"]
    stderr_end: Annotated[int, "the same of standard error"]


@message("versions_differ", CONVERSATION, _SUBWORKER)
class PackagesDiffer:
    """The last task met packages here of other versions than its client has. Only of Python subworkers."""

    session_id: Annotated[int, "the session"]
    rows: Annotated[list[tuple[str, str, str]], "(name, the client's version, the version here)"]


@message("unmet", CONVERSATION, _SUBWORKER)
class UnmetInputs:
    """A task was not run: an earlier task has not left an input of it here. Only of Python subworkers."""

    id: Annotated[tuple[int, int], "session and number of the task"]
    attempt: Annotated[int, "the attempt that was asked for"]


@message("leaving", CONVERSATION, _SUBWORKER)
class Leaving:
    """This process ends now, and no task is to blame. What it has not begun is run by others. Only of Python
    subworkers: a task changed the process in a way that cannot be put back, or left something running that
    must not outlive its session.
    """

    reason: Annotated[str, "human-readable"]
    not_run: Annotated[
        tuple[int, int] | None, "task that it began to prepare and could not; None without one"
    ]


@message("drop", CONVERSATION, _WORKER)
class DropSessions:
    """These sessions ended; forget their bodies."""

    session_ids: Annotated[list[int], "sessions"]


@message("cancel", CONVERSATION, _WORKER)
class CancelTasks:
    """Do not start these tasks if they have not begun. No answer."""

    ids: Annotated[list[tuple[int, int]], "tasks"]


@message("bye", CONVERSATION, _WORKER)
class Bye:
    """End now, with exit code 0."""

    reason: Annotated[str, "human-readable"]


__all__ = [
    "Bye",
    "CancelTasks",
    "DropSessions",
    "Leaving",
    "PackagesDiffer",
    "RunTasks",
    "SubworkerHello",
    "SubworkerInput",
    "SubworkerOutput",
    "SubworkerResult",
    "SubworkerTask",
    "TaskPrinted",
    "TaskResult",
    "UnmetInputs",
]
