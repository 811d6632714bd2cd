"""Built-in tasks: what they make, and what they say when they cannot."""

from __future__ import annotations

import os
import queue
import re
import resource
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from rainzmq.common.ids import make_uid
from rainzmq.protocol.messages.shared import ObjectMeta, OutputTemplate, TaskBody
from rainzmq.store import ObjectStore
from rainzmq.worker import filework
from rainzmq.worker.builtin import BuiltinRunner
from rainzmq.worker.core.jobs import CANCELLED, FAILED, FINISHED, UNABLE, Job, Outcome

BIG = os.urandom(1000) * 100
Callback = Callable[[], None]


class FakeTimer:
    def __init__(self, delay_s: float, callback: Callback) -> None:
        self.delay_s = delay_s
        self.callback = callback
        self.active = True

    def cancel(self) -> None:
        self.active = False


class FakeLoop:
    """A loop that turns when it is told to."""

    def __init__(self) -> None:
        self.timers: list[FakeTimer] = []
        self.soon: list[Callback] = []
        self.from_threads: queue.SimpleQueue[Callback] = queue.SimpleQueue()

    def call_later(self, delay_s: float, callback: Callback) -> FakeTimer:
        self.timers.append(FakeTimer(delay_s, callback))
        return self.timers[-1]

    def call_soon(self, callback: Callback) -> None:
        self.soon.append(callback)

    def call_threadsafe(self, callback: Callback) -> None:
        self.from_threads.put(callback)


class Bench:
    """A runner with its store, and jobs made from few words."""

    def __init__(self, tmp_path: Path) -> None:
        self.loop = FakeLoop()
        self.store = ObjectStore(tmp_path / "store")
        self.scratch = tmp_path / "scratch"
        self.outcomes: list[Outcome] = []
        self.runner = BuiltinRunner(self.loop, self.store, self.scratch, self.on_outcome)
        self.count = 0

    def blob(self, data: bytes, content_type: str | None = None) -> ObjectMeta:
        self.count += 1
        uid = make_uid(1, self.count)
        self.store.put(uid, data)
        return ObjectMeta(uid, None, False, content_type, len(data), b"", b"")

    def directory(self, tmp_path: Path, **files: bytes) -> ObjectMeta:
        """A directory object; `a__b=b"x"` is a file a/b."""
        self.count += 1
        root = tmp_path / f"dir{self.count}"
        root.mkdir()
        for name, data in files.items():
            path = root / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return self.taken(root)

    def taken(self, root: Path) -> ObjectMeta:
        self.count += 1
        uid = make_uid(1, self.count)
        size = self.store.adopt(uid, str(root), True)
        return ObjectMeta(uid, None, True, "dir", size, b"", b"")

    def job(self, method: str, config: Any, *inputs: ObjectMeta, directory: bool = False) -> Job:
        outputs = [] if method == "store" else [OutputTemplate(None, directory, None, None, None, None)]
        body = TaskBody(1, f"builtin/{method}", 1, None, b"", [], outputs)
        packed = b"" if config is None else msgpack.packb(config)
        return Job(make_uid(1, 1000 + self.count), 2, 1, body, packed, list(inputs))

    def run(self, method: str, config: Any, *inputs: ObjectMeta, directory: bool = False) -> Outcome:
        self.runner.start(self.job(method, config, *inputs, directory=directory))
        while not self.outcomes:
            self.loop.from_threads.get(timeout=5)()
        outcome = self.outcomes.pop()
        assert (outcome.uid >> 32, outcome.attempt) == (1, 2)
        return outcome

    def error(self, method: str, config: Any, *inputs: ObjectMeta) -> str:
        outcome = self.run(method, config, *inputs)
        assert outcome.kind == FAILED
        assert not outcome.outputs
        assert not list(self.scratch.iterdir())
        return outcome.error

    def result(self, method: str, config: Any, *inputs: ObjectMeta) -> bytes:
        """Content of the only output, a blob."""
        outcome = self.run(method, config, *inputs)
        assert outcome.kind == FINISHED, outcome.error
        return bytes(self.store.read(outcome.uid + 1))

    def tree(self, method: str, config: Any, *inputs: ObjectMeta) -> Path:
        """The only output, a directory."""
        outcome = self.run(method, config, *inputs, directory=True)
        assert outcome.kind == FINISHED, outcome.error
        return Path(self.store.path(outcome.uid + 1) or "")

    def on_outcome(self, outcome: Outcome) -> None:
        """Take outputs over at once, as a worker does."""
        self.outcomes.append(outcome)
        for made in outcome.outputs:
            if made.data is not None:
                self.store.put(outcome.uid + 1, made.data)
            elif made.alias is not None:
                self.store.alias(outcome.uid + 1, made.alias)
            else:
                assert made.path is not None
                self.store.adopt(outcome.uid + 1, made.path, os.path.isdir(made.path))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    assert not list(bench.scratch.iterdir())
    bench.runner.close()
    bench.store.close()


