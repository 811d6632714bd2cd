"""The call of a Python function as it travels from client to subworker. Task type `python/call`.

    client                                                       subworker
    ------                                                       ---------
    CallBody ---- encode_body ----> TaskBody.config ---- decode_body ----> CallBody ---+
    args, kwargs - encode_arguments -> task config ------------------------------------+--> Calls.prepare
    data objects in them ------------> inputs of the task --> DataInstances -----------+

*Shared part* (`TaskBody.config`): a msgpack map of the fields of `CallBody`; see there. *Own part* (the
task's config): empty for a call without arguments, else pickles one after the other, which are loaded with
one memo: first `(number of positional arguments, [names of the keyword arguments])`, then each value.

*References*: a data object anywhere in the arguments or in the function (closure, globals) is not pickled. A
persistent id stands for it: the index of the task's input as an int, or `(index, load, content_type,
parameter)` when the parameter asks for the loaded value or for a content type. The inputs that the function
itself refers to are the first `function_inputs` ones.

*Hidden inputs*: a function or arguments too large for a control message travel as constant data objects that
are extra last inputs, in the order that `CallBody.hidden` names. Functions and arguments that are hidden are
missing in the other place (`function` is None, the config is empty). `Call.inputs` is without the hidden
ones.

*Code*: `code` names the files of users' modules that the function and its arguments need, by digest
(`code_units`); a subworker imports modules from them and from nowhere else (`user_modules`). Large ones are
hidden inputs, too. `sys_path` are the client's import directories besides the standard library and installed
packages, for what is imported by names that nobody could foresee.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from types import FunctionType
from typing import Any

import msgpack

from rainzmq.common.code_units import UnitRef
from rainzmq.common.content_types import merge_content_types
from rainzmq.common.data_instance import DataInstance
from rainzmq.common.errors import RainException
from rainzmq.common.nesting import bounded
from rainzmq.common.pickles import ATOMS, PROTOCOL, PlainPickler, Refer, by_value_pickler
from rainzmq.common.sources import Source, show_sources
from rainzmq.common.user_modules import UserModules

_MARK = object()
_SHARED_BYTES = 128
"""An object that is given several times is sent once when its pickle is longer."""

_MAKE_FUNCTION = "_make_function"
"""What cloudpickle calls to make a function that came by value."""

HIDDEN_FUNCTION = "function"
HIDDEN_ARGUMENTS = "arguments"


@dataclass(slots=True)
class CallBody:
    """What all calls of one function share.

    Attributes:
        name: the function's qualified name, human-readable.
        function_id: names the function within its session; bodies with the same number hold the same
            function.
        function: the pickled function, None when it is a hidden input.
        function_inputs: how many of the first inputs the pickled function refers to.
        hidden: what the last inputs hold, in order: of HIDDEN_FUNCTION, HIDDEN_ARGUMENTS and the names of
            units.
        sys_path: absolute directories that modules are imported from, in order, with their inodes.
        versions: what the client has imported, as `versions.imported_versions` gives it.
        code: the units that are in force while it runs.
        sources: source lines of functions in the pickle, for tracebacks; as of `common.sources`.
        interpreter: directory of the client's interpreter.
    """

    name: str
    function_id: int
    function: bytes | None
    function_inputs: int = 0
    hidden: tuple[str, ...] = ()
    sys_path: tuple[tuple[str, int], ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    code: tuple[UnitRef, ...] = ()
    sources: tuple[Source, ...] = ()
    interpreter: str = ""


class ArgumentFault(Exception):
    """An argument cannot be pickled.

    Attributes:
        slot: which one; positional arguments count from 0, keyword arguments go on after them.
        cause: what pickling raised.
    """

    def __init__(self, slot: int, cause: BaseException) -> None:
        super().__init__(f"argument {slot}: {cause}")
        self.slot = slot
        self.cause = cause


def encode_body(body: CallBody) -> bytes:
    """The body as `TaskBody.config`."""
    packed: bytes = msgpack.packb(
        {
            "name": body.name,
            "function_id": body.function_id,
            "function": body.function,
            "function_inputs": body.function_inputs,
            "hidden": list(body.hidden),
            "sys_path": list(body.sys_path),
            "versions": body.versions,
            "code": [ref.to_fields() for ref in body.code],
            "sources": list(body.sources),
            "interpreter": body.interpreter,
        },
        use_bin_type=True,
    )
    return packed


def decode_body(config: bytes) -> CallBody:
    """The inverse of `encode_body`; RainException when `config` is nothing it made."""
    try:
        fields = msgpack.unpackb(config, raw=False, strict_map_key=True)
        return CallBody(
            name=str(fields["name"]),
            function_id=int(fields["function_id"]),
            function=fields["function"],
            function_inputs=int(fields["function_inputs"]),
            hidden=tuple(fields["hidden"]),
            sys_path=tuple([(str(path), int(inode)) for path, inode in fields["sys_path"]]),
            versions={str(name): str(version) for name, version in fields["versions"].items()},
            code=tuple([UnitRef.from_fields(item) for item in fields["code"]]),
            sources=tuple([(str(name), int(line), str(text)) for name, line, text in fields["sources"]]),
            interpreter=str(fields["interpreter"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, msgpack.exceptions.UnpackException) as error:
        raise RainException(f"The configuration of a Python task is malformed: {error!r}") from None


def encode_arguments(
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    refer: Refer | None = None,
    starting: Callable[[int], None] | None = None,
) -> tuple[bytes, list[int]]:
    """The arguments of a call as a task's config, and the size of each in bytes (by slot).

    `refer` gives the persistent id of data objects (see the module). `starting(slot)` is called before each
    argument is pickled; it may be called again for the same slots, since a first try with plain pickle may be
    given up.

    Raises:
        ArgumentFault: an argument cannot be pickled, or `refer` raised for something in it.
    """
    if not args and not kwargs:
        return b"", []
    values = [*args, *kwargs.values()]
    parts = _simple_parts(len(args), tuple(kwargs), values, refer, starting)
    if parts is not None:
        return b"".join(parts), [len(part) for part in parts[1:]]
    header = (len(args), list(kwargs))
    try:
        return _dump(PlainPickler, header, values, refer, starting)
    except ArgumentFault as fault:
        if isinstance(fault.cause, RainException):
            raise
    return _dump(by_value_pickler, header, values, refer, starting)


def encode_atoms(args: tuple[Any, ...]) -> bytes | None:
    """As `encode_arguments`, for positional numbers, short strings and the like; None for all else."""
    if not args:
        return b""
    for value in args:
        if type(value) not in ATOMS:
            return None
    config = b"".join([_header(len(args), ()), *[pickle.dumps(value, PROTOCOL) for value in args]])
    return config if len(args) == 1 or len(config) <= _SHARED_BYTES else None


def _simple_parts(
    count: int,
    names: tuple[str, ...],
    values: list[Any],
    refer: Refer | None,
    starting: Callable[[int], None] | None,
) -> list[bytes] | None:
    """The pickles of arguments that are atoms and data objects only; None when there is anything else.

    Making a pickler costs more than all the rest of a call with such arguments, and these need none: they
    share nothing.
    """
    parts = [_header(count, names)]
    large: set[int] = set()
    for slot, value in enumerate(values):
        if type(value) in ATOMS:
            parts.append(pickle.dumps(value, PROTOCOL))
            if len(parts[-1]) > _SHARED_BYTES:
                if id(value) in large:
                    return None  # a pickler sends it once
                large.add(id(value))
            continue
        if refer is None:
            return None
        if starting is not None:
            starting(slot)
        try:
            pid = refer(value)
        except Exception as error:
            raise ArgumentFault(slot, error) from error
        part = None if pid is None else _reference(pid)
        if part is None:
            return None
        parts.append(part)
    return parts


@lru_cache(maxsize=256)
def _header(count: int, names: tuple[str, ...]) -> bytes:
    # Not memoized, for the loader has one memo for all pickles of a config.
    return _without_memo((count, list(names)))


@lru_cache(maxsize=4096)
def _reference(pid: Any) -> bytes:
    """The pickle of a data object that `pid` stands for."""
    return _without_memo(_MARK, lambda value: pid if value is _MARK else None)


def _without_memo(value: Any, refer: Refer | None = None) -> bytes:
    buffer = io.BytesIO()
    pickler = PlainPickler(buffer, refer)
    pickler.fast = True
    pickler.dump(value)
    return buffer.getvalue()


def _dump(
    make_pickler: Callable[[io.BytesIO, Refer | None], pickle.Pickler],
    header: tuple[int, list[str]],
    values: list[Any],
    refer: Refer | None,
    starting: Callable[[int], None] | None,
) -> tuple[bytes, list[int]]:
    buffer = io.BytesIO()
    pickler = make_pickler(buffer, refer)
    pickler.dump(header)
    sizes = []
    before = buffer.tell()
    for slot, value in enumerate(values):
        if starting is not None:
            starting(slot)
        try:
            bounded(pickler.dump, value)
        except Exception as error:  # whatever a user's __reduce__ or __getstate__ raises
            raise ArgumentFault(slot, error) from error
        after = buffer.tell()
        sizes.append(after - before)
        before = after
    return buffer.getvalue(), sizes


@dataclass(slots=True)
class Call:
    """A call ready to be made: `function(context, *args, **kwargs)`.

    Attributes:
        function: the user's function; the same object for every call of it in a session.
        args: positional arguments after the context.
        kwargs: keyword arguments.
        inputs: the task's inputs without the hidden ones.
        made: functions that came by value in the arguments, and methods of classes that did.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: list[DataInstance]
    made: list[FunctionType]


