"""The context of Python tasks on real workers, and the surroundings that a function finds."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from api_calls import error_of, result_of, results_of

from rainzmq import Client, Input, LocalCluster, Output, OutputDir, Session, Task, blob, remote, tasks
from rainzmq.common import DataType

LARGE = Random(1).randbytes(300_000)


@pytest.fixture
def session(client: Client) -> Iterator[Session]:
    with client.new_session("context") as session:
        yield session


def _run(session: Session, function: Callable[[Any], Any], **options: Any) -> Any:
    """The result of a function that needs no arguments."""
    return result_of(session, remote(**options)(function)())


class TestContext:
    def test_the_spec_is_that_of_the_task(self, session: Session) -> None:
        @remote(outputs=[Output("a", encode="pickle"), "b"], name="group/task")
        def look(ctx: Any, x: Any) -> Any:
            spec = ctx.spec
            return [
                (spec.id, spec.task_type, spec.name, spec.user),
                (spec.inputs, spec.outputs, spec.resources),
            ], ""

        x = blob("x")
        task = look(x)
        task.spec.user["k"] = [1, None]
        found = results_of(session, task)[0].load()
        assert found[0] == (task.id, "python/call", "group/task", {"k": [1, None]})
        assert found[1][0][0][0] == x.id
        assert found[1][1:] == (tuple(output.id for output in task.outputs), {"cpus": 1})

    def test_what_is_attached_comes_back(self, session: Session) -> None:
        @remote()
        def attach(ctx: Any) -> Any:
            ctx.info.user["of the task"] = {"a": [1, 2.5, None]}
            result = ctx.blob(b"x")
            result.info.user["of the object"] = "ü"
            return result

        task = attach()
        result = result_of(session, task)
        assert result.info is not None
        assert result.info.user == {"of the object": "ü"}
        task.update()
        task.output.update()
        assert task.info is not None
        assert task.info.user == {"of the task": {"a": [1, 2.5, None]}}
        assert task.output.info is not None
        assert task.output.info.user == {"of the object": "ü"}

    def test_what_is_attached_to_an_object_is_there_for_its_readers(self, session: Session) -> None:
        @remote()
        def attach(ctx: Any) -> Any:
            result = ctx.blob(b"x")
            result.info.user["k"] = 1
            return result

        @remote()
        def look(ctx: Any, x: Any) -> str:
            return str(x.info.user)

        assert result_of(session, look(attach())).get_str() == "{'k': 1}"

    @pytest.mark.parametrize(
        ("user", "problem"),
        [({"k": {1}}, "JSON"), ({"k": float("nan")}, "JSON"), ([1], "dict"), ({"k": "x" * 70_000}, "70")],
    )
    def test_what_can_not_be_attached_fails_the_task(self, session: Session, user: Any, problem: str) -> None:
        @remote()
        def attach(ctx: Any) -> bytes:
            ctx.info.user = user
            return b""

        error = error_of(session, attach())
        assert "ctx.info.user" in error
        assert problem in error

    def test_blob_and_pickled_make_results(self, session: Session) -> None:
        @remote(outputs=6)
        def make(ctx: Any) -> Any:
            return (
                ctx.blob(b"raw"),
                ctx.blob("text"),
                ctx.blob(b"[1]", content_type="json"),
                ctx.blob({"a": 1}, encode="json"),
                ctx.pickled({2}),
                ctx.blob(bytearray(LARGE)),
            )

        results = results_of(session, make())
        types = [result.content_type for result in results]
        assert types == [None, "text", "json", "json", "pickle", None]
        assert [result.load() for result in results[1:5]] == ["text", [1], {"a": 1}, {2}]
        assert (results[0].get_bytes(), results[5].get_bytes()) == (b"raw", LARGE)

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            ({"value": 3}, "A blob is made of bytes or str, not int; use encode="),
            ({"value": 3, "encode": "json", "content_type": "json"}, "not both"),
            ({"value": "x", "content_type": "json"}, "A str has content type 'text'"),
            ({"value": b"", "content_type": "nonsense"}, "nonsense"),
            ({"value": {1}, "encode": "json"}, "not JSON serializable"),
        ],
    )
    def test_what_is_no_blob_fails_the_task(
        self, session: Session, arguments: dict[str, Any], problem: str
    ) -> None:
        @remote()
        def make(ctx: Any) -> Any:
            return ctx.blob(**arguments)

        assert problem in error_of(session, make())

    @pytest.mark.parametrize("size", [0, 10, 300_000])
    def test_a_staged_file_is_moved_out_as_a_result(self, session: Session, size: int) -> None:
        def stage(ctx: Any) -> Any:
            os.makedirs("a/b")
            Path("a/b/f").write_bytes(bytes(size))
            result = ctx.stage_file("a/b/f", content_type="user/mine")
            assert not os.path.exists("a/b/f")
            return result

        result = _run(session, stage)
        assert (result.size, result.content_type) == (size, "user/mine")

    def test_a_staged_directory_is_moved_out_as_a_result(self, session: Session, tmp_path: Path) -> None:
        def stage(ctx: Any) -> Any:
            os.makedirs("d/sub/empty")
            Path("d/run").write_text("x")
            os.chmod("d/run", 0o755)
            os.symlink("run", "d/link")
            result = ctx.stage_directory("d")
            assert os.listdir() == []
            return result

        _run(session, stage, outputs=[OutputDir("o")]).write(tmp_path / "out")
        found = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*"))
        assert found == ["link", "run", "sub", "sub/empty"]
        assert os.access(tmp_path / "out" / "run", os.X_OK)

    def test_all_of_the_working_directory_can_be_staged(self, session: Session, tmp_path: Path) -> None:
        def stage(ctx: Any) -> Any:
            Path("f").write_text("x")
            return ctx.stage_directory(".")

        result = _run(session, stage, outputs=[OutputDir()])
        assert result.data_type is DataType.DIRECTORY
        result.write(tmp_path / "out")
        assert os.listdir(tmp_path / "out") == ["f"]

    @pytest.mark.parametrize(
        ("path", "problem"),
        [
            ("missing", "the task made no such file"),
            ("/etc/passwd", "is an absolute path"),
            ("../x", "cannot be staged"),
            ("link", "it leads out of the task's working directory"),
            ("d", "is not a regular file; use stage_directory()"),
            ("pipe", "is not a regular file"),
            (".", "is the working directory; use stage_directory()"),
        ],
    )
    def test_what_can_not_be_staged_fails_the_task(self, session: Session, path: str, problem: str) -> None:
        @remote()
        def stage(ctx: Any) -> Any:
            os.mkdir("d")
            os.mkfifo("pipe")
            os.symlink("/etc/passwd", "link")
            return ctx.stage_file(path)

        assert problem in error_of(session, stage())

    def test_debug_messages_come_back_in_order(self, session: Session) -> None:
        @remote()
        def talk(ctx: Any) -> None:
            ctx.debug("plain {} %s")
            ctx.debug("braces {} {:.2f}", 1, 2.0)
            ctx.debug("percent %s %d%%", "x", 3)

        task = talk()
        session.submit()
        task.wait()
        task.update()
        assert task.info is not None
        assert task.info.debug == "plain {} %s\nbraces 1 2.00\npercent x 3%"

    def test_endless_debug_messages_lose_their_middle(self, session: Session) -> None:
        @remote()
        def talk(ctx: Any) -> None:
            for index in range(100_000):
                ctx.debug("message {}", index)

        task = talk()
        session.submit()
        task.wait()
        task.update()
        assert task.info is not None
        assert len(task.info.debug) < 70_000
        assert task.info.debug.startswith("message 0\n")
        assert task.info.debug.endswith("message 99999")

    def test_info_says_where_when_and_how_long(self, client: Client, session: Session) -> None:
        def nap(ctx: Any) -> bytes:
            time.sleep(0.2)
            return b""

        task = remote()(nap)()
        before = time.time()
        session.submit()
        task.wait()
        task.update()
        info = task.info
        assert info is not None
        assert info.start_time is not None
        assert info.duration is not None
        assert before - 0.01 <= info.start_time <= time.time()
        assert 0.2 <= info.duration < 1
        assert info.worker in [worker["worker_id"] for worker in client.get_server_info()["workers"]]


class TestSurroundings:
    def test_the_working_directory_is_empty_private_and_gone_afterwards(self, session: Session) -> None:
        @remote(outputs=[Output(encode="json")])
        def look(ctx: Any) -> Any:
            found = os.listdir()
            Path("left").write_text("x")
            os.makedirs("d/e")
            os.chmod("d", 0o500)
            return [found, os.getcwd(), os.stat(".").st_mode & 0o777]

        made = [look() for _ in range(10)]
        session.keep_all()
        session.submit()
        found = [task.output.fetch().load() for task in made]
        assert [(names, mode) for names, _, mode in found] == [([], 0o700)] * 10
        deadline = time.monotonic() + 3
        while any(os.path.exists(os.path.join(path, "left")) for _, path, _ in found):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def test_a_changed_or_removed_working_directory_does_not_disturb_the_next_task(
        self, session: Session
    ) -> None:
        @remote()
        def disturb(ctx: Any, index: int) -> str:
            here = os.getcwd()
            if index % 3 == 0:
                os.rmdir(here)
            elif index % 3 == 1:
                os.chdir("/")
            return str(os.listdir(here) if os.path.exists(here) else [])

        made = [disturb(index) for index in range(12)]
        session.keep_all()
        session.submit()
        assert {task.output.fetch().get_str() for task in made} == {"[]"}

    def test_the_environment_names_the_task(self, session: Session) -> None:
        def look(ctx: Any) -> str:
            return " ".join(os.environ[f"RAINZMQ_{name}"] for name in ("TASK_ID", "ATTEMPT", "SESSION_ID"))

        task = remote()(look)()
        assert result_of(session, task).get_str() == f"{task.id} 0 {session.session_id}"

    def test_a_program_that_a_task_starts_sees_the_environment_too(self, session: Session) -> None:
        def look(ctx: Any) -> bytes:
            import subprocess

            return subprocess.check_output(["sh", "-c", "echo $RAINZMQ_TASK_ID; ls /proc/self/fd; cat"])

        task = remote()(look)()
        # The last descriptor is the directory that ls itself reads.
        assert result_of(session, task).get_str().split() == [str(task.id), "0", "1", "2", "3"]

    def test_printed_text_disturbs_nothing(self, session: Session) -> None:
        @remote()
        def talk(ctx: Any, index: int) -> str:
            print("x" * 100_000, index)
            print("y" * 100_000, file=sys.stderr)
            os.write(1, b"\x00\xff" * 1000)
            os.write(2, b"raw\n")
            return str(index)

        made = [talk(index) for index in range(20)]
        session.keep_all()
        session.submit()
        assert [task.output.fetch().get_str() for task in made] == [str(index) for index in range(20)]

    def test_closed_or_replaced_streams_disturb_only_the_task_itself(self, session: Session) -> None:
        def close(ctx: Any) -> None:
            sys.stdout.close()

        def close_descriptors(ctx: Any) -> None:
            os.closerange(0, 3)

        def remove(ctx: Any) -> None:
            sys.stdin = sys.stdout = sys.stderr = None

        def replace(ctx: Any) -> None:
            import io

            sys.stdout = sys.stdin = io.StringIO("replaced")
            os.dup2(os.open("file", os.O_RDWR | os.O_CREAT), 1)

        @remote()
        def look(ctx: Any) -> str:
            print("before")
            opened = os.open("file", os.O_RDWR | os.O_CREAT)
            os.close(opened)
            read = sys.stdin.read()
            os.write(1, b"x")
            assert os.path.getsize("file") == 0
            return f"{read!r} {opened > 2} {sys.stdout.fileno()} {sys.stderr.fileno()}"

        harmed = [remote()(function) for function in (close, close_descriptors, remove, replace)]
        found = []
        for function in harmed * 3:
            function(outputs=0)
            found.append(look())
        session.keep_all()
        session.submit()
        assert [task.output.fetch().get_str() for task in found] == ["'' True 1 2"] * len(found)

    def test_what_a_task_sets_for_its_process_does_not_reach_the_next_one(self, session: Session) -> None:
        def harm(ctx: Any) -> None:
            import signal

            os.environ.clear()
            os.umask(0o777)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, 0.05)

        @remote()
        def look(ctx: Any) -> Any:
            time.sleep(0.06)
            Path("f").write_text("x")
            names = ("TASK_ID", "ATTEMPT", "SESSION_ID", "CPUS")
            return f"{os.stat('f').st_mode & 0o400} {all('RAINZMQ_' + name in os.environ for name in names)}"

        found = []
        for _ in range(4):
            remote()(harm)(outputs=0)
            found.append(look())
        session.keep_all()
        session.submit()
        assert [task.output.fetch().get_str() for task in found] == [f"{0o400} True"] * 4

    def test_standard_input_is_empty(self, session: Session) -> None:
        assert _run(session, lambda ctx: sys.stdin.read() + "nothing").get_str() == "nothing"

    def test_a_task_runs_in_the_main_thread(self, session: Session) -> None:
        def look(ctx: Any) -> str:
            import signal
            import threading

            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            return str(threading.current_thread() is threading.main_thread())

        assert _run(session, look).get_str() == "True"

    def test_a_task_can_use_processes_and_threads_of_its_own(self, session: Session) -> None:
        def spread(ctx: Any) -> str:
            from concurrent.futures import ThreadPoolExecutor
            from multiprocessing import get_context

            with ThreadPoolExecutor(2) as threads, get_context("fork").Pool(2) as processes:
                return str([*threads.map(abs, [-1, -2]), *processes.map(abs, [-3, -4])])

        assert _run(session, spread).get_str() == "[1, 2, 3, 4]"

    def test_a_task_can_be_a_client_of_its_own_cluster(
        self, shared_cluster: LocalCluster, session: Session
    ) -> None:
        address = str(shared_cluster.access_file)

        def nested(ctx: Any) -> str:
            with Client(address) as client, client.new_session() as inner:
                task = tasks.Concat([blob("a"), blob("b")])
                task.keep_outputs()
                inner.submit()
                return task.output.fetch().get_str()

        assert _run(session, nested).get_str() == "ab"

    def test_an_instance_of_an_earlier_task_can_not_be_returned_by_accident(self, session: Session) -> None:
        @remote()
        def keep(ctx: Any, x: Any) -> Any:
            function = ctx.function
            function.kept = getattr(function, "kept", x)
            return function.kept

        made = [keep(tasks.Concat([blob(LARGE), blob(str(index))])) for index in range(3)]
        session.keep_all()
        session.submit()
        for task in made:
            assert task.output.fetch().get_bytes()[: len(LARGE)] == LARGE


def test_tasks_share_nothing_but_their_process(session: Session) -> None:
    """Whatever a module has counted belongs to the process; the working directory does not."""

    @remote(outputs=[Output(encode="json")])
    def count(ctx: Any, given: Input(load=True)) -> Any:  # type: ignore[valid-type]
        return [os.getpid(), given]

    made: list[Task] = [count(blob(str(index))) for index in range(40)]
    session.keep_all()
    session.submit()
    found = [task.output.fetch().load() for task in made]
    assert [text for _, text in found] == [str(index) for index in range(40)]
    assert len({pid for pid, _ in found}) < 20
