"""Child processes of a worker: started, watched, and killed with everything they started.

A process is started in a session and process group of its own, with a token of its own in its environment
(`RAINZMQ_RUN`), which its descendants inherit. Its exit is noticed through a pidfd in the loop; no thread and
no signal handler is involved. What it leaves behind must go too:

- The rest of its group is killed while the leader is still a zombie, so that the group's number is still
  its own.
- A descendant that left the group (setsid, double fork) becomes a child of the worker when its parent ends,
  because the worker is a *subreaper* (`become_subreaper`). Soon after an exit the worker looks at children it
  did not start: each belongs to the process whose token it has, and is killed when that one is gone. One that
  cleared its environment is known by a limit that is inherited as well and means nothing (`RLIMIT_RTTIME`,
  set to tens of thousands of years). One without either is killed when no process is left that could have
  started it.
- Its exit is reported when its descendants are gone, those that left the group included (`descendants`), so
  that nothing changes what it left any more.

So killing a tree needs no loop that hopes to win a race against a forking program: whatever a kill misses is
found when its parent dies. Finding such children means reading all of /proc, so it is done once for many
exits, and never takes over a hundredth of the time.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Protocol
from weakref import WeakKeyDictionary

from rainzmq.worker.descendants import left_by

RUN_VARIABLE = "RAINZMQ_RUN"
"""Environment variable that tells which process something descends from: `<worker's token>.<number>`."""

_PR_SET_CHILD_SUBREAPER = 36
_MARK = 0x10  # the first byte of a limit that tells a token, of whichever worker
_WORKER_NUMBER = secrets.randbits(24) | _MARK << 24
_WORKER_TOKEN = f"{_WORKER_NUMBER:x}"
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_END_TIMEOUT_S = 3.0
_SWEEP_DELAY_S = 0.1
_SWEEP_SHARE = 100  # between two sweeps at least so many times what the last one took

_FREE_DESCRIPTORS = 64  # what starting a process and other threads may need meanwhile, generously

_KILL_INTERVAL_S = 0.01

_DESCENDANTS_END_S = 2.0  # an exit is reported even if some that were killed are not gone then
_LOOK_AGAIN_S = 0.002
_LOOK_S = 0.01

_exempt: set[int] = set()
_subreaper = False
_file_limit: int | None = None


class ProcessLoop(Protocol):
    """What is needed of `transport.loop.Loop`."""

    def add_reader(self, source: int, callback: Callable[[], None], /) -> None:
        """Call `callback` whenever the descriptor is readable."""

    def remove_reader(self, source: int, /) -> None:
        """Undo `add_reader`."""

    def call_later(self, delay_s: float, callback: Callable[[], None], /) -> object:
        """Call `callback` once after a while."""


class Process:
    """A started process.

    Attributes:
        pid: its process id and that of its group and session.
        returncode: None while it runs, then its exit code, or minus the number of the signal that ended it.
        killed: `kill_tree` was called on it before it ended.
        popen, table, token, on_exit: for this module.
    """

    __slots__ = ("killed", "on_exit", "pid", "popen", "returncode", "started_s", "table", "token")

    def __init__(
        self,
        popen: subprocess.Popen[bytes],
        table: _Table,
        token: str,
        started_s: float,
        on_exit: Callable[[Process], None],
    ) -> None:
        self.pid = popen.pid
        self.returncode: int | None = None
        self.killed = False
        self.token = token
        self.started_s = started_s
        self.popen = popen
        self.table = table
        self.on_exit = on_exit


def become_subreaper() -> None:
    """Make orphaned descendants children of this process. For worker processes only: from now on children
    that were not started by `spawn`, and that are no descendants of what it started, are killed. Raises
    `OSError`.
    """
    global _subreaper
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot become a subreaper: {os.strerror(number)}")
    _subreaper = True


def use_file_limit(limit: int) -> None:
    """Give processes that are started from now on this soft limit of open files instead of this process's."""
    global _file_limit
    _file_limit = limit


