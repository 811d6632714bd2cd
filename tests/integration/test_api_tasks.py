"""Tasks and the built-in ones, on real workers: what they make, and each way in which they fail."""

from __future__ import annotations

import os
import re
import stat
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from api_calls import error_of, result_of, results_of

import rainzmq
from rainzmq import (
    Client,
    DataObject,
    Input,
    Output,
    OutputDir,
    RainException,
    RainWarning,
    Session,
    Task,
    blob,
    directory,
    pickled,
    remote,
    tasks,
)
from rainzmq.common import DataObjectState, DataType, TaskState

LARGE = os.urandom(300_000)
"""More than is kept in memory, so it is a file on workers."""


# Some tests only look at tasks, and leave their session without running them.
pytestmark = pytest.mark.filterwarnings("ignore:(Session|Leaving session) '")


@pytest.fixture
def session(client: Client) -> Iterator[Session]:
    with client.new_session("tasks") as session:
        yield session


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a.txt").write_bytes(b"a")
    (root / "sub" / "deep" / "large").write_bytes(LARGE)
    (root / "run.sh").write_bytes(b"#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "link").symlink_to("a.txt")
    return root


def _listing(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        else:
            found[name] = "directory" if path.is_dir() else path.read_bytes()
    return found


class TestConcat:
    def test_joins_blobs_in_order(self, session: Session) -> None:
        parts = [blob(b"a"), blob(LARGE), blob(b""), tasks.Concat([blob(b"c")])]
        assert result_of(session, tasks.Concat(parts)).get_bytes() == b"a" + LARGE + b"c"

    def test_takes_one_object_many_times(self, session: Session) -> None:
        part = blob(b"ab")
        assert result_of(session, tasks.Concat([part] * 1000)).get_bytes() == b"ab" * 1000

    def test_of_nothing_is_an_empty_blob(self, session: Session) -> None:
        result = result_of(session, tasks.Concat(()))
        assert (result.get_bytes(), result.size, result.data_type) == (b"", 0, DataType.BLOB)

    def test_refuses_a_directory(self, session: Session, tree: Path) -> None:
        with pytest.raises(RainException, match="is a directory, but a blob is needed"):
            tasks.Concat([blob("a"), directory(tree)])

    def test_refuses_what_is_no_data_object(self, session: Session) -> None:
        with pytest.raises(RainException, match="blob"):
            tasks.Concat("abc")
        with pytest.raises(RainException, match=r"input 1.*blob\(b'x'\)"):
            tasks.Concat([blob("a"), b"x"])


class TestSleep:
    def test_passes_its_input_on_after_a_while(self, session: Session) -> None:
        task = tasks.Sleep(pickled({"a": 1}), 0.3)
        begin = time.monotonic()
        result = result_of(session, task)
        assert 0.3 <= time.monotonic() - begin < 2
        assert (result.content_type, result.load()) == ("pickle", {"a": 1})

    def test_passes_a_directory_on(self, session: Session, tree: Path, tmp_path: Path) -> None:
        result = result_of(session, tasks.Sleep(directory(tree), 0))
        result.write(tmp_path / "out")
        assert _listing(tmp_path / "out") == _listing(tree)

    def test_passes_on_the_type_that_its_input_got_when_it_ran(self, session: Session) -> None:
        @remote()
        def make(ctx: Any) -> Any:
            return ctx.blob([1], encode="json")

        result = result_of(session, tasks.Sleep(make(), 0))
        assert (result.content_type, result.load()) == ("json", [1])

    def test_takes_as_many_cpus_as_it_says(self, session: Session) -> None:
        task = tasks.Sleep(blob(""), 0, cpus=3)
        assert task.spec.resources == {"cpus": 3}

    @pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "1", None, True])
    def test_refuses_what_is_no_time(self, session: Session, seconds: Any) -> None:
        with pytest.raises(RainException, match="seconds"):
            tasks.Sleep(blob(""), seconds)


