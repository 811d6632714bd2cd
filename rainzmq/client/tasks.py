"""The built-in tasks, which workers run themselves."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

from rainzmq.client.checks import check_cpus, check_name, check_relative_path
from rainzmq.client.dataobj import DataObject
from rainzmq.client.graph_task import Task, as_object, declare, make_inputs
from rainzmq.client.nodes import Body
from rainzmq.client.outputs import ONE_OUTPUT, Output, OutputDir
from rainzmq.client.owner import Owner, active_owner
from rainzmq.client.program import Execute
from rainzmq.common.errors import RainException
from rainzmq.common.labeled_list import LabeledList
from rainzmq.common.limits import CONFIG_LIMIT_BYTES
from rainzmq.common.states import DataType
from rainzmq.common.tracebacks import at_border
from rainzmq.protocol.codec import pack

__all__ = ["Concat", "Execute", "Load", "LoadDir", "MakeDirectory", "Sleep", "SliceDirectory", "Store"]


class _Builtin(Task):
    """A task whose arguments its class has checked."""

    TASK_TYPE = "builtin/"

    __slots__ = ()

    def _build(
        self,
        inputs: LabeledList[DataObject],
        outputs: tuple[Output, ...],
        config: list[Any] | None,
        session: Owner,
        *,
        name: str | None = None,
        cpus: int = 1,
    ) -> None:
        packed = b"" if config is None else pack(config)
        if len(packed) > CONFIG_LIMIT_BYTES:
            raise RainException(
                f"The arguments of {type(self).__name__} take {len(packed)} bytes, the limit is "
                f"{CONFIG_LIMIT_BYTES}; split it into several tasks"
            )
        assert self.TASK_TYPE is not None
        name = None if name is None else check_name(name)
        templates = tuple([output.template() for output in outputs])
        body = Body(self.TASK_TYPE, check_cpus(cpus), name, b"", templates)
        declare(self, session, body, inputs, outputs, packed, spec_config=config)


class Concat(_Builtin):
    """Blobs joined in order; without inputs an empty blob."""

    TASK_TYPE = "builtin/concat"

    __slots__ = ()

    @at_border
    def __init__(self, inputs: Any, *, name: str | None = None, session: Owner | None = None) -> None:
        """RainException when an input is no blob of the session."""
        session = active_owner() if session is None else session
        objects = make_inputs(inputs, session)
        for obj in objects:
            obj.expect_blob()
        self._build(objects, ONE_OUTPUT, None, session, name=name)


class Sleep(_Builtin):
    """Passes its input on after some seconds; for tests and demonstrations."""

    TASK_TYPE = "builtin/sleep"

    __slots__ = ()

    @at_border
    def __init__(
        self,
        input: Any,
        seconds: float,
        cpus: int = 1,
        *,
        name: str | None = None,
        session: Owner | None = None,
    ) -> None:
        """RainException when the input is no data object of the session, or seconds no number from 0 on."""
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < math.inf:
            raise RainException(f"Sleep: seconds is a number from 0 on, not {seconds!r}")
        session = active_owner() if session is None else session
        obj = as_object(input, session, "input")
        is_directory = obj.data_type is DataType.DIRECTORY
        output = OutputDir() if is_directory else Output(content_type=obj.content_type)
        self._build(LabeledList([obj]), (output,), [float(seconds)], session, name=name, cpus=cpus)


class Load(_Builtin):
    """A copy of a file of the worker's file system. The path must be absolute, and the file must exist when
    the task runs; else the task fails."""

    TASK_TYPE = "builtin/load"

    __slots__ = ()

    @at_border
    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        content_type: str | None = None,
        name: str | None = None,
        session: Owner | None = None,
    ) -> None:
        """`content_type` is what the file is declared to hold. RainException when the path is no path."""
        session = active_owner() if session is None else session
        output = Output(content_type=content_type)
        self._build(LabeledList(), (output,), [_worker_path(path, "Load")], session, name=name)


class LoadDir(_Builtin):
    """A copy of a directory of the worker's file system; see `Load`."""

    TASK_TYPE = "builtin/load_dir"

    __slots__ = ()

    @at_border
    def __init__(
        self, path: str | os.PathLike[str], *, name: str | None = None, session: Owner | None = None
    ) -> None:
        """RainException when the path is no path."""
        session = active_owner() if session is None else session
        self._build(LabeledList(), (OutputDir(),), [_worker_path(path, "LoadDir")], session, name=name)


