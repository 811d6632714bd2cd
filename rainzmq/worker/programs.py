"""Runs external programs: jobs of type `builtin/execute`.

    start -> sandbox prepared -> process spawned ~~~> its exit -> outputs taken -> outcome -> sandbox removed

All of that is a few system calls in the loop's thread; only large copies and the removal of large sandboxes
go to a thread. Standard output and error go to files without names (standard output to a named one when it is
an output), so that a program that writes much needs no reader and nothing is left when the worker dies.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import IO, Protocol

from rainzmq.common.archive import ArchiveError
from rainzmq.common.ids import id_of
from rainzmq.common.limits import MEMORY_OBJECT_BYTES
from rainzmq.common.room import free_bytes, no_room
from rainzmq.common.search_path import search_path
from rainzmq.common.tails import read_tail
from rainzmq.common.threads import thread_variables
from rainzmq.common.trees import TreeCancelled, remove_tree, tree_size
from rainzmq.common.units import format_size
from rainzmq.common.workforce import Workforce
from rainzmq.store import ObjectStore, is_noexec
from rainzmq.store.streams import write_all
from rainzmq.transport.loop import Timer
from rainzmq.worker.core.jobs import CRASHED, FAILED, FINISHED, UNABLE, Job, Outcome, Printed, Produced
from rainzmq.worker.faults import NOEXEC, Attempt, TaskFault, WorkerFault, describe, is_own, own_error
from rainzmq.worker.processes import Process, ProcessLoop, end, kill_tree, spawn
from rainzmq.worker.sandbox import ProgramPlan, Sandbox, plan_of
from rainzmq.worker.trimmer import Trimmer

_log = logging.getLogger(__name__)

_TAIL_BYTES = 8 << 10
_SHORT_TAIL_BYTES = 2 << 10
_FULL_BELOW_BYTES = 64 << 10
_THREADS = 2


class ProgramLoop(ProcessLoop, Protocol):
    """What is needed of `transport.loop.Loop`."""

    def call_soon(self, callback: Callable[[], None], /) -> None:
        """Call `callback` in this turn of the loop."""

    def call_later(self, delay_s: float, callback: Callable[[], None], /) -> Timer:
        """Call `callback` once after a while."""

    def call_threadsafe(self, callback: Callable[[], None], /) -> None:
        """Call `callback` in the loop's thread."""


class _Run:
    """A job from its start to its outcome."""

    def __init__(self, job: Job, plan: ProgramPlan, sandbox: Sandbox) -> None:
        self.job = job
        self.plan = plan
        self.sandbox = sandbox
        self.attempt = Attempt(job)
        self.process: Process | None = None
        self.files = ExitStack()
        self.stdout: IO[bytes] | None = None
        self.stdout_path = sandbox.path + ".out"
        self.stderr: IO[bytes] | None = None


