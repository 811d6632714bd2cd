"""Directories as data objects: constants, inputs and results of tasks, and what is fetched of them."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rainzmq import (
    Client,
    Input,
    InputDir,
    LocalCluster,
    OutputDir,
    RainException,
    Session,
    blob,
    directory,
    remote,
    tasks,
)
from rainzmq.common import DataInstance, DataType
from rainzmq.subworker.context import Context

MIB = 1 << 20


@pytest.fixture
def session(client: Client) -> Iterator[Session]:
    """A session that is active during the test."""
    with client.new_session("of a test") as session:
        yield session
        session.close()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with all that one may hold."""
    root = tmp_path / "tree"
    (root / "sub" / "deeper").mkdir(parents=True)
    (root / "empty" / "also empty").mkdir(parents=True)
    (root / "file").write_bytes(b"content")
    (root / "nothing").write_bytes(b"")
    (root / "sub" / "large").write_bytes(bytes(range(256)) * 8000)
    (root / "sub" / "näme with späces\n").write_bytes(b"odd")
    (root / "run").write_text("#!/bin/sh\necho ran\n")
    (root / "run").chmod(0o755)
    (root / "private").write_bytes(b"p")
    (root / "private").chmod(0o600)
    (root / "read only").write_bytes(b"r")
    (root / "read only").chmod(0o444)
    (root / "sub").chmod(0o750)
    (root / "link").symlink_to("sub/large")
    (root / "sub" / "deeper" / "up").symlink_to("../../file")
    (root / "to dir").symlink_to("sub")
    (root / "dangling").symlink_to("sub/not there")
    return root


