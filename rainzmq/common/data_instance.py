"""The content of a data object, where it is used: in the client after a fetch, and in a Python task.

The content is in memory, in a file that is mapped when it is looked at, in a directory, or (a directory that
the client fetched) in an archive that is unpacked when a path is asked for. It is never changed through an
instance.
"""

from __future__ import annotations

import io
import mmap
import os
import tempfile
import weakref
from collections.abc import Callable
from typing import Any

from rainzmq.common.archive import pack_tree, unpack_tree
from rainzmq.common.content_types import DIRECTORY_TYPE, decode_value, text_encoding
from rainzmq.common.errors import RainException
from rainzmq.common.specs import ObjectInfo, ObjectSpec
from rainzmq.common.states import DataType
from rainzmq.common.trees import copy_file, copy_tree, make_executable, remove_tree, tree_size

PathLike = str | os.PathLike[str]
_View = memoryview  # the class below has a method of that name
_NOTHING: Any = object()


class DataInstance:
    """The content of a data object.

    Attributes:
        spec: the object's spec; None for an instance that a task has just made.
        info: the object's info; None when it is not known.
        data_type: blob or directory.
        content_type: the actual content type; `dir` for a directory.
        path: the file or directory that holds the content, read only; None when it is in memory or in an
            archive.
    """

    __slots__ = (
        "__weakref__",
        "_archive",
        "_cached",
        "_data",
        "content_type",
        "data_type",
        "info",
        "path",
        "spec",
    )

    def __init__(
        self,
        data: bytes | memoryview | None = None,
        path: str | None = None,
        *,
        archive: str | None = None,
        spec: ObjectSpec | None = None,
        info: ObjectInfo | None = None,
        content_type: str | None = None,
        data_type: DataType | None = None,
    ) -> None:
        """Exactly one of `data` (of a blob), `path` (of a file or directory) and `archive` (path of a tar
        file made by `common.archive`; the instance takes it over and removes it in the end) is given. What is
        not said of type and content type is taken from `info` and `spec`."""
        if [data, path, archive].count(None) != 2:
            raise ValueError("Give exactly one of data, path and archive")
        if data_type is None:
            if spec is not None:
                data_type = spec.data_type
            else:
                is_directory = archive is not None or (path is not None and os.path.isdir(path))
                data_type = DataType.DIRECTORY if is_directory else DataType.BLOB
        if content_type is None and info is not None:
            content_type = info.content_type
        if content_type is None and spec is not None:
            content_type = spec.content_type
        self.spec = spec
        self.info = info
        self.data_type = data_type
        self.content_type = DIRECTORY_TYPE if data_type is DataType.DIRECTORY else content_type
        self.path = path
        self._data = data
        self._archive = None if archive is None else _Archive(archive)
        self._cached: Any = _NOTHING

    @property
    def size(self) -> int:
        """Bytes of the content; of a directory the sum of its files."""
        if self.info is not None and self.info.size is not None:
            return self.info.size
        if self._data is not None:
            return _View(self._data).nbytes
        path = self._existing_path()
        return tree_size(path) if self.data_type is DataType.DIRECTORY else os.path.getsize(path)

    def memoryview(self) -> _View:
        """A read-only view of a blob's content, without a copy. RainException for a directory."""
        self._expect_blob("a memoryview")
        if self._data is None:
            self._data = _map(self._existing_path())
        return _View(self._data).toreadonly()

    def __buffer__(self, _flags: int) -> _View:
        return self.memoryview()

    def get_bytes(self) -> bytes:
        """The content; of a directory, a tar archive of it."""
        if self.data_type is DataType.DIRECTORY:
            if self._archive is not None:
                return self._archive.read()
            buffer = io.BytesIO()
            pack_tree(self._existing_path(), buffer)
            return buffer.getvalue()
        if type(self._data) is bytes:
            return self._data
        data = bytes(self.memoryview())
        if self.path is None:
            self._data = data  # so that the next time costs nothing
        return data

    def get_str(self) -> str:
        """A blob's content as text, in the encoding of its content type (UTF-8 when that names none).

        Raises:
            RainException: it is a directory, or not text in that encoding.
        """
        self._expect_blob("a str")
        encoding = text_encoding(self.content_type)
        try:
            return str(self.memoryview(), encoding)
        except UnicodeDecodeError as error:
            raise RainException(f"{self._name()} is not text in {encoding}: {error}") from None

    def load(self, cache: bool = False) -> Any:
        """The value that the content means, by content type. With `cache` the value is kept, and every later
        `load(cache=True)` gives the same one.

        Raises:
            RainException: the content type is not known or is opaque, the content is malformed, or it is a
                directory.
        """
        if cache and self._cached is not _NOTHING:
            return self._cached
        self._expect_blob("a value")
        try:
            value = decode_value(self.memoryview(), self.content_type)
        except RainException as error:
            raise RainException(f"{self._name()}: {error}") from error
        if cache:
            self._cached = value
        return value

    def write(self, path: PathLike) -> None:
        """Write a copy that is the caller's own and writable, and executable if it was. A file at `path` is
        replaced; a directory is written to a path that is free or an empty directory, with its modes but that
        its owner may write.

        Raises:
            RainException: `path` is taken.
            OSError: it cannot be written.
        """
        target = os.fspath(path)
        if self.data_type is DataType.DIRECTORY:
            if os.path.lexists(target) and (not os.path.isdir(target) or os.listdir(target)):
                raise RainException(f"{target} is there already; a directory is written to a new path")
            if self._archive is not None:
                self._archive.unpack(target, writable=True)
            else:
                copy_tree(self._existing_path(), target, writable=True)
            return
        if os.path.isdir(target):
            raise RainException(f"{target} is a directory; name the file that the blob is written to")
        _replace(target, self._write_new_file)

    def link(self, path: PathLike) -> None:
        """Make the content visible at `path`, which must be free: a symlink to it, or a read-only file for
        content in memory. A link stays valid as long as the instance does.

        Raises:
            RainException: `path` is taken.
            OSError: it cannot be written.
        """
        target = os.fspath(path)
        if os.path.lexists(target):
            raise RainException(f"{target} is there already; link to a new path")
        if self.path is not None or self.data_type is DataType.DIRECTORY:
            os.symlink(os.path.abspath(self._existing_path()), target)
            return
        self._write_new_file(target)
        os.chmod(target, 0o555 if self._is_executable() else 0o444)

    def with_content_type(self, content_type: str | None) -> DataInstance:
        """The same content under another content type."""
        other = DataInstance.__new__(DataInstance)
        kept = ("spec", "info", "data_type", "path", "_data", "_archive")
        values = {name: getattr(self, name) for name in kept}
        for name, value in {**values, "content_type": content_type, "_cached": _NOTHING}.items():
            setattr(other, name, value)
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        self._expect_blob("a pickle")
        return _restore, (self.get_bytes(), self.spec, self.info, self.content_type)

    def __repr__(self) -> str:
        kind = "" if self.content_type in (None, DIRECTORY_TYPE) else f" {self.content_type}"
        return f"<DataInstance {self.data_type.value}{kind}, {self.size} bytes{self._of()}>"

    def _of(self) -> str:
        return "" if self.spec is None else f", of {self.spec.id}"

    def _name(self) -> str:
        if self.spec is None:
            return "The data instance"
        label = "" if self.spec.label is None else f" {self.spec.label!r}"
        return f"Data object{label} ({self.spec.id})"

    def _expect_blob(self, what: str) -> None:
        if self.data_type is DataType.DIRECTORY:
            raise RainException(
                f"{self._name()} is a directory, not {what}; use write(), link() or get_bytes() (a tar)"
            )

    def _existing_path(self) -> str:
        if self.path is not None:
            return self.path
        assert self._archive is not None
        return self._archive.directory()

    def _write_new_file(self, target: str) -> None:
        if self.path is not None:
            copy_file(self.path, target)
        else:
            assert self._data is not None
            with open(target, "xb") as file:
                file.write(self._data)
        if self._is_executable():
            make_executable(target)

    def _is_executable(self) -> bool:
        return self.info is not None and self.info.executable


