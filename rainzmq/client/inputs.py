"""How a task takes an input."""

from __future__ import annotations

from typing import Any

from rainzmq.client.checks import check_label, check_relative_path
from rainzmq.client.dataobj import DataObject, HasOutput
from rainzmq.common.content_types import DIRECTORY_TYPE, check_content_type, merge_content_types
from rainzmq.common.errors import RainException
from rainzmq.common.states import DataType


class Input:
    """A blob as input of a program (where it is mapped to) or of a Python function (how it is delivered).

    Attributes:
        label: names the input; of a `Program`, the hole to be filled.
        path: relative path it is mapped to; the label by default; None when there is neither.
        dataobj: the data object, None for a hole.
        load: whether a Python function gets the loaded value; None leaves that to `auto_load`.
        content_type: the content type that the input must be a subtype of, None for any.
        write: map a writable copy instead of a read-only link.
    """

    data_type = DataType.BLOB

    __slots__ = ("content_type", "dataobj", "label", "load", "path", "write")

    def __init__(
        self,
        label: str | None = None,
        path: str | None = None,
        dataobj: DataObject | HasOutput | None = None,
        load: bool | None = None,
        content_type: str | None = None,
        write: bool = False,
    ) -> None:
        """Raises:
        RainException: a bad label or path, or a content type that is not one of this type of data.
        ValueError: an unknown content type.
        """
        self.label = None if label is None else check_label(label)
        self.path = None if path is None else check_relative_path(path, f"{type(self).__name__}({label!r})")
        self.dataobj = dataobj
        self.load = load
        self.content_type = check_content_type(content_type)
        self.write = bool(write)
        self._check_data_type()

    def _check_data_type(self) -> None:
        if self.content_type == DIRECTORY_TYPE:
            raise RainException("Content type 'dir' is for directories; use InputDir")

    def with_object(self, dataobj: DataObject | HasOutput) -> Input:
        """The same input, filled with a data object."""
        return type(self)(self.label, self.path, dataobj, self.load, self.content_type, self.write)

    def check_object(self, obj: DataObject) -> None:
        """RainException when the data object is not what this input takes."""
        if self.data_type is DataType.DIRECTORY:
            obj.expect_dir()
        elif obj.data_type is not self.data_type:
            raise RainException(f"{obj.describe()} is a directory, but {self!r} takes a blob; use InputDir")
        try:
            merge_content_types(obj.content_type, self.content_type)
        except RainException as error:
            raise RainException(f"{obj.describe()} does not fit {self!r}: {error}") from None

    def __repr__(self) -> str:
        parts = [] if self.label is None else [repr(self.label)]
        shown: list[tuple[str, Any]] = [
            ("path", self.path),
            ("dataobj", self.dataobj),
            ("load", self.load),
            ("content_type", None if self.content_type == DIRECTORY_TYPE else self.content_type),
            ("write", self.write or None),
        ]
        parts += [f"{name}={value!r}" for name, value in shown if value is not None]
        return f"{type(self).__name__}({', '.join(parts)})"


class InputDir(Input):
    """A directory as input; see `Input`."""

    data_type = DataType.DIRECTORY

    __slots__ = ()

    def _check_data_type(self) -> None:
        if self.content_type not in (None, DIRECTORY_TYPE):
            raise RainException(f"A directory has no content type {self.content_type!r}")
        if self.load:
            raise RainException("A directory cannot be loaded; take it without load=True")
        self.content_type = DIRECTORY_TYPE