@dataclass(slots=True)
class _Loaded:
    """A function as it was loaded: while these files of inputs, these units and this generation of modules
    were there.
    """

    function: Callable[..., Any]
    sources: tuple[str | None, ...]
    code: tuple[UnitRef, ...]
    digests: dict[str, bytes]
    generation: int


class Calls:
    """Makes calls out of bodies and configs; one per subworker. Keeps loaded functions until `forget`."""

    def __init__(self) -> None:
        self._functions: dict[tuple[int, int], _Loaded] = {}
        self._modules = UserModules()

    def prepare(
        self,
        session_id: int,
        body: CallBody,
        config: bytes,
        inputs: Sequence[DataInstance],
        directory: str = "",
    ) -> Call:
        """The call that a task describes. `inputs` are all inputs of the task, in order; files of modules are
        written below `directory` when they must be (by default into one that stays).

        Raises:
            RainException: the function or an argument cannot be loaded here; the reason is its `__cause__`.
        """
        visible = list(inputs)
        hidden: dict[str, DataInstance] = {}
        if body.hidden:
            count = len(inputs) - len(body.hidden)
            hidden = dict(zip(body.hidden, inputs[count:], strict=True))
            del visible[count:]
        self._modules.enter(body.code, body.sys_path, lambda name: hidden[name].get_bytes(), directory)
        function = self._function(session_id, body, hidden, inputs)
        if HIDDEN_ARGUMENTS in hidden:
            config = hidden[HIDDEN_ARGUMENTS].get_bytes()
        made: list[FunctionType] = []
        args, kwargs = _load_arguments(body.name, config, inputs, made)
        return Call(function, args, kwargs, visible, made)

    def forget(self, session_ids: Iterable[int]) -> None:
        """Drop the functions of sessions that ended."""
        gone = set(session_ids)
        self._functions = {key: value for key, value in self._functions.items() if key[0] not in gone}

    def _function(
        self,
        session_id: int,
        body: CallBody,
        hidden: Mapping[str, DataInstance],
        inputs: Sequence[DataInstance],
    ) -> Callable[..., Any]:
        key = (session_id, body.function_id)
        # A function that holds data objects is loaded again when they moved to other files.
        sources: tuple[str | None, ...] = ()
        if body.function_inputs:
            sources = tuple(item.path for item in inputs[: body.function_inputs])
        modules = self._modules
        known = self._functions.get(key)
        if known is not None and known.sources == sources and known.generation == modules.generation:
            digests = modules.digests
            if known.code is body.code or all(digests.get(n) == d for n, d in known.digests.items()):
                return known.function
        show_sources(body.sources)
        data = hidden[HIDDEN_FUNCTION].get_bytes() if body.function is None else body.function
        try:
            function: Callable[..., Any] = _Loader(io.BytesIO(data), inputs).load()
        except Exception as error:  # unpickling runs users' code and imports users' modules
            raise RainException(
                f"Function {body.name!r} cannot be loaded by the worker: {type(error).__name__}: {error}"
                f"{_hint(error)}"
            ) from error
        self._functions[key] = _Loaded(function, sources, body.code, modules.digests, modules.generation)
        return function