def listing(root: Path) -> dict[str, tuple[object, ...]]:
    """All of a tree but times and owners."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_dir():
            found[name] = ("dir", mode)
        else:
            found[name] = ("file", mode, path.read_bytes())
    return found


def writable(entries: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """The listing of a copy that its owner may write to."""
    return {
        name: entry if entry[0] == "link" else (entry[0], int(str(entry[1])) | 0o200, *entry[2:])
        for name, entry in entries.items()
    }


def test_constant_comes_back_with_empty_directories_modes_and_links(
    session: Session, tree: Path, tmp_path: Path
) -> None:
    constant = directory(tree)
    constant.keep()
    constant.expect_dir()
    session.submit()
    instance = constant.fetch()
    instance.write(tmp_path / "written")
    constant.fetch(path=tmp_path / "fetched")
    assert listing(tmp_path / "written") == writable(listing(tree))
    assert listing(tmp_path / "fetched") == writable(listing(tree))


def test_directory_goes_through_tasks_and_between_workers(
    session: Session, tree: Path, tmp_path: Path
) -> None:
    @remote(outputs=[OutputDir("out")])
    def copy(ctx: Context, source: DataInstance) -> DataInstance:
        source.write("copy")
        Path("copy/made").write_text(str(source.content_type))
        return ctx.stage_directory("copy")

    # Two chains at once on two workers, so one of them has to get the directory.
    constant = directory(tree)
    copies = [copy(tasks.Sleep(constant, 0.1)) for _ in range(2)]
    for task in copies:
        task.output.keep()
    session.submit()
    expected = writable(listing(tree)) | {"made": ("file", 0o644, b"dir")}
    for number, task in enumerate(copies):
        task.output.fetch().write(tmp_path / str(number))
        assert listing(tmp_path / str(number)) == expected


def test_programs_read_and_make_directories(session: Session, tree: Path, tmp_path: Path) -> None:
    task = tasks.Execute(
        "in/run; ls in | wc -l; mkdir out out/empty; cp in/file out; cd out; ln -s file link; chmod 700 file",
        shell=True,
        stdout="said",
        input_paths=[InputDir("in", dataobj=directory(tree))],
        output_paths=[OutputDir("out")],
    )
    task.keep_outputs()
    session.submit()
    assert task.outputs["said"].fetch().get_str().split() == ["ran", str(len(list(tree.iterdir())))]
    made = task.outputs["out"]
    assert made.data_type is DataType.DIRECTORY
    made.fetch(path=tmp_path / "got")
    assert listing(tmp_path / "got") == {
        "empty": ("dir", 0o755),
        "file": ("file", 0o700, b"content"),
        "link": ("link", "file"),
    }


@pytest.mark.parametrize("kind", ["constant", "result"])
def test_fetched_directory_can_be_used_in_every_way_also_after_all_is_closed(
    shared_cluster: LocalCluster, tree: Path, tmp_path: Path, kind: str
) -> None:
    with shared_cluster.client() as client, client.new_session() as session:
        constant = directory(tree, label="the tree")
        obj = constant if kind == "constant" else tasks.Sleep(constant, 0).output
        obj.keep()
        session.submit()
        instance = obj.fetch()
    assert instance.data_type is DataType.DIRECTORY
    assert instance.content_type == "dir"
    files = [path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]
    assert instance.size == sum(path.stat().st_size for path in files)
    assert instance.spec is obj.spec
    assert instance.info is not None
    assert instance.info.size == instance.size
    with tarfile.open(fileobj=io.BytesIO(instance.get_bytes())) as archive:
        names = {member.name.rstrip("/") for member in archive.getmembers()} - {"", "."}
        assert {name.removeprefix("./") for name in names} == set(listing(tree))

    instance.write(tmp_path / "written")
    assert listing(tmp_path / "written") == writable(listing(tree))
    (tmp_path / "written" / "file").write_bytes(b"a copy of my own")
    instance.link(tmp_path / "linked")
    assert (tmp_path / "linked" / "file").read_bytes() == b"content"
    assert writable(listing((tmp_path / "linked").resolve())) == writable(listing(tree))
    for call in (instance.get_str, instance.load, instance.memoryview):
        with pytest.raises(RainException, match=r"is a directory.*use write\(\), link\(\) or get_bytes\(\)"):
            call()


def test_empty_directory_is_one(session: Session, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    constant, made = directory(tmp_path / "nothing"), tasks.MakeDirectory({})
    session.keep_all()
    session.submit()
    for number, obj in enumerate((constant, made.output)):
        assert obj.fetch().size == 0
        obj.fetch(path=tmp_path / str(number))
        assert list((tmp_path / str(number)).iterdir()) == []


def test_directory_is_what_it_was_when_it_was_given(session: Session, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("before")
    constant = directory(source)
    constant.keep()
    (source / "file").write_text("after")
    session.submit()
    constant.fetch(path=tmp_path / "got")
    assert (tmp_path / "got" / "file").read_text() == "before"


def test_large_directory_with_many_files_travels_both_ways(session: Session, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number in range(300):
        folder = source / str(number % 7)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file {number}").write_bytes(os.urandom(number * 10))
    (source / "large").write_bytes(os.urandom(9 * MIB))
    task = tasks.Sleep(directory(source), 0)
    task.output.keep()
    session.submit()
    task.output.fetch(path=tmp_path / "got")
    assert listing(tmp_path / "got") == listing(source)


def test_directory_is_fetched_only_to_a_path_that_is_free_or_empty(session: Session, tree: Path) -> None:
    constant = directory(tree)
    constant.keep()
    session.submit()
    before = listing(tree)
    with pytest.raises(RainException, match=f"{tree}.* is there already"):
        constant.fetch(path=tree)
    with pytest.raises(RainException, match=f"{tree}/file is there already"):
        constant.fetch(path=tree / "file")
    with pytest.raises(RainException, match="there is no directory"):
        constant.fetch(path=tree / "missing" / "place")
    assert listing(tree) == before
    free = tree.parent / "free"
    free.mkdir()
    constant.fetch(path=free)
    assert writable(listing(free)) == writable(before)


def test_links_that_leave_the_tree_are_refused(session: Session, tree: Path, tmp_path: Path) -> None:
    for target in ("/etc/passwd", "../outside", "sub/../../outside"):
        (tree / "bad").unlink(missing_ok=True)
        (tree / "bad").symlink_to(target)
        with pytest.raises(RainException, match="bad"):
            directory(tree)
    assert session.dataobj_count == 0


def test_missing_directory_or_file_is_refused_at_once(session: Session, tree: Path) -> None:
    with pytest.raises(RainException, match="does not exist"):
        directory(tree / "missing")
    with pytest.raises(RainException, match="is not a directory"):
        directory(tree / "file")


def test_blob_and_directory_are_not_taken_for_each_other(session: Session, tree: Path) -> None:
    with pytest.raises(RainException, match="is a blob, but a directory is needed"):
        blob(b"").expect_dir()
    with pytest.raises(RainException, match="directory"):
        tasks.Concat([directory(tree)])
    with pytest.raises(RainException, match="directory"):
        tasks.Execute(["cat", Input("in", dataobj=directory(tree))])
    with pytest.raises(RainException, match="directory"):
        tasks.SliceDirectory(blob(b""), "file")
