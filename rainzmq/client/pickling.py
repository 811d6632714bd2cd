"""Functions and arguments of remote calls as bytes, with the data objects in them taken out as inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

from rainzmq.client.call_site import warn
from rainzmq.client.codebase import codebase, own_sys_path
from rainzmq.client.dataobj import DataObject
from rainzmq.client.draft import Code, Draft
from rainzmq.client.graph_task import Task, as_object
from rainzmq.client.inputs import Input
from rainzmq.client.nodes import Body, ObjectNode, TaskNode
from rainzmq.client.outputs import Template
from rainzmq.client.owner import Owner
from rainzmq.client.rebinding import Referents
from rainzmq.common.code_units import UnitRef
from rainzmq.common.content_types import DIRECTORY_TYPE
from rainzmq.common.errors import RainException
from rainzmq.common.generators import RECIPE, generator_kind
from rainzmq.common.nesting import bounded
from rainzmq.common.pickles import by_value_pickler, changes, dumps_by_value
from rainzmq.common.pycall import HIDDEN_ARGUMENTS, HIDDEN_FUNCTION, CallBody, decode_body, encode_body
from rainzmq.common.search_path import interpreter_directory
from rainzmq.common.sources import Source, sources_of
from rainzmq.common.states import DataType
from rainzmq.common.units import format_size
from rainzmq.common.versions import imported_versions

TASK_TYPE = "python/call"

_MAX_INLINE_FUNCTION_BYTES = 56 << 10
"""A larger function travels as an object. With code and the rest a body stays below `BODY_LIMIT_BYTES`."""

_MAX_INLINE_CODE_BYTES = 256 << 10
"""Units of modules up to this together are part of a body. Larger ones travel as objects, once per session;
but one more input makes a short task take half as long again.
"""

_MAX_SESSION_CODE_BYTES = 4 << 20
"""When so much code went with the bodies of a session, the limit is `_FEW_CODE_BYTES` from then on."""

_FEW_CODE_BYTES = 16 << 10

_MAX_RENEWED_BYTES = 1 << 20
"""A function with more data is not pickled again at every submit."""

_MAX_INLINE_BODIES = 8
"""A function that is called in more shapes than this (outputs, cpus) travels as an object, once."""


class References:
    """Collects the data objects that pickled values refer to; `refer` goes into a pickler.

    Attributes:
        objects: the data objects, in the order of their indices.
    """

    __slots__ = ("_auto_load", "_indices", "_input", "_parameter", "_session", "_title", "objects")

    def __init__(
        self, session: Owner, title: str, objects: list[DataObject], auto_load: bool | None = None
    ) -> None:
        """`title` names the function in errors; `objects` have their indices already."""
        self.objects = list(objects)
        self._indices = {obj.graph_node.num: index for index, obj in enumerate(objects)}
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
            RainException: it cannot be an input of a task of the session, or not of this parameter.
        """
        if not isinstance(value, (DataObject, Task)):
            return None
        what = f"{self._title}, parameter {self._parameter!r}" if self._parameter else self._title
        obj = as_object(value, self._session, what)
        num = obj.graph_node.num
        index = self._indices.get(num)
        if index is None:
            index = self._indices[num] = len(self.objects)
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


