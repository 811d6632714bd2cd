"""A server or worker that runs as a child of this process and cannot outlive it.

Each child holds the reading end of a pipe, its *lifeline*. Nobody but this process has the writing end, so
however this process ends, kill -9 included, the child reads end-of-file and stops. (A death signal,
PR_SET_PDEATHSIG, was rejected: it fires when the *thread* that started the child ends.) The lifeline also
carries one line to a worker that was started before its server was ready: where the server is.

A child has its own session, so Ctrl-C in a terminal reaches this process only, which then stops its children
in order.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

from rainzmq.common.errors import RainException
from rainzmq.common.room import free_bytes
from rainzmq.transport.access import HOME_HINT, make_private

POLL_S = 0.005
"""How often a child that starts or stops is looked at."""

_FULL_BELOW_BYTES = 4 << 10
_TAIL_LINES = 20
_TAIL_BYTES = 8 << 10

_children: weakref.WeakSet[ChildProcess] = weakref.WeakSet()


class ChildProcess:
    """One `rainzmq` process started from here.

    Attributes:
        name: human-readable, such as `the server` or `worker-1`.
        logdir: where it logs; `stderr.txt` there holds what it wrote to its stderr.
        pid: its process id.
        program: what Python runs: `rainzmq`; a test has servers of its own.
    """

    program: tuple[str, ...] = ("-m", "rainzmq")

    def __init__(self, name: str, arguments: list[str], logdir: Path) -> None:
        """Starts `rainzmq ARGUMENTS...`; `--logdir`, `--ready-file` and the lifeline are added here.

        Raises:
            RainException: `logdir` cannot be made or the process cannot be started.
        """
        self.name = name
        self.logdir = logdir
        self._ready_file = logdir / "ready"
        reading, self._lifeline = os.pipe()
        # -P: a file in the user's current directory must not stand in for a module of the standard library.
        command = [sys.executable, "-P", *self.program, *arguments]
        command += [
            "--logdir",
            str(logdir),
            "--ready-file",
            str(self._ready_file),
            "--lifeline-fd",
            str(reading),
        ]
        try:
            make_private(logdir)
            stderr = os.open(logdir / "stderr.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                self._popen = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=stderr,
                    stderr=stderr,
                    pass_fds=(reading,),
                    start_new_session=True,
                )
            finally:
                os.close(stderr)
        except OSError as error:
            os.close(self._lifeline)
            raise RainException(f"cannot start {name}: {error}") from error
        finally:
            os.close(reading)
        self.pid = self._popen.pid
        _children.add(self)

    def tell(self, line: str) -> None:
        """Sends one line over the lifeline; no error when the child is gone."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._lifeline, line.encode() + b"\n")

    def ended(self) -> bool:
        """Whether the process is gone (and reaped)."""
        return self._popen.poll() is not None

    def was_killed(self) -> bool:
        """Whether a signal ended it, so that it could not tidy up."""
        return (self._popen.poll() or 0) < 0

    def wait_ready(self, timeout_s: float) -> None:
        """Returns when the child accepts work.

        Raises:
            RainException: it ended first (with its own words) or took longer than `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        while not self._ready_file.exists():
            if self.ended():
                raise RainException(self.failure())
            if time.monotonic() > deadline:
                raise RainException(
                    f"{self.name} was not ready within {timeout_s:g} s; "
                    f"its log is in {self.logdir}{self._tail()}"
                )
            time.sleep(POLL_S)

    def failure(self) -> str:
        """How the child ended and what it last wrote to stderr, human-readable."""
        code = self._popen.poll()
        if code is None:
            return f"{self.name} is running"
        how = f"exit code {code}" if code >= 0 else f"killed by signal {_signal_name(-code)}"
        return f"{self.name} ended ({how}); its log is in {self.logdir}{self._tail()}"

    def terminate(self) -> None:
        """Asks the child to end (SIGTERM); does not wait."""
        if not self.ended():
            self._popen.terminate()

    def stop(self, deadline: float) -> None:
        """Returns when the child is gone: by itself until `deadline` (monotonic seconds), killed after it.

        Killing takes its descendants along. Also tidies up what a killed child cannot.
        """
        self.terminate()
        while not self.ended() and time.monotonic() < deadline:
            time.sleep(POLL_S)
        if not self.ended():
            kill_tree(self.pid)
            self._popen.wait()
        self.abandon()
        self._ready_file.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Lets go of the lifeline without waiting: the child ends by itself if nobody else holds it."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def _tail(self) -> str:
        try:
            with open(self.logdir / "stderr.txt", "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
                lines = file.read().decode(errors="replace").strip().splitlines()[-_TAIL_LINES:]
        except OSError as error:
            return f" (its stderr cannot be read: {error})"
        if not lines and free_bytes(self.logdir) < _FULL_BELOW_BYTES:
            return f"\n  the disk of {self.logdir} is full, so it could say nothing; {HOME_HINT}"
        return "".join(f"\n  {line}" for line in lines)


def kill_tree(pid: int) -> None:
    """Kills a process and all its descendants (SIGKILL); no error for those that are gone already."""
    import psutil  # here, because it takes a while to import and is rarely needed

    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _abandon_all() -> None:
    for child in list(_children):
        child.abandon()


# A forked child that outlives this process must not hold the lifelines of its children.
os.register_at_fork(after_in_child=_abandon_all)
