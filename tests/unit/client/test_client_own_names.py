"""Names that a user's module cannot have on a worker."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import rainzmq
from rainzmq.client.own_names import _files_of_a_subworker, check_unit_name
from rainzmq.common.errors import RainException
from rainzmq.common.user_modules import OWN_NAMES


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("msgpack", "msgpack/__init__.py"),
        ("json", "json/__init__.py"),
        ("uuid", "uuid.py"),
        ("gc", "built into"),
    ],
)
def test_what_a_subworker_imports_is_refused_naming_both_files(name: str, file: str) -> None:
    with pytest.raises(RainException, match=rf"Module '{name}' of this program \(/x/{name}.py\).*{file}"):
        check_unit_name(name, f"/x/{name}.py")


@pytest.mark.parametrize("name", ["code", "test", "statistics", "xmlrpc", "helper"])
def test_every_other_name_may_be_taken(name: str) -> None:
    check_unit_name(name, f"/x/{name}.py")


def test_what_a_subworker_imports_later_is_known_as_well() -> None:
    root = Path(rainzmq.__file__).parent
    later = {
        name
        for part in ("common", "protocol", "subworker")
        for file in (root / part).rglob("*.py")
        for name in imported_in_functions(ast.parse(file.read_text()))
    }
    assert {"ctypes", "cloudpickle", "threadpoolctl"} <= later
    assert later & OWN_NAMES <= {name.partition(".")[0] for name in _files_of_a_subworker()}


def imported_in_functions(tree: ast.Module) -> Iterator[str]:
    """Top-level names of what the functions of a module import."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    yield from (alias.name.partition(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module:
                    yield node.module.partition(".")[0]
