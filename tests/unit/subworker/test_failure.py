"""What is told of an exception."""

from __future__ import annotations

from typing import Any

from task_bench import Bench

from rainzmq.common.limits import INFO_LIMIT_BYTES
from rainzmq.subworker.failure import cut, describe

Context = Any


def test_traceback_holds_the_users_frames_and_not_ours(bench: Bench) -> None:
    def inner() -> None:
        raise ValueError("broken")

    def outer(ctx: Context) -> None:
        inner()

    error = bench.error(outer)
    assert error.startswith("Traceback (most recent call last):\n")
    assert error.endswith("ValueError: broken")
    assert "in outer" in error
    assert "in inner" in error
    assert "rainzmq/subworker" not in error


def test_error_in_our_code_shows_the_users_call(bench: Bench) -> None:
    def stage(ctx: Context) -> None:
        ctx.stage_file("missing")

    error = bench.error(stage)
    assert "in stage" in error
    assert "RainException: 'missing' cannot be staged: the task made no such file" in error
    assert "sandbox.py" not in error


def test_notes_cause_and_context_are_told(bench: Bench) -> None:
    def fail(ctx: Context) -> None:
        try:
            try:
                raise KeyError("first")
            except KeyError:
                raise ValueError("second")  # noqa: B904
        except ValueError as error:
            third = RuntimeError("third")
            third.add_note("a note")
            raise third from error

    error = bench.error(fail)
    for text in (
        "KeyError: 'first'",
        "During handling",
        "ValueError: second",
        "direct cause",
        "third\na note",
    ):
        assert text in error


def test_exception_groups_are_told(bench: Bench) -> None:
    def fail(ctx: Context) -> None:
        raise ExceptionGroup("several", [ValueError("one"), TypeError("two")])

    error = bench.error(fail)
    for text in ("ExceptionGroup: several (2 sub-exceptions)", "ValueError: one", "TypeError: two"):
        assert text in error


def test_exception_whose_text_can_not_be_made(bench: Bench) -> None:
    def fail(ctx: Context) -> None:
        class Nasty(Exception):
            def __str__(self) -> str:
                raise RuntimeError

            __repr__ = __str__

        raise Nasty

    assert "Nasty" in bench.error(fail)


def test_exception_whose_notes_are_broken() -> None:
    error = ValueError("x")
    error.__notes__ = 5  # type: ignore[assignment]
    assert "ValueError" in describe(error)


def test_deep_recursion_is_told(bench: Bench) -> None:
    def dive(ctx: Context) -> None:
        dive(ctx)

    assert "RecursionError" in bench.error(dive)


def test_very_long_text_keeps_head_and_tail(bench: Bench) -> None:
    def fail(ctx: Context) -> None:
        raise ValueError("head" + "é" * INFO_LIMIT_BYTES + "tail")

    error = bench.error(fail)
    assert len(error.encode()) <= INFO_LIMIT_BYTES
    assert "ValueError: head" in error
    assert error.endswith("tail")
    assert "bytes left out" in error


def test_lone_surrogates_can_travel() -> None:
    assert cut("a\udc80b") == "a\\udc80b"


def test_short_text_is_not_cut() -> None:
    assert cut("für") == "für"
    assert cut("") == ""
