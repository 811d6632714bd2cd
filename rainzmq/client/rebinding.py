"""Notices when something that a pickled function referred to is another object now.

What was looked up by name when the function was pickled, is looked up again at every call: closure cells and
the globals that it and all functions use that were sent by value with it, what these use of users' modules
(`module.X`), and their code and defaults. One generated expression compares it all by identity, some 20 ns
each.

What is changed in place keeps its identity. Whether anything of that kind is in a pickle is told by
`mutable`, and then it is pickled again at every submit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from rainzmq.client.dataobj import DataObject
from rainzmq.client.rebound import states
from rainzmq.common.pickles import ATOMS, Travel, changes, imports_of_code, module_of, travels

_FIXED = (FunctionType, BuiltinFunctionType, ModuleType, DataObject, complex, range, slice)


_TEXT = """
def make({names}):
    def unchanged():
        try:
            return changes[0] == count and (states[0] is None or states[0]()) and {terms}
        except (KeyError, ValueError):
            return False
    def same_objects():
        try:
            return {terms}
        except (KeyError, ValueError):
            return False
    return unchanged, same_objects
"""


class Referents:
    """What functions that were sent by value refer to.

    Attributes:
        unchanged: returns False when any of it may be another object now; mostly with reason.
        mutable: the name and value of what may be changed in place; names are those of the user's variables.
    """

    def __init__(self, root: Any, functions: Iterable[FunctionType], classes: Iterable[type]) -> None:
        """Of `root`, the function that is called, and of what else was sent by value with it."""
        self._root = root
        self.mutable: list[tuple[str, Any]] = []
        self._terms: list[str] = []
        self._scope: dict[str, Any] = {"changes": changes, "count": changes[0], "states": states}
        self._attributes: dict[int, tuple[dict[str, Any], dict[str, None]]] = {}
        self._spaces: dict[int, tuple[dict[str, Any], dict[str, None]]] = {}
        self._missing: list[tuple[dict[str, Any], list[str]]] = []
        self._sizes: list[int] = []
        by_value = set(classes)
        for function in functions:
            self._add_function(function, by_value)
        for globals_, names in self._spaces.values():
            self._add_space(globals_, names, by_value)
        for globals_, names in self._attributes.values():
            place = self._hold(globals_)
            for name in names:
                self._same(f"{place}[{name!r}]", globals_[name])
        for kind in by_value:
            self.mutable.append((kind.__qualname__, kind))
        self.unchanged, self._same_objects = self._compiled()

    def still(self) -> bool:
        """Whether all is as it was, after `unchanged` said no: that may be because globals were added that
        none of the functions uses.
        """
        return self.same_objects() and self.unchanged()

    def same_objects(self) -> bool:
        """Whether what it refers to are the same objects, whatever happened to modules."""
        for index, (globals_, names) in enumerate(self._missing):
            if any(name in globals_ for name in names):
                return False
            self._sizes[index] = len(globals_)
        return self._same_objects()

    def _add_function(self, function: FunctionType, by_value: set[type]) -> None:
        place = self._hold(function)
        self._same(f"{place}.__code__", function.__code__)
        if function.__code__.co_argcount > (function is self._root):  # the root's first one is the context
            self._same(f"{place}.__defaults__", function.__defaults__)
        if function.__code__.co_kwonlyargcount:
            self._same(f"{place}.__kwdefaults__", function.__kwdefaults__)
        given = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        for value in given:
            self._note_mutable(f"a default of {function.__qualname__}()", value, by_value)
        if function.__dict__:
            self.mutable.append((f"attributes of {function.__qualname__}()", function.__dict__))
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
            try:
                value = cell.cell_contents
            except ValueError:
                continue  # it is empty
            self._same(f"{self._hold(cell)}.cell_contents", value)
            self._note_mutable(name, value, by_value)
        globals_ = function.__globals__
        used = _globals_used(function)
        module = module_of(function)
        if module is None:
            self._spaces.setdefault(id(globals_), (globals_, {}))[1].update(used)
            found = [globals_.get(name) for name in used]
            found += [sys.modules.get(name) for name in imports_of_code(function.__code__)]
            names = set(_names_in(function.__code__))
            seen: set[int] = set()
            for value in found:
                self._add_module(value, names, seen)
        else:
            self._add_attributes(module, [name for name in used if name in globals_])

    def _add_module(self, module: Any, names: set[str], seen: set[int]) -> None:
        """A function that has these names in it refers to this object, which may be a module."""
        if not isinstance(module, ModuleType) or id(module) in seen:
            return
        seen.add(id(module))
        if travels(module.__name__) is Travel.FILES:
            values = vars(module)
            used = [name for name in sorted(names) if name in values]
            self._add_attributes(module, used)
            for name in used:
                self._add_module(values[name], names, seen)

    def _add_attributes(self, module: ModuleType, names: Iterable[str]) -> None:
        values = vars(module)
        self._attributes.setdefault(id(values), (values, {}))[1].update(dict.fromkeys(names))

    def _add_space(self, globals_: dict[str, Any], names: dict[str, None], by_value: set[type]) -> None:
        place = self._hold(globals_)
        missing = []
        for name in names:
            if name in globals_:
                self._same(f"{place}[{name!r}]", globals_[name])
                self._note_mutable(name, globals_[name], by_value)
            else:
                missing.append(name)
        if missing:
            self._terms.append(f"len({place}) == sizes[{len(self._sizes)}]")
            self._sizes.append(len(globals_))
            self._missing.append((globals_, missing))

    def _note_mutable(self, name: str, value: Any, by_value: set[type]) -> None:
        if isinstance(value, ModuleType) and travels(value.__name__) is Travel.VALUE:
            self.mutable.append((name, value))
        elif type(value) in ATOMS or isinstance(value, (*_FIXED, type)):
            return
        if isinstance(value, tuple | frozenset) and all(type(item) in ATOMS for item in value):
            return
        if isinstance(value, MethodType) and isinstance(value.__self__, ModuleType | type):
            return
        if isinstance(getattr(value, "__wrapped__", None), FunctionType):
            return
        self.mutable.append((name, value))

    def _hold(self, value: Any) -> str:
        name = f"v{len(self._scope)}"
        self._scope[name] = value
        return name

    def _same(self, expression: str, value: Any) -> None:
        self._terms.append(f"{expression} is {self._hold(value)}")

    def _compiled(self) -> tuple[Callable[[], bool], Callable[[], bool]]:
        self._scope["sizes"] = self._sizes
        scope, self._scope = self._scope, {}
        names = [name for name in scope if name != "__builtins__"]
        # As closure cells they are found faster than as globals.
        made: dict[str, Any] = {}
        terms = " and ".join(["True", *self._terms])
        exec(_TEXT.format(names=", ".join(names), terms=terms), made)
        functions: tuple[Callable[[], bool], Callable[[], bool]] = made["make"](**scope)
        return functions


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _names_in(const)


def _globals_used(function: FunctionType) -> dict[str, None]:
    from cloudpickle.cloudpickle import _extract_code_globals

    names: dict[str, None] = _extract_code_globals(function.__code__)
    return names
