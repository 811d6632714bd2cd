"""Removing whatever a task can make."""

from __future__ import annotations

import fcntl
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rainzmq.common.archive import ArchiveError
from rainzmq.common.removal import remove
from rainzmq.common.trees import check_tree, tree_size


def make_deep(root: Path, name: str, depth: int) -> None:
    """Directories inside one another, with a file in each, beyond where paths lead."""
    root.mkdir()
    here = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.close(here)
        here = below
    os.close(here)


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 16, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("few_descriptors")
@pytest.mark.parametrize(("name", "depth"), [("x" * 100, 60), ("d", 3000)])
def test_a_tree_deeper_than_any_path_is_removed(tmp_path: Path, name: str, depth: int) -> None:
    root = tmp_path / "deep"
    make_deep(root, name, depth)
    remove(str(root))
    assert not root.exists()


def test_wide_trees_with_siblings_at_every_level_are_removed(tmp_path: Path) -> None:
    root = tmp_path / "wide"
    for path in ("a/b/c", "a/d/e", "f/g", "h"):
        (root / path).mkdir(parents=True)
        (root / path / "file").touch()
    remove(str(root))
    assert not root.exists()


def test_links_are_removed_and_never_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "kept").touch()
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (root / "inner" / "link").symlink_to(other)
    (tmp_path / "top").symlink_to(other)
    remove(str(root))
    remove(str(tmp_path / "top"))
    assert sorted(os.listdir(tmp_path)) == ["other"]
    assert os.listdir(other) == ["kept"]


def test_fifos_and_sockets_do_not_hold_it_up(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    os.mkfifo(root / "fifo")
    remove(str(root))
    assert not root.exists()


def test_what_is_missing_is_no_error(tmp_path: Path) -> None:
    remove(str(tmp_path / "missing"))


@pytest.mark.skipif(os.geteuid() != 0, reason="a process without root's rights is started as root")
@pytest.mark.parametrize("mode", [0, 0o100, 0o400])
def test_modes_do_not_matter_to_a_user_without_rights(tmp_path: Path, mode: int) -> None:
    home = tmp_path / "home"
    (home / "root" / "inner" / "below").mkdir(parents=True)
    (home / "root" / "inner" / "file").touch()
    for path in (
        home,
        home / "root",
        home / "root/inner",
        home / "root/inner/below",
        home / "root/inner/file",
    ):
        os.chown(path, 65534, 65534)
    for path in (home / "root/inner/below", home / "root/inner", home / "root"):
        path.chmod(mode)
    # As that user, and below a directory that it may pass through.
    program = (
        "import os, sys; from rainzmq.common.removal import remove; os.chdir(sys.argv[1]); "
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); remove('root'); print(os.listdir())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(home)], capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_immutable_files_and_directories_are_removed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (root / "inner" / "file").touch()
    for path in (root / "inner" / "file", root / "inner", root):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, 0x40086602, (0x10).to_bytes(8, "little"))
        except OSError as error:
            pytest.skip(f"flags of files cannot be set here: {error}")
        finally:
            os.close(descriptor)
    remove(str(root))
    assert not root.exists()


def test_walkers_name_a_tree_that_is_too_deep_or_leave_it_out(tmp_path: Path) -> None:
    root = tmp_path / "deep"
    make_deep(root, "x" * 100, 60)
    with pytest.raises(
        ArchiveError, match="is too deep: paths in it are longer than the 4096 bytes"
    ) as caught:
        check_tree(root)
    assert len(str(caught.value)) < 500
    assert tree_size(root) == 0
    remove(str(root))


def test_trees_deeper_than_the_recursion_limit_are_walked(tmp_path: Path) -> None:
    root = tmp_path / "deep"
    make_deep(root, "d", 1500)
    check_tree(root)
    remove(str(root))