class ProgramRunner:
    """Runs programs, any number at once.

    `scratch` is a directory of its own, best in the store's file system.
    """

    def __init__(
        self,
        loop: ProgramLoop,
        store: ObjectStore,
        scratch: Path,
        done: Callable[[Outcome], None],
        *,
        copy_inputs: bool = False,
        pinned: bool = True,
    ) -> None:
        """`copy_inputs`: links into the store are not safe here, map copies. `pinned`: the cpus of jobs are
        cpus of this host that their programs are bound to.
        """
        self._loop = loop
        self._store = store
        self._scratch = scratch
        self._scratch_path = str(scratch)
        self._done = done
        self._copy_inputs = copy_inputs
        self._pinned = pinned
        self._environment = dict(os.environ)
        self._thread_names = thread_variables(self._environment)
        self._runs: dict[int, _Run] = {}
        self._numbers = count(1)
        self._threads = Workforce(_THREADS, "rainzmq-sandboxes")
        self._closed = False
        self._trimmer = Trimmer(loop, self._output_files)
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)

    def start(self, job: Job) -> None:
        """Run a job; its outcome may come before this returns, when it cannot be started."""
        attempt = Attempt(job)
        try:
            plan = plan_of(job)
        except TaskFault as error:
            self._done(attempt.failed(str(error)))
            return
        path = f"{self._scratch_path}/{next(self._numbers)}"
        sandbox = Sandbox(path, job, plan, self._store, self._copy_inputs)
        run = self._runs[job.uid] = _Run(job, plan, sandbox)
        if sandbox.is_quick_to_prepare():
            self._prepared(run, self._prepare(run))
        else:
            try:
                self._threads.submit(
                    lambda: self._loop.call_threadsafe(partial(self._prepared, run, self._prepare(run)))
                )
            except OSError as error:
                self._prepared(run, error)

    def kill(self, uid: int) -> None:
        """Kill a program with all its processes; its outcome CANCELLED comes soon after.

        No error when it has ended.
        """
        run = self._runs.get(uid)
        if run is not None:
            run.attempt.cancelled = True
            if run.process is not None:
                kill_tree(run.process)

    def close(self) -> None:
        """Kill all programs without outcomes and remove all sandboxes."""
        self._closed = True
        for run in self._runs.values():
            run.attempt.cancelled = True
        end([run.process for run in self._runs.values() if run.process is not None])
        self._threads.shutdown()
        self._trimmer.close()
        for run in self._runs.values():
            run.files.close()
        remove_tree(self._scratch)

    def _prepare(self, run: _Run) -> Exception | None:
        """Prepare the sandbox; why that is not possible, or None. Maybe in a thread."""
        try:
            run.sandbox.prepare(run.attempt.is_cancelled)
        except (TaskFault, WorkerFault, ArchiveError, TreeCancelled, OSError) as error:
            with suppress(OSError):
                run.sandbox.remove()  # what there is room for is told without it
            return error
        return None

    def _prepared(self, run: _Run, problem: Exception | None) -> None:
        if self._closed:
            return
        if problem is None and not run.attempt.cancelled:
            try:
                self._spawn(run)
                return
            except (TaskFault, WorkerFault, OSError) as error:
                problem = error
        if run.attempt.cancelled or problem is None:
            self._finish(run, run.attempt.cancelled_outcome())
        elif isinstance(problem, WorkerFault):
            self._finish(run, run.attempt.unable(str(problem), problem.lost))
        else:
            text = describe(problem, _input_bytes(run), run.sandbox.path)
            kind = UNABLE if is_own(problem, self._store.root.parent) else FAILED
            self._finish(run, run.attempt.failed(text, kind))

    def _spawn(self, run: _Run) -> None:
        plan, job = run.plan, run.job
        with ExitStack() as opened:
            stdin = None
            if plan.stdin is not None:
                stdin = opened.enter_context(self._open_stdin(run, plan.stdin)).fileno()
            try:
                if plan.stdout is None:
                    run.stdout = run.files.enter_context(self._nameless())
                else:
                    run.stdout = run.files.enter_context(open(run.stdout_path, "x+b", buffering=0))
                run.stderr = run.files.enter_context(self._nameless())
            except OSError as error:
                raise own_error(error, "no files can be made for what the program writes") from error
            args = ["/bin/sh", "-c", plan.args[0]] if plan.shell else plan.args
            environment = {**self._environment, **self._task_variables(run)}
            try:
                run.process = spawn(
                    self._loop,
                    args,
                    cwd=run.sandbox.path,
                    env=environment,
                    on_exit=lambda process: self._on_exit(run, process),
                    cpus=job.cpus if self._pinned and job.cpus else None,
                    stdin=stdin,
                    stdout=run.stdout.fileno(),
                    stderr=run.stderr.fileno(),
                )
            except (OSError, ValueError) as error:
                if is_own(error, self._store.root.parent) or not os.path.isdir(run.sandbox.path):
                    raise WorkerFault(f"the program {args[0]!r} could not be started: {error}") from error
                path = environment["PATH"]
                raise TaskFault(_why_not_started(args[0], run.sandbox.path, path, error)) from None
            self._trimmer.wake()

    def _task_variables(self, run: _Run) -> dict[str, str]:
        """The environment variables that tell a program what it is, what cpus it has, and what is where."""
        job = run.job
        return {
            "RAINZMQ_TASK_ID": str(id_of(job.uid)),
            "RAINZMQ_ATTEMPT": str(job.attempt),
            "RAINZMQ_SESSION_ID": str(job.session_id),
            "RAINZMQ_CPUS": ",".join(map(str, job.cpus)),
            "TMPDIR": run.sandbox.temporary,
            "PATH": search_path(run.plan.interpreter, self._environment.get("PATH", os.defpath)),
            **dict.fromkeys(self._thread_names, str(len(job.cpus))),
        }

    def outputs(self) -> Iterator[tuple[Job, Printed | None]]:
        """Running jobs, with what they have written so far."""
        for run in self._runs.values():
            if run.process is not None:
                yield run.job, _printed(run)

    def _output_files(self) -> list[int]:
        """Descriptors of what running programs write to, without those that become outputs."""
        files = []
        for run in self._runs.values():
            if run.process is not None:
                files += [run.stdout] if run.plan.stdout is None else []
                files.append(run.stderr)
        return [file.fileno() for file in files if file is not None]

    def _open_stdin(self, run: _Run, index: int) -> IO[bytes]:
        item = run.job.inputs[index]
        if item.is_directory:
            raise TaskFault("the standard input is a directory; it must be a blob")
        path = run.sandbox.stdin_copy or self._store.path(item.uid)
        if path is not None and not self._store.is_there(item.uid):
            raise WorkerFault(f"the content of its input {id_of(item.uid)} is gone", [item.uid])
        if path is not None:
            return open(path, "rb", buffering=0)
        file = self._nameless()
        write_all(file.fileno(), self._store.read(item.uid))
        file.seek(0)
        return file

    def _nameless(self) -> IO[bytes]:
        return tempfile.TemporaryFile(dir=self._scratch_path, buffering=0)

    def _on_exit(self, run: _Run, process: Process) -> None:
        if self._closed:
            return
        changed, damaged = run.sandbox.changed_inputs()
        attempt = run.attempt
        if attempt.cancelled:
            outcome = attempt.cancelled_outcome()
            outcome.damaged = damaged
        else:
            outcome = self._judge(run, process.returncode or 0, changed, damaged)
            outcome.printed = _printed(run, with_output=outcome.kind is not FINISHED)
        self._finish(run, outcome)

    def _judge(self, run: _Run, returncode: int, changed: list[str], damaged: list[int]) -> Outcome:
        """The outcome of a program that ended by itself."""
        kind, error = FAILED, ""
        name = "the command" if run.plan.shell else f"the program {run.plan.args[0]!r}"
        if returncode == -signal.SIGKILL:
            kind = CRASHED
            error = f"{name} was killed by SIGKILL, not by rainzmq: was the machine out of memory?"
        elif returncode < 0:
            error = f"{name} was killed by signal {_signal_name(-returncode)}"
        elif returncode > 0:
            error = f"{name} ended with exit code {returncode}"
        elif changed:
            error = (
                f"{name} changed what it was given to read: {', '.join(changed)}; "
                "map it with write=True to get a copy that may be changed"
            )
        else:
            try:
                return run.attempt.finished(run.sandbox.collect(partial(_stdout_of, run)))
            except (TaskFault, ArchiveError, OSError) as fault:
                kind = UNABLE if is_own(fault, self._store.root.parent) else FAILED
                error = f"{name} ended, but {describe(fault, where=run.sandbox.path)}"
        return run.attempt.failed(error + _tails(run) + _fullness(run), kind, damaged)

    def _finish(self, run: _Run, outcome: Outcome) -> None:
        """Give the outcome, from within which outputs are taken over; then remove the rest."""
        run.files.close()
        del self._runs[run.job.uid]
        self._done(outcome)
        if run.plan.stdout is not None and os.path.lexists(run.stdout_path):
            os.unlink(run.stdout_path)
        if not _removed_quickly(run.sandbox):
            try:
                self._threads.submit(partial(_remove, run.sandbox))
            except OSError:  # of no thread
                _remove(run.sandbox)


