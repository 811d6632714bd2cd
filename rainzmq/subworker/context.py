"""What a Python task sees of its surroundings: the first argument of every remote function."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from rainzmq.common.content_types import encode_value, is_subtype
from rainzmq.common.data_instance import DataInstance
from rainzmq.common.errors import RainException
from rainzmq.common.ids import ID
from rainzmq.common.limits import INFO_LIMIT_BYTES
from rainzmq.common.nesting import check_nesting
from rainzmq.common.specs import ObjectInfo, TaskInfo, TaskSpec
from rainzmq.common.states import DataType
from rainzmq.common.trees import is_executable
from rainzmq.protocol.messages.subworker import SubworkerTask
from rainzmq.subworker.failure import cut
from rainzmq.subworker.sandbox import TaskDirectories


class Context:
    """The running task. Valid until the function returns.

    Attributes:
        function: the function that runs; the same object for every task of it in a session.
    """

    def __init__(self, task: SubworkerTask, sandbox: TaskDirectories, start_time: float) -> None:
        self.function: Callable[..., Any] | None = None
        self._task = task
        self._sandbox = sandbox
        self._start_time = start_time
        self._spec: TaskSpec | None = None
        self._info: TaskInfo | None = None
        self._debug: list[str] = []
        self._debug_size = 0

    @property
    def spec(self) -> TaskSpec:
        """The task as it was declared, hidden inputs included."""
        if self._spec is None:
            task = self._task
            self._spec = TaskSpec(
                id=ID(*task.id),
                task_type=task.task_type,
                config=task.config,
                inputs=tuple((ID(*item.id), item.label) for item in task.inputs),
                outputs=tuple(ID(*item.id) for item in task.outputs),
                resources={"cpus": len(task.cpus)},
                name=task.name,
                user=json.loads(task.user) if task.user else {},
            )
        return self._spec

    @property
    def info(self) -> TaskInfo:
        """What becomes of the task; what is put into `info.user` comes back to the client."""
        if self._info is None:
            self._info = TaskInfo(start_time=self._start_time)
        return self._info

    def blob(self, value: Any, content_type: str | None = None, encode: str | None = None) -> DataInstance:
        """A result from bytes, from a str (content type `text`), or from any value with `encode`.

        Raises:
            RainException: another type of value without `encode`, `content_type` together with `encode` or
                with a
                str, or a value that cannot be encoded.
            ValueError: there is no such content type.
        """
        if encode is not None:
            if content_type is not None:
                raise RainException("Give either content_type (of bytes) or encode (of a value), not both")
            return _made(DataInstance(encode_value(value, encode), content_type=encode))
        if isinstance(value, str):
            if content_type is not None and not is_subtype(content_type, "text"):
                raise RainException(f"A str has content type 'text', not {content_type!r}; give bytes")
            content_type = content_type or "text"
            return _made(DataInstance(encode_value(value, content_type), content_type=content_type))
        if isinstance(value, bytes | bytearray | memoryview):
            return _made(DataInstance(bytes(value), content_type=content_type))
        raise RainException(
            f"A blob is made of bytes or str, not {type(value).__name__}; "
            "use encode=, such as encode='pickle', for other values"
        )

    def pickled(self, value: Any) -> DataInstance:
        """A result that holds any value, pickled."""
        return self.blob(value, encode="pickle")

    def stage_file(self, path: str | os.PathLike[str], content_type: str | None = None) -> DataInstance:
        """Move a file of the working directory out of it, as a result. An executable one stays one.

        Raises:
            RainException: the path is absolute, leads out of the working directory (through a link, too), is
                missing, or is no regular file.
        """
        staged = self._sandbox.stage(path, is_directory=False)
        instance = _made(DataInstance(path=staged, content_type=content_type, data_type=DataType.BLOB))
        assert instance.info is not None, "_made gave it one"
        instance.info.executable = is_executable(os.lstat(staged).st_mode)
        return instance

    def stage_directory(self, path: str | os.PathLike[str]) -> DataInstance:
        """Move a directory of the working directory out of it, as a result; "." stages all of it.

        Raises:
            RainException: as `stage_file`, or the tree holds a link that leaves it or something other than
                files,
                directories and links.
        """
        staged = self._sandbox.stage(path, is_directory=True)
        return _made(DataInstance(path=staged, data_type=DataType.DIRECTORY))

    def debug(self, fmt: str, *args: Any) -> None:
        """Add a line to the task's debug messages. With arguments, `fmt` is a `str.format` pattern, or a
        %-pattern when it has no braces.
        """
        if args:
            fmt = fmt.format(*args) if "{" in fmt else fmt % args
        text = str(fmt)
        self._debug.append(text)
        self._debug_size += len(text)
        if self._debug_size > 4 * INFO_LIMIT_BYTES:
            self._debug = [self.debug_text()]
            self._debug_size = len(self._debug[0])

    def debug_text(self) -> str:
        """All debug messages, one a line, without their middle when they are too long."""
        return cut("\n".join(self._debug)) if self._debug else ""

    def info_user(self) -> bytes:
        """`info.user` as JSON, empty for {}. RainException when it is not JSON-able or too large."""
        return b"" if self._info is None else user_json(self._info.user, "ctx.info.user")


def user_json(user: Any, what: str) -> bytes:
    """A user's dictionary as JSON, empty for {}.

    Raises:
        RainException: it is no dictionary, is not JSON-able, or is larger than INFO_LIMIT_BYTES; `what`
            names it.
    """
    if type(user) is dict and not user:
        return b""
    if not isinstance(user, dict):
        raise RainException(f"{what} must be a dictionary, not {type(user).__name__}")
    try:
        check_nesting(user)
        data = json.dumps(user, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError, RainException) as error:
        raise RainException(f"{what} cannot be written as JSON: {error}") from None
    if len(data) > INFO_LIMIT_BYTES:
        raise RainException(
            f"{what} is {len(data)} bytes as JSON, at most {INFO_LIMIT_BYTES} are allowed; "
            "return it as an output instead"
        )
    return data


def _made(instance: DataInstance) -> DataInstance:
    """An instance of this task, with an `info` whose `user` can be written."""
    instance.info = ObjectInfo(content_type=instance.content_type)
    return instance
