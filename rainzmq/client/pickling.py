"""Functions and arguments of remote calls as bytes, with the data objects in them taken out as inputs."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rainzmq.client.dataobj import DataObject
from rainzmq.client.inputs import Input
from rainzmq.client.outputs import Template
from rainzmq.client.site import warn
from rainzmq.client.task import Body, Task, as_object
from rainzmq.common.content_types import DIRECTORY_TYPE
from rainzmq.common.errors import RainException
from rainzmq.common.generators import RECIPE, generator_kind
from rainzmq.common.limits import CONFIG_LIMIT_BYTES
from rainzmq.common.pickles import dumps_by_value
from rainzmq.common.pycall import HIDDEN_ARGUMENTS, HIDDEN_FUNCTION, CallBody, encode_body
from rainzmq.common.states import DataType
from rainzmq.common.versions import imported_versions

if TYPE_CHECKING:
    from rainzmq.client.session import Session

TASK_TYPE = "python/call"

_MAX_INLINE_FUNCTION_BYTES = CONFIG_LIMIT_BYTES - (8 << 10)
"""A larger function travels as an object; the rest of a body is well under 8 KiB."""

_MAX_INLINE_BODIES = 8
"""A function that is called in more shapes than this (outputs, cpus) travels as an object, once."""


class References:
    """Collects the data objects that pickled values refer to; `refer` goes into a pickler.

    Attributes:
        objects: the data objects, in the order of their indices.
    """

    __slots__ = ("_auto_load", "_indices", "_input", "_parameter", "_session", "_title", "objects")

    def __init__(
        self, session: Session, title: str, objects: list[DataObject], auto_load: bool | None = None
    ) -> None:
        """`title` names the function in errors; `objects` have their indices already."""
        self.objects = list(objects)
        self._indices = {obj._num: index for index, obj in enumerate(objects)}
        self._session = session
        self._title = title
        self._auto_load = auto_load
        self._input: Input | None = None
        self._parameter = ""

    def start(self, parameter: str, item: Input | None) -> None:
        """From now on values of this parameter are pickled."""
        self._parameter = parameter
        self._input = item

    def refer(self, value: Any) -> Any:
        """The persistent id of a data object or a task, None for anything else.

        Raises:
            RainException: it can not be an input of a task of the session, or not of this parameter.
        """
        if not isinstance(value, (DataObject, Task)):
            return None
        what = f"{self._title}, parameter {self._parameter!r}" if self._parameter else self._title
        obj = as_object(value, self._session, what)
        index = self._indices.get(obj._num)
        if index is None:
            index = self._indices[obj._num] = len(self.objects)
            self.objects.append(obj)
        item = self._input
        if item is None:
            if not self._auto_load or obj.data_type is DataType.DIRECTORY:
                return index
            return index, True, None, self._parameter
        try:
            item.check_object(obj)
        except RainException as error:
            raise RainException(f"{what}: {error}") from None
        load = item.load
        if load is None:
            load = bool(self._auto_load) and obj.data_type is DataType.BLOB
        content_type = None if item.content_type == DIRECTORY_TYPE else item.content_type
        if not load and content_type is None:
            return index
        return index, load, content_type, self._parameter


@dataclass(slots=True)
class PickledFunction:
    """A function as it is sent in one session.

    Attributes:
        function_id: its number in the session.
        name: its qualified name.
        data: the pickle.
        objects: data objects that its closure and globals refer to; the first inputs of every call.
        sys_path: where its modules are imported from.
        constant: the hidden constant that holds `data`, None as long as bodies hold it.
        bodies: bodies of its calls, by outputs, cpus and whether the arguments are hidden.
        last: the last of them that was asked for; mostly it is asked for again, and hashing outputs is slow.
    """

    function_id: int
    name: str
    data: bytes
    objects: list[DataObject]
    sys_path: tuple[str, ...]
    constant: DataObject | None = None
    bodies: dict[tuple[tuple[Template, ...], int, bool], tuple[Body, DataObject | None]] = field(
        default_factory=dict
    )
    last: tuple[tuple[Template, ...], tuple[int, bool], tuple[Body, DataObject | None]] | None = None

    def body(
        self, session: Session, outputs: tuple[Template, ...], cpus: int, task_name: str, hide_arguments: bool
    ) -> tuple[Body, DataObject | None]:
        """The body of a call, and the constant that must be a hidden input of it (None: the body has the
        function)."""
        key = (outputs, cpus, hide_arguments)
        last = self.last
        if last is not None and last[0] is outputs and last[1] == (cpus, hide_arguments):
            return last[2]
        known = self.bodies.get(key)
        if known is not None:
            self.last = outputs, (cpus, hide_arguments), known
            return known
        if self.constant is None and (
            len(self.data) > _MAX_INLINE_FUNCTION_BYTES or len(self.bodies) >= _MAX_INLINE_BODIES
        ):
            self.constant = session._new_hidden_constant(self.data)
            self.constant._keep = True  # for calls that are submitted later
        hidden = () if self.constant is None else (HIDDEN_FUNCTION,)
        if hide_arguments:
            hidden = (*hidden, HIDDEN_ARGUMENTS)
        config = encode_body(
            CallBody(
                self.name,
                self.function_id,
                self.data if self.constant is None else None,
                len(self.objects),
                hidden,
                self.sys_path,
                imported_versions(),
            )
        )
        made = Body(TASK_TYPE, cpus, task_name, config, outputs), self.constant
        self.bodies[key] = made
        return made


def pickle_function(function: Callable[..., Any], session: Session, function_id: int) -> PickledFunction:
    """The function by value, or by name where that is enough; RainException when it can not be pickled."""
    name = getattr(function, "__qualname__", repr(function))
    title = f"Function {name!r}"
    references = References(session, title, [])
    generators: list[str] = []

    def refer(value: Any) -> Any:
        kind = generator_kind(value)
        if kind is not None:
            generators.append(kind)
        return references.refer(value)

    try:
        data = dumps_by_value(function, refer)
    except RainException:
        raise
    except Exception as error:  # whatever objects in its closure and globals raise
        raise RainException(
            f"{title} can not be sent to workers: something in its closure or globals can not be pickled: "
            f"{type(error).__name__}: {error}"
        ) from error
    if generators:
        warn(
            f"{title} holds a random generator in its closure or globals: "
            f"{', '.join(sorted(set(generators)))}. It travels with its present state, so that calls repeat "
            f"each other's numbers; {RECIPE}"
        )
    return PickledFunction(function_id, name, data, references.objects, own_sys_path())


def own_sys_path() -> tuple[str, ...]:
    """The directories that this program imports modules from, but for the standard library and installed
    packages."""
    installed = {os.path.realpath(path) for path in sysconfig.get_paths().values()}
    installed |= {os.path.realpath(path) for path in site.getsitepackages()}
    installed.add(os.path.realpath(site.getusersitepackages()))
    stdlib = os.path.realpath(sysconfig.get_path("stdlib"))
    entries: dict[str, None] = {}
    for entry in sys.path:
        path = os.path.abspath(entry or os.curdir)
        real = os.path.realpath(path)
        if real not in installed and os.path.dirname(real) != stdlib and os.path.isdir(path):
            entries[path] = None
    return tuple(entries)