def _input_bytes(run: _Run) -> int:
    return sum(item.size for item in run.job.inputs)


def _fullness(run: _Run) -> str:
    """A line that says so when a program failed on a full disk; many fail without a word then."""
    where = run.sandbox.path
    try:
        if free_bytes(where) > _FULL_BELOW_BYTES:
            return ""
        written = tree_size(where) + sum(
            os.fstat(file.fileno()).st_size for file in (run.stdout, run.stderr) if file is not None
        )
        return f"\nThere is {no_room(where, written, at_least=True)}"
    except OSError:  # of a directory that the program locked
        return ""


def _removed_quickly(sandbox: Sandbox) -> bool:
    try:
        return sandbox.remove_quickly()
    except OSError:
        return False


def _remove(sandbox: Sandbox) -> None:
    try:
        sandbox.remove()
    except OSError as error:
        _log.warning("the directory of a program cannot be removed: %s", error)


def _why_not_started(program: str, directory: str, path: str, error: OSError | ValueError) -> str:
    if isinstance(error, ValueError):  # of subprocess, which says "embedded null byte"
        return f"the program {program!r} cannot be started: an argument has a NUL in it"
    if isinstance(error, FileNotFoundError):
        if "/" not in program:
            return f"there is no program {program!r} on the worker's PATH ({path})"
        if os.path.exists(os.path.join(directory, program)):
            return f"the program {program!r} cannot be started: the interpreter in its first line is missing"
        return f"there is no program {program!r} on the worker's host"
    if isinstance(error, PermissionError):
        place = os.path.join(directory, program) if "/" in program else shutil.which(program, os.F_OK)
        if place is not None and is_noexec(place):
            return f"the program {program!r} cannot be started: {NOEXEC.format(os.path.realpath(place))}"
        return f"the program {program!r} cannot be started: it is not executable"
    return f"the program {program!r} cannot be started: {error.strerror}"


