"""Containers with an arbitrary uid, no home, a home that is read-only or full: one sentence that helps."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from namespaces import needs_namespaces, run_in_namespaces

UNKNOWN_UID = 54321
RAINZMQ = [sys.executable, "-P", "-m", "rainzmq"]
HINT = "set RAINZMQ_HOME to a directory that you can write to"

COMMANDS = {
    "local": ["local", "--cpus", "1", "--", "true"],
    "server": ["server", "--listen", "0"],
    "worker": ["worker", "127.0.0.1:9"],
    "sessions": ["sessions"],
    "report": ["report", "last"],
}


def environment(**changes: str | None) -> dict[str, str]:
    """Ours, without a home; `changes` are set."""
    values = {name: value for name, value in os.environ.items() if name not in ("HOME", "RAINZMQ_HOME")}
    return values | {name: value for name, value in changes.items() if value is not None}


def one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    """What a command that failed said: one line, which is no internal error."""
    assert done.returncode == 1, (done.returncode, done.stderr)
    lines = [line for line in done.stderr.splitlines() if line]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("rainzmq: error: "), done.stderr
    return lines[0]


UNKNOWN = ["unshare", "--user", f"--map-user={UNKNOWN_UID}", f"--map-group={UNKNOWN_UID}"]
"""Makes a command a user's whom the machine has no name for, and who can read our files all the same."""


def run(command: Sequence[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False)


@cache
def why_not_unknown() -> str:
    made = run([*UNKNOWN, "id", "-u"], environment())
    return "" if made.stdout == f"{UNKNOWN_UID}\n" else f"no other users here: {made.stderr.strip()}"


needs_unknown_user = pytest.mark.skipif(bool(why_not_unknown()), reason=why_not_unknown())


@needs_unknown_user
@pytest.mark.parametrize("name", COMMANDS)
def test_a_user_whom_nobody_knows_is_told_of_rainzmq_home(name: str) -> None:
    said = one_sentence(run([*UNKNOWN, *RAINZMQ, *COMMANDS[name]], environment()))
    assert HINT in said
    assert str(UNKNOWN_UID) in said


@pytest.mark.parametrize("name", COMMANDS)
def test_a_home_where_nothing_can_be_made_is_told_as_such(name: str) -> None:
    said = one_sentence(run([*RAINZMQ, *COMMANDS[name]], environment(HOME="/proc")))
    assert "/proc/.rainzmq cannot be made: " in said
    assert HINT in said


@needs_unknown_user
def test_with_rainzmq_home_a_user_whom_nobody_knows_can_work(tmp_path: Path) -> None:
    env = environment(RAINZMQ_HOME=str(tmp_path / "home"))
    done = run(
        [
            *UNKNOWN,
            *RAINZMQ,
            "local",
            "--cpus",
            "1",
            "--port",
            "0",
            "--",
            sys.executable,
            "-P",
            "-c",
            PROGRAM,
        ],
        env,
    )
    assert (done.returncode, done.stdout) == (0, f"{UNKNOWN_UID}\n"), done.stderr


PROGRAM = """
import os, rainzmq
from rainzmq import remote
@remote(outputs=1)
def who(ctx):
    return str(os.getuid())
with rainzmq.Client() as client, client.new_session("who") as session:
    task = who()
    task.output.keep()
    session.submit()
    session.wait_all()
    print(task.output.fetch().get_bytes().decode())
"""


@needs_namespaces
@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("name", ["local", "server", "worker"])
def test_a_read_only_home_is_told_as_such(tmp_path: Path, name: str, is_there: bool) -> None:
    if is_there:
        (tmp_path / ".rainzmq").mkdir(mode=0o700)
    setup = [f"mount --bind {tmp_path} {tmp_path}", f"mount -o remount,bind,ro {tmp_path}"]
    command = ["env", "-u", "RAINZMQ_HOME", f"HOME={tmp_path}", *RAINZMQ, *COMMANDS[name]]
    said = one_sentence(run_in_namespaces(setup, command))
    assert "Read-only file system" in said
    assert str(tmp_path) in said
    assert HINT in said


@needs_namespaces
@pytest.mark.parametrize("name", ["local", "server", "worker"])
def test_a_full_home_is_told_as_such(tmp_path: Path, name: str) -> None:
    setup = [
        f"mount -t tmpfs -o size=64k,mode=700 tmpfs {tmp_path}",
        f"mkdir -m 700 {tmp_path}/.rainzmq",
        f"cat /dev/zero > {tmp_path}/full 2>/dev/null || true",
    ]
    command = ["env", "-u", "RAINZMQ_HOME", f"HOME={tmp_path}", *RAINZMQ, *COMMANDS[name]]
    said = one_sentence(run_in_namespaces(setup, command))
    assert "No space left on device" in said
    assert HINT in said


@pytest.mark.parametrize(
    ("variable", "value"), [("RAINZMQ_HOME", "here"), ("HOME", "there"), ("RAINZMQ_HOME", "~/x")]
)
def test_a_relative_home_is_refused_and_an_absolute_one_named(variable: str, value: str) -> None:
    env = environment(**{"HOME": "/root", variable: value})
    said = one_sentence(run([*RAINZMQ, "sessions"], env))
    assert (
        f"{variable} is {value!r}, which is not an absolute path; set RAINZMQ_HOME to one, such as /" in said
    )
