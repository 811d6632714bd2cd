"""Data objects: constants and the outputs of tasks."""

from __future__ import annotations

import os
import tempfile
import weakref
from typing import TYPE_CHECKING, Any

from rainzmq.client.checks import check_label
from rainzmq.client.owner import get_active_session
from rainzmq.common.content_types import DIRECTORY_TYPE, check_content_type, encode_value
from rainzmq.common.errors import RainException
from rainzmq.common.ids import ID
from rainzmq.common.specs import ObjectInfo, ObjectSpec
from rainzmq.common.states import DataObjectState, DataType
from rainzmq.common.tracebacks import at_border
from rainzmq.common.trees import remove_tree, tree_size

if TYPE_CHECKING:
    from rainzmq.client.session import Session
    from rainzmq.common.data_instance import DataInstance


class DataObject:
    """An immutable piece of data of a session: a constant, or an output of a task.

    Attributes:
        session: the session it belongs to.
        label: its label, None without one.
        data_type: blob or directory.
        size_hint: expected size in bytes, None for unknown.
    """

    __slots__ = (
        "__weakref__",
        "_batch",
        "_declared_type",
        "_info",
        "_keep",
        "_num",
        "_payload",
        "_spec",
        "_state",
        "_unkept",
        "data_type",
        "label",
        "session",
        "size_hint",
    )

    def __init__(
        self,
        session: Session,
        num: int,
        label: str | None,
        data_type: DataType,
        content_type: str | None,
        size_hint: int | None = None,
        payload: bytes | Snapshot | None = None,
    ) -> None:
        """For the package itself; users make data objects by `blob`, `pickled`, `directory` and by tasks."""
        self.session = session
        self.label = label
        self.data_type = data_type
        self.size_hint = size_hint
        self._num = num
        self._declared_type = content_type
        self._payload = payload
        self._keep = False
        self._unkept = False
        self._batch = 0  # the submit it went with, 0 before
        self._state: DataObjectState | None = None
        self._info: ObjectInfo | None = None
        self._spec: ObjectSpec | None = None

    @property
    def id(self) -> ID:
        """Its ID."""
        return ID(self.session.session_id, self._num)

    @property
    def content_type(self) -> str | None:
        """The actual content type once it is known, before that the declared one."""
        if self._info is not None and self._info.content_type is not None:
            return self._info.content_type
        return self._declared_type

    @property
    def spec(self) -> ObjectSpec:
        """What was declared. `spec.user` may be filled before submit."""
        if self._spec is None:
            self._spec = ObjectSpec(self.id, self.label, self.data_type, self._declared_type, self.size_hint)
        return self._spec

    @property
    def info(self) -> ObjectInfo | None:
        """What was last heard of it, None before anything was."""
        return self._info

    @property
    def state(self) -> DataObjectState | None:
        """None before submit; then as last heard from the server."""
        if not self._batch:
            return None
        if self._state is not None and self._state is not DataObjectState.UNFINISHED:
            return self._state
        if self.session._finished_batch >= self._batch:
            return DataObjectState.FINISHED if self._keep else DataObjectState.REMOVED
        return DataObjectState.UNFINISHED

    @at_border
    def keep(self) -> DataObject:
        """Keep the object when no task needs it any more, so that it can be fetched. Returns the object.

        Raises:
            RainException: it was submitted already.
        """
        if self._batch:
            raise RainException(f"{self.describe()} was submitted already; call keep() before submit()")
        self._keep, self._unkept = True, False
        return self

    @at_border
    def unkeep(self) -> None:
        """Undo `keep()`; a submitted object is removed as soon as no task needs it.

        Raises:
            RainException: it is not kept.
        """
        self.session.unkeep((self,))

    def is_kept(self) -> bool:
        """Whether it is kept."""
        return self._keep

    @at_border
    def wait(self) -> None:
        """Wait until it is finished; see `Session.wait`."""
        self.session.wait((self,))

    @at_border
    def fetch(self, path: str | os.PathLike[str] | None = None) -> DataInstance:
        """Its content, once it is finished; see `Session.fetch`."""
        return self.session.fetch(self, path)

    @at_border
    def update(self) -> None:
        """Ask for its state and info; see `Session.update`."""
        self.session.update((self,))

    def expect_dir(self) -> None:
        """RainException unless it is a directory."""
        if self.data_type is not DataType.DIRECTORY:
            raise RainException(f"{self.describe()} is a blob, but a directory is needed")

    def expect_blob(self) -> None:
        """RainException unless it is a blob."""
        if self.data_type is not DataType.BLOB:
            raise RainException(f"{self.describe()} is a directory, but a blob is needed")

    def describe(self) -> str:
        """For error messages: what it is, its label and id."""
        label = "" if self.label is None else f" {self.label!r}"
        return f"Data object{label} ({self.id})"

    def __reduce__(self) -> Any:
        raise RainException(
            f"{self.describe()} can not be pickled; pass it as an argument of a remote function"
        )

    def _repr_html_(self) -> str:
        """For notebooks."""
        from rainzmq.client.notebook import object_html

        return object_html(self)

    def __repr__(self) -> str:
        state = "unsubmitted" if self.state is None else self.state.value
        label = "" if self.label is None else f" {self.label!r}"
        return f"<DataObject {self.id}{label} {self.data_type.value} {state}>"


