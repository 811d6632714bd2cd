"""The working directory of a task is as empty as if it were new."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rainzmq.subworker.sandbox import TaskDirectories


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[TaskDirectories]:
    before = os.getcwd()
    sandbox = TaskDirectories()
    sandbox.enter(str(tmp_path))
    yield sandbox
    os.chdir(before)
    sandbox.leave(set())


def next_task(sandbox: TaskDirectories, base: Path) -> str:
    """The working directory of the task after this one."""
    sandbox.leave(set())
    sandbox.enter(str(base))
    return os.getcwd()


def test_an_untouched_directory_is_used_again(sandbox: TaskDirectories, tmp_path: Path) -> None:
    here = os.getcwd()
    for _ in range(3):
        assert next_task(sandbox, tmp_path) == here


def test_one_that_is_empty_again_is_used_again(sandbox: TaskDirectories, tmp_path: Path) -> None:
    here = os.getcwd()
    Path("file").write_bytes(b"")
    os.unlink("file")
    assert next_task(sandbox, tmp_path) == here
    assert next_task(sandbox, tmp_path) == here


def _restore_times(make: Callable[[], object]) -> None:
    before = os.stat(".")
    make()
    os.utime(".", ns=(before.st_atime_ns, before.st_mtime_ns))


def _unpack_a_tar_with_the_directory_in_it() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(".")
        info = tarfile.TarInfo("secret")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as tar:
        tar.extractall(".")


@pytest.mark.parametrize(
    "leave",
    [
        lambda: Path("file").write_bytes(b"x"),
        lambda: Path(".hidden").mkdir(),
        lambda: os.symlink("/etc/passwd", "link"),
        lambda: _restore_times(lambda: Path("file").write_bytes(b"x")),
        lambda: _restore_times(lambda: Path(".hidden").mkdir()),
        _unpack_a_tar_with_the_directory_in_it,
    ],
    ids=["file", "hidden", "link", "file and time restored", "hidden and time restored", "tar"],
)
def test_what_a_task_left_is_gone(
    sandbox: TaskDirectories, tmp_path: Path, leave: Callable[[], object]
) -> None:
    leave()
    for _ in range(2):
        next_task(sandbox, tmp_path)
        assert os.listdir(".") == []


def test_modes_and_names_are_as_of_a_new_directory(sandbox: TaskDirectories, tmp_path: Path) -> None:
    os.chmod(".", 0o500)
    next_task(sandbox, tmp_path)
    assert os.stat(".").st_mode & 0o777 == 0o700
    os.rename(os.getcwd(), tmp_path / "elsewhere")
    next_task(sandbox, tmp_path)
    Path("file").write_bytes(b"x")
    assert Path(sandbox.stage("file", is_directory=False)).read_bytes() == b"x"


def test_a_directory_that_is_gone_is_replaced(sandbox: TaskDirectories, tmp_path: Path) -> None:
    os.rmdir(os.getcwd())
    next_task(sandbox, tmp_path)
    assert os.listdir(".") == []
