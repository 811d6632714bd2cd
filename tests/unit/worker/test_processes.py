"""Starting programs and ending them with everything they started. These tests run real, short programs."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rainzmq.transport.loop import Loop
from rainzmq.worker import processes
from rainzmq.worker.processes import Process, end, kill_tree, spawn


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


class Exits:
    """Turns the loop until a number of processes ended."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.ended: list[Process] = []

    def __call__(self, process: Process) -> None:
        self.ended.append(process)
        self.loop.stop()

    def wait(self) -> Process:
        guard = self.loop.call_later(10, self.loop.stop)
        self.loop.run()
        guard.cancel()
        return self.ended[-1]


def run(loop: Loop, tmp_path: Path, *args: str, **options: object) -> tuple[Process, Exits]:
    exits = Exits(loop)
    options.setdefault("env", dict(os.environ))
    return spawn(loop, args, cwd=str(tmp_path), on_exit=exits, **options), exits  # type: ignore[arg-type]


@pytest.mark.parametrize("program", ["true", "sleep 0.05"])
def test_an_exit_is_noticed_without_a_descriptor_for_it(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    def refuse(_: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pidfd_open", refuse)
    process, exits = run(loop, tmp_path, *program.split())
    assert exits.ended == []
    assert exits.wait() is process
    assert process.returncode == 0


def test_exit_code_output_and_directory(loop: Loop, tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as out:
        process, exits = run(loop, tmp_path, "sh", "-c", "pwd; exit 3", stdout=out.fileno())
    assert exits.wait() is process
    assert process.returncode == 3
    assert not process.killed
    assert (tmp_path / "out").read_text() == f"{tmp_path}\n"


def test_a_signal_is_told_as_a_negative_returncode(loop: Loop, tmp_path: Path) -> None:
    process, exits = run(loop, tmp_path, "sh", "-c", "kill -SEGV $$")
    exits.wait()
    assert process.returncode == -signal.SIGSEGV


def test_a_missing_program_raises_at_once(loop: Loop, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run(loop, tmp_path, "no-such-program")


def test_affinity_is_set_for_the_program_only(loop: Loop, tmp_path: Path) -> None:
    mine = os.sched_getaffinity(0)
    cpu = min(mine)
    with open(tmp_path / "out", "wb") as out:
        _, exits = run(
            loop, tmp_path, "grep", "Cpus_allowed_list", "/proc/self/status", cpus=[cpu], stdout=out.fileno()
        )
    exits.wait()
    assert (tmp_path / "out").read_text().split()[1] == str(cpu)
    assert os.sched_getaffinity(0) == mine


def test_only_chosen_descriptors_reach_a_program(loop: Loop, tmp_path: Path) -> None:
    with (
        open(tmp_path / "out", "wb") as out,
        open("/dev/null", "rb") as given,
        open("/dev/null", "rb") as other,
    ):
        os.set_inheritable(other.fileno(), True)
        looks = (
            f"test -e /dev/fd/{f.fileno()} && echo {name}" for f, name in ((given, "given"), (other, "other"))
        )
        script = "; ".join([*looks, "true"])
        _, exits = run(loop, tmp_path, "sh", "-c", script, stdout=out.fileno(), pass_fds=(given.fileno(),))
    exits.wait()
    assert (tmp_path / "out").read_text() == "given\n"


@pytest.mark.parametrize("files_open", [0, 300])
def test_a_program_gets_the_limit_of_files_that_it_is_to_have(
    loop: Loop, tmp_path: Path, files_open: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(processes, "_file_limit", None)
    processes.use_file_limit(200)
    os.mkfifo(tmp_path / "go")
    with ExitStack() as opened:
        for _ in range(files_open):
            opened.enter_context(open("/dev/null"))
        out = opened.enter_context(open(tmp_path / "out", "wb"))
        _, exits = run(loop, tmp_path, "sh", "-c", "read _ < go; ulimit -Sn; ulimit -Hn", stdout=out.fileno())
        (tmp_path / "go").write_text("\n")
        exits.wait()
    hard = "unlimited" if mine[1] == resource.RLIM_INFINITY else str(mine[1])
    assert (tmp_path / "out").read_text().split() == ["200", hard]
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == mine


def test_kill_ends_the_group_and_is_marked(loop: Loop, tmp_path: Path) -> None:
    process, exits = run(loop, tmp_path, "sh", "-c", "trap '' TERM; sleep 60 & sleep 60; echo")
    kill_tree(process)
    exits.wait()
    assert process.killed
    assert process.returncode == -signal.SIGKILL
    kill_tree(process)


def test_what_a_program_leaves_in_its_group_is_killed_when_it_exits(loop: Loop, tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as out:
        _, exits = run(loop, tmp_path, "sh", "-c", "sleep 60 & echo $!", stdout=out.fileno())
    exits.wait()
    assert is_gone(int((tmp_path / "out").read_text()))


def test_end_waits_until_all_are_gone_without_turning_the_loop(loop: Loop, tmp_path: Path) -> None:
    processes = [run(loop, tmp_path, "sleep", "60")[0] for _ in range(3)]
    end(processes)
    assert all(p.returncode == -signal.SIGKILL for p in processes)


def is_gone(pid: int, within_s: float = 10.0) -> bool:
    limit = time.monotonic() + within_s
    while time.monotonic() < limit:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


# What leaves its group is only found by a subreaper, which the process that runs the tests must not become.
SUBREAPER = """
import os, sys, time
from rainzmq.transport.loop import Loop
from rainzmq.worker import processes
from rainzmq.worker.processes import become_subreaper, spawn, kill_tree, end
become_subreaper()
loop = Loop()
sweeps = []
sweep = processes._Table._sweep
def counted(table):
    sweep(table)
    sweeps.append(table)
processes._Table._sweep = counted
def alive():
    count = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                count += file.read() == b"sleep\\0" b"6543\\0"
        except OSError:
            continue
    return count
def until(condition):
    left = 2000
    def look():
        nonlocal left
        left -= 1
        if condition() or not left:
            loop.stop()
        else:
            loop.call_later(0.01, look)
    look()
    loop.run()
    assert left, "it never came to that"
ended = []
def start(script, env=None):
    environment = dict(os.environ) if env is None else env
    return spawn(loop, ["sh", "-c", script], cwd="/", env=environment, on_exit=ended.append)
"""


def as_subreaper(script: str) -> str:
    code = SUBREAPER.replace("6543", str(os.getpid() * 1000 + 7)) + textwrap.dedent(script)
    code = code.replace("6543", str(os.getpid() * 1000 + 7))
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_a_double_forked_daemon_is_killed_with_its_program() -> None:
    script = """
    process = start("(setsid sleep 6543 &) ; (setsid sh -c 'setsid sleep 6543 & sleep 6543' &); sleep 100")
    until(lambda: alive() == 3)
    kill_tree(process)
    until(lambda: not alive())
    """
    as_subreaper(script)


def test_a_daemon_that_outlives_its_program_is_killed_even_with_a_cleared_environment(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "end")
    script = """
    process = start("(setsid env -i sleep 6543 &) ; read _ < FIFO")
    until(alive)
    with open("FIFO", "w") as fifo:
        print(file=fifo)
    until(lambda: ended and not alive())
    print(process.returncode)
    """
    assert as_subreaper(script.replace("FIFO", str(tmp_path / "end"))) == "0"


def test_a_cleared_environment_does_not_hide_behind_another_running_program() -> None:
    script = """
    other = start("sleep 100")
    process = start("(setsid env -i sleep 6543 &) ; sleep 100")
    until(alive)
    kill_tree(process)
    until(lambda: not alive())
    print(other.returncode)
    end([other])
    """
    assert as_subreaper(script) == "None"


def test_a_daemon_of_a_running_program_is_left_alone() -> None:
    script = """
    other = start("(setsid sleep 6543 &); sleep 100")
    until(alive)
    start("true")
    until(lambda: ended and sweeps)
    print(alive())
    end([other])
    print(alive())
    """
    assert as_subreaper(script) == "1\n0"


def test_a_sweep_leaves_no_zombie() -> None:
    script = """
    def mine():
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if processes._stat_of(int(pid))[1:2] == [str(os.getpid()).encode()]:
                return True
        return False
    start("(setsid true &); (sleep 0.1 &); sleep 0.2")
    until(lambda: ended and not mine())
    """
    as_subreaper(script)
