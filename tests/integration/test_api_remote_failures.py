"""Python tasks that fail, on real workers: what the user reads, and that the next task is not harmed."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from api_calls import error_of, result_of

from rainzmq import Client, Output, RainException, Session, TaskException, blob, remote, tasks
from rainzmq.common import TaskState


@pytest.fixture
def session(client: Client) -> Iterator[Session]:
    with client.new_session("failures") as session:
        yield session


def _error(session: Session, function: Callable[[Any], Any], **options: Any) -> str:
    """The error that a function ends with."""
    return error_of(session, remote(**options)(function)())


class TestExceptions:
    def test_the_text_has_all_that_a_user_needs(self, session: Session) -> None:
        @remote(name="group/it fails")
        def fail(ctx: Any) -> None:
            ctx.debug("before {}", 1)
            ctx.debug("the failure")
            helper()

        def helper() -> None:
            try:
                os.environ["NO_SUCH_KEY"]
            except KeyError as error:
                error.add_note("a note on the cause")
                outer = ValueError("the outer one")
                outer.add_note("a note")
                raise outer from error

        task = fail()
        error = error_of(session, task)
        head, *_ = error.split("\n")
        assert re.fullmatch(
            rf"Task 'group/it fails' \({task.id}, python/call\) failed on worker 127\.0\.0\.1:\d+:", head
        )
        parts = [
            "Traceback (most recent call last):",
            f'  File "{__file__}", line ',
            'os.environ["NO_SUCH_KEY"]',
            "KeyError: 'NO_SUCH_KEY'\na note on the cause",
            "The above exception was the direct cause of the following exception:",
            "in fail\n    helper()",
            "raise outer from error",
            "ValueError: the outer one\na note",
            f"The task was made at {__file__}:",
            "Its debug messages:\n  before 1\n  the failure",
        ]
        places = [error.find(part) for part in parts]
        assert -1 not in places, error
        assert places == sorted(places)
        assert "rainzmq/subworker" not in error

    def test_the_error_has_attributes_and_is_the_state_of_the_task(self, session: Session) -> None:
        @remote()
        def fail(ctx: Any) -> None:
            raise ValueError("x")

        task = fail()
        session.submit()
        for _ in range(2):  # every later wait says the same
            with pytest.raises(TaskException) as caught:
                session.wait_all()
            error = caught.value
            assert (error.task_id, error.task_name, error.task_type) == (task.id, "fail", "python/call")
            assert (error.session_id, error.attempt) == (session.session_id, 0)
        assert task.state is TaskState.FAILED
        assert task.info is not None
        assert "ValueError: x" in (task.info.error or "")

    def test_context_and_suppressed_context(self, client: Client) -> None:
        def during(ctx: Any) -> None:
            try:
                1 / 0  # noqa: B018
            except ZeroDivisionError:
                raise ValueError("x")  # noqa: B904

        def suppressed(ctx: Any) -> None:
            try:
                1 / 0  # noqa: B018
            except ZeroDivisionError:
                raise ValueError("x") from None

        with client.new_session() as session:
            error = _error(session, during)
            assert "During handling of the above exception, another exception occurred" in error
        with client.new_session() as session:
            assert "ZeroDivisionError" not in _error(session, suppressed)

    def test_an_exception_group_is_shown_with_all_in_it(self, session: Session) -> None:
        def fail(ctx: Any) -> None:
            raise ExceptionGroup("many", [ValueError("one"), ExceptionGroup("inner", [KeyError("two")])])

        error = _error(session, fail)
        assert "ExceptionGroup: many (2 sub-exceptions)" in error
        assert "ValueError: one" in error
        assert "KeyError: 'two'" in error

    def test_exceptions_that_can_not_be_shown_or_pickled(self, client: Client) -> None:
        class Broken(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no text")

            __repr__ = __str__

            def __reduce__(self) -> Any:
                raise RuntimeError("no pickle")

        class Noted(Broken):
            @property
            def __notes__(self) -> Any:  # type: ignore[override]
                raise RuntimeError("no notes")

        for kind in (Broken, Noted):

            def fail(ctx: Any, kind: Any = kind) -> None:
                raise kind(threading.Lock)

            with client.new_session() as session:
                error = _error(session, fail)
            assert kind.__name__ in error
            assert "in fail\n" in error

    def test_a_class_of_exceptions_that_the_client_has_not(self, session: Session) -> None:
        def fail(ctx: Any) -> None:
            Path("only_here.py").write_text("class Special(Exception): ...\n")
            sys.path.insert(0, os.getcwd())
            try:
                import only_here  # type: ignore[import-not-found]
            finally:
                sys.path.pop(0)
            raise only_here.Special("text")

        assert "only_here.Special: text" in _error(session, fail)

    def test_a_huge_text_loses_its_middle(self, session: Session) -> None:
        def fail(ctx: Any) -> None:
            raise ValueError("begin" + "x" * 5_000_000 + "end")

        error = _error(session, fail)
        assert len(error) < 100_000
        assert "ValueError: begin" in error
        assert "xend\n" in error
        assert "bytes left out" in error

    def test_endless_recursion(self, session: Session) -> None:
        def fail(ctx: Any) -> None:
            def again() -> None:
                again()

            again()

        error = _error(session, fail)
        assert "RecursionError: maximum recursion depth exceeded" in error
        assert len(error) < 5_000

    def test_strange_characters(self, session: Session) -> None:
        def fail(ctx: Any) -> None:
            raise ValueError("ü \ud800 \0 \x1b[31m")

        assert "ValueError: ü \\ud800" in _error(session, fail)

    @pytest.mark.parametrize(
        ("kind", "problem"),
        [
            (SystemExit, "The task asked its process to exit with code 3, which fails the task."),
            (KeyboardInterrupt, "The task was interrupted by SIGINT."),
            (GeneratorExit, "GeneratorExit: 3"),
            (MemoryError, "MemoryError: 3"),
        ],
    )
    def test_what_is_no_plain_exception_fails_the_task_only(
        self, client: Client, kind: type[BaseException], problem: str
    ) -> None:
        @remote(outputs=[Output(encode="json")])
        def look(ctx: Any) -> Any:
            return os.getpid()

        with client.new_session() as session:

            def fail(ctx: Any) -> None:
                raise kind(3)

            assert problem in _error(session, fail)
        with client.new_session() as session:
            assert result_of(session, look()).load() > 0

    def test_sys_exit_without_failure_is_one_too(self, session: Session) -> None:
        assert "exit with code 0" in _error(session, lambda ctx: sys.exit(0))

    def test_a_child_that_comes_back_from_the_function_does_not_go_on(self, session: Session) -> None:
        def fork(ctx: Any) -> str:
            child = os.fork()
            if child:
                return str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            return "child"

        made = [remote()(fork)() for _ in range(5)]
        session.keep_all()
        session.submit()
        assert [task.output.fetch().get_str() for task in made] == ["0"] * 5


class TestCrashes:
    @pytest.mark.parametrize(
        ("crash", "problem"),
        [
            (lambda: os._exit(5), "ended with exit code 5"),
            (lambda: os._exit(0), "ended with exit code 0"),
            (lambda: ctypes.string_at(0), "was killed by signal 11 (SIGSEGV)"),
            (lambda: os.abort(), "was killed by signal 6 (SIGABRT)"),
            (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by signal 9 (SIGKILL)"),
            (lambda: os.kill(os.getpid(), signal.SIGTERM), "was killed by signal 15 (SIGTERM)"),
        ],
        ids=["exit 5", "exit 0", "segfault", "abort", "kill", "term"],
    )
    def test_a_task_that_ends_its_process_is_tried_exactly_three_times(
        self, session: Session, tmp_path: Path, crash: Callable[[], Any], problem: str
    ) -> None:
        tries = str(tmp_path / "tries")

        def fail(ctx: Any) -> None:
            with open(tries, "a") as file:
                file.write(os.environ["RAINZMQ_ATTEMPT"])
            print("the last words", flush=True)
            crash()

        error = _error(session, fail)
        assert (tmp_path / "tries").read_text() == "012"
        assert error.count(problem) == 3
        assert "crash limit: it ended the process it ran in 3 times" in error
        assert "attempt 1 on 127.0.0.1:" in error
        assert "the last words" in error
        assert f"The task was made at {__file__}:" in error

    def test_a_crash_once_is_made_good(self, session: Session, tmp_path: Path) -> None:
        mark = tmp_path / "mark"

        def crash_once(ctx: Any) -> str:
            if not mark.exists():
                mark.touch()
                os._exit(1)
            return os.environ["RAINZMQ_ATTEMPT"]

        assert result_of(session, remote()(crash_once)()).get_str() == "1"

    def test_a_segfault_tells_where_it_happened(self, session: Session) -> None:
        error = _error(session, lambda ctx: ctypes.string_at(0))
        assert "Fatal Python error: Segmentation fault" in error
        assert f'File "{__file__}"' in error

    def test_tasks_beside_a_crash_are_not_blamed(self, client: Client, session: Session) -> None:
        @remote()
        def count(ctx: Any, index: int) -> str:
            import time

            time.sleep(0.01)
            return str(index)

        made = [count(index) for index in range(60)]
        session.keep_all()
        session.submit()
        with client.new_session() as other:
            for _ in range(4):
                remote()(lambda ctx: os._exit(1))()
            other.submit()
            with pytest.raises(TaskException, match="crash limit"):
                other.wait_all()
        assert [task.output.fetch().get_str() for task in made] == [str(index) for index in range(60)]


class TestFailedSession:
    def test_a_failed_session_stops_its_tasks_and_no_other_session(
        self, client: Client, session: Session, tmp_path: Path
    ) -> None:
        kept = blob("kept")
        kept.keep()
        with client.new_session() as other, other.bind_only():
            survivor = tasks.Sleep(blob("other"), 0.5)
            survivor.keep_outputs()
            other.submit()
            mark = tmp_path / "mark"
            with session.bind_only():
                remote()(lambda ctx: None)(outputs=0)
                failing = remote()(lambda ctx: 1 / 0)()
                tasks.Execute(["sh", "-c", f"sleep 1; touch {mark}"], input_paths=[], cpus=1)
                session.submit()
            for _ in range(2):
                for ask in (
                    session.wait_all,
                    failing.wait,
                    failing.update,
                    kept.fetch,
                    kept.unkeep,
                    lambda: session.wait_some([kept]),
                ):
                    with pytest.raises(TaskException, match="ZeroDivisionError"):
                        ask()
            assert survivor.output.fetch().get_str() == "other"
            assert not mark.exists()
        session.close()
        with pytest.raises(RainException, match="closed"):
            failing.wait()