def _stdout_of(run: _Run) -> Produced:
    """The standard output as an output."""
    assert run.stdout is not None
    size = os.fstat(run.stdout.fileno()).st_size
    if size <= MEMORY_OBJECT_BYTES:
        return Produced(data=os.pread(run.stdout.fileno(), size, 0))
    return Produced(path=run.stdout_path)


def _printed(run: _Run, with_output: bool = False) -> Printed | None:
    """What the program wrote; standard output that is an output of the task only `with_output`: when there
    will be no such output.
    """
    tails, sizes = ["", ""], [0, 0]
    stdout = run.stdout if run.plan.stdout is None or with_output else None
    for index, file in enumerate((stdout, run.stderr)):
        if file is not None:
            sizes[index] = os.fstat(file.fileno()).st_size
            tails[index] = read_tail(file.fileno(), 0, sizes[index])
    return Printed(tails[0], tails[1], sizes[0], sizes[1]) if any(sizes) else None


def _tails(run: _Run) -> str:
    """What the program wrote last, standard error at the end; less of standard output when there is both."""
    error = _tail(run.stderr, "error", _TAIL_BYTES)
    output = _tail(run.stdout, "output", _SHORT_TAIL_BYTES if error else _TAIL_BYTES)
    return output + error or "\nIt wrote nothing to its standard error."


def _tail(file: IO[bytes] | None, name: str, limit_bytes: int) -> str:
    """The end of a stream under a heading; empty when there is nothing."""
    size = 0 if file is None else os.fstat(file.fileno()).st_size
    if file is None or not size:
        return ""
    tail = read_tail(file.fileno(), 0, size, limit_bytes).rstrip()
    if "\0" in tail and name == "output":  # what is made for the next program
        return f"\nStandard {name}: {format_size(size)} that are no text"
    return tail and f"\nStandard {name}{' (its end)' if size > limit_bytes else ''}:\n{tail}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
