"""Running Python tasks."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from task_bench import Bench, blob_input, output

from rainzmq.common.errors import RainException
from rainzmq.common.limits import INFO_LIMIT_BYTES

Context = Any


def test_function_gets_its_arguments(bench: Bench) -> None:
    def join(ctx: Context, left: str, right: str) -> str:
        return left + right

    assert bench.data(join, args=("a", "b")) == b"ab"


def test_task_finds_its_environment(bench: Bench) -> None:
    def environment(ctx: Context) -> str:
        names = ("TASK_ID", "ATTEMPT", "SESSION_ID", "CPUS")
        return " ".join(os.environ["RAINZMQ_" + name] for name in names)

    assert bench.data(environment, attempt=2) == b"3/17 2 3 0,2"


@pytest.mark.parametrize("change", ["nothing", "put", "clear", "another dictionary"])
def test_programs_that_a_task_starts_find_the_same_environment(bench: Bench, change: str) -> None:
    def environment(ctx: Context, change: str) -> bytes:
        text = 'echo "$RAINZMQ_TASK_ID $RAINZMQ_ATTEMPT $RAINZMQ_SESSION_ID $RAINZMQ_CPUS"'
        found = subprocess.check_output(["/bin/sh", "-c", text])
        if change == "put":
            os.putenv("RAINZMQ_TASK_ID", "mine")
            os.environ["RAINZMQ_CPUS"] = "mine"
        elif change == "clear":
            os.environ.clear()
        elif change == "another dictionary":
            os.environ = {"RAINZMQ_TASK_ID": "mine"}  # type: ignore[assignment] # noqa: B003
        return found

    for number in (17, 1_000_000_000_000, 5):
        found = bench.data(environment, args=(change,), id=(3, number), attempt=2)
        assert found == b"3/%d 2 3 0,2\n" % number


def test_context_tells_the_spec(bench: Bench) -> None:
    def spec(ctx: Context) -> Any:
        spec = ctx.spec
        return [
            str(spec.id),
            spec.task_type,
            spec.name,
            spec.resources,
            spec.user,
            [str(i) for i in spec.outputs],
        ]

    declared = [output(encode="json")]
    made = json.loads(bench.data(spec, declared, user=b'{"a": 1}'))
    assert made == ["3/17", "python/call", "a name", {"cpus": 2}, {"a": 1}, ["3/18"]]


def test_input_arrives_as_data_instance(bench: Bench) -> None:
    def read(ctx: Context, instance: Any) -> Any:
        return [
            instance.get_str(),
            str(instance.spec.id),
            instance.spec.label,
            instance.info.user,
            instance.size,
        ]

    item = blob_input(b"hello", content_type="text", own_label="word", info_user=b'{"n": 2}')
    made = bench.data(read, [output(encode="json")], inputs=[item], args=(First(),), refer=_first_input)
    assert json.loads(made) == ["hello", "3/5", "word", {"n": 2}, 5]


class First:
    """Stands for the first input."""


def _first_input(value: Any) -> int | None:
    return 0 if isinstance(value, First) else None


def test_input_that_is_returned_is_passed_on_by_its_path(bench: Bench, tmp_path: Path) -> None:
    def same(ctx: Context, instance: Any) -> Any:
        return instance

    path = tmp_path / "stored"
    path.write_bytes(b"x" * 100)
    result = bench.run(same, inputs=[blob_input(path=path)], args=(First(),), refer=_first_input)
    assert result.outputs[0].path == str(path)
    assert path.exists()


def test_function_is_the_same_object_every_time(bench: Bench) -> None:
    seen: list[int] = []

    def count(ctx: Context) -> str:
        function = ctx.function
        function.calls = getattr(function, "calls", 0) + 1
        return str(function.calls)

    assert not seen
    assert bench.data(count) == b"1"
    assert bench.data(count, body=1) == b"2"
    assert bench.data(count, body=1) == b"3"
    bench.tasks.forget([3])
    with pytest.raises(KeyError):
        bench.tasks._body(3, 1)


def test_user_info_and_debug_come_back(bench: Bench) -> None:
    def tell(ctx: Context) -> bytes:
        ctx.info.user["score"] = 0.5
        ctx.debug("plain {}")
        ctx.debug("braces {} {}", 1, "two")
        ctx.debug("percent %d", 3)
        return b""

    result = bench.run(tell)
    assert json.loads(result.user) == {"score": 0.5}
    assert result.debug == "plain {}\nbraces 1 two\npercent 3"


def test_failed_task_keeps_debug_and_user_info(bench: Bench) -> None:
    def fail(ctx: Context) -> None:
        ctx.debug("before")
        ctx.info.user = {"a": 1}
        raise ValueError("no")

    result = bench.run(fail)
    assert (result.ok, result.debug, result.user) == (False, "before", b'{"a": 1}')


@pytest.mark.parametrize("make", ["{'a': object()}", "{'a': float('nan')}", "[1]", "{'a': 'x' * 70_000}"])
def test_user_info_that_is_no_json_fails_the_task(bench: Bench, make: str) -> None:
    def tell(ctx: Context) -> bytes:
        ctx.info.user = eval(make)
        return b""

    assert "ctx.info.user" in bench.error(tell)


def test_very_long_debug_messages_keep_head_and_tail(bench: Bench) -> None:
    def tell(ctx: Context) -> bytes:
        for number in range(40_000):
            ctx.debug(f"line {number}")
        return b""

    debug = bench.run(tell).debug
    assert len(debug) <= INFO_LIMIT_BYTES
    assert debug.startswith("line 0\n")
    assert debug.endswith("line 39999")


def test_missing_module_of_the_function_is_named(bench: Bench) -> None:
    def use(ctx: Context) -> bytes:
        import no_such_module_anywhere

        return no_such_module_anywhere.x

    error = bench.error(use)
    assert "ModuleNotFoundError: No module named 'no_such_module_anywhere'" in error


def test_system_exit_is_a_failure_with_its_code(bench: Bench) -> None:
    def leave(ctx: Context) -> None:
        sys.exit(3)

    assert "SystemExit: 3" in bench.error(leave)
    assert "exit with code 3" in bench.error(leave)


def test_a_result_that_the_disk_is_too_full_for_is_told_with_need_and_have(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    def make(ctx: Context) -> bytes:
        return bytes(3 << 20)

    monkeypatch.setattr("rainzmq.subworker.sandbox.open", full, raising=False)
    words = r"no room on the disk: need 3 MiB, have \d.*B"
    assert re.fullmatch(f"A result cannot be stored: {words}", bench.error(make, [output()]))


def test_a_task_that_finds_the_disk_full_itself_is_told_what_there_is(bench: Bench) -> None:
    def write(ctx: Context) -> None:
        with open("file", "wb") as file:
            file.write(bytes(3000))
        raise OSError(28, "No space left on device")

    error = bench.error(write)
    assert "\nOSError: [Errno 28] No space left on device\n" in error
    assert re.search(r"no room on the disk: need more than 2.93 KiB, have \d.*B$", error)


def test_keyboard_interrupt_is_a_failure(bench: Bench) -> None:
    def interrupt(ctx: Context) -> None:
        raise KeyboardInterrupt

    assert "KeyboardInterrupt" in bench.error(interrupt)


def test_working_directory_is_empty_and_private_for_each_task(bench: Bench) -> None:
    def litter(ctx: Context) -> str:
        found = os.listdir(".")
        os.makedirs("sub/deep")
        Path("sub/file").write_text("x")
        return f"{found} {oct(os.stat('.').st_mode & 0o777)}"

    assert bench.data(litter) == b"[] 0o700"
    assert bench.data(litter) == b"[] 0o700"
    assert [path.name for path in bench.directory.iterdir() if any(path.iterdir())] == []


def test_clean_working_directory_is_used_again(bench: Bench) -> None:
    def where(ctx: Context) -> str:
        os.chdir("/")
        return os.getcwd()

    def here(ctx: Context) -> str:
        return os.getcwd()

    first = bench.data(here)
    assert bench.data(where) == b"/"
    assert bench.data(here) == first


def test_task_that_removes_its_directory_does_not_harm_the_next(bench: Bench) -> None:
    def remove(ctx: Context) -> bytes:
        os.rmdir(os.getcwd())
        return b""

    def write(ctx: Context) -> str:
        Path("a").write_text("x")
        return str(os.listdir("."))

    bench.data(remove)
    assert bench.data(write) == b"['a']"


def test_task_that_locks_its_directory_or_umask_does_not_harm_the_next(bench: Bench) -> None:
    def lock(ctx: Context) -> bytes:
        os.umask(0o777)
        os.mkdir("d")
        os.chmod(".", 0)
        return b""

    def write(ctx: Context) -> bytes:
        Path("a").write_text("x")
        return b"ok"

    before = os.umask(0o022)
    try:
        bench.data(lock)
        assert bench.data(write) == b"ok"
    finally:
        os.umask(before)


def test_closed_stdout_does_not_harm_the_next_task(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def close(ctx: Context) -> bytes:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        sys.stdout.close()
        return b""

    before = sys.stdout
    monkeypatch.setattr(sys, "stdout", before)
    bench.data(close)
    assert sys.stdout is before


def test_threads_of_a_task_do_not_hold_its_result(bench: Bench) -> None:
    def leave_thread(ctx: Context) -> bytes:
        event = threading.Event()
        threading.Thread(target=event.wait, args=(5,), daemon=True).start()
        ctx.function.event = event
        return b"done"

    assert bench.data(leave_thread) == b"done"


def test_forked_child_that_returns_ends_there(bench: Bench) -> None:
    def fork(ctx: Context) -> bytes:
        pid = os.fork()
        if pid:
            _, status = os.waitpid(pid, 0)
            return str(status).encode()
        return b"child"

    assert bench.data(fork) == b"0"


def test_functions_errors_of_ours_are_not_our_tracebacks(bench: Bench) -> None:
    def load(ctx: Context, value: Any) -> bytes:
        return b""

    error = bench.error(load, args=(_Unloadable(),))
    assert error.startswith(
        "load(): positional argument 1 cannot be loaded by the worker: RuntimeError: not here"
    )
    assert "subworker/tasks.py" not in error


class _Unloadable:
    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    raise RuntimeError("not here")


def test_result_tells_when_and_how_long(bench: Bench) -> None:
    def nothing(ctx: Context) -> None:
        return None

    result = bench.run(nothing, [])
    assert result.ok
    assert result.outputs == []
    assert result.start_time > 1_600_000_000
    assert 0 <= result.duration_us < 10_000_000


def test_rain_exception_of_a_user_keeps_its_traceback(bench: Bench) -> None:
    def fail(ctx: Context) -> None:
        raise RainException("mine")

    error = bench.error(fail)
    assert "Traceback" in error
    assert "in fail" in error


def test_streams_that_a_task_took_apart_do_not_end_the_subworker(bench: Bench) -> None:
    def detach(ctx: Context) -> None:
        sys.stdout = io.TextIOWrapper(sys.stdout.detach())

    def delete(ctx: Context) -> None:
        del sys.stdout

    def write(ctx: Context) -> None:
        print("still there", flush=True)

    before = sys.stdout
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (a task takes it apart)
    try:
        own = Bench(bench.directory)
        for function in (detach, write, delete, write):
            result = own.run(function, [])
            assert result.ok, result.error
    finally:
        sys.stdout = before
