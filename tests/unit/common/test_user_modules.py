"""The modules of clients' programs in one process: each once per content, none mixed up."""

from __future__ import annotations

import importlib
import importlib.resources
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rainzmq.common import pickles
from rainzmq.common.code_units import Module, Root, Unit, UnitRef, pack_unit, unpack_unit
from rainzmq.common.errors import RainException
from rainzmq.common.user_modules import UserModules


@pytest.fixture
def modules() -> Iterator[UserModules]:
    """What a subworker has; afterwards this process is as it was."""
    path, before, finders, rule = list(sys.path), set(sys.modules), list(sys.meta_path), pickles._travel[0]
    yield UserModules()
    sys.path[:], sys.meta_path[:] = path, finders
    pickles.set_travel(rule)
    for name in set(sys.modules) - before:
        del sys.modules[name]


class Program:
    """Units of a program, with texts in place of digests."""

    def __init__(self, modules: UserModules, directory: Path) -> None:
        self.modules = modules
        self.directory = directory

    def enter(self, needs: dict[str, tuple[str, ...] | None] | None = None, **texts: str) -> None:
        """Modules with these texts are in force."""
        refs = []
        for name, text in texts.items():
            unit = Unit(
                (Root("", "/no/such", 1),), {name: Module(f"{name}.py", False)}, {f"{name}.py": text.encode()}
            )
            digest = (name + text).encode()
            refs.append(UnitRef(name, digest, (needs or {}).get(name, (name,)), pack_unit(unit)))
        self.modules.enter(tuple(refs), (), lambda name: b"", str(self.directory))


@pytest.fixture
def program(modules: UserModules, tmp_path: Path) -> Program:
    return Program(modules, tmp_path)


def load(name: str) -> Any:
    return importlib.import_module(name)


def test_unit_survives_the_wire() -> None:
    unit = Unit((Root("p", "/a/p", 7),), {"p": Module("p/__init__.py", True)}, {"p/__init__.py": b"x"})
    assert unpack_unit(pack_unit(unit)) == unit
    with pytest.raises(RainException, match="damaged"):
        unpack_unit(b"nothing of ours")


def test_a_module_runs_once_per_content_whatever_runs_in_between(program: Program) -> None:
    program.enter(mod_a="STATE = []")
    load("mod_a").STATE.append(1)
    program.enter(mod_a="STATE = [0, 0]")
    assert load("mod_a").STATE == [0, 0]
    program.enter()
    assert "mod_a" not in sys.modules
    program.enter(mod_a="STATE = []")
    assert load("mod_a").STATE == [1]


def test_what_imports_a_changed_module_is_run_again_and_nothing_else_is(program: Program) -> None:
    needs: dict[str, tuple[str, ...] | None] = {"mod_a": ("mod_a", "mod_b")}
    user, other = "import mod_b\nWHO = mod_b.WHO", "STATE = []"
    program.enter(needs, mod_a=user, mod_b="WHO = 1", mod_c=other)
    first, kept = load("mod_a"), load("mod_c")
    program.enter(needs, mod_a=user, mod_b="WHO = 2", mod_c=other)
    assert (load("mod_a").WHO, load("mod_c") is kept) == (2, True)
    program.enter(needs, mod_a=user, mod_b="WHO = 1", mod_c=other)
    assert load("mod_a") is first


def test_what_imports_names_that_nobody_knows_is_run_again_with_any_change(program: Program) -> None:
    needs: dict[str, tuple[str, ...] | None] = {"mod_a": None}
    program.enter(needs, mod_a="", mod_b="WHO = 1")
    first = load("mod_a")
    program.enter(needs, mod_a="", mod_b="WHO = 1", mod_c="")
    assert load("mod_a") is first
    program.enter(needs, mod_a="", mod_b="WHO = 2", mod_c="")
    assert load("mod_a") is not first