class Snapshot:
    """The content of a directory as it was when `directory()` was called: an archive in a temporary file.

    Attributes:
        path: the archive.
        archive_size: bytes of the archive.
        size: bytes of all files of the directory.
    """

    def __init__(self, directory: str) -> None:
        from rainzmq.common.archive import pack_tree

        handle, self.path = tempfile.mkstemp(prefix="rainzmq-dir-", suffix=".tar")
        weakref.finalize(self, remove_tree, self.path)
        with open(handle, "wb") as file:
            self.archive_size = pack_tree(directory, file)
        self.size = tree_size(directory)


@at_border
def blob(
    value: Any,
    label: str = "const",
    content_type: str | None = None,
    encode: str | None = None,
    *,
    session: Session | None = None,
) -> DataObject:
    """A constant. `bytes` are taken as they are; a `str` becomes content type `text`; with `encode`, a
    content type, any value is serialized. Made in `session`, by default the active one.

    Raises:
        RainException: another value without `encode`, `content_type` with anything but bytes, a value that
            can not be encoded, no active session.
        ValueError: an unknown content type.
    """
    check_content_type(content_type)
    if encode is not None:
        if content_type is not None:
            raise RainException("blob(): give content_type for bytes or encode for other values, not both")
        data, content_type = encode_value(value, encode), encode
    elif isinstance(value, str):
        if content_type is not None:
            raise RainException(
                "blob(): content_type is only for bytes; a str is 'text', and "
                "encode='text-latin-1', for example, stores it in another encoding"
            )
        data, content_type = encode_value(value, "text"), "text"
    elif isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
    else:
        raise RainException(
            f"blob(): a value of type {type(value).__qualname__} is neither bytes nor str; "
            "use pickled(value), or blob(value, encode='json') or another encoding"
        )
    if content_type == DIRECTORY_TYPE:
        raise RainException("blob(): 'dir' is the content type of directories; use directory(path)")
    session = get_active_session() if session is None else session
    return session._new_constant(check_label(label), DataType.BLOB, content_type, data)


@at_border
def pickled(value: Any, label: str = "pickle", *, session: Session | None = None) -> DataObject:
    """A constant that holds the pickled `value`, of content type `pickle`; RainException when that fails."""
    return blob(value, label, encode="pickle", session=session)


@at_border
def directory(
    path: str | os.PathLike[str], label: str = "const_dir", *, session: Session | None = None
) -> DataObject:
    """A constant directory with the content that the local directory `path` has now: files and their modes,
    sub-directories also when empty, and symlinks inside of the tree.

    Raises:
        RainException: it is missing, no directory, can not be read, or holds anything else, such as a symlink
            that leaves it.
    """
    check_label(label)
    session = get_active_session() if session is None else session
    source = os.fspath(path)
    if not os.path.isdir(source):
        what = "is not a directory" if os.path.lexists(source) else "does not exist"
        raise RainException(f"directory(): {source!r} {what}")
    try:
        snapshot = Snapshot(source)
    except OSError as error:
        raise RainException(
            f"directory(): {error.filename or source!r} can not be read: {error.strerror}"
        ) from None
    return session._new_constant(label, DataType.DIRECTORY, DIRECTORY_TYPE, snapshot)