class PickledFunction:
    """A function as it is sent in one session.

    Attributes:
        function_id: its number in the session.
        name: its qualified name.
        data: the pickle.
        objects: data objects that its closure and globals refer to; the first inputs of every call.
        kinds_version: that of the code base when it was pickled.
        referents: what the pickle referred to.
        unchanged: returns whether what the pickle referred to is still the same; see `Referents`.
    """

    __slots__ = (
        "_bodies",
        "_changes",
        "_constant",
        "_last",
        "_sources",
        "_sys_path",
        "_version",
        "data",
        "function_id",
        "kinds_version",
        "name",
        "objects",
        "referents",
        "unchanged",
    )

    def __init__(
        self,
        function_id: int,
        name: str,
        data: bytes,
        objects: list[DataObject],
        referents: Referents,
        sources: tuple[Source, ...] = (),
    ) -> None:
        self.function_id = function_id
        self.name = name
        self.data = data
        self.objects = objects
        self.refer_to(referents)
        self._sources = sources
        self._sys_path = own_sys_path()
        self._version = self._changes = -1
        self._constant: ObjectNode | None = None
        self._bodies: dict[_Shape, _Made] = {}
        # Mostly the same one is asked for again, and hashing outputs is slow.
        self._last: tuple[tuple[Template, ...], tuple[int, bool], _Made] | None = None

    @property
    def mutable(self) -> list[tuple[str, Any]]:
        """Names and values of what it refers to and may be changed in place."""
        return self.referents.mutable

    def refer_to(self, referents: Referents) -> None:
        """It was found to be the same, referring to these."""
        self.referents = referents
        self.kinds_version = codebase.kinds_version
        self.unchanged = referents.unchanged

    def still_refers(self) -> bool:
        """Whether it is unchanged after `unchanged` has said no."""
        return self.referents.still()

    def is_behind(self) -> bool:
        """Whether files on disk changed since its bodies were made, or more modules travel."""
        return codebase.reloaded_version <= self._version < codebase.version

    def has_same_objects(self) -> bool:
        """Whether what it refers to are the same objects, whatever happened to modules."""
        return self.referents.same_objects()

    def is_same_as(self, other: PickledFunction) -> bool:
        """Whether both are one function."""
        if self.data != other.data or len(self.objects) != len(other.objects):
            return False
        return all(a is b for a, b in zip(self.objects, other.objects, strict=True))

    def body(
        self, draft: Draft, outputs: tuple[Template, ...], cpus: int, task_name: str, hide_arguments: bool
    ) -> _Made:
        """The body of a call, and the constants that must be hidden inputs of it.

        Raises:
            RainException: a module that it needs cannot travel.
        """
        if changes[0] != self._changes:
            self._changes = changes[0]
            if codebase.current() != self._version:
                self._version = codebase.version
                self._bodies = {}
                self._last = None
        last = self._last
        if last is not None and last[0] is outputs and last[1] == (cpus, hide_arguments):
            return last[2]
        key = (outputs, cpus, hide_arguments)
        made = self._bodies.get(key)
        if made is None:
            made = self._bodies[key] = self._make(draft, outputs, cpus, task_name, hide_arguments)
        self._last = outputs, (cpus, hide_arguments), made
        return made

    def _make(
        self, draft: Draft, outputs: tuple[Template, ...], cpus: int, task_name: str, hide_arguments: bool
    ) -> _Made:
        refs, constants = _code_of(draft)
        if self._constant is None and (
            len(self.data) > _MAX_INLINE_FUNCTION_BYTES or len(self._bodies) >= _MAX_INLINE_BODIES
        ):
            self._constant = draft.new_hidden_constant(self.data)
            self._constant.keep = True  # for calls that are submitted later
        hidden = [ref.hidden_name for ref in refs if ref.data is None]
        if self._constant is not None:
            hidden.insert(0, HIDDEN_FUNCTION)
            constants = (self._constant, *constants)
        if hide_arguments:
            hidden.append(HIDDEN_ARGUMENTS)
        config = encode_body(
            CallBody(
                self.name,
                self.function_id,
                self.data if self._constant is None else None,
                len(self.objects),
                tuple(hidden),
                self._sys_path,
                imported_versions(),
                refs,
                self._sources,
                interpreter_directory(),
            )
        )
        return Body(TASK_TYPE, cpus, task_name, config, outputs), constants

    def replacements(self, new: PickledFunction, draft: Draft, used: set[int]) -> dict[int, _Made]:
        """What takes the place of those of its bodies that are in `used` (by identity) when `new` is to be
        called in its stead.
        """
        self._changes = -1
        found = [(shape, body) for shape, (body, _) in self._bodies.items() if id(body) in used]
        return {
            id(body): new.body(draft, outputs, cpus, body.name or "", hide)
            for (outputs, cpus, hide), body in found
        }


_Shape = tuple[tuple[Template, ...], int, bool]
"""Outputs, cpus, and whether the arguments are hidden."""

_Made = tuple[Body, tuple[ObjectNode, ...]]


def _code_of(draft: Draft) -> Code:
    """The units that travel with a new body of the session, and the constants that hold the large ones."""
    version, code = draft.code
    if version != codebase.version:
        code = _pack_code(draft)
    inline = sum([len(ref.data or b"") for ref in code[0]])
    draft.inline_code_bytes += inline
    is_last = inline > _FEW_CODE_BYTES and draft.inline_code_bytes > _MAX_SESSION_CODE_BYTES
    draft.code = -1 if is_last else codebase.version, code
    return code


def _pack_code(draft: Draft) -> Code:
    refs, constants = [], []
    is_much = draft.inline_code_bytes > _MAX_SESSION_CODE_BYTES
    room = _FEW_CODE_BYTES if is_much else _MAX_INLINE_CODE_BYTES
    for unit, needs in sorted(codebase.units, key=lambda item: len(item[0].data)):
        room -= len(unit.data)
        if room >= 0:
            refs.append(UnitRef(unit.name, unit.digest, needs, unit.data))
            continue
        constant = draft.code_constants.get(unit.digest)
        if constant is None:
            constant = draft.new_hidden_constant(unit.data)
            constant.keep = True
            draft.code_constants[unit.digest] = constant
        refs.append(UnitRef(unit.name, unit.digest, needs, None))
        constants.append(constant)
    return tuple(refs), tuple(constants)


