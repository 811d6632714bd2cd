"""The worker's directories, and how it notices that something is wrong with them."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rainzmq.store import ObjectStore
from rainzmq.worker.workplace import Workplace


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    place = Workplace(tmp_path)
    ObjectStore(place.store_root)
    place.remember()
    yield place
    place.release()
    assert not place.path.exists()


def test_nothing_is_wrong_at_first(place: Workplace) -> None:
    assert place.problem() is None
    assert place.trial() is None


@pytest.mark.parametrize("name", ["lock", "store/objects", "store/incoming", "tasks/programs", "tasks", ""])
def test_a_part_that_was_removed_is_named(place: Workplace, name: str) -> None:
    path = place.path / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    problem = place.problem()
    assert problem is not None
    assert f"{place.path} was emptied" in problem
    assert "gone" in problem
    assert "somebody removed it" in problem


def test_a_directory_that_somebody_made_again_is_another_one(place: Workplace) -> None:
    path = place.scratch / "programs"
    path.rename(place.scratch / "other")
    path.mkdir()
    assert "tasks/programs was replaced" in (place.problem() or "")


@pytest.mark.parametrize(
    ("number", "is_problem"),
    [
        (errno.EROFS, True),
        (errno.EIO, True),
        (errno.ENOSPC, False),
        (errno.EDQUOT, False),
        (errno.EMFILE, False),
    ],
)
def test_what_cannot_be_written_to_is_broken_unless_it_is_full(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, number: int, is_problem: bool
) -> None:
    def refuse(*_args: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        problem, trial = place.problem(), place.trial()
    assert (problem is not None) == is_problem
    assert trial is not None
    if is_problem:
        assert "cannot be written to" in (problem or "")
        assert os.strerror(number) in (problem or "")