def spawn(
    loop: ProcessLoop,
    args: Sequence[str | bytes],
    *,
    cwd: str,
    env: Mapping[str, str],
    on_exit: Callable[[Process], None],
    cpus: Iterable[int] | None = None,
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    pass_fds: Sequence[int] = (),
) -> Process:
    """Start a program in a session of its own and call `on_exit` once, from the loop, after it and its group
    ended.

    `args[0]` is looked up in the PATH of `env` when it has no `/`, and relative to `cwd` when it has one.
    `cpus` is its affinity, None for that of this process. `stdin`, `stdout`, `stderr` are descriptors, None
    for /dev/null; the caller still closes them. No other descriptor reaches it but `pass_fds`. Must be called
    in the loop's thread. Raises `OSError` when it cannot be started: the program is missing or not
    executable, `cwd` is missing.
    """
    table = _table_of(loop)
    token = table.next_token()
    before = os.sched_getaffinity(0) if cpus is not None else None
    # Inherited rather than set in the child afterwards, which may have children of its own by then.
    if cpus is not None:
        os.sched_setaffinity(0, cpus)
    limits = _mark_limits(token)
    try:
        popen = _with_file_limit(
            lambda: subprocess.Popen(
                args,
                cwd=cwd,
                env={**env, RUN_VARIABLE: token},
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=subprocess.DEVNULL if stdout is None else stdout,
                stderr=subprocess.DEVNULL if stderr is None else stderr,
                pass_fds=pass_fds,
                start_new_session=True,
            )
        )
    finally:
        if before is not None:
            os.sched_setaffinity(0, before)
        if limits is not None:
            resource.setrlimit(resource.RLIMIT_RTTIME, limits)
    process = Process(popen, table, token, time.clock_gettime(time.CLOCK_BOOTTIME), on_exit)
    table.watch(process)
    return process


def kill_tree(process: Process) -> None:
    """Kill a process and all its descendants with SIGKILL.

    `on_exit` is still called; no error when it ended.
    """
    if process.returncode is None:
        process.killed = True
        _kill_group(process.pid)


def exempt(pid: int) -> None:
    """A child that this process did not start with `spawn` is to be left alone."""
    _exempt.add(pid)


def kill_marked(timeout_s: float) -> None:
    """Kill all processes that descend from the worker whose fork this is; returns when none is left, or after
    `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    own = f"{_WORKER_TOKEN}."
    while time.monotonic() < deadline:
        children = _children_of_all()
        marked = [
            pid for pid in chain.from_iterable(children.values()) if (_token_of(pid) or "").startswith(own)
        ]
        marked = [pid for pid in marked if _stat_of(pid)[:1] not in ([], [b"Z"])]
        if not marked:
            return
        for pid in marked:
            _kill_with_descendants(pid, children)
        time.sleep(_KILL_INTERVAL_S)


def end(processes: Iterable[Process], timeout_s: float = _END_TIMEOUT_S) -> None:
    """Kill process trees and wait until they are gone, at most `timeout_s`. For shutting down: `on_exit` of
    those that were running is not called, and the loop does not turn meanwhile.
    """
    running = [p for p in processes if p.returncode is None]
    for process in running:
        kill_tree(process)
    deadline = time.monotonic() + timeout_s
    for process in running:
        process.table.end(process, deadline)


def _table_of(loop: ProcessLoop) -> _Table:
    table = _tables.get(loop)
    if table is None:
        table = _tables[loop] = _Table(loop)
    return table


class _Table:
    """The processes of one loop."""

    def __init__(self, loop: ProcessLoop) -> None:
        self._loop = loop
        self._running: dict[int, Process] = {}
        self._tokens: set[str] = set()
        self._orphans: set[int] = set()  # killed, waiting for their exit
        self._count = 0
        self._sweep_due = False
        self._sweep_took_s = 0.0

    def next_token(self) -> str:
        self._count += 1
        return f"{_WORKER_TOKEN}.{self._count}"

    def watch(self, process: Process) -> None:
        self._running[process.pid] = process
        self._tokens.add(process.token)
        self._when_ended(process.pid, partial(self._on_ended, process))

    def end(self, process: Process, deadline: float) -> None:
        """Wait for a killed process and the orphans of it, without the loop."""
        while process.returncode is None and time.monotonic() < deadline:
            if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
                self._reap(process)
            else:
                time.sleep(0.002)
        self._sweep()
        while self._orphans and time.monotonic() < deadline:
            time.sleep(0.002)
            for pid in list(self._orphans):
                if _reap_child(pid):
                    self._orphans.discard(pid)
            if not self._orphans:
                self._sweep()

    def _when_ended(self, pid: int, callback: Callable[[], None]) -> None:
        """Call `callback` from the loop when the child `pid` is a zombie. It is not reaped."""
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:  # kernels before 5.3, sandboxes without it, no descriptor left
            self._loop.call_later(_LOOK_S, partial(self._look, pid, callback))
            return

        def ready() -> None:
            self._loop.remove_reader(descriptor)
            os.close(descriptor)
            callback()

        self._loop.add_reader(descriptor, ready)

    def _look(self, pid: int, callback: Callable[[], None]) -> None:
        ended = True
        with suppress(ChildProcessError):
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
        if ended:
            callback()
        else:
            self._loop.call_later(_LOOK_S, partial(self._look, pid, callback))

    def _on_ended(self, process: Process) -> None:
        if process.returncode is None:
            self._reap(process)
            self._end_descendants(process, time.monotonic() + _DESCENDANTS_END_S)

    def _end_descendants(self, process: Process, deadline: float) -> None:
        """Report the exit when nothing that the process started is running any more."""
        left = left_by(process.pid, self._running, lambda pid: _token_of(pid) == process.token, _is_alive)
        if not left or time.monotonic() > deadline:
            process.on_exit(process)
            return
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        self._loop.call_later(_LOOK_AGAIN_S, partial(self._end_descendants, process, deadline))

    def _reap(self, process: Process) -> None:
        _kill_group(process.pid)
        process.returncode = process.popen.wait()
        del self._running[process.pid]
        self._tokens.discard(process.token)
        self._sweep_later()

    def _sweep_later(self) -> None:
        if _subreaper and not self._sweep_due:
            self._sweep_due = True
            self._loop.call_later(max(_SWEEP_DELAY_S, _SWEEP_SHARE * self._sweep_took_s), self._sweep)

    def _sweep(self) -> None:
        """Kill strange children whose origin has ended; reap those that ended by themselves."""
        self._sweep_due = False
        if not _subreaper:
            return
        begin = time.monotonic()
        children = _children_of_all()
        for pid in children.get(os.getpid(), ()):
            if (
                pid in self._running
                or pid in self._orphans
                or pid in _exempt
                or _reap_child(pid)
                or self._has_living_origin(pid)
            ):
                continue
            self._orphans.add(pid)
            _kill_with_descendants(pid, children)
            self._when_ended(pid, partial(self._on_orphan_ended, pid))
        self._sweep_took_s = time.monotonic() - begin

    def _has_living_origin(self, pid: int) -> bool:
        token = _token_of(pid)
        if token is not None:
            return token in self._tokens
        started = _start_of(pid)
        return any(p.started_s <= started + 1 / _TICKS_PER_S for p in self._running.values())

    def _on_orphan_ended(self, pid: int) -> None:
        if pid in self._orphans:
            _reap_child(pid)
            self._orphans.discard(pid)
            self._sweep_later()


_tables: WeakKeyDictionary[ProcessLoop, _Table] = WeakKeyDictionary()


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _kill_with_descendants(pid: int, children: Mapping[int, list[int]]) -> None:
    doomed = [pid]
    for each in doomed:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(each, signal.SIGKILL)
        doomed.extend(children.get(each, ()))


def _children_of_all() -> dict[int, list[int]]:
    """The children of every process of this machine."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = _stat_of(int(name))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(name))
    return children


