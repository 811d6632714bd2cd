"""Pickling of users' values: the C pickler when everything in a value can be imported, cloudpickle otherwise.

Plain pickle is some 10 times faster, but names functions and classes by their module. What stands in
`__main__` or inside a function cannot be imported by another process, so for a value that holds such a thing
the whole value is pickled again by cloudpickle, which sends code by value. The result of either is loaded by
`pickle.loads`.

How the code of a module travels is asked of `travel` (see `Travel`), which a client and a subworker set. The
names of users' modules that pickles refer to are collected in `named`, for their files have to travel, too.
A function inside a function of a user's module is sent by value, but with the globals of its module, which is
imported where it is loaded; so is one that a decorator put something else in the place of, as `remote` does.
"""

from __future__ import annotations

import dis
import operator
import pickle
import re
import sys
from collections.abc import Callable, Iterator
from enum import Enum
from functools import cache, partial
from io import BytesIO
from types import CodeType, FunctionType, ModuleType
from typing import IO, Any

from rainzmq.common.generators import name_of_shared_generator
from rainzmq.common.nesting import bounded

Refer = Callable[[Any], Any]
"""Called for every object met but numbers, strings, containers and code; gives the persistent id that stands
for it in the pickle, None to pickle it."""

PROTOCOL = 5

ATOMS = frozenset({type(None), bool, int, float, str, bytes})
"""Types of values that need none of what is below: the C function pickles them at once."""

_NEVER_REFERRED = ATOMS | {
    tuple,
    list,
    dict,
    set,
    frozenset,
    bytearray,
    type,
    FunctionType,
    CodeType,
    ModuleType,
}
"""A call of Python code for each item of a list takes ten times as long as pickling it."""

_NO_FILE = "<dynamic-code>"
_BUILTINS = "__builtins__"
_SET_CLASS = re.compile(rb"_class_setstate")
MAIN_NAMES = ("__main__", "__mp_main__")
_IMPORT_NAME = dis.opmap["IMPORT_NAME"]


class Travel(Enum):
    """How the code of a module gets to another process."""

    INSTALLED = "by name: it is there already"
    FILES = "by name: its files go along"
    VALUE = "by value: what is in memory is not what its file says"


named: set[str] = set()
"""Names of users' modules that the pickles of this process referred to so far, and of those that functions in
them import, whosever they are; `ANY_MODULE` when one of these asks for modules by names of its making.
"""

ANY_MODULE = "*"
_MADE_UP = frozenset({"import_module", "__import__"})
"""Functions that import a module by a name that is put together."""

changes = [0]
"""Counts, in its only element, what may have changed the code that travels: a name in `named`, an import or
a reload of a user's module.
"""


def _all_installed(module: str) -> Travel:
    return Travel.INSTALLED


_travel: list[Callable[[str], Travel]] = [_all_installed]


def set_travel(rule: Callable[[str], Travel]) -> None:
    """From now on `rule` says how the module of a name travels. Without a rule all are taken as installed."""
    _travel[0] = rule


def has_travel() -> bool:
    """Whether a rule is set."""
    return _travel[0] is not _all_installed


class NotImportable(Exception):
    """A value holds a function or class that only cloudpickle can send."""


class PlainPickler(pickle.Pickler):
    """The C pickler with references; raises `NotImportable` where code would have to be sent by value."""

    def __init__(self, file: IO[bytes], refer: Refer | None = None) -> None:
        self._refer = refer
        super().__init__(file, PROTOCOL)

    def persistent_id(self, obj: Any) -> Any:
        """What stands for `obj` in the pickle, None for the object itself."""
        return None if type(obj) in _NEVER_REFERRED or self._refer is None else self._refer(obj)

    def reducer_override(self, obj: Any) -> Any:
        """Stops at functions and classes that another process could not import."""
        if (type(obj) is FunctionType or isinstance(obj, type)) and not _importable(obj):
            raise NotImportable(obj)
        return name_of_shared_generator(obj) or NotImplemented