def pickled_now(
    known: PickledFunction | None, function: Callable[..., Any], session: Owner
) -> PickledFunction:
    """The function as it is now; `known` again when it is still the same. RainException when it cannot be
    pickled.
    """
    if known is not None and known.still_refers():
        return known
    codebase.look_at_globals()
    return _again(known, function, session, tell=True)


def renew_at_submit(session: Owner, tasks: Sequence[TaskNode]) -> None:
    """Have the calls among these tasks, which are about to be submitted, use what was changed in place until
    now, in values that functions refer to and in files of modules that are not imported here.

    Raises:
        RainException: a function cannot be pickled any more, or a module cannot travel.
    """
    draft = session.draft
    if not draft.functions:
        return
    codebase.look_at_states()
    codebase.current()
    codebase.look_at_globals()
    codebase.look_at_disk()
    used: set[int] | None = None
    replaced: dict[int, _Made] = {}
    for remote, old in list(draft.functions.items()):
        if not old.has_same_objects():
            del draft.functions[remote]  # the next call is of another one
            continue
        again = old.kinds_version != codebase.kinds_version or (
            old.mutable and len(old.data) <= _MAX_RENEWED_BYTES
        )
        moved = old.is_behind()
        if not (again or moved):
            continue
        if used is None:
            used = {id(task.body) for task in tasks}
        new = old
        if again:
            new = draft.functions[remote] = _again(old, remote.function, session, tell=False)
        if new is not old and len(new.objects) != len(old.objects):
            continue  # these calls have their inputs already
        if new is not old or moved:
            replaced.update(old.replacements(new, draft, used))
    for task in tasks if replaced else ():
        made = replaced.get(id(task.body))
        if made is not None:
            body, constants = made
            arguments = task.hidden[-1:] if _hides_arguments(task) else ()
            task.body, task.hidden = body, (*constants, *arguments)


def _hides_arguments(task: TaskNode) -> bool:
    return decode_body(task.body.config).hidden[-1:] == (HIDDEN_ARGUMENTS,)


def _again(
    known: PickledFunction | None, function: Callable[..., Any], session: Owner, tell: bool
) -> PickledFunction:
    made = pickle_function(function, session, session.draft.function_count + 1, tell)
    if known is not None and known.is_same_as(made):
        known.refer_to(made.referents)
        return known
    session.draft.function_count += 1
    return made


def pickle_function(
    function: Callable[..., Any], session: Owner, function_id: int, tell: bool = True
) -> PickledFunction:
    """The function by value, or by name where that is enough; RainException when it cannot be pickled. Warns
    of what travels with it and should not, if `tell`.
    """
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
        data, referents, sources = _dump(function, refer)
    except RainException:
        raise
    except Exception as error:  # whatever objects in its closure and globals raise
        raise RainException(
            f"{title} cannot be sent to workers: something in its closure or globals cannot be pickled: "
            f"{type(error).__name__}: {error}{''.join([f'; {text}' for text in codebase.reasons()])}"
        ) from error
    if generators and tell:
        warn(
            f"{title} holds a random generator in its closure or globals: "
            f"{', '.join(sorted(set(generators)))}. It travels with its present state, so that calls repeat "
            f"each other's numbers; {RECIPE}"
        )
    if tell and referents.mutable and len(data) > _MAX_RENEWED_BYTES:
        warn(
            f"{title} carries {format_size(len(data))}, most of it in {_largest(referents, refer)}. What is "
            "changed in it later is not seen by further calls; bind the name to a new object, or make a data "
            "object of it with pickled() and pass that"
        )
    return PickledFunction(function_id, name, data, references.objects, referents, sources)


def _dump(
    function: Callable[..., Any], refer: Callable[[Any], Any]
) -> tuple[bytes, Referents, tuple[Source, ...]]:
    """The pickle of a function, what it refers to, and source lines of what is in it."""
    buffer = BytesIO()
    pickler = by_value_pickler(buffer, refer)
    try:
        bounded(pickler.dump, function)
    except RainException:
        raise
    except Exception:
        # What a module was given at run time may be no more than a cache or a connection of this process.
        with codebase.names_preferred():
            buffer = BytesIO()
            pickler = by_value_pickler(buffer, refer)
            bounded(pickler.dump, function)
    functions = pickler.functions
    return buffer.getvalue(), Referents(function, functions, pickler.classes), sources_of(functions)


def _largest(referents: Referents, refer: Callable[[Any], Any]) -> str:
    """The name of the variable that holds most."""
    sizes = {}
    for name, value in referents.mutable:
        try:
            sizes[name] = len(dumps_by_value(value, refer))
        except Exception:  # it is part of something that can be pickled, or so large that it does not matter
            continue
    return repr(max(sizes, key=lambda name: sizes[name])) if sizes else "its closure or globals"