def test_a_module_of_the_worker_never_wins_and_comes_back(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mod_a.py").write_text("WHO = 'worker'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    of_worker = load("mod_a")
    program.enter(mod_a="WHO = 'user'")
    assert load("mod_a").WHO == "user"
    program.enter()
    assert load("mod_a") is of_worker


def test_a_name_that_the_process_itself_needs_is_refused_naming_both(program: Program) -> None:
    with pytest.raises(RainException, match=r"'json' of the program \(in /no/such\).*json/__init__\.py"):
        program.enter(json="")


def test_a_package_is_a_package_with_its_files(modules: UserModules, tmp_path: Path) -> None:
    files = {
        "pack/__init__.py": b"from pathlib import Path\nfrom . import sub\n"
        b"TEXT = Path(__file__).with_name('data.txt').read_text()\n",
        "pack/sub.py": b"from .deep.more import VALUE\n",
        "pack/deep/more.py": b"VALUE = 1\n",
        "pack/data.txt": b"text",
    }
    names = {
        "pack": Module("pack/__init__.py", True),
        "pack.sub": Module("pack/sub.py", False),
        "pack.deep": Module("pack/deep", True),
        "pack.deep.more": Module("pack/deep/more.py", False),
    }
    data = pack_unit(Unit((Root("pack", "/no/such/pack", 1),), names, files))
    ref = UnitRef("pack", b"1", ("pack",), None)
    modules.enter((ref,), (), lambda name: data if name == ref.hidden_name else b"", str(tmp_path))
    pack = load("pack")
    assert (pack.TEXT, pack.sub.VALUE, pack.deep.more.__name__) == ("text", 1, "pack.deep.more")
    assert pack.__file__.startswith(str(tmp_path))


def test_a_module_is_at_the_clients_path_where_that_is_the_same_directory(
    modules: UserModules, tmp_path: Path
) -> None:
    (tmp_path / "mod_a.py").write_text("text that was edited since")
    for inode, there in ((tmp_path.stat().st_ino, True), (1, False)):
        root = Root("", str(tmp_path), inode)
        unit = Unit((root,), {"mod_a": Module("mod_a.py", False)}, {"mod_a.py": b"def f():\n    1 / 0\n"})
        ref = UnitRef("mod_a", str(inode).encode(), ("mod_a",), pack_unit(unit))
        modules.enter((ref,), (), lambda name: b"", str(tmp_path / "private"))
        assert (load("mod_a").__file__ == str(tmp_path / "mod_a.py")) is there
        import inspect

        assert inspect.getsource(load("mod_a").f) == "def f():\n    1 / 0\n"


def test_other_modules_come_from_the_clients_directories_and_are_never_stale(
    modules: UserModules, tmp_path: Path
) -> None:
    path = ((str(tmp_path), tmp_path.stat().st_ino),)
    for version in (1, 2, 2):
        (tmp_path / "mod_loose.py").write_text(f"VERSION = {version}\n")
        modules.enter((), path, lambda name: b"")
        found = load("mod_loose").VERSION
        assert found == version
    before_path = [entry for entry in sys.path if entry != str(tmp_path)]
    modules.enter((), ((str(tmp_path), 1), ("/no/such", 1)), lambda name: b"")
    assert sys.path == before_path
    assert "mod_loose" not in sys.modules


def test_data_beside_a_package_are_found_as_resources(modules: UserModules, tmp_path: Path) -> None:
    files = {"mod_p/__init__.py": b"", "mod_p/data/words.txt": b"some words"}
    unit = Unit(
        (Root("mod_p", "/no/such/mod_p", 1),),
        {"mod_p": Module("mod_p/__init__.py", True), "mod_p.data": Module("mod_p/data", True)},
        files,
    )
    modules.enter((UnitRef("mod_p", b"1", None, pack_unit(unit)),), (), lambda name: b"", str(tmp_path))
    assert importlib.resources.files("mod_p.data").joinpath("words.txt").read_text() == "some words"
    assert importlib.resources.files("mod_p").joinpath("data", "words.txt").read_text() == "some words"
