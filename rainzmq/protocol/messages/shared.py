"""Records that stand in messages of more than one conversation."""

from __future__ import annotations

from typing import Annotated

from rainzmq.protocol.schema import struct


@struct
class OutputTemplate:
    """One declared output of a task body."""

    label: Annotated[str | None, "unique among the outputs, None without one"]
    is_directory: Annotated[bool, "a directory rather than a blob"]
    content_type: Annotated[str | None, "declared content type, None for unknown"]
    encode: Annotated[str | None, "content type that the task's value is serialized to, None for none"]
    path: Annotated[str | None, "file of a program that becomes this output, None for its standard output"]
    size_hint: Annotated[int | None, "expected size in bytes, None for unknown"]


@struct
class TaskBody:
    """What many tasks of a session share; sent once per session and per worker, then named by its key."""

    key: Annotated[int, "names the body within its session; given out by the client"]
    task_type: Annotated[str, "`subworker/method`"]
    cpus: Annotated[int, "cpus each task needs, at least 1"]
    name: Annotated[str | None, "name of the tasks that have none of their own"]
    config: Annotated[
        bytes, "shared part of the configuration, opaque to server and worker core; may be empty"
    ]
    input_labels: Annotated[list[str | None], "labels of the inputs in order; empty when none has one"]
    outputs: Annotated[list[OutputTemplate], "declared outputs; the n-th gets the id `task id + 1 + n`"]


@struct
class ObjectMeta:
    """What a process must know of a data object to hand it to a task."""

    uid: Annotated[int, "the object"]
    label: Annotated[str | None, "its own label, None without one"]
    is_directory: Annotated[bool, "a directory rather than a blob"]
    content_type: Annotated[str | None, "actual content type, None for unknown"]
    size: Annotated[int, "bytes; for a directory the sum of its files"]
    spec_user: Annotated[bytes, "`spec.user` as JSON, empty for {}"]
    info_user: Annotated[bytes, "`info.user` as JSON, empty for {}"]
    executable: Annotated[bool, "a blob that was an executable file when it was made"] = False


@struct
class Failure:
    """Why a task failed, as the client shows it."""

    task: Annotated[int, "uid of the task; 0 when no task is to blame"]
    name: Annotated[str | None, "the task's name"]
    task_type: Annotated[str | None, "the task's type"]
    attempt: Annotated[int, "the attempt that failed, from 0"]
    worker: Annotated[str | None, "worker_id it ran on, None when it ran nowhere"]
    message: Annotated[str, "what went wrong: remote traceback, or exit code and the tail of stderr"]
    debug: Annotated[str, "the task's debug messages, one a line"]
    finished: Annotated[int, "tasks of its session that were finished then"] = 0
    submitted: Annotated[int, "tasks of its session that were submitted; 0 when that is not told"] = 0

    @classmethod
    def of_session(cls, message: str) -> Failure:
        """Why a session ended for which no task is to blame."""
        return cls(task=0, name=None, task_type=None, attempt=0, worker=None, message=message, debug="")


@struct
class Endpoint:
    """Where a process takes data connections."""

    host: Annotated[str, "address that peers connect to"]
    port: Annotated[int, "TCP port"]
    public_key: Annotated[bytes, "CURVE public key of that socket, 40 characters of Z85"]
