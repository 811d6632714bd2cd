"""What a task or a data object is (spec: fixed at submit) and what became of it (info: told by the
engine).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rainzmq.common.ids import ID
from rainzmq.common.states import DataType


@dataclass(slots=True)
class ObjectSpec:
    """A data object as it was declared.

    Attributes:
        id: its ID.
        label: the label of the output that makes it, or of the constant; None without one.
        data_type: blob or directory.
        content_type: the declared content type, None for unknown.
        size_hint: expected size in bytes, None for unknown.
        user: a JSON-able dictionary of the user's that travels with it.
    """

    id: ID
    label: str | None = None
    data_type: DataType = DataType.BLOB
    content_type: str | None = None
    size_hint: int | None = None
    user: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class ObjectInfo:
    """What is known of a data object.

    Attributes:
        size: in bytes; for a directory the sum of its files; None before it is finished.
        content_type: the actual content type, a subtype of the declared one.
        worker: the `worker_id` of one holder, None when only the server holds it.
        user: what the task that made it attached.
        executable: whether it is a blob that was an executable file when it was made; it is one again
            wherever it becomes a file.
    """

    size: int | None = None
    content_type: str | None = None
    worker: str | None = None
    user: dict[str, Any] = field(default_factory=dict)
    executable: bool = False


@dataclass(slots=True)
class TaskSpec:
    """A task as it was declared.

    Attributes:
        id: its ID.
        task_type: `subworker/method`, such as `builtin/concat`.
        config: what the method is told, in terms of its own.
        inputs: pairs (id of the data object, label or None), in order.
        outputs: ids of the data objects it makes, in order.
        resources: what it needs while it runs, `{"cpus": n}`.
        name: human-readable; grouped by `/`; None without one.
        user: a JSON-able dictionary of the user's that travels with it.
    """

    id: ID
    task_type: str
    config: Any = None
    inputs: tuple[tuple[ID, str | None], ...] = ()
    outputs: tuple[ID, ...] = ()
    resources: dict[str, int] = field(default_factory=lambda: {"cpus": 1})
    name: str | None = None
    user: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class TaskInfo:
    """What became of a task.

    Attributes:
        error: the error's text, None without one.
        start_time: seconds since the epoch on the worker's clock, None before it ran.
        duration: seconds it ran, None before it ended.
        worker: the `worker_id` it ran on, None before it ran.
        user: what the task attached (`ctx.info.user`).
        debug: its debug messages (`ctx.debug`), one line each, oldest first.
    """

    error: str | None = None
    start_time: float | None = None
    duration: float | None = None
    worker: str | None = None
    user: dict[str, Any] = field(default_factory=dict)
    debug: str = ""
