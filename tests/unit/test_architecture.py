"""The layers hold: who may import whom, and that the cores are pure."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "rainzmq"

TIERS = {
    "common": 1,
    "protocol": 2,
    "scheduler": 2,
    "server.core": 3,
    "worker.core": 3,
    "transport": 4,
    "store": 4,
    "server": 5,
    "worker": 5,
    "client": 5,
    "subworker": 5,
    "monitoring": 6,
    "rest": 7,
    "testing": 7,
    "dashboard": 8,
    "deploy": 8,
    "cli": 9,
}

IMPURE = {
    "zmq",
    "time",
    "os",
    "socket",
    "threading",
    "logging",
    "random",
    "subprocess",
    "secrets",
    "datetime",
    "pathlib",
    "select",
    "shutil",
    "tempfile",
    "psutil",
    "asyncio",
}

FILES = sorted(PACKAGE.rglob("*.py"))


def package_of(module: str) -> str | None:
    """The package of a dotted module name within rainzmq; None for the top level."""
    parts = module.split(".")[1:]
    for length in (2, 1):
        name = ".".join(parts[:length])
        if name in TIERS:
            return name
    return None


def imports(path: Path) -> set[str]:
    """Dotted names of the modules a file imports at any level, but for type checking only."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_package_imports_only_from_tiers_above_its_own(path):
    own = package_of(module_of(path))
    if own is None:
        return
    for name in imports(path):
        if not name.startswith("rainzmq."):
            continue
        other = package_of(name)
        if other is None or other == own:
            continue
        allowed = TIERS[other] < TIERS[own]
        assert allowed, f"{own} (tier {TIERS[own]}) imports {name} (tier {TIERS[other]})"


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if "core" in path.parts or "scheduler" in path.parts],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_cores_and_policies_are_pure(path):
    impure = {name for name in imports(path) if name.split(".")[0] in IMPURE}
    assert not impure


def test_only_the_transport_imports_zmq():
    users = {
        module_of(path)
        for path in FILES
        if any(name.split(".")[0] == "zmq" for name in imports(path))
        and package_of(module_of(path)) != "transport"
    }
    assert users == set()


def test_server_and_worker_never_unpickle():
    """Functions, arguments and exceptions are opaque to them."""
    for path in FILES:
        package = package_of(module_of(path))
        if package in ("client", "subworker", "common", "cli", "deploy", None):
            continue
        assert not {"pickle", "cloudpickle", "marshal", "shelve"} & imports(path), path


def test_files_and_functions_stay_readable():
    for path in FILES:
        text = path.read_text()
        assert text.count("\n") <= 500, f"{path} has over 500 lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno
                assert length <= 60, f"{path}:{node.lineno} {node.name} has {length} lines"


def test_every_public_class_and_function_has_a_docstring():
    missing = []
    for path in FILES:
        tree = ast.parse(path.read_text())
        if not ast.get_docstring(tree) and tree.body:
            missing.append(str(path))
        for node in tree.body:
            named = isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
            overload = named and any(ast.unparse(item) == "overload" for item in node.decorator_list)
            if named and not overload and not ast.get_docstring(node):
                missing.append(f"{path}:{node.lineno} {node.name}")
    assert missing == []
