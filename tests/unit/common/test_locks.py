"""Files that a living process holds, on file systems with and without locks."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rainzmq.common import locks
from rainzmq.common.locks import HeldError, hold, is_held

HOLDER = """
import fcntl, os, sys
from pathlib import Path
refused = int(sys.argv[2])
if refused:
    def flock(*_args):
        raise OSError(refused, os.strerror(refused))
    fcntl.flock = flock
from rainzmq.common.locks import hold
hold(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
os._exit(0)
"""


@pytest.fixture(
    params=[0, errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP], ids=["locks", "ENOSYS", "ENOLCK", "EOPNOTSUPP"]
)
def refused(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """What `flock` says here; 0: it works."""
    number: int = request.param
    if number:

        def flock(*_args: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(fcntl, "flock", flock)
    return number


@pytest.fixture
def holder(tmp_path: Path, refused: int) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the file."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "lock"), str(refused)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_file_is_held_until_it_is_released(tmp_path: Path, refused: int) -> None:
    path = tmp_path / "lock"
    held = hold(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (held.why_unlocked is not None) == bool(refused)
    assert is_held(path)
    held.release()
    assert not path.exists()
    held.release()


def test_what_another_process_holds_is_refused_and_says_where_it_is(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    assert is_held(tmp_path / "lock")
    with pytest.raises(HeldError, match=os.uname().nodename):
        hold(tmp_path / "lock")


def test_what_a_dead_process_held_is_free(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    assert not is_held(tmp_path / "lock")
    hold(tmp_path / "lock").release()


def test_of_processes_elsewhere_nothing_is_known_without_locks(tmp_path: Path, refused: int) -> None:
    path = tmp_path / "lock"
    host, boot, namespace, _pid, started = locks._me().split()
    for line in (f"far {boot[::-1]} {namespace} 1 5", f"{host} {boot} pid:[1] 1 5"):
        path.write_text(line)
        assert is_held(path) == bool(refused)
    path.write_text(f"{host} {boot} {namespace} {os.getpid()} 1{started}")
    assert not is_held(path), "a later process with the same number"
    for nonsense in ("", "x", "a b c d e f", "\0" * 100):
        path.write_text(nonsense)
        assert not is_held(path)


def test_other_errors_are_not_taken_for_missing_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_args: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="broken"):
        hold(tmp_path / "lock")


def test_who_holds_a_file_without_a_lock_is_seen_by_those_who_have_locks(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "lock"), str(errno.ENOLCK)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert is_held(tmp_path / "lock")
        process.kill()
    assert not is_held(tmp_path / "lock")