def names(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*"))


def test_unknown_methods_are_named(bench: Bench) -> None:
    error = bench.error("explode", None)
    assert error.startswith("there is no built-in task 'explode'; there are concat, execute, load,")


class TestConcat:
    def test_joins_small_blobs_at_once(self, bench: Bench) -> None:
        assert (
            bench.result("concat", None, bench.blob(b"one "), bench.blob(b""), bench.blob(b"two"))
            == b"one two"
        )

    def test_no_inputs_give_an_empty_blob(self, bench: Bench) -> None:
        assert bench.result("concat", None) == b""

    def test_one_input_is_passed_on_without_a_copy(self, bench: Bench) -> None:
        blob = bench.blob(BIG, "text")
        outcome = bench.run("concat", None, blob)
        assert outcome.outputs[0].alias == blob.uid
        assert outcome.outputs[0].content_type is None

    def test_joins_large_blobs(self, bench: Bench) -> None:
        expected = BIG + b"small" + BIG
        assert (
            bench.result("concat", None, bench.blob(BIG), bench.blob(b"small"), bench.blob(BIG)) == expected
        )

    def test_directories_are_refused(self, bench: Bench, tmp_path: Path) -> None:
        error = bench.error("concat", None, bench.blob(b"x"), bench.directory(tmp_path))
        assert error == "Concat joins blobs, but input 1 is a directory"


class TestSleep:
    def test_passes_its_input_on_after_the_time(self, bench: Bench) -> None:
        blob = bench.blob(b"x", "text")
        bench.runner.start(bench.job("sleep", [1.5], blob))
        (timer,) = bench.loop.timers
        assert timer.delay_s == 1.5
        assert not bench.outcomes
        timer.callback()
        (made,) = bench.outcomes[0].outputs
        assert (made.alias, made.content_type) == (blob.uid, "text")

    def test_a_killed_sleep_is_cancelled_and_its_timer_gone(self, bench: Bench) -> None:
        job = bench.job("sleep", [60], bench.blob(b"x"))
        bench.runner.start(job)
        bench.runner.kill(job.uid)
        bench.runner.kill(job.uid)
        assert not bench.loop.timers[0].active
        (soon,) = bench.loop.soon
        soon()
        assert [o.kind for o in bench.outcomes] == [CANCELLED]
        bench.runner.kill(job.uid)

    def test_a_bad_configuration_fails_it(self, bench: Bench) -> None:
        assert "not one number of seconds" in bench.error("sleep", ["x"], bench.blob(b"x"))


class TestLoad:
    @pytest.mark.parametrize("data", [b"", b"small", BIG])
    def test_takes_a_copy(self, bench: Bench, tmp_path: Path, data: bytes) -> None:
        path = tmp_path / "file"
        path.write_bytes(data)
        assert bench.result("load", [str(path)]) == data
        assert path.read_bytes() == data

    def test_a_file_whose_size_is_not_known_is_read_to_its_end(self, bench: Bench) -> None:
        assert b"processor" in bench.result("load", ["/proc/cpuinfo"])

    @pytest.mark.parametrize(
        ("path", "words"),
        [
            (
                "some/file",
                "Load: the path 'some/file' is relative; a path on the worker's host must be absolute",
            ),
            ("/no/such", "Load: /no/such does not exist on the worker's host"),
            ("/usr", "Load: /usr is a directory; LoadDir takes directories"),
            ("/dev/null", "Load: /dev/null is neither a file nor a directory"),
            ("/a\0b", "Load: the path '/a\\x00b' has a NUL in it"),
        ],
    )
    def test_errors(self, bench: Bench, path: str, words: str) -> None:
        assert bench.error("load", [path]) == words

    def test_a_directory_is_copied_with_modes_and_links(self, bench: Bench, tmp_path: Path) -> None:
        root = tmp_path / "tree"
        (root / "empty").mkdir(parents=True)
        (root / "run").write_text("x")
        (root / "run").chmod(0o755)
        (root / "link").symlink_to("run")
        found = bench.tree("load_dir", [f"{root}/"])
        assert names(found) == ["empty", "link", "run"]
        assert stat.S_IMODE((found / "run").stat().st_mode) & 0o111
        assert (root / "run").exists()

    def test_directory_errors(self, bench: Bench, tmp_path: Path) -> None:
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / "link").symlink_to("/etc")
        assert "'link' points to the absolute path '/etc'" in bench.error("load_dir", [str(tmp_path / "bad")])
        file = tmp_path / "file"
        file.write_text("")
        assert bench.error("load_dir", [str(file)]) == f"LoadDir: {file} is not a directory; Load takes files"
        assert "is relative" in bench.error("load_dir", ["x"])


