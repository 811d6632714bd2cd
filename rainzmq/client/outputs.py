"""What a task makes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rainzmq.client.checks import check_label, check_relative_path, check_size_hint
from rainzmq.common.content_types import (
    DIRECTORY_TYPE,
    check_content_type,
    check_encoding,
    is_subtype,
    merge_content_types,
)
from rainzmq.common.errors import RainException
from rainzmq.common.states import DataType

Template = tuple[str | None, bool, str | None, str | None, str | None, int | None]
"""The fields of `protocol.messages.shared.OutputTemplate`, in order."""


class Output:
    """A blob that a task makes.

    Attributes:
        label: names the output, None without one.
        size_hint: expected size in bytes, None for unknown.
        content_type: declared content type; the actual one is a subtype of it.
        encode: content type that the value of a Python function is serialized to, None for none.
        path: relative path of the file a program makes; the label by default.
    """

    data_type = DataType.BLOB

    __slots__ = ("_template", "content_type", "encode", "label", "path", "size_hint")

    def __init__(
        self,
        label: str | None = None,
        *,
        size_hint: int | None = None,
        content_type: str | None = None,
        encode: str | None = None,
        path: str | None = None,
    ) -> None:
        """Raises:
        RainException: a bad label, path or size_hint.
        ValueError: an unknown content type or encoding, or the two do not agree.
        """
        self.label = None if label is None else check_label(label)
        self.size_hint = check_size_hint(size_hint)
        self.path = None if path is None else check_relative_path(path, f"{type(self).__name__}({label!r})")
        self.encode = check_encoding(encode)
        self.content_type = self._checked_type(content_type)
        self._template: Template | None = None

    def _checked_type(self, content_type: str | None) -> str | None:
        check_content_type(content_type)
        if content_type == DIRECTORY_TYPE:
            raise ValueError("Content type 'dir' is for directories; use OutputDir")
        if self.encode is None:
            return content_type
        if not is_subtype(self.encode, content_type):
            raise ValueError(f"encode={self.encode!r} and content_type={content_type!r} do not agree")
        return self.encode

    def template(self) -> Template:
        """What the server and workers are told of it."""
        if self._template is None:
            is_directory = self.data_type is DataType.DIRECTORY
            content_type = None if is_directory else self.content_type
            self._template = (self.label, is_directory, content_type, self.encode, self.path, self.size_hint)
        return self._template

    def refined(self, other: Output) -> Output:
        """This output with what `other` says in addition or instead.

        Raises:
            RainException: `other` is of another type of data, or its content type is not compatible.
        """
        if other.data_type is not self.data_type:
            raise RainException(f"{other!r} cannot refine {self!r}: one is a directory, the other a blob")
        label = self.label if other.label is None else other.label
        size_hint = self.size_hint if other.size_hint is None else other.size_hint
        path = self.path if other.path is None else other.path
        if self.data_type is DataType.DIRECTORY:
            return OutputDir(label, size_hint=size_hint, path=path)
        encode = self.encode if other.encode is None else other.encode
        content_type = merge_content_types(self.content_type, other.content_type)
        return Output(label, size_hint=size_hint, content_type=content_type, encode=encode, path=path)

    def __repr__(self) -> str:
        parts = [] if self.label is None else [repr(self.label)]
        shown: list[tuple[str, Any]] = [
            ("size_hint", self.size_hint),
            (
                "content_type",
                None if self.content_type in (self.encode, DIRECTORY_TYPE) else self.content_type,
            ),
            ("encode", self.encode),
            ("path", self.path),
        ]
        parts += [f"{name}={value!r}" for name, value in shown if value is not None]
        return f"{type(self).__name__}({', '.join(parts)})"


class OutputDir(Output):
    """A directory that a task makes; see `Output`."""

    data_type = DataType.DIRECTORY

    __slots__ = ()

    def __init__(
        self, label: str | None = None, *, size_hint: int | None = None, path: str | None = None
    ) -> None:
        """RainException for a bad label, path or size_hint."""
        super().__init__(label, size_hint=size_hint, path=path)

    def _checked_type(self, _content_type: str | None) -> str | None:
        return DIRECTORY_TYPE


ONE_OUTPUT = (Output(),)


def make_outputs(outputs: Any) -> tuple[Output, ...]:
    """Outputs from what users give: a count, a label, an `Output`, several labels or `Output`s, or None for
    none.

    Raises:
        RainException: anything else, a negative count, or a label twice.
    """
    if outputs is None:
        return ()
    if type(outputs) is int:
        if outputs < 0:
            raise RainException(f"A task cannot have {outputs} outputs")
        return ONE_OUTPUT if outputs == 1 else tuple(Output() for _ in range(outputs))
    if isinstance(outputs, (str, Output)):
        return (_make_output(outputs),)
    if not isinstance(outputs, Iterable) or isinstance(outputs, (bytes, dict)):
        raise RainException(
            f"Outputs are a count, labels, Output or OutputDir, or None, not {outputs!r} "
            f"of type {type(outputs).__name__}"
        )
    made = tuple(_make_output(item) for item in outputs)
    check_labels([output.label for output in made], "outputs")
    return made


def refine_outputs(
    declared: tuple[Output, ...] | None, output: Any, outputs: Any, title: str
) -> tuple[Output, ...]:
    """The outputs of one call: what was declared (None: nothing was) with what `output=` or `outputs=` of the
    call say in addition or instead. One of the two is not None; `title` names who is called.

    Raises:
        RainException: both are given, `output` is not one, there are as many as cannot refine the declared
            ones, or one does not fit; whatever `make_outputs` raises.
    """
    if output is not None and outputs is not None:
        raise RainException(f"{title}: give output or outputs, not both")
    given = make_outputs(outputs if output is None else output)
    if output is not None and len(given) != 1:
        raise RainException(f"{title}: output= is one output; use outputs= for {len(given)}")
    if declared is None:
        return given
    if len(given) != len(declared):
        raise RainException(f"{title} declares {len(declared)} outputs, which {len(given)} cannot refine")
    return make_outputs([old.refined(new) for old, new in zip(declared, given, strict=True)])


def check_labels(labels: Iterable[str | None], what: str) -> None:
    """RainException when a label is there twice."""
    seen: set[str] = set()
    for label in labels:
        if label is None:
            continue
        if label in seen:
            raise RainException(f"The label {label!r} is given to two {what} of the task")
        seen.add(label)


def _make_output(item: Any) -> Output:
    if isinstance(item, Output):
        return item
    if isinstance(item, str):
        return Output(item)
    if isinstance(item, type) and issubclass(item, Output):
        return item()
    raise RainException(f"An output is a label, an Output or an OutputDir, not {item!r}")