class ByValuePickler(pickle.Pickler):
    """What `by_value_pickler` makes.

    Attributes:
        functions: the functions that were sent by value so far, and those that a wrapper stands for.
        classes: the classes that were sent by value so far.
    """

    functions: list[FunctionType]
    classes: list[type]


def by_value_pickler(file: IO[bytes], refer: Refer | None = None) -> ByValuePickler:
    """A cloudpickle pickler with references."""
    pickler: ByValuePickler = _by_value_class()(file, refer)
    return pickler


@cache
def _by_value_class() -> Any:
    # Imported late: a subworker that only loads pickles starts faster without it.
    import cloudpickle
    from cloudpickle import cloudpickle as inner

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        dispatch_table = _dispatch_table(cloudpickle.Pickler.dispatch_table, inner.dynamic_subimport)

        def __init__(self, file: IO[bytes], refer: Refer | None) -> None:
            self._refer = refer
            self.functions: list[FunctionType] = []
            self.classes: list[type] = []
            super().__init__(file, PROTOCOL)

        def persistent_id(self, obj: Any) -> Any:
            return None if type(obj) in _NEVER_REFERRED or self._refer is None else self._refer(obj)

        def reducer_override(self, obj: Any) -> Any:
            if not isinstance(obj, type):
                return name_of_shared_generator(obj) or super().reducer_override(obj)
            if _goes_by_value(obj.__module__):
                reduced = inner._dynamic_class_reduce(obj)
            else:
                reduced = super().reducer_override(obj)
            if reduced is not NotImplemented and not isinstance(reduced, str) and len(reduced) > 2:
                self.classes.append(obj)
            return reduced

        def _function_reduce(self, obj: FunctionType) -> Any:
            if obj.__module__ is not None and _goes_by_value(obj.__module__):
                return self._dynamic_function_reduce(obj)
            return super()._function_reduce(obj)

        def _dynamic_function_reduce(self, obj: FunctionType) -> Any:
            module = module_of(obj)
            if module is None:
                self.functions.append(obj)
                _name_relatives(obj)
                for name in set(imports_of_code(obj.__code__)):
                    _name_import(name.partition(".")[0])
                if _asks_by_made_up_names(obj.__code__):
                    _name_import(ANY_MODULE)
                return super()._dynamic_function_reduce(obj)
            if _stands_for(module, obj):
                self.functions.append(obj)
                return operator.attrgetter(f"{obj.__qualname__}.__wrapped__"), (module,)
            self.functions.append(obj)
            make, (code, _, *rest), state, *more = super()._dynamic_function_reduce(obj)
            state[1]["__globals__"] = {}
            return make, (code, _GlobalsOf(module), *rest), state, *more

    return Pickler


def _goes_by_value(module: str) -> bool:
    # By cloudpickle's rule a child of multiprocessing could import __mp_main__; others cannot.
    return module in MAIN_NAMES or travels(module) is Travel.VALUE


def _dispatch_table(table: Any, make_module: Any) -> Any:
    reduce_code, reduce_module = table[CodeType], table[ModuleType]

    def reduce_with_file(code: CodeType) -> Any:
        make, parts = reduce_code(code)
        # cloudpickle 3.1.3 leaves the file out, which a traceback shows.
        return make, tuple([code.co_filename if part == _NO_FILE else part for part in parts])

    def reduce_known_module(module: ModuleType) -> Any:
        name = module.__name__
        if sys.modules.get(name) is module and travels(name) is Travel.VALUE:
            return make_module, (name, {key: item for key, item in vars(module).items() if key != _BUILTINS})
        return reduce_module(module)

    return table.new_child({CodeType: reduce_with_file, ModuleType: reduce_known_module})


class _GlobalsOf:
    """Pickled, the globals of a module where the pickle is loaded."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __reduce__(self) -> Any:
        # Nothing of this package: other programs may load what their users stored.
        return getattr, (self._module, "__dict__")


def module_of(function: FunctionType) -> ModuleType | None:
    """The user's module whose globals a function has, where its files travel; None for any other."""
    name = function.__globals__.get("__name__")
    if not isinstance(name, str) or name in MAIN_NAMES:
        return None
    module = sys.modules.get(name)
    if module is None or vars(module) is not function.__globals__:
        return None
    return module if travels(name) is Travel.FILES else None