class TestStore:
    @pytest.mark.parametrize("data", [b"small", BIG])
    def test_writes_a_blob_and_makes_its_parents(self, bench: Bench, tmp_path: Path, data: bytes) -> None:
        path = tmp_path / "out" / "deep" / "file"
        assert bench.run("store", [str(path)], bench.blob(data)).kind == FINISHED
        assert path.read_bytes() == data
        assert path.stat().st_mode & 0o600 == 0o600
        assert names(path.parent) == ["file"]

    def test_replaces_a_file(self, bench: Bench, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("old")
        bench.run("store", [str(tmp_path / "file")], bench.blob(b"new"))
        assert (tmp_path / "file").read_text() == "new"

    def test_writes_a_directory_with_its_modes(self, bench: Bench, tmp_path: Path) -> None:
        tree = bench.directory(tmp_path, a__b=b"1", c=BIG)
        (tmp_path / "empty").mkdir()
        for target in ("new", "empty"):
            assert bench.run("store", [str(tmp_path / target)], tree).kind == FINISHED
            assert names(tmp_path / target) == ["a", "a/b", "c"]
            assert stat.S_IMODE((tmp_path / target / "c").stat().st_mode) & 0o200

    def test_errors(self, bench: Bench, tmp_path: Path) -> None:
        blob, tree = bench.blob(b"x"), bench.directory(tmp_path, a=b"1")
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "file").write_text("mine")
        full, file = tmp_path / "full", tmp_path / "full" / "file"
        assert "is relative" in bench.error("store", ["x"], blob)
        assert f"Store: {full} is a directory; give the path of the file" in bench.error(
            "store", [str(full)], blob
        )
        assert f"{full} is there and is not empty" in bench.error("store", [str(full)], tree)
        assert f"{file} is a file; a directory cannot be stored" in bench.error("store", [str(file)], tree)
        assert f"needs directories, but {file} is a file" in bench.error("store", [str(file / "x")], blob)
        assert names(full) == ["file"]
        assert file.read_text() == "mine"


