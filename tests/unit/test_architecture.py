"""The layers hold: who may import whom, and that the cores are pure."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from rainzmq.common.states import AttemptState, DataObjectState, SessionState, TaskState, WorkerState

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

STATE_KINDS = (AttemptState, DataObjectState, SessionState, TaskState, WorkerState)

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


def project_imports(path: Path, modules: set[str]) -> set[str]:
    """The modules of this package that a file imports anywhere, for type checking too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found.update(name if name in modules else node.module for name in names)
    return found & modules


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """The sets of modules that reach each other."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        stack = [start]
        while stack:
            new = graph[stack.pop()] - seen
            seen |= new
            stack += new
        reached[start] = seen
    found: list[set[str]] = []
    for start in graph:
        circle = {other for other in reached[start] if start in reached[other]}
        if circle and circle not in found:
            found.append(circle)
    return found


def test_no_files_import_each_other_in_a_circle():
    modules = {module_of(path): path for path in FILES}
    graph = {name: project_imports(path, set(modules)) - {name} for name, path in modules.items()}
    assert [sorted(circle) for circle in circles(graph)] == []


DOCUMENTED = {
    "_exit": "os: ends a forked process without the cleaning up of its parent",
    "_getframe": "sys: the only way to a caller's frame that costs next to nothing",
    "_replace": "of named tuples",
}
"""Names with an underscore that are no private ones, and what they are."""

FOREIGN = {
    "common/pickles.py": {
        "_dynamic_class_reduce": "cloudpickle: pickles a class by value",
        "_DYNAMIC_CLASS_TRACKER_BY_ID": "cloudpickle: the classes that it has made here",
    },
    "common/user_modules.py": {"_path": "importlib: the path of a package without a file"},
    "subworker/aspects.py": {
        "_data": "os.environ: what it holds as bytes, compared between any two tasks",
        "_default_context": "multiprocessing: put back after a task that called set_start_method",
        "_actual_context": "multiprocessing: as above",
        "_filters_mutated": "warnings: must be called after its filters were put back",
    },
    "subworker/children.py": {
        "_forkserver": "multiprocessing: its fork server, whose socket goes with the task that started it",
        "_forkserver_address": "multiprocessing: that socket",
        "_stop": "multiprocessing: ends that server",
    },
    "subworker/leftovers.py": {"_active": "threading: the threads there are, without taking its lock"},
    "subworker/random_state.py": {
        "_inst": "random: the generator behind its functions",
        "_rand": "numpy: the generator behind its functions",
        "_bit_generator": "numpy: the state of that",
    },
    "subworker/temporary.py": {"_config": "multiprocessing: its temporary directory"},
}
"""Private names of other libraries that have no public counterpart, and what they are needed for."""


def private_uses(path: Path) -> list[str]:
    """Uses of `x._y` where x is not `self`, `cls` or `super()`, but for those of `DOCUMENTED` names."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Attribute) or not node.attr.startswith("_"):
            continue
        dunder = node.attr.startswith("__") and node.attr.endswith("__")
        own = ast.unparse(node.value) in ("self", "cls", "super()")
        if not dunder and not own and node.attr not in DOCUMENTED:
            found.append(node.attr)
    return found


def test_nobody_uses_private_names_of_others():
    found = {str(path.relative_to(PACKAGE)): set(private_uses(path)) for path in FILES}
    assert {name: uses for name, uses in found.items() if uses} == {
        name: set(reasons) for name, reasons in FOREIGN.items()
    }


def test_states_are_compared_with_members_and_not_with_strings():
    """A word that nobody checks is a word that somebody spells wrong."""
    words = {str(state) for kind in STATE_KINDS for state in kind}
    found = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Compare):
                continue
            sides = [node.left, *node.comparators]
            is_state = any(
                re.search(r"""(\bstate|\boutcome|\bkind|\["state"\])$""", ast.unparse(side)) for side in sides
            )
            spelled = {
                part.value
                for side in sides
                for part in (side.elts if isinstance(side, ast.Tuple | ast.List | ast.Set) else [side])
                if isinstance(part, ast.Constant)
            }
            if is_state and spelled & words:
                found.append(f"{path}:{node.lineno} {ast.unparse(node)}")
    assert found == []


SAME_NAME: dict[str, str] = {}
"""Names that two classes of the package may have, and why."""


def test_no_two_classes_have_one_name():
    places: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert {name: found for name, found in twice.items() if name not in SAME_NAME} == {}
    assert SAME_NAME.keys() <= twice.keys(), "a name that is allowed for nothing"
