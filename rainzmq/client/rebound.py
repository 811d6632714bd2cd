"""Which globals of a module are not what its source says, as far as that can be told from both.

`DEBUG = False` in a module, and later `global DEBUG; DEBUG = True` in a function of it or `module.DEBUG =
True` from outside: whoever imports the module elsewhere has another value. Told by names that are assigned
constants only (lists and dictionaries only where a function declares them `global`, since others are filled
in place), and by functions and classes that are defined without decorators; see `definitions`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from types import ModuleType
from typing import Any

from rainzmq.client.definitions import replaced

_PLAIN = (type(None), bool, int, float, complex, str, bytes, tuple, frozenset)


states: list[Callable[[], bool] | None] = [None]
"""Its only element tells whether the globals that functions of modules bind are the same objects still, for
modules that travel; None when there are none.
"""


def watch_states(modules: Iterable[tuple[ModuleType, bytes]]) -> None:
    """Let `states` be about these modules, with their sources."""
    watched = [
        (vars(module), name, vars(module)[name])
        for module, source in modules
        for name in _declared(source)
        if name in vars(module)
    ]
    states[0] = partial(_are_same, watched) if watched else None


def _are_same(watched: list[tuple[dict[str, Any], str, Any]]) -> bool:
    return all(values.get(name) is value for values, name, value in watched)


def rebound_globals(module: ModuleType, source: bytes, as_written: bool = True) -> list[str]:
    """Names of globals of `module`, and of attributes of its classes (`Class.name`), that hold something else
    than `source` assigns to them. Functions and classes count only if it was compiled `as_written`.
    """
    values = vars(module)
    assigned, others = _constants_of(source)
    found = [
        name
        for name, constants in assigned.items()
        if name in values and not any(_same(values[name], constant) for constant in constants)
    ]
    found += [
        name for name in _declared(source) if name in values and name not in assigned and name not in others
    ]
    if as_written:
        found += replaced(module, source)
    return found


def _same(value: Any, constant: Any) -> bool:
    try:
        return type(value) is type(constant) and bool(value == constant or value != value)
    except Exception:  # elements that cannot be compared are no constants
        return False


@lru_cache(maxsize=4096)
def _declared(source: bytes) -> tuple[str, ...]:
    if b"global" not in source:
        return ()
    names: dict[str, None] = {}
    for node in ast.walk(_parsed(source)):
        if isinstance(node, ast.Global):
            names.update(dict.fromkeys(node.names))
    return tuple(names)


@lru_cache(maxsize=4096)
def _constants_of(source: bytes) -> tuple[dict[str, list[Any]], set[str]]:
    """The constants that may have been assigned to each global, for those that are assigned nothing else, and
    the names of all others.
    """
    constants: dict[str, list[Any]] = {}
    others: set[str] = set()
    declared = set(_declared(source))
    for node in _statements(_parsed(source).body):
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            return {}, declared
        targets = _assigned(node)
        for target in targets:
            try:
                value = ast.literal_eval(node.value)  # type: ignore[attr-defined]
            except (ValueError, TypeError, SyntaxError, AttributeError, MemoryError, RecursionError):
                others.add(target)
                continue
            if isinstance(value, _PLAIN) or target in declared:
                constants.setdefault(target, []).append(value)
            else:
                others.add(target)
        if not targets:
            others.update(_bound(node))
    return {name: values for name, values in constants.items() if name not in others}, others


def _parsed(source: bytes) -> ast.Module:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError):
        return ast.Module([], [])


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when a module is imported, but for those of functions and classes."""
    for node in body:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for field in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(node, field, []))
            for handler in getattr(node, "handlers", []):
                yield from _statements(handler.body)
            for case in getattr(node, "cases", []):
                yield from _statements(case.body)


def _assigned(node: ast.stmt) -> list[str]:
    """The names that an assignment of one value to plain names binds."""
    if isinstance(node, ast.Assign):
        if all(isinstance(target, ast.Name) for target in node.targets):
            return [target.id for target in node.targets if isinstance(target, ast.Name)]
    elif isinstance(node, ast.AnnAssign) and node.value is not None and isinstance(node.target, ast.Name):
        return [node.target.id]
    return []


def _bound(node: ast.stmt) -> Iterator[str]:
    """Every name that any other statement binds or deletes; more than that does no harm."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0]
        return
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
        return
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ExceptHandler) and child.name:
            yield child.name
        if isinstance(child, ast.stmt | ast.ExceptHandler):
            continue  # what is in it is looked at by itself
        for item in ast.walk(child):
            if isinstance(item, ast.Name) and not isinstance(item.ctx, ast.Load):
                yield item.id