class TestMakeDirectory:
    def test_lays_objects_at_their_paths(self, bench: Bench, tmp_path: Path) -> None:
        tree = bench.directory(tmp_path, x__y=b"1")
        found = bench.tree(
            "make_directory", ["a/b/c", "./big", "sub/", "a"], bench.blob(b"1"), bench.blob(BIG), tree, tree
        )
        assert names(found) == ["a", "a/b", "a/b/c", "a/x", "a/x/y", "big", "sub", "sub/x", "sub/x/y"]
        assert (found / "big").read_bytes() == BIG

    @pytest.mark.parametrize("path", ["", "."])
    def test_a_directory_can_be_laid_at_the_root(self, bench: Bench, tmp_path: Path, path: str) -> None:
        tree = bench.directory(tmp_path, x=b"1")
        assert names(bench.tree("make_directory", ["y", path], bench.blob(b"2"), tree)) == ["x", "y"]

    def test_nothing_makes_an_empty_directory(self, bench: Bench) -> None:
        assert names(bench.tree("make_directory", [])) == []

    @pytest.mark.parametrize(
        ("paths", "words"),
        [
            (["/x", "y"], "MakeDirectory: the path '/x' is absolute; it must be relative to the directory"),
            (["a/../x", "y"], "the path 'a/../x' has '..' in it; it must stay inside the directory"),
            (["", "y"], "a blob cannot be laid at ''; give it a file name"),
            (["x/", "y"], "a blob cannot be laid at 'x/'; give it a file name"),
            (["x", "./x"], "two objects are to be laid at 'x'"),
            (["x", "x/y"], "'x/y' needs a directory 'x', but that is a file"),
            (["x/y", "x"], "laying an object at 'x': 'x' is there already"),
            (["x"], "there are 1 paths for 2 inputs"),
        ],
    )
    def test_errors(self, bench: Bench, paths: list[str], words: str) -> None:
        assert words in bench.error("make_directory", paths, bench.blob(b"1"), bench.blob(b"2"))

    def test_conflicts_of_directories_are_named(self, bench: Bench, tmp_path: Path) -> None:
        one, two = bench.directory(tmp_path, a__b=b"1"), bench.directory(tmp_path, b=b"2")
        assert "two objects are to be laid at '.'" in bench.error("make_directory", ["", "."], one, two)
        assert "laying an object at 'a': 'a/b' is there already" in bench.error(
            "make_directory", ["", "a"], one, two
        )

    def test_links_of_a_directory_are_never_written_through(self, bench: Bench, tmp_path: Path) -> None:
        (tmp_path / "t").mkdir()
        (tmp_path / "t" / "link").symlink_to("target")
        (tmp_path / "t" / "target").mkdir()
        tree, other = bench.taken(tmp_path / "t"), bench.directory(tmp_path, x=b"1")
        error = bench.error("make_directory", [".", "link/x"], tree, bench.blob(b"1"))
        assert "'link/x' needs a directory 'link', but that is a symlink" in error
        assert "'link' is there already" in bench.error(
            "make_directory", [".", "link"], tree, bench.blob(b"1")
        )
        assert "'link' is there already" in bench.error("make_directory", [".", "link"], tree, other)


class TestSliceDirectory:
    def test_takes_a_file_or_a_directory_out(self, bench: Bench, tmp_path: Path) -> None:
        tree = bench.directory(tmp_path, a__b__c=b"1", a__big=BIG)
        assert bench.result("slice_directory", ["a/b/c"], tree) == b"1"
        assert bench.result("slice_directory", ["./a/big"], tree) == BIG
        assert names(bench.tree("slice_directory", ["a/"], tree)) == ["b", "b/c", "big"]
        assert names(bench.tree("slice_directory", ["./"], tree)) == ["a", "a/b", "a/b/c", "a/big"]

    def test_follows_links_of_the_directory(self, bench: Bench, tmp_path: Path) -> None:
        (tmp_path / "t" / "d").mkdir(parents=True)
        (tmp_path / "t" / "d" / "file").write_text("x")
        (tmp_path / "t" / "link").symlink_to("d")
        tree = bench.taken(tmp_path / "t")
        assert bench.result("slice_directory", ["link/file"], tree) == b"x"
        assert names(bench.tree("slice_directory", ["link/"], tree)) == ["file"]

    @pytest.mark.parametrize(
        ("path", "words"),
        [
            ("/a", "SliceDirectory: the path '/a' is absolute"),
            ("../a", "the path '../a' has '..' in it"),
            ("a/no", "SliceDirectory: 'a/no' is not in the directory; 'a' has 'b'"),
            ("no", "'no' is not in the directory; it has 'a', 'f'"),
            ("f/x", "'f/x' is not in the directory: 'f' is a file"),
            ("f/", "'f/' asks for a directory, but 'f' is a file"),
            ("a", "'a' is a directory; ask for it as 'a/'"),
            (".", "'.' is a directory; ask for it as './'"),
            ("", "the path is empty; './' is the whole directory"),
        ],
    )
    def test_errors(self, bench: Bench, tmp_path: Path, path: str, words: str) -> None:
        assert words in bench.error("slice_directory", [path], bench.directory(tmp_path, a__b=b"1", f=b"2"))

    def test_a_blob_is_refused(self, bench: Bench) -> None:
        assert "the input is a blob, not a directory" in bench.error(
            "slice_directory", ["a"], bench.blob(b"")
        )


