"""Data objects: constants and the outputs of tasks."""

from __future__ import annotations

import os
from typing import Any, Protocol

from rainzmq.client.checks import check_label
from rainzmq.client.nodes import ObjectNode
from rainzmq.client.owner import Owner, active_owner
from rainzmq.client.snapshot import Snapshot
from rainzmq.common.content_types import DIRECTORY_TYPE, check_content_type, encode_value
from rainzmq.common.data_instance import DataInstance
from rainzmq.common.errors import RainException
from rainzmq.common.ids import ID
from rainzmq.common.specs import ObjectInfo, ObjectSpec
from rainzmq.common.states import DataObjectState, DataType
from rainzmq.common.tracebacks import at_border


class DataObject:
    """An immutable piece of data of a session: a constant, or an output of a task.

    Attributes:
        session: the session it belongs to.
        graph_node: for the package itself: all that is known of it.
    """

    __slots__ = ("__weakref__", "graph_node", "session")

    def __init__(self, session: Owner, node: ObjectNode) -> None:
        """For the package itself; users make data objects by `blob`, `pickled`, `directory` and by tasks."""
        self.session = session
        self.graph_node = node

    @property
    def id(self) -> ID:
        """Its ID."""
        return self.graph_node.id

    @property
    def label(self) -> str | None:
        """Its label, None without one."""
        return self.graph_node.label

    @property
    def data_type(self) -> DataType:
        """Blob or directory."""
        return self.graph_node.data_type

    @property
    def size_hint(self) -> int | None:
        """Expected size in bytes, None for unknown."""
        return self.graph_node.size_hint

    @property
    def content_type(self) -> str | None:
        """The actual content type once it is known, before that the declared one."""
        return self.graph_node.content_type

    @property
    def spec(self) -> ObjectSpec:
        """What was declared. `spec.user` may be filled before submit."""
        return self.graph_node.spec

    @property
    def info(self) -> ObjectInfo | None:
        """What was last heard of it, None before anything was."""
        return self.graph_node.info

    @property
    def state(self) -> DataObjectState | None:
        """None before submit; then as last heard from the server."""
        node = self.graph_node
        if not node.batch:
            return None
        heard = self.session.heard
        if heard.end is not None:
            return heard.end.object_state(node.num)
        if node.state is not None and node.state is not DataObjectState.UNFINISHED:
            return node.state
        if heard.finished_batch >= node.batch:
            return DataObjectState.FINISHED if node.keep else DataObjectState.REMOVED
        return DataObjectState.UNFINISHED

    @at_border
    def keep(self) -> DataObject:
        """Keep the object when no task needs it any more, so that it can be fetched. Returns the object.

        Raises:
            RainException: it was submitted already.
        """
        node = self.graph_node
        if node.batch:
            raise RainException(f"{self.describe()} was submitted already; call keep() before submit()")
        node.keep, node.unkept = True, False
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
        return self.graph_node.keep

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
        if self.graph_node.data_type is not DataType.DIRECTORY:
            raise RainException(f"{self.describe()} is a blob, but a directory is needed")

    def expect_blob(self) -> None:
        """RainException unless it is a blob."""
        if self.graph_node.data_type is not DataType.BLOB:
            raise RainException(f"{self.describe()} is a directory, but a blob is needed")

    def describe(self) -> str:
        """For error messages: what it is, its label and id."""
        return self.graph_node.describe()

    def __reduce__(self) -> Any:
        raise RainException(
            f"{self.describe()} cannot be pickled; pass it as an argument of a remote function"
        )

    def _repr_html_(self) -> str:
        """For notebooks."""
        from rainzmq.client.notebook import object_html

        return object_html(self.graph_node, self.state)

    def __repr__(self) -> str:
        state = "unsubmitted" if self.state is None else self.state.value
        label = "" if self.label is None else f" {self.label!r}"
        return f"<DataObject {self.id}{label} {self.data_type.value} {state}>"


class HasOutput(Protocol):
    """A task with one output, which stands for it."""

    @property
    def output(self) -> DataObject:
        """That output."""


@at_border
def blob(
    value: Any,
    label: str = "const",
    content_type: str | None = None,
    encode: str | None = None,
    *,
    session: Owner | None = None,
) -> DataObject:
    """A constant. `bytes` are taken as they are; a `str` becomes content type `text`; with `encode`, a
    content type, any value is serialized. Made in `session`, by default the active one.

    Raises:
        RainException: another value without `encode`, `content_type` with anything but bytes, a value that
            cannot be encoded, no active session.
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
    session = active_owner() if session is None else session
    node = session.draft.new_constant(check_label(label), DataType.BLOB, content_type, data)
    return DataObject(session, node)


@at_border
def pickled(value: Any, label: str = "pickle", *, session: Owner | None = None) -> DataObject:
    """A constant that holds the pickled `value`, of content type `pickle`; RainException when that fails."""
    return blob(value, label, encode="pickle", session=session)


@at_border
def directory(
    path: str | os.PathLike[str], label: str = "const_dir", *, session: Owner | None = None
) -> DataObject:
    """A constant directory with the content that the local directory `path` has now: files and their modes,
    sub-directories also when empty, and symlinks inside of the tree.

    Raises:
        RainException: it is missing, no directory, cannot be read, or holds anything else, such as a symlink
            that leaves it.
    """
    check_label(label)
    session = active_owner() if session is None else session
    source = os.fspath(path)
    if not os.path.isdir(source):
        what = "is not a directory" if os.path.lexists(source) else "does not exist"
        raise RainException(f"directory(): {source!r} {what}")
    try:
        snapshot = Snapshot(source)
    except OSError as error:
        raise RainException(
            f"directory(): {error.filename or source!r} cannot be read: {error.strerror}"
        ) from None
    node = session.draft.new_constant(label, DataType.DIRECTORY, DIRECTORY_TYPE, snapshot)
    return DataObject(session, node)
