"""Which functions, classes and methods of a module are not those that its source defines.

`module.helper = other`, `module.Class.LIMIT = 3`, `module.Class.method = other`, `module.helper.__code__ =
...`: whoever imports the module elsewhere has those of the file. Told only of what is defined without
decorators, in classes that nothing but `class` made.
"""

from __future__ import annotations

import ast
from abc import ABCMeta
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

_WRAPPED = ("__new__", "__init_subclass__", "__class_getitem__")
"""Functions of a class that become something else by themselves."""


class _Defined:
    """What a source defines.

    Attributes:
        functions: names of functions, and of methods as `Class.name`.
        classes: names of classes, with constants that are assigned in them.
    """

    def __init__(self, source: bytes) -> None:
        self.functions: list[str] = []
        self.classes: dict[str, dict[str, Any]] = {}
        self._codes: set[CodeType] = set()
        self._known: dict[str, CodeType] = {}
        try:
            tree, code = ast.parse(source), compile(source, "<module>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return
        self._codes = set(_codes(code))
        for name, node in _bound_once(tree.body):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self.functions.append(name)
            elif isinstance(node, ast.ClassDef):
                self._add_class(node)

    def _add_class(self, node: ast.ClassDef) -> None:
        constants = self.classes[node.name] = {}
        for name, item in _bound_once(node.body):
            if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and name not in _WRAPPED:
                self.functions.append(f"{node.name}.{name}")
            elif isinstance(item, ast.Assign) and isinstance(item.value, ast.Constant) and name[:2] != "__":
                constants[name] = item.value.value

    def has(self, name: str, code: CodeType) -> bool:
        """Whether a function may have this code."""
        if self._known.get(name) is code:
            return True
        if code not in self._codes:
            return False
        self._known[name] = code
        return True


_defined = lru_cache(maxsize=1024)(_Defined)


def replaced(module: ModuleType, source: bytes) -> Iterator[str]:
    """Names of what is not as it is defined: methods and constants of classes as `Class.name`, other code of
    the same function as `name.__code__`.
    """
    defined = _defined(source)
    plain: dict[str, bool] = {}
    for name in defined.classes:
        value = vars(module).get(name)
        if name in vars(module) and not _is_of(value, module, name):
            yield name
        plain[name] = isinstance(value, type) and _is_of(value, module, name) and _is_plain(value)
        for item, constant in defined.classes[name].items() if plain[name] else ():
            now = vars(value).get(item, constant)
            if type(now) is not type(constant) or (now != constant and now == now):
                yield f"{name}.{item}"
    for name in defined.functions:
        owner, _, item = name.rpartition(".")
        if owner and not plain.get(owner):
            continue
        values = vars(vars(module)[owner]) if owner else vars(module)
        if item not in values:
            continue
        value = values[item]
        if type(value) is not FunctionType or not _is_of(value, module, name):
            yield name
        elif value.__globals__ is vars(module) and not defined.has(name, value.__code__):
            yield f"{name}.__code__"


def _is_of(value: Any, module: ModuleType, name: str) -> bool:
    return (
        getattr(value, "__module__", None) == module.__name__ and getattr(value, "__qualname__", None) == name
    )


def _is_plain(kind: type) -> bool:
    """Whether a class has what stands in its body and nothing else."""
    return (
        type(kind) in (type, ABCMeta)
        and "__orig_bases__" not in vars(kind)
        and not any("__init_subclass__" in vars(base) for base in kind.__mro__[1:-1])
    )


def _bound_once(body: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """The names that one of these statements defines without decorators, or assigns, and no other names."""
    count: dict[str, int] = {}
    for node in body:
        for name in _names_bound(node):
            count[name] = count.get(name, 0) + 1
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if count[node.name] == 1 and not node.decorator_list:
                yield node.name, node
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            if isinstance(target, ast.Name) and count[target.id] == 1:
                yield target.id, node


def _names_bound(node: ast.stmt) -> Iterator[str]:
    """More than that does no harm."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
        # What functions declare global they may bind.
        for item in ast.walk(node):
            if isinstance(item, ast.Global):
                yield from item.names
        return
    for item in ast.walk(node):
        if isinstance(item, ast.Name) and not isinstance(item.ctx, ast.Load):
            yield item.id
        elif isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield item.name
        elif isinstance(item, ast.alias):
            yield item.asname or item.name.partition(".")[0]


def _codes(code: CodeType) -> Iterator[CodeType]:
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield const
            yield from _codes(const)