def test_a_job_killed_in_its_thread_is_cancelled_and_leaves_no_file(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, go_on = threading.Event(), threading.Event()

    def slow(attempt: Any, store: ObjectStore, temporary: str) -> list[Any]:
        started.set()
        go_on.wait(5)
        return filework.store_object(attempt, store, temporary)

    monkeypatch.setitem(filework.METHODS, "store", slow)
    job = bench.job("store", [str(tmp_path / "out" / "file")], bench.blob(BIG))
    bench.runner.start(job)
    started.wait(5)
    bench.runner.kill(job.uid)
    go_on.set()
    bench.loop.from_threads.get(timeout=5)()
    assert [o.kind for o in bench.outcomes] == [CANCELLED]
    assert not list((tmp_path / "out").iterdir())


def test_a_job_killed_after_its_thread_is_cancelled_and_leaves_no_file(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(BIG)
    job = bench.job("load", [str(tmp_path / "file")])
    bench.runner.start(job)
    ended = bench.loop.from_threads.get(timeout=5)
    bench.runner.kill(job.uid)
    ended()
    assert [o.kind for o in bench.outcomes] == [CANCELLED]


def test_a_full_disk_is_told_with_need_and_have(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(attempt: Any, store: ObjectStore, temporary: str) -> list[Any]:
        raise OSError(28, "No space left on device", str(tmp_path))

    monkeypatch.setitem(filework.METHODS, "store", full)
    assert "no room on the disk: need 97.7 KiB, have " in bench.error("store", ["/x"], bench.blob(BIG))


def fail_to_join(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_told_with_need_and_have_whatever_noticed_it(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("append_file", "copy_file"):
        monkeypatch.setattr(filework, name, fail_to_join)
    words = r"no room on the disk: need 195 KiB, have \d.* .?i?B$"
    assert re.search(words, bench.error("concat", None, bench.blob(BIG), bench.blob(BIG)))
    (tmp_path / "file").write_bytes(2 * BIG)
    assert re.search(words, bench.error("load", [str(tmp_path / "file")]))
    target = tmp_path / "there"
    error = bench.error("store", [str(target / "x")], bench.blob(2 * BIG))
    assert re.search(f"Store: {target}: {words}", error)


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file gets larger than 50,000 bytes: the write that would exceed it is cut short, the next fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
def test_a_write_that_the_disk_cuts_short_fails_the_task(bench: Bench, tmp_path: Path) -> None:
    small = bench.blob(bytes(60_000))
    assert "File too large" in bench.error("concat", None, small, small)
    assert "File too large" in bench.error("make_directory", ["a"], small)
    assert "File too large" in bench.error("store", [str(tmp_path / "x")], small)
    assert not (tmp_path / "x").exists()


def test_closing_stops_everything_without_outcomes(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.runner.start(bench.job("sleep", [60], bench.blob(b"x")))
    bench.runner.close()
    bench.store.close()
    assert not bench.outcomes
    assert not bench.scratch.exists()


def test_a_machine_that_can_start_no_thread_is_no_fault_of_the_task(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    outcome = bench.run("load", ["/etc/hostname"])
    assert outcome.kind == UNABLE
    assert "Load: can't start new thread: the limit on processes" in outcome.error