def _stat_of(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the state on, empty when the process is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []


def _with_file_limit(start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """What `start` starts, with the limit of `use_file_limit`. It is inherited, unless this process has too
    many files open to start anything under that limit: then it is set a moment later.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _file_limit is None or _file_limit == soft:
        return start()
    lowest_free = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.close(lowest_free)
    if lowest_free + _FREE_DESCRIPTORS < _file_limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_file_limit, hard))
        try:
            return start()
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    popen = start()
    with suppress(OSError):  # it ended already
        resource.prlimit(popen.pid, resource.RLIMIT_NOFILE, (_file_limit, hard))
    return popen


def _mark_limits(token: str) -> tuple[int, int] | None:
    """Set this process's own limit to what tells the token, for a child to inherit; what it was before.
    None when the administrator has set a limit: the environment has to do.
    """
    limits = resource.getrlimit(resource.RLIMIT_RTTIME)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_RTTIME, (_limit_of(token), limits[1]))
        return limits
    return None


def _limit_of(token: str) -> int:
    """The limit, in microseconds, that tells the same as a token of ours."""
    return _WORKER_NUMBER << 32 | int(token.partition(".")[2])


def _token_of(pid: int) -> str | None:
    """The token in a process's limits or environment; None without one, or when they cannot be read."""
    with suppress(OSError):  # first, since it takes a fortieth of the time
        limit_us = resource.prlimit(pid, resource.RLIMIT_RTTIME)[0]
        if limit_us >> 56 == _MARK:
            return f"{limit_us >> 32:x}.{limit_us & 0xFFFFFFFF}"
    prefix = RUN_VARIABLE.encode() + b"="
    with suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
        for item in file.read().split(b"\0"):
            if item.startswith(prefix):
                return item[len(prefix) :].decode("ascii", "replace")
    return None


def _is_alive(pid: int) -> bool:
    """Whether a process has not ended, a zombie has."""
    fields = _stat_of(pid)
    return bool(fields) and fields[0] not in (b"Z", b"X")


def _start_of(pid: int) -> float:
    """When a process was started, seconds since boot; now when it is gone."""
    fields = _stat_of(pid)
    return int(fields[19]) / _TICKS_PER_S if fields else time.clock_gettime(time.CLOCK_BOOTTIME)


def _reap_child(pid: int) -> bool:
    """Whether the child had ended (or is none of ours any more)."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True