class Store(_Builtin):
    """Writes a blob or directory to the worker's file system. The path must be absolute, else the task
    fails."""

    TASK_TYPE = "builtin/store"

    __slots__ = ()

    @at_border
    def __init__(
        self,
        input: Any,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        session: Owner | None = None,
    ) -> None:
        """RainException when the input is no data object of the session, or the path no path."""
        session = active_owner() if session is None else session
        obj = as_object(input, session, "input")
        self._build(LabeledList([obj]), (), [_worker_path(path, "Store")], session, name=name)


class MakeDirectory(_Builtin):
    """A directory made of data objects at relative paths; directories in between are made. The path "" or "."
    lays a directory at the root."""

    TASK_TYPE = "builtin/make_directory"

    __slots__ = ()

    @at_border
    def __init__(self, pairs: Any, *, name: str | None = None, session: Owner | None = None) -> None:
        """`pairs` is a dictionary from paths to data objects or tasks, or a sequence of such pairs.

        Raises:
            RainException: something else; a path that is absolute, has `..`, is given twice or is inside of a
                file.
        """
        session = active_owner() if session is None else session
        items = _pairs(pairs)
        paths: list[str] = []
        objects: LabeledList[DataObject] = LabeledList()
        for path, value in items:
            what = f"MakeDirectory, path {path!r}"
            obj = as_object(value, session, what)
            if path in ("", "."):
                if obj.data_type is not DataType.DIRECTORY:
                    raise RainException(
                        f"{what}: {obj.describe()} is a blob; only a directory can be the root"
                    )
                paths.append("")
            else:
                paths.append(check_relative_path(path, what))
            objects.append(obj)
        _check_tree(paths, list(objects))
        self._build(objects, (OutputDir(),), paths, session, name=name)


class SliceDirectory(_Builtin):
    """A file out of a directory or, when the path ends in `/`, a directory out of it."""

    TASK_TYPE = "builtin/slice_directory"

    __slots__ = ()

    @at_border
    def __init__(
        self,
        input: Any,
        path: str,
        *,
        content_type: str | None = None,
        name: str | None = None,
        session: Owner | None = None,
    ) -> None:
        """RainException when the input is no directory of the session, or the path is absolute, empty or has
        `..`."""
        session = active_owner() if session is None else session
        obj = as_object(input, session, "input")
        obj.expect_dir()
        short = check_relative_path(path, "SliceDirectory")
        is_directory = path.endswith("/")
        if is_directory and content_type is not None:
            raise RainException(
                f"SliceDirectory: the path {path!r} is a directory, which has no content type"
            )
        output = OutputDir() if is_directory else Output(content_type=content_type)
        config = [short + "/" if is_directory else short]
        self._build(LabeledList([obj]), (output,), config, session, name=name)


def _worker_path(path: Any, what: str) -> str:
    """A path on some worker; whether it is absolute and exists is for the task to say."""
    try:
        text = os.fspath(path)
        if not isinstance(text, str):
            raise TypeError
        text.encode()
    except (TypeError, UnicodeEncodeError):
        raise RainException(f"{what}: a path is a str in valid Unicode, not {path!r:.80}") from None
    if not text or "\0" in text:
        raise RainException(f"{what}: the path {text!r} is empty or holds a NUL character")
    return text


def _pairs(pairs: Any) -> list[tuple[Any, Any]]:
    if isinstance(pairs, Mapping):
        return list(pairs.items())
    if isinstance(pairs, Iterable) and not isinstance(pairs, (str, bytes)):
        items = list(pairs)
        if all(isinstance(item, (tuple, list)) and len(item) == 2 for item in items):
            return [(path, value) for path, value in items]
    raise RainException("MakeDirectory takes a dictionary or a sequence of pairs (path, data object)")


def _check_tree(paths: list[str], objects: list[DataObject]) -> None:
    at: dict[str, DataObject] = {}
    for path, obj in zip(paths, objects, strict=True):
        if path and path in at:
            raise RainException(f"MakeDirectory: the path {path!r} is given twice")
        at[path] = obj
    for path in paths:
        parent = os.path.dirname(path)
        while parent:
            if parent in at and at[parent].data_type is DataType.BLOB:
                raise RainException(
                    f"MakeDirectory: the path {path!r} is inside of {parent!r}, which is a file"
                )
            parent = os.path.dirname(parent)
