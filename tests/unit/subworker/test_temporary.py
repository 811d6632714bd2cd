"""The directory for temporary files of a subworker."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from rainzmq.subworker.temporary import TemporaryFiles


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where it is."""
    return tmp_path / "tmp-1"


@pytest.fixture
def files(place: Path, monkeypatch: pytest.MonkeyPatch) -> TemporaryFiles:
    """As a subworker has it."""
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return TemporaryFiles(str(place))


def test_what_a_task_left_is_gone(files: TemporaryFiles, place: Path) -> None:
    (place / "deep").mkdir()
    (place / "deep" / "file").write_text("x")
    files.clean()
    assert list(place.iterdir()) == []


def test_a_place_that_was_not_used_is_left_alone(files: TemporaryFiles, place: Path) -> None:
    before = os.stat(place)
    files.clean()
    files.clean()
    assert os.stat(place) == before


def test_what_came_and_went_is_seen_too(files: TemporaryFiles, place: Path) -> None:
    (place / "file").write_text("x")
    (place / "file").unlink()
    files.clean()
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("how", ["gone", "moved", "a file", "locked"])
def test_a_place_that_was_taken_away_is_made_again(
    files: TemporaryFiles, place: Path, tmp_path: Path, how: str
) -> None:
    if how == "locked":
        place.chmod(0)
    elif how == "moved":
        place.rename(tmp_path / "elsewhere")
    else:
        place.rmdir()
        if how == "a file":
            place.write_text("x")
    files.clean()
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert list(place.iterdir()) == []
    (place / "file").write_text("x")
    files.clean()
    assert list(place.iterdir()) == []


def test_a_closed_descriptor_is_no_harm(files: TemporaryFiles, place: Path) -> None:
    os.close(files._descriptor)
    (place / "file").write_text("x")
    files.clean()
    assert list(place.iterdir()) == []


def test_tempfile_asks_again_when_a_task_set_its_place(files: TemporaryFiles) -> None:
    tempfile.tempdir = "/no/such/place"
    files.clean()
    assert tempfile.tempdir is None