class TestLoadAndStore:
    @pytest.mark.parametrize("content", [b"", b"small", LARGE], ids=["empty", "small", "large"])
    def test_load_takes_a_copy_of_a_file(self, session: Session, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "in put"
        path.write_bytes(content)
        task = tasks.Load(path)
        task.keep_outputs()
        session.submit()
        task.wait()
        with open(path, "r+b") as file:  # in place, so a link would see it
            file.write(b"CHANGED")
        assert task.output.fetch().get_bytes() == content

    def test_load_declares_what_the_file_holds(self, session: Session, tmp_path: Path) -> None:
        (tmp_path / "x.json").write_text("[1, 2]")
        assert result_of(session, tasks.Load(tmp_path / "x.json", content_type="json")).load() == [1, 2]

    def test_load_fails_for_a_missing_file(self, session: Session, tmp_path: Path) -> None:
        error = error_of(session, tasks.Load(tmp_path / "missing"))
        assert f"Load: {tmp_path}/missing does not exist on the worker's host" in error

    def test_load_fails_for_a_relative_path(self, session: Session) -> None:
        assert "the path 'etc/passwd' is relative" in error_of(session, tasks.Load("etc/passwd"))

    def test_load_fails_for_a_directory(self, session: Session, tmp_path: Path) -> None:
        assert "is a directory; LoadDir takes directories" in error_of(session, tasks.Load(tmp_path))

    @pytest.mark.timeout(20)
    def test_load_fails_for_a_pipe_that_nobody_writes(self, session: Session, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        assert "neither a file nor a directory" in error_of(session, tasks.Load(tmp_path / "pipe"))

    def test_load_dir_takes_a_copy_of_a_tree(self, session: Session, tree: Path, tmp_path: Path) -> None:
        before = _listing(tree)
        task = tasks.LoadDir(tree)
        task.keep_outputs()
        session.submit()
        task.wait()
        (tree / "a.txt").write_bytes(b"CHANGED")
        task.output.fetch(path=tmp_path / "out")
        assert _listing(tmp_path / "out") == before
        assert stat.S_IMODE((tmp_path / "out" / "run.sh").stat().st_mode) == 0o755

    def test_load_dir_fails_for_a_missing_directory(self, session: Session, tmp_path: Path) -> None:
        error = error_of(session, tasks.LoadDir(tmp_path / "missing"))
        assert f"LoadDir: {tmp_path}/missing does not exist" in error

    def test_load_dir_fails_for_a_relative_path(self, session: Session) -> None:
        assert "the path 'etc' is relative" in error_of(session, tasks.LoadDir("etc"))

    def test_load_dir_fails_for_a_file(self, session: Session, tree: Path) -> None:
        assert "is not a directory; Load takes files" in error_of(session, tasks.LoadDir(tree / "a.txt"))

    def test_load_dir_fails_for_a_tree_with_a_link_that_leaves_it(self, session: Session, tree: Path) -> None:
        (tree / "out").symlink_to("/etc/passwd")
        assert "the symlink 'out' points to the absolute path" in error_of(session, tasks.LoadDir(tree))

    @pytest.mark.parametrize("content", [b"", b"small", LARGE], ids=["empty", "small", "large"])
    def test_store_writes_a_blob(self, session: Session, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "new" / "o u t"
        task = tasks.Store(blob(content), path)
        session.submit()
        task.wait()
        assert path.read_bytes() == content
        assert os.listdir(path.parent) == ["o u t"]
        with open(path, "ab") as file:  # it is the user's own
            file.write(b"!")

    def test_store_makes_no_outputs(self, session: Session, tmp_path: Path) -> None:
        assert results_of(session, tasks.Store(blob("x"), tmp_path / "x")) == []

    def test_store_replaces_a_file(self, session: Session, tmp_path: Path) -> None:
        (tmp_path / "x").write_text("old and longer")
        results_of(session, tasks.Store(blob("new"), tmp_path / "x"))
        assert (tmp_path / "x").read_text() == "new"

    def test_store_writes_a_directory(self, session: Session, tree: Path, tmp_path: Path) -> None:
        results_of(session, tasks.Store(directory(tree), tmp_path / "out"))
        assert _listing(tmp_path / "out") == _listing(tree)
        (tmp_path / "out" / "a.txt").write_bytes(b"mine")
        (tmp_path / "out" / "sub" / "more").write_bytes(b"mine")

    def test_store_fails_for_a_relative_path(self, session: Session) -> None:
        assert "the path 'x' is relative" in error_of(session, tasks.Store(blob("x"), "x"))

    def test_store_fails_where_a_directory_is(self, session: Session, tmp_path: Path) -> None:
        assert "is a directory; give the path" in error_of(session, tasks.Store(blob("x"), tmp_path))

    def test_store_does_not_mix_directories(self, session: Session, tree: Path, tmp_path: Path) -> None:
        error = error_of(session, tasks.Store(directory(tree), tmp_path))
        assert f"{tmp_path} is there and is not empty" in error

    @pytest.mark.parametrize("make", [tasks.Load, tasks.LoadDir, lambda path: tasks.Store(blob(""), path)])
    @pytest.mark.parametrize("path", ["", "a\0b", b"/x", 1, None])
    def test_what_is_no_path_is_refused(
        self, session: Session, make: Callable[[Any], Task], path: Any
    ) -> None:
        with pytest.raises(RainException, match="path"):
            make(path)


class TestMakeDirectory:
    def test_lays_objects_at_their_paths(self, session: Session, tree: Path, tmp_path: Path) -> None:
        made = tasks.MakeDirectory(
            [("a/b/c", blob(b"1")), ("large", blob(LARGE)), ("a/t", directory(tree)), ("d", tasks.Concat(()))]
        )
        result_of(session, made).write(tmp_path / "out")
        expected = {"a": "directory", "a/b": "directory", "a/b/c": b"1", "a/t": "directory", "large": LARGE}
        expected |= {f"a/t/{name}": value for name, value in _listing(tree).items()} | {"d": b""}
        assert _listing(tmp_path / "out") == expected

    def test_takes_a_dictionary(self, session: Session, tmp_path: Path) -> None:
        result_of(session, tasks.MakeDirectory({"x": blob(b"1")})).write(tmp_path / "out")
        assert _listing(tmp_path / "out") == {"x": b"1"}

    @pytest.mark.parametrize("root", ["", "."])
    def test_lays_a_directory_at_the_root(
        self, session: Session, tree: Path, tmp_path: Path, root: str
    ) -> None:
        made = tasks.MakeDirectory([(root, directory(tree)), ("sub/new", blob(b"n"))])
        result_of(session, made).write(tmp_path / "out")
        assert _listing(tmp_path / "out") == _listing(tree) | {"sub/new": b"n"}

    def test_of_nothing_is_an_empty_directory(self, session: Session, tmp_path: Path) -> None:
        result = result_of(session, tasks.MakeDirectory([]))
        result.write(tmp_path / "out")
        assert _listing(tmp_path / "out") == {}

    @pytest.mark.parametrize(
        ("path", "problem"),
        [("/a", "absolute"), ("a/../../b", r"'\.\.'"), ("a\0", "NUL"), (1, "a path is a str"), ("", "root")],
    )
    def test_refuses_a_bad_path(self, session: Session, path: Any, problem: str) -> None:
        with pytest.raises(RainException, match=problem):
            tasks.MakeDirectory([(path, blob(""))])

    def test_refuses_a_path_twice_and_one_inside_of_a_file(self, session: Session) -> None:
        with pytest.raises(RainException, match="'a' is given twice"):
            tasks.MakeDirectory([("a", blob("")), ("./a", blob(""))])
        with pytest.raises(RainException, match="'a/b' is inside of 'a', which is a file"):
            tasks.MakeDirectory([("a/b", blob("")), ("a", blob(""))])

    def test_fails_when_a_directory_holds_the_path_already(self, session: Session, tree: Path) -> None:
        error = error_of(session, tasks.MakeDirectory([(".", directory(tree)), ("a.txt", blob(""))]))
        assert "'a.txt' is there already" in error

    def test_never_writes_through_a_link_of_a_directory(self, session: Session, tmp_path: Path) -> None:
        (tmp_path / "t" / "real").mkdir(parents=True)
        (tmp_path / "t" / "link").symlink_to("real")
        made = tasks.MakeDirectory([(".", directory(tmp_path / "t")), ("link/x", blob("x"))])
        assert "needs a directory 'link', but that is a symlink" in error_of(session, made)


class TestSliceDirectory:
    def test_takes_a_file_out(self, session: Session, tree: Path) -> None:
        given = directory(tree)
        small, large = tasks.SliceDirectory(given, "a.txt"), tasks.SliceDirectory(given, "sub/deep/large")
        session.keep_all()
        session.submit()
        assert (small.output.fetch().get_bytes(), large.output.fetch().get_bytes()) == (b"a", LARGE)

    def test_takes_a_directory_out(self, session: Session, tree: Path, tmp_path: Path) -> None:
        result = result_of(session, tasks.SliceDirectory(directory(tree), "sub/"))
        assert result.data_type is DataType.DIRECTORY
        result.write(tmp_path / "out")
        assert _listing(tmp_path / "out") == _listing(tree / "sub")

    def test_of_a_directory_made_by_a_task(self, session: Session) -> None:
        made = tasks.MakeDirectory({"a/b": blob(b"deep")})
        assert result_of(session, tasks.SliceDirectory(made, "a/b")).get_bytes() == b"deep"

    def test_declares_what_the_file_holds(self, session: Session) -> None:
        made = tasks.MakeDirectory({"x": blob("[1]")})
        assert result_of(session, tasks.SliceDirectory(made, "x", content_type="json")).load() == [1]

    @pytest.mark.parametrize(
        ("path", "problem"),
        [
            ("missing", "'missing' is not in the directory; it has 'a.txt', 'empty', 'link'"),
            ("sub/missing", "'sub' has 'deep'"),
            ("a.txt/", "'a.txt/' asks for a directory, but 'a.txt' is a file"),
            ("sub", "'sub' is a directory; ask for it as 'sub/'"),
            ("a.txt/x", "'a.txt' is a file"),
        ],
    )
    def test_fails_for_what_is_not_there(self, session: Session, tree: Path, path: str, problem: str) -> None:
        assert problem in error_of(session, tasks.SliceDirectory(directory(tree), path))

    @pytest.mark.parametrize("path", ["/a", "../a", "a/../../b", "", "a\0"])
    def test_refuses_a_path_that_leaves_the_directory(self, session: Session, tree: Path, path: str) -> None:
        with pytest.raises(RainException, match="path"):
            tasks.SliceDirectory(directory(tree), path)

    def test_refuses_a_blob(self, session: Session) -> None:
        with pytest.raises(RainException, match="is a blob, but a directory is needed"):
            tasks.SliceDirectory(blob(""), "a")


class TestTask:
    def test_a_subclass_says_its_type(self, session: Session) -> None:
        class Join(Task):
            TASK_TYPE = "builtin/concat"

            def __init__(self, first: Any, second: Any) -> None:
                super().__init__((first, ("second", second)), 1)

        task = Join(blob("a"), blob("b"))
        assert result_of(session, task).get_bytes() == b"ab"
        assert task.inputs.labels == [None, "second"]

    def test_a_plain_task_of_any_type(self, session: Session) -> None:
        task = Task([blob("x")], [Output("y")], task_type="builtin/sleep", config=[0.0], name="a/b")
        task.keep_outputs()
        session.submit()
        assert task.outputs["y"].fetch().get_bytes() == b"x"
        assert (task.name, task.task_type) == ("a/b", "builtin/sleep")

    def test_a_task_without_a_type_is_refused(self, session: Session) -> None:
        with pytest.raises(ValueError, match="TASK_TYPE"):
            Task((), 1)

    def test_a_type_that_no_worker_knows_fails_the_task(self, session: Session) -> None:
        error = error_of(session, Task((), 1, task_type="builtin/nonsense"))
        assert "no built-in task 'nonsense'; there are concat, execute, load" in error

    def test_a_kind_of_subworker_that_no_worker_has_is_said_while_waiting(
        self, session: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task = Task((), 1, task_type="unheard/method", name="odd")
        session.submit()
        reason = _reason_why_waiting(session, task, monkeypatch)
        assert f"task {task.id} (odd) is of type 'unheard/method', but no worker offers 'unheard'" in reason

    def test_cpus_that_no_worker_has_are_said_while_waiting(
        self, session: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task = tasks.Sleep(blob(""), 0, cpus=50)
        session.submit()
        reason = _reason_why_waiting(session, task, monkeypatch)
        assert re.search(rf"task {task.id} needs 50 cpus, but the largest worker, \S+, has 1", reason)

    def test_the_spec_says_what_was_declared(self, session: Session) -> None:
        a, b = blob("a"), blob("b")
        task = Task((("x", a), b), ("p", OutputDir("q")), task_type="k/m", config={"n": [1, None]}, cpus=2)
        task.spec.user["mine"] = 1
        spec = task.spec
        assert (spec.id, spec.task_type, spec.config) == (task.id, "k/m", {"n": [1, None]})
        assert spec.inputs == ((a.id, "x"), (b.id, None))
        assert spec.outputs == (task.outputs["p"].id, task.outputs["q"].id)
        assert (spec.resources, spec.name, spec.user) == ({"cpus": 2}, None, {"mine": 1})
        assert str(spec.id) == f"{session.session_id}/{task.id.id}"

    def test_states_and_infos_come_with_news_only(self, session: Session) -> None:
        task = tasks.Sleep(blob("x"), 0.1)
        task.keep_outputs()
        assert (task.state, task.output.state, task.info) == (None, None, None)
        session.submit()
        assert (task.state, task.output.state) == (TaskState.NOT_ASSIGNED, DataObjectState.UNFINISHED)
        time.sleep(0.3)
        assert (task.state, task.output.state, task.info) == (
            TaskState.NOT_ASSIGNED,
            DataObjectState.UNFINISHED,
            None,
        )
        task.update()
        task.output.update()
        assert (task.state, task.output.state) == (TaskState.FINISHED, DataObjectState.FINISHED)

    def test_info_says_where_when_and_how_long(self, client: Client, session: Session) -> None:
        task = tasks.Sleep(blob("x"), 0.25)
        before = time.time()
        session.submit()
        task.wait()
        task.update()
        info = task.info
        assert info is not None
        assert info.start_time is not None
        assert info.duration is not None
        assert before - 0.01 <= info.start_time <= time.time()
        assert 0.24 <= info.duration < 1.5
        assert info.worker in [worker["worker_id"] for worker in client.get_server_info()["workers"]]
        assert (info.error, info.user, info.debug) == (None, {}, "")

    def test_a_task_with_one_output_stands_for_it(self, session: Session) -> None:
        first = tasks.Concat([blob("a")])
        second = tasks.Concat([first, Input("x", dataobj=first)])
        assert result_of(session, second).get_bytes() == b"aa"
        with pytest.raises(RainException, match="has 0 outputs, not exactly one"):
            _ = Task((), None, task_type="k/m").output
        with pytest.raises(RainException, match="has 2 outputs, not exactly one"):
            tasks.Concat([Task((), 2, task_type="k/m")])

    def test_outputs_are_kept_fetched_and_unkept_together(self, session: Session) -> None:
        @remote(outputs=("a", "b"))
        def make(ctx: Any) -> Any:
            return b"1", b"2"

        task = make()
        task.keep_outputs()
        session.submit()
        assert [item.get_bytes() for item in task.fetch_outputs()] == [b"1", b"2"]
        task.unkeep_outputs()
        assert [obj.is_kept() for obj in task.outputs] == [False, False]
        with pytest.raises(RainException, match="not kept"):
            task.outputs["a"].fetch()


def _reason_why_waiting(session: Session, item: Task | DataObject, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the warning says that a wait without end gives; as an error it ends the wait."""
    monkeypatch.setattr("rainzmq.client.asking.QUIET_S", 0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RainWarning)
        with pytest.raises(RainWarning) as caught:
            session.wait(item)
    return str(caught.value)


def test_the_module_of_tasks_has_all_built_in_tasks() -> None:
    names = {"Concat", "Sleep", "Load", "LoadDir", "Store", "MakeDirectory", "SliceDirectory", "Execute"}
    assert names <= set(vars(rainzmq.tasks))
    assert all(getattr(tasks, name).TASK_TYPE.startswith("builtin/") for name in names)
