"""Built-in tasks, built offline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from rainzmq import DataObject, RainException, Session, Task, blob, directory, tasks
from rainzmq.common import DataType


@pytest.fixture
def session() -> Iterator[Session]:
    with Session(None, 1) as session:
        yield session


@pytest.fixture
def folder(session: Session, tmp_path: Path) -> DataObject:
    return directory(tmp_path)


def config(task: Task) -> Any:
    return msgpack.unpackb(task.graph_node.config) if task.graph_node.config else None


def test_concat(session: Session) -> None:
    a = blob(b"a")
    task = tasks.Concat([a, a])
    assert (task.task_type, config(task), task.inputs.data) == ("builtin/concat", None, [a, a])
    assert task.output.data_type is DataType.BLOB
    assert len(tasks.Concat([]).inputs) == 0
    assert tasks.Concat(blob(b"") for _ in range(2))


def test_concat_takes_blobs_only(folder: DataObject) -> None:
    with pytest.raises(RainException, match="is a directory, but a blob is needed"):
        tasks.Concat([folder])
    with pytest.raises(RainException, match=r"blob\("):
        tasks.Concat(["text"])


def test_sleep_passes_type_and_content_type_on(session: Session, folder: DataObject) -> None:
    task = tasks.Sleep(blob("x"), 0.5, cpus=2)
    assert (task.task_type, config(task), task.output.content_type) == ("builtin/sleep", [0.5], "text")
    assert task.spec.resources == {"cpus": 2}
    assert tasks.Sleep(folder, 1).output.data_type is DataType.DIRECTORY
    assert tasks.Sleep(tasks.Sleep(folder, 1), 0).output.data_type is DataType.DIRECTORY


@pytest.mark.parametrize("seconds", [-1, "1", None, float("nan"), float("inf"), True])
def test_sleep_takes_a_time(session: Session, seconds: Any) -> None:
    with pytest.raises(RainException, match="seconds"):
        tasks.Sleep(blob(b""), seconds)


def test_load_leaves_checking_the_path_to_the_task(session: Session) -> None:
    task = tasks.Load("relative/path")
    assert (task.task_type, config(task)) == ("builtin/load", ["relative/path"])
    assert config(tasks.Load(Path("/a"))) == ["/a"]
    assert tasks.Load("/a", content_type="text").output.content_type == "text"


def test_load_dir_makes_a_directory(session: Session) -> None:
    task = tasks.LoadDir("/a")
    assert (task.task_type, config(task)) == ("builtin/load_dir", ["/a"])
    assert task.output.data_type is DataType.DIRECTORY


def test_store_has_no_outputs(session: Session, folder: DataObject) -> None:
    task = tasks.Store(blob(b""), "/a")
    assert (task.task_type, config(task), len(task.outputs)) == ("builtin/store", ["/a"], 0)
    assert tasks.Store(folder, Path("/b"))


@pytest.mark.parametrize("path", ["", "a\0b", 5, b"/a", None, "\ud800"])
def test_what_is_no_path_is_refused(session: Session, path: Any) -> None:
    for make in (tasks.Load, tasks.LoadDir, lambda path: tasks.Store(blob(b""), path)):
        with pytest.raises(RainException, match="path"):
            make(path)


def test_make_directory_from_pairs_or_a_dictionary(session: Session, folder: DataObject) -> None:
    a = blob(b"")
    for given in ([("x", a), ("sub//y", a)], {"x": a, "./sub/y": a}):
        task = tasks.MakeDirectory(given)
        assert (task.task_type, config(task)) == ("builtin/make_directory", ["x", "sub/y"])
        assert task.output.data_type is DataType.DIRECTORY
    for root in ("", "."):
        assert config(tasks.MakeDirectory([(root, folder), ("x", a)])) == ["", "x"]
    assert config(tasks.MakeDirectory({})) == []


@pytest.mark.parametrize("path", ["/abs", "..", "a/../b", "a\0", 5])
def test_make_directory_stays_inside(session: Session, path: Any) -> None:
    with pytest.raises(RainException, match="MakeDirectory"):
        tasks.MakeDirectory([(path, blob(b""))])


def test_make_directory_refuses_conflicts(session: Session) -> None:
    a = blob(b"")
    with pytest.raises(RainException, match="'x' is given twice"):
        tasks.MakeDirectory([("x", a), ("./x", a)])
    with pytest.raises(RainException, match="'x/y' is inside of 'x', which is a file"):
        tasks.MakeDirectory([("x", a), ("x/y", a)])
    with pytest.raises(RainException, match="only a directory can be the root"):
        tasks.MakeDirectory([("", a)])


@pytest.mark.parametrize("pairs", [5, "ab", [("x",)], ["xy"], None])
def test_make_directory_takes_pairs(session: Session, pairs: Any) -> None:
    with pytest.raises(RainException, match="dictionary or a sequence of pairs"):
        tasks.MakeDirectory(pairs)


def test_slice_directory_gives_a_file_or_with_a_slash_a_directory(folder: DataObject) -> None:
    file = tasks.SliceDirectory(folder, "a/b")
    assert (file.task_type, config(file)) == ("builtin/slice_directory", ["a/b"])
    assert file.output.data_type is DataType.BLOB
    sub = tasks.SliceDirectory(folder, "a//b/")
    assert (config(sub), sub.output.data_type) == (["a/b/"], DataType.DIRECTORY)


@pytest.mark.parametrize("path", ["/abs", "../a", "", ".", "a\0"])
def test_slice_directory_stays_inside(folder: DataObject, path: str) -> None:
    with pytest.raises(RainException, match="SliceDirectory"):
        tasks.SliceDirectory(folder, path)


def test_slice_directory_needs_a_directory(session: Session) -> None:
    with pytest.raises(RainException, match="is a blob, but a directory is needed"):
        tasks.SliceDirectory(blob(b""), "a")


def test_built_in_tasks_are_tasks_with_names(session: Session) -> None:
    task = tasks.Concat([], name="n")
    assert isinstance(task, Task)
    assert task.name == "n"
