"""Private working directories, and what is left of those of dead processes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rainzmq.common.errors import RainException
from rainzmq.store import default_workdir, private_workdir, release_workdir
from rainzmq.store.workdir import remove_abandoned


def test_a_working_directory_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = private_workdir(tmp_path)
    finally:
        os.umask(before)
    assert path.is_relative_to(tmp_path)
    assert [stat.S_IMODE(p.stat().st_mode) for p in (path, path.parent)] == [0o700, 0o700]
    release_workdir(path)
    assert not list(tmp_path.iterdir())


def test_directories_of_living_processes_are_left_alone(tmp_path: Path) -> None:
    first = private_workdir(tmp_path)
    (first / "file").write_text("x")
    second = private_workdir(tmp_path)
    assert first != second
    assert (first / "file").exists()
    release_workdir(first)
    assert second.exists()
    release_workdir(second)


def test_what_a_dead_process_left_is_swept(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from rainzmq.store import private_workdir
path = private_workdir(Path({str(tmp_path)!r}))
(path / "sealed").mkdir(mode=0o555)
print(path, flush=True)
os._exit(1)
"""
    left = Path(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip())
    assert left.exists()
    path = private_workdir(tmp_path)
    assert not left.exists()
    release_workdir(path)


def test_a_base_that_can_not_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        RainException, match=r"the working directory .*/file/x cannot be used: Not a directory"
    ):
        private_workdir(tmp_path / "file" / "x")


def test_the_default_is_below_a_directory_of_the_user() -> None:
    path = default_workdir()
    assert path.parent.name.startswith("rainzmq-")
    release_workdir(path)


def test_directories_of_dead_processes_deeper_than_any_path_are_removed(tmp_path: Path) -> None:
    dead = tmp_path / f"rainzmq-{os.geteuid()}" / "dead"
    dead.mkdir(parents=True)
    here = os.open(dead, os.O_RDONLY)
    for _ in range(60):
        os.mkdir("x" * 100, dir_fd=here)
        inner = os.open("x" * 100, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    path = private_workdir(tmp_path)
    assert not dead.exists()
    release_workdir(path)


def test_an_abandoned_directory_can_be_removed_without_making_another(tmp_path: Path) -> None:
    alive = private_workdir(tmp_path)
    code = f"""
import os
from pathlib import Path
from rainzmq.store import private_workdir
print(private_workdir(Path({str(tmp_path)!r})), flush=True)
os._exit(1)
"""
    left = Path(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip())
    for path in (left, alive, left):
        remove_abandoned(path)
    assert not left.exists()
    assert alive.exists()
    release_workdir(alive)
    assert not list(tmp_path.iterdir())