class _Archive:
    """An archive file of a directory and, once asked for, the unpacked directory; both go with this
    object."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._directory: str | None = None
        self._remove_archive = weakref.finalize(self, remove_tree, path)

    def read(self) -> bytes:
        with open(self._path, "rb") as file:
            return file.read()

    def unpack(self, target: str, writable: bool = False) -> None:
        with open(self._path, "rb") as file:
            unpack_tree(file, target, writable=writable)

    def directory(self) -> str:
        if self._directory is None:
            parent = tempfile.mkdtemp(prefix="rainzmq-dir-")
            weakref.finalize(self, remove_tree, parent)
            directory = os.path.join(parent, "content")
            self.unpack(directory)
            self._directory = directory
        return self._directory


def _restore(
    data: bytes, spec: ObjectSpec | None, info: ObjectInfo | None, content_type: str | None
) -> DataInstance:
    return DataInstance(data, spec=spec, info=info, content_type=content_type)


def _map(path: str) -> bytes | memoryview:
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return b""
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _replace(target: str, make: Callable[[str], None]) -> None:
    """Put a new file in the place of whatever file or link is there, so that nothing is written through a
    link."""
    temporary = f"{target}.{os.getpid()}.rainzmq-new"
    try:
        make(temporary)
        os.replace(temporary, target)
    except BaseException:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise
