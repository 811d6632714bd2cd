"""Whether the functions of a module became those of its edited file though nothing imported it again.

`%autoreload 2` of IPython and tools like it give functions of a module their new code in place and add those
that are new. They compile them one by one, so that lines, and indents within strings, are others than those
of the file; all else is compared.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cached_property, lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

_KINDS = 0x2AC
"""Of the flags of code, those for its parameters and for generators and coroutines."""

_Function = tuple[Any, Any]
"""Code without lines, and defaults, None when they are not constants."""


def is_of_new_source(module: ModuleType, old: bytes | None, new: bytes) -> bool | None:
    """Of the functions and methods that differ between two sources, all without an `old` one: whether the
    module has those of the new one; None when it has neither these nor those.
    """
    before, after = {} if old is None else _functions(old), _functions(new)
    all_new = all_old = True
    for name in after:
        if after[name] == before.get(name):
            continue
        there, found = _in_memory(module, name)
        if not found and name in before:
            continue  # it was deleted, or decorators made something else of it
        all_new = all_new and (_are(found, after[name]) if found else there)
        all_old = all_old and (_are(found, before[name]) if name in before else not there)
    if all_old and old is not None:
        return False
    return True if all_new and after else None


def _are(found: list[_Function], defined: list[_Function]) -> bool:
    return all(
        any(code == item and given in (None, defaults) for item, given in defined) for code, defaults in found
    )


def _in_memory(module: ModuleType, name: str) -> tuple[bool, list[_Function]]:
    """Whether a module has something under a name, and the functions in it."""
    value: Any = module
    for part in name.split("."):
        try:
            value = vars(value)[part]
        except (TypeError, KeyError):
            return False, []
    parts = (value.fget, value.fset, value.fdel) if isinstance(value, property) else (value,)
    found = []
    for item in parts:
        if isinstance(item, staticmethod | classmethod):
            item = item.__func__
        elif isinstance(item, cached_property):
            item = item.func
        for _ in range(100):  # wrappers may stand around each other in a circle
            item = getattr(item, "__wrapped__", item)
        if isinstance(item, FunctionType):
            defaults = (item.__defaults__ or (), item.__kwdefaults__ or {})
            found.append((_without_lines(item.__code__), repr(defaults)))
    return True, found


@lru_cache(maxsize=256)
def _functions(source: bytes) -> dict[str, list[_Function]]:
    """The functions of a source by name, methods as `Class.name`; none when it cannot be compiled."""
    try:
        tree, code = ast.parse(source), compile(source, "<module>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    defaults = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            defaults[min([node, *node.decorator_list], key=_line).lineno, node.name] = _defaults(node)
    found: dict[str, list[_Function]] = {}
    for name, item in _codes(code, ""):
        function = _without_lines(item), defaults.get((item.co_firstlineno, item.co_name))
        found.setdefault(name, []).append(function)
    return found


def _line(node: ast.stmt | ast.expr) -> int:
    return node.lineno


def _defaults(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str | None:
    given = node.args
    try:
        keywords = {
            argument.arg: ast.literal_eval(value)
            for argument, value in zip(given.kwonlyargs, given.kw_defaults, strict=True)
            if value is not None
        }
        return repr((tuple([ast.literal_eval(value) for value in given.defaults]), keywords))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _codes(code: CodeType, prefix: str) -> Iterator[tuple[str, CodeType]]:
    for const in code.co_consts:
        if isinstance(const, CodeType) and not const.co_name.startswith("<"):
            if const.co_flags & 1:  # optimized, as only functions are
                yield prefix + const.co_name, const
            else:
                yield from _codes(const, f"{prefix}{const.co_name}.")


def _without_lines(code: CodeType) -> Any:
    return (
        code.co_code,
        code.co_name,
        code.co_flags & _KINDS,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
        (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars),
        code.co_exceptiontable,
        tuple([_plain(const) for const in code.co_consts]),
    )


def _plain(const: Any) -> Any:
    if isinstance(const, CodeType):
        return _without_lines(const)
    if isinstance(const, str) and "\n" in const:
        return const.split()
    return const if isinstance(const, frozenset) else repr(const)
