"""Which files travel with a module, and what they import."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rainzmq.client import imported
from rainzmq.client.unit_files import MAX_DATA_FILE_BYTES, UnitFiles, imports_of
from rainzmq.common.code_units import Unit, unpack_unit


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def content(files: UnitFiles) -> Unit:
    return unpack_unit(files.data)


def test_a_package_goes_with_all_its_modules_and_small_files(place: Path) -> None:
    package = place / "up_pack"
    (package / "sub" / "__pycache__").mkdir(parents=True)
    for name in ("__init__.py", "one.py", "sub/two.py", "data.txt", ".hidden", "sub/__pycache__/two.pyc"):
        (package / name).write_text("x = 1\n")
    (package / "large.bin").write_bytes(bytes(MAX_DATA_FILE_BYTES + 1))
    unit = content(UnitFiles("up_pack", [str(package)]))
    names = ["up_pack/__init__.py", "up_pack/data.txt", "up_pack/one.py", "up_pack/sub/two.py"]
    assert sorted(unit.files) == names
    assert sorted(unit.modules) == ["up_pack", "up_pack.one", "up_pack.sub", "up_pack.sub.two"]
    assert (unit.roots[0].path, unit.roots[0].inode) == (str(package), os.stat(package).st_ino)


def test_a_single_module_goes_with_the_files_that_it_names(place: Path) -> None:
    (place / "up_one.py").write_text(
        "from pathlib import Path\nPATH = Path(__file__).with_name('named.txt')\n"
    )
    for name in ("named.txt", "other.txt"):
        (place / name).write_text("text")
    unit = content(UnitFiles("up_one", [str(place / "up_one.py")]))
    assert sorted(unit.files) == ["named.txt", "up_one.py"]


def test_an_imported_module_goes_as_it_was_imported(place: Path) -> None:
    imported.install()
    path = place / "up_edited.py"
    path.write_text("A = 1\n")
    module = importlib.import_module("up_edited")
    first = UnitFiles("up_edited", [str(path)])
    path.write_text("A = 2\n")
    assert first.is_current([str(path)], look_at_modules=True, look_at_disk=True)
    assert content(UnitFiles("up_edited", [str(path)])).files == {"up_edited.py": b"A = 1\n"}
    importlib.reload(module)
    assert not first.is_current([str(path)], look_at_modules=True, look_at_disk=False)
    assert content(UnitFiles("up_edited", [str(path)])).files == {"up_edited.py": b"A = 2\n"}


def test_what_is_not_imported_goes_as_it_is_on_disk(place: Path) -> None:
    package = place / "up_lazy"
    package.mkdir()
    (package / "__init__.py").write_text("")
    first = UnitFiles("up_lazy", [str(package)])
    (package / "new.py").write_text("A = 1\n")
    assert not first.is_current([str(package)], look_at_modules=False, look_at_disk=True)
    assert "up_lazy.new" in content(UnitFiles("up_lazy", [str(package)])).modules


def test_a_module_that_was_edited_before_it_was_first_seen_is_known_to_be(place: Path) -> None:
    path = place / "up_unseen.py"
    path.write_text("def f(): return 1\n")
    spec = importlib.util.spec_from_file_location("up_unseen", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["up_unseen"] = module
    spec.loader.exec_module(module)
    path.write_text("def f(): return 2\n")
    assert UnitFiles("up_unseen", [str(path)]).edited == {"up_unseen": str(path)}


def test_imports_are_found_wherever_they_stand() -> None:
    source = b"import a, b.c as d\nfrom e.f import g\ndef h():\n    from . import i\n    if 1: import j\n"
    assert imports_of(source) == ({"a", "b", "e", "j"}, None)
    names, asked_for = imports_of(b"import importlib\nimportlib.import_module('plugin.' + x)\n")
    assert names == {"importlib"}
    assert asked_for == {"plugin"}


def test_whose_a_module_is() -> None:
    import json

    import msgpack

    for module in (json, msgpack, sys, pytest):
        places = list(getattr(module, "__path__", [getattr(module, "__file__", "")]))
        assert imported.users_places(module.__name__, module.__spec__, places) == []
    assert imported.users_places("here", None, [__file__]) == [__file__]