def _stands_for(module: ModuleType, function: FunctionType) -> bool:
    """Whether what the module has under the function's name is a wrapper around it."""
    if "<" in function.__qualname__:
        return False
    try:
        found = operator.attrgetter(function.__qualname__)(module)
    except AttributeError:
        return False
    return getattr(found, "__wrapped__", None) is function


def _name_relatives(function: FunctionType) -> None:
    """Imports within a function that are relative need the package that it stands in."""
    package = function.__globals__.get("__package__")
    if isinstance(package, str) and package:
        travels(package.partition(".")[0])


def imports_of_code(code: CodeType) -> Iterator[str]:
    """The names of the modules that a function imports when it runs."""
    if _IMPORT_NAME in code.co_code[::2]:
        for step in dis.get_instructions(code):
            if step.opcode == _IMPORT_NAME:
                yield step.argval
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from imports_of_code(const)


def _asks_by_made_up_names(code: CodeType) -> bool:
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    return not _MADE_UP.isdisjoint(code.co_names) or any(map(_asks_by_made_up_names, inner))


def _name_import(name: str) -> None:
    if name in sys.modules:
        travels(name)
    elif name and name not in named:
        named.add(name)
        changes[0] += 1


def loads(data: bytes | memoryview) -> Any:
    """The value of a pickle of either kind. A class that came by value and is known here stays as it is: the
    pickle may be older than what it was changed to since.
    """
    if _SET_CLASS.search(data) is None:
        return pickle.loads(data)
    return _ValueUnpickler(BytesIO(data)).load()


class _ValueUnpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self._known: set[type] = set()

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        if not module.startswith("cloudpickle"):
            return found
        if name in ("_make_skeleton_class", "_make_skeleton_enum"):
            return partial(self._make_class, found)
        return partial(self._set_class, found) if name == "_class_setstate" else found

    def _make_class(self, make: Callable[..., type], *args: Any) -> type:
        from cloudpickle import cloudpickle as inner

        # They get the id by which cloudpickle knows the class last but one.
        is_known = args[-2] in inner._DYNAMIC_CLASS_TRACKER_BY_ID
        made = make(*args)
        if is_known:
            self._known.add(made)
        return made

    def _set_class(self, set_state: Callable[[type, Any], type], made: type, state: Any) -> type:
        return made if made in self._known else set_state(made, state)


def travels(module: str) -> Travel:
    """How the code of a module travels; notes its name when its files have to."""
    how = _travel[0](module)
    if how is Travel.FILES and module not in named:
        named.add(module)
        changes[0] += 1
    return how


def dumps(value: Any, refer: Refer | None = None) -> bytes:
    """`value` as a pickle, by value where it has to be; raises whatever cloudpickle raises for it."""
    if refer is None and type(value) in ATOMS:
        return pickle.dumps(value, PROTOCOL)
    buffer = BytesIO()
    try:
        bounded(PlainPickler(buffer, refer).dump, value)
    except Exception:
        # Also for errors of other kinds: cloudpickle can do more, and its error is the one worth telling.
        return dumps_by_value(value, refer)
    return buffer.getvalue()


def dumps_by_value(value: Any, refer: Refer | None = None) -> bytes:
    """`value` as a pickle made by cloudpickle; raises whatever it raises for it."""
    buffer = BytesIO()
    bounded(by_value_pickler(buffer, refer).dump, value)
    return buffer.getvalue()


def _importable(obj: Any) -> bool:
    module = getattr(obj, "__module__", None)
    if module in MAIN_NAMES or "<" in getattr(obj, "__qualname__", "<"):
        return False
    if module is None:
        return True
    if travels(module) is Travel.VALUE:
        return False
    cloudpickle = sys.modules.get("cloudpickle")
    if cloudpickle is None:
        return True
    registered = cloudpickle.list_registry_pickle_by_value()
    return not any(module == name or module.startswith(name + ".") for name in registered)