def plain_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a `Remote` is in a task that refers to it: its function, to be called with a context."""
    return function


class _Loader(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, inputs: Sequence[DataInstance]) -> None:
        super().__init__(file)
        self._inputs = inputs
        self._narrowed: dict[tuple[int, str | None], DataInstance] = {}

    def persistent_load(self, pid: Any) -> Any:
        if type(pid) is int:
            return self._inputs[pid]
        index, load, content_type, parameter = pid
        instance = self._narrowed.get((index, content_type))
        if instance is None:
            instance = self._narrow(self._inputs[index], content_type, parameter)
            self._narrowed[index, content_type] = instance
        if not load:
            return instance
        try:
            return instance.load(cache=True)
        except RainException as error:
            raise RainException(f"Parameter {parameter!r}: {error}") from error

    @staticmethod
    def _narrow(instance: DataInstance, content_type: str | None, parameter: str) -> DataInstance:
        try:
            merged = merge_content_types(instance.content_type, content_type)
        except RainException:
            raise RainException(
                f"Parameter {parameter!r} takes content type {content_type!r}, "
                f"but its data object is {instance.content_type!r}"
            ) from None
        return instance if merged == instance.content_type else instance.with_content_type(merged)


class _NotingLoader(_Loader):
    """Adds the functions that it makes to `made`."""

    def __init__(self, file: io.BytesIO, inputs: Sequence[DataInstance], made: list[FunctionType]) -> None:
        super().__init__(file, inputs)
        self._made = made

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        is_maker = name == _MAKE_FUNCTION and module.startswith("cloudpickle")
        return partial(self._make, found) if is_maker else found

    def _make(self, make: Callable[..., FunctionType], *args: Any) -> FunctionType:
        self._made.append(make(*args))
        return self._made[-1]


def _load_arguments(
    name: str, config: bytes, inputs: Sequence[DataInstance], made: list[FunctionType]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if not config:
        return (), {}
    file = io.BytesIO(config)
    # Asking for each name is slow, and mostly there are no functions.
    by_value = _MAKE_FUNCTION.encode() in config
    loader = _NotingLoader(file, inputs, made) if by_value else _Loader(file, inputs)
    where = "the arguments"
    try:
        count, names = loader.load()
        args = []
        for position in range(count):
            where = f"positional argument {position + 1}"
            args.append(loader.load())
        kwargs = {}
        for keyword in names:
            where = f"argument {keyword!r}"
            kwargs[keyword] = loader.load()
    except RainException as error:
        raise RainException(f"{name}(): {error}") from error
    except Exception as error:  # unpickling runs users' code and imports users' modules
        raise RainException(
            f"{name}(): {where} cannot be loaded by the worker: {type(error).__name__}: {error}{_hint(error)}"
        ) from error
    return tuple(args), kwargs


def _hint(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return (
            f". Module {error.name!r} is not where the worker runs; "
            "install the distribution there that has it where the program runs"
        )
    return ""
