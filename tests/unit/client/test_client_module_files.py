"""Files on disk and in zip files look alike."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from rainzmq.client import module_files
from rainzmq.client.module_files import Entry
from rainzmq.client.unit_files import UnitFiles
from rainzmq.common.code_units import unpack_unit

FILES = {"pack/__init__.py": "import other\n", "pack/sub/data.txt": "12345", "top.py": ""}


@pytest.fixture(params=["on disk", "in a zip file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "on disk":
        for name, text in FILES.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return str(tmp_path)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
    return str(tmp_path / "a.zip")


def test_they_are_listed_and_read(place: str) -> None:
    assert module_files.is_directory(f"{place}/pack/sub")
    assert not module_files.is_directory(f"{place}/top.py")
    assert module_files.size(f"{place}/pack/sub/data.txt") == 5
    assert module_files.size(f"{place}/pack") is None
    assert module_files.read(f"{place}/pack/sub/data.txt") == b"12345"
    assert list(module_files.entries(f"{place}/pack")) == [
        Entry("__init__.py", f"{place}/pack/__init__.py", 13),
        Entry("sub", f"{place}/pack/sub", None),
    ]


def test_what_is_not_there_is_nothing(place: str) -> None:
    for path in (f"{place}/no", f"{place}/top.py/no", f"{place}/pack/no/no"):
        assert not module_files.exists(path)
        assert module_files.read(path) is None
        assert module_files.size(path) is None
        assert module_files.signature(path) is None
        assert list(module_files.entries(path)) == []


def test_a_damaged_zip_file_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 and no more")
    assert module_files.read(f"{tmp_path}/a.zip/top.py") is None


def test_a_unit_in_a_zip_file_is_nowhere_on_a_workers_disk(place: str) -> None:
    files = UnitFiles("pack", [f"{place}/pack"])
    unit = unpack_unit(files.data)
    assert sorted(unit.files) == ["pack/__init__.py", "pack/sub/data.txt"]
    assert files.imports() == {"other"}
    assert unit.roots[0].inode == (0 if place.endswith(".zip") else os.stat(f"{place}/pack").st_ino)
