"""From what a function returned to the results that travel to the worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rainzmq.common.content_types import encode_value, is_subtype
from rainzmq.common.data_instance import DataInstance
from rainzmq.common.errors import RainException
from rainzmq.common.labeled_list import LabeledList
from rainzmq.common.limits import MEMORY_OBJECT_BYTES
from rainzmq.common.states import DataType
from rainzmq.common.trees import make_executable
from rainzmq.protocol.messages.subworker import SubworkerOutput, SubworkerResult
from rainzmq.subworker.context import user_json
from rainzmq.subworker.sandbox import TaskDirectories

MESSAGE_DATA_BYTES = 1 << 20
"""Results of one task in its message are at most this together; what goes beyond is written to files."""

_BLOB_TYPES = (bytes, bytearray, memoryview)


class Collector:
    """Turns one task's return value into results.

    Args:
        name: the function, for errors.
        outputs: what was declared.
        sandbox: where large results are written.
        input_paths: paths of the task's inputs; an input that is returned is passed on by its path.
    """

    def __init__(
        self,
        name: str,
        outputs: Sequence[SubworkerOutput],
        sandbox: TaskDirectories,
        input_paths: frozenset[str],
    ) -> None:
        self._name = name
        self._outputs = outputs
        self._sandbox = sandbox
        self._input_paths = input_paths
        self._taken: set[str] = set()
        self._inline_bytes = 0

    def collect(self, value: Any) -> list[SubworkerResult]:
        """A result for each declared output. RainException says what was returned and what was expected."""
        outputs = self._outputs
        if not outputs:
            if value is not None:
                raise RainException(
                    f"{self._name}() returned {_kind(value)}, but it has no outputs; "
                    "declare them, such as @remote(outputs=1), or return None"
                )
            return []
        values = self._values(value)
        return [self._result(index, item) for index, item in enumerate(values)]

    def paths(self) -> set[str]:
        """Paths of the results so far."""
        return self._taken

    def _values(self, value: Any) -> list[Any]:
        outputs = self._outputs
        if len(outputs) == 1 and (outputs[0].encode is not None or not _is_container(value)):
            return [value]
        if isinstance(value, Mapping):
            return self._by_label(value)
        if not _is_container(value):
            raise RainException(
                f"{self._name}() returned {_kind(value)}, but it has {len(outputs)} outputs; "
                "return a sequence, or a dict by label, of as many values"
            )
        values = list(value)
        if len(values) != len(outputs):
            raise RainException(
                f"{self._name}() returned {_kind(value)} of {len(values)} values for {len(outputs)} outputs"
            )
        return values

    def _by_label(self, value: Mapping[Any, Any]) -> list[Any]:
        labels = [output.label for output in self._outputs]
        if None in labels:
            raise RainException(
                f"{self._name}() returned {_kind(value)}, but not all its outputs have labels; "
                "return a sequence"
            )
        missing = [label for label in labels if label not in value]
        unknown = [key for key in value if key not in labels]
        if missing or unknown:
            parts = []
            if missing:
                parts.append(f"without {', '.join(map(repr, missing))}")
            if unknown:
                parts.append(f"with unknown {', '.join(map(repr, unknown))}")
            raise RainException(
                f"{self._name}() returned {_kind(value)} {' and '.join(parts)}; "
                f"its outputs are {', '.join(map(repr, labels))}"
            )
        return [value[label] for label in labels]

    def _result(self, index: int, value: Any) -> SubworkerResult:
        output = self._outputs[index]
        if isinstance(value, DataInstance):
            return self._from_instance(index, value)
        if output.is_directory:
            raise RainException(
                f"{self._where(index)} is a directory: return ctx.stage_directory(path), not {_kind(value)}"
            )
        if output.encode is not None:
            return self._blob(index, encode_value(value, output.encode), output.encode)
        if isinstance(value, str):
            declared = output.content_type
            content_type = declared if is_subtype(declared, "text") else "text"
            return self._blob(index, encode_value(value, content_type), content_type)
        if isinstance(value, _BLOB_TYPES):
            return self._blob(index, value, None)
        raise RainException(
            f"{self._where(index)} must be bytes, str or a DataInstance, not {_kind(value)}; "
            "to return any value declare the output with an encoding, such as Output(encode='pickle')"
        )

    def _from_instance(self, index: int, instance: DataInstance) -> SubworkerResult:
        output = self._outputs[index]
        is_directory = instance.data_type is DataType.DIRECTORY
        if is_directory != output.is_directory:
            kinds = ("a directory", "a blob") if is_directory else ("a blob", "a directory")
            raise RainException(f"{self._where(index)}: {kinds[0]} was returned, but {kinds[1]} is declared")
        content_type = None if is_directory else self._narrowed(index, instance.content_type)
        user = b""
        if instance.info is not None:
            user = user_json(instance.info.user, f"info.user of {self._where(index)}")
        if instance.path is not None:
            path = self._path(instance.path, is_directory)
            return SubworkerResult(data=None, path=path, content_type=content_type, user=user)
        if is_directory:
            path = self._sandbox.new_result()
            instance.write(path)
            self._taken.add(path)
            return SubworkerResult(data=None, path=path, content_type=None, user=user)
        executable = instance.info is not None and instance.info.executable
        result = self._blob(index, instance.memoryview(), content_type, executable)
        result.user = user
        return result

    def _path(self, path: str, is_directory: bool) -> str:
        """A path the worker may take: of an input, of something staged and not yet taken, or of a copy, as
        when somebody can still write to what was staged: a finished object never changes.
        """
        if path in self._input_paths:
            return path
        sandbox = self._sandbox
        if not sandbox.is_staged(path) or path in self._taken or sandbox.is_held(path, is_directory):
            try:
                path = self._sandbox.copy(path, is_directory)
            except FileNotFoundError:
                raise RainException(
                    f"{self._name}() returned a data instance whose content is gone ({path}); "
                    "one that was made in another task cannot be returned"
                ) from None
        self._taken.add(path)
        return path

    def _blob(
        self,
        index: int,
        data: bytes | bytearray | memoryview,
        content_type: str | None,
        executable: bool = False,
    ) -> SubworkerResult:
        content_type = self._narrowed(index, content_type)
        size = memoryview(data).nbytes
        if executable or size > MEMORY_OBJECT_BYTES or self._inline_bytes + size > MESSAGE_DATA_BYTES:
            path = self._sandbox.write(memoryview(data))
            if executable:
                make_executable(path)  # the worker takes the mode of a file for what it is
            self._taken.add(path)
            return SubworkerResult(data=None, path=path, content_type=content_type, user=b"")
        self._inline_bytes += size
        return SubworkerResult(data=bytes(data), path=None, content_type=content_type, user=b"")

    def _narrowed(self, index: int, content_type: str | None) -> str | None:
        """The content type of a result: None for the declared one."""
        declared = self._outputs[index].content_type
        if content_type is None or content_type == declared:
            return None
        if not is_subtype(content_type, declared):
            raise RainException(
                f"{self._where(index)} is declared as content type {declared!r}, "
                f"but {content_type!r} was returned, which is no subtype of it"
            )
        return content_type

    def _where(self, index: int) -> str:
        label = self._outputs[index].label
        which = f"Output {label!r}" if label is not None else f"Output {index}"
        return f"{which} of {self._name}()"


def _is_container(value: Any) -> bool:
    if isinstance(value, str | bytes | bytearray | memoryview):
        return False
    return isinstance(value, Sequence | Mapping | LabeledList)


def _kind(value: Any) -> str:
    """What a value is, human-readable, such as `an int`."""
    if value is None:
        return "None"
    name = type(value).__qualname__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
