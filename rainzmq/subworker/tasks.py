"""Runs one Python task after the other."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from rainzmq.common.data_instance import DataInstance
from rainzmq.common.errors import RainException
from rainzmq.common.ids import ID
from rainzmq.common.limits import INFO_LIMIT_BYTES
from rainzmq.common.pycall import CallBody, Calls, decode_body
from rainzmq.common.room import is_full
from rainzmq.common.search_path import search_path
from rainzmq.common.specs import ObjectInfo, ObjectSpec
from rainzmq.common.states import DataType
from rainzmq.common.trees import is_executable
from rainzmq.protocol.messages.subworker import (
    PackagesDiffer,
    SubworkerInput,
    SubworkerTask,
    TaskPrinted,
    TaskResult,
)
from rainzmq.subworker import children
from rainzmq.subworker.context import Context
from rainzmq.subworker.failure import describe
from rainzmq.subworker.leftovers import Leftovers
from rainzmq.subworker.outputs import Collector
from rainzmq.subworker.packages import PackageCheck
from rainzmq.subworker.random_state import RandomState
from rainzmq.subworker.sandbox import TaskDirectories
from rainzmq.subworker.streams import Streams
from rainzmq.subworker.surroundings import Surroundings
from rainzmq.subworker.temporary import TemporaryFiles
from rainzmq.subworker.threads import Threads
from rainzmq.subworker.tripwires import places_of, watch_functions

METHODS = ["call"]
"""Methods of the kind `python`."""

_LONG_NS = 5_000_000
"""After tasks that took longer everything they may have changed is compared, which takes 30 us."""

_SHORT_NS = 50_000
"""After a task that took less, the cpus are taken for what they were, unless Python's function for that was
called: setting them again takes 1.5 us. Native code that binds the process to cpus takes longer to get going.
"""

_OWN_FAULTS = (ImportError, OSError, MemoryError)
"""What makes it impossible to prepare a task in a process where others hid modules or used up something."""


_DISK_FAULTS = frozenset(
    {
        errno.ENOENT,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EIO,
        errno.ESTALE,
        errno.ENODEV,
        errno.ENOTCONN,
    }
)
"""What another process would meet as well: it is of no use to replace this one."""


class Unable(Exception):
    """A task cannot begin, for reasons of this machine that are none of its own."""


class Tasks:
    """Runs tasks; keeps what is shared between them: bodies, loaded functions, the working directory."""

    def __init__(self, pin: bool, temporary: str | None = None) -> None:
        """`pin`: set the cpus of each task as this process's affinity. `temporary`: a directory for temporary
        files that is emptied after each task.
        """
        self._pid = os.getpid()
        self._pin = pin
        self._cpus: list[int] | None = None
        self._is_bound = False
        self._told: tuple[int, int, list[int]] | None = None
        children.install()
        self._surroundings = Surroundings(affinity=not pin)
        if pin:
            watch_functions(places_of(os, "sched_setaffinity"), "sched_setaffinity", self._on_other_cpus)
        self._random = RandomState()
        self._leftovers = Leftovers()
        self._begun = False
        self._used = False
        self.spoiled: str | None = None
        """Why this process must not run another task; None while it may."""
        self._sandbox = TaskDirectories()
        self._streams = Streams()
        self._calls = Calls()
        self._function: Callable[..., Any] | None = None
        self._bodies: dict[tuple[int, int], bytes | CallBody] = {}
        self._packages = PackageCheck()
        self._threads = Threads()
        self._temporary = None if temporary is None else TemporaryFiles(temporary)
        self._path = os.environ.get("PATH", os.defpath)
        self._interpreter: str | None = None

    def add_body(self, session_id: int, key: int, config: bytes) -> None:
        """Remember the shared part of tasks to come."""
        self._bodies[session_id, key] = config

    def forget(self, session_ids: Iterable[int]) -> None:
        """Drop all that belongs to sessions that ended."""
        gone = set(session_ids)
        self._bodies = {key: body for key, body in self._bodies.items() if key[0] not in gone}
        self._calls.forget(gone)
        self._function = None
        self._packages.forget(gone)
        if self._leftovers.outlast(gone):
            self.spoiled = "tasks of a session that ended left threads or children running"

    def run(self, task: SubworkerTask) -> TaskResult | None:
        """Run a task to its end. An exception of any kind in it is a failed result.

        None: its function was not called, for the process is not what it was after earlier tasks (`spoiled`).

        Raises:
            Unable: it has not begun, because its directory cannot be used.
        """
        start_time = time.time()
        begin = time.perf_counter_ns()
        context = Context(task, self._sandbox, start_time)
        result = TaskResult(task.id, task.attempt, True, "", [], b"", "", start_time, 0)
        keep: set[str] = set()
        self._begun = False
        try:
            self._enter(task.directory)
            self._set_environment(task)
            self._run(task, context, result, keep)
            result.user = context.info_user()
        except Unable:
            raise
        except BaseException as error:  # SystemExit and KeyboardInterrupt of a task are its failures, too
            self._end_if_forked()
            # At once: describing an error needs builtins and modules.
            self._restore(thorough=True)
            if not self._begun and self._is_own_fault(error):
                return None
            result.ok, result.outputs, result.error = False, [], describe(error)
            if is_full(error):
                result.error += f"\n{self._sandbox.describe_room()}"
            with suppress(RainException):
                result.user = context.info_user()
            keep.clear()
        result.debug = context.debug_text()
        self._clean_up(task, keep, time.perf_counter_ns() - begin)
        result.duration_us = (time.perf_counter_ns() - begin) // 1000
        return result

    def take_output(self, task: SubworkerTask) -> TaskPrinted | None:
        """What the task that was run last wrote to its standard streams; None for nothing."""
        return self._streams.take(task.id, task.attempt) if self._streams.has_output else None

    def other_packages(self, task: SubworkerTask, failed: bool) -> PackagesDiffer | None:
        """What its client has in other versions than this process, as far as that is news; mostly None."""
        key = task.id[0], task.body
        if not failed and key in self._packages.looked:
            return None
        body = self._bodies[key]
        return None if isinstance(body, bytes) else self._packages.look(key, body.versions)

    def ignore_output(self) -> None:
        """What is written between tasks belongs to none. To be called before a task that was waited for."""
        self._streams.ignore()

    def _enter(self, directory: str) -> None:
        try:
            self._sandbox.enter(directory)
        except OSError as error:
            if error.errno not in _DISK_FAULTS:
                raise
            raise Unable(f"the directory {directory} cannot be used: {error}") from error

    def _run(self, task: SubworkerTask, context: Context, result: TaskResult, keep: set[str]) -> None:
        session_id = task.id[0]
        body = self._body(session_id, task.body)
        if body.interpreter != self._interpreter:
            self._find_programs_of(body.interpreter)
        inputs = [_instance(item) for item in task.inputs]
        call = self._calls.prepare(session_id, body, task.config, inputs, task.directory)
        context.function = call.function
        if call.function is not self._function:
            children.use(call.function, task.directory)
            self._function = call.function
        if call.made:
            children.use_arguments(call.made, task.directory)
            self._function = None  # there may be so many of them that its globals were dropped
        self._surroundings.begin()
        self._begun = self._used = True
        value = call.function(context, *call.args, **call.kwargs)
        self._surroundings.restore_builtins()
        self._end_if_forked()
        if value is None and not task.outputs:
            return
        paths = frozenset([item.path for item in task.inputs if item.path is not None])
        collector = Collector(body.name, task.outputs, self._sandbox, paths)
        result.outputs = collector.collect(value)
        keep |= collector.paths()
        if sum([len(item.user) for item in result.outputs]) > INFO_LIMIT_BYTES:
            raise RainException(f"info.user of all outputs together is over {INFO_LIMIT_BYTES} bytes as JSON")

    def _body(self, session_id: int, key: int) -> CallBody:
        body = self._bodies[session_id, key]
        if isinstance(body, bytes):
            body = self._bodies[session_id, key] = decode_body(body)
        return body

    def _set_environment(self, task: SubworkerTask) -> None:
        environment = self._surroundings.environment
        session_id, attempt, cpus = task.id[0], task.attempt, task.cpus
        common = session_id, attempt, cpus
        if common != self._told or not environment.own_are_set:
            environment.set_own(attempt, session_id, cpus)
            self._told = common
        environment.set_task_id(b"%d/%d" % task.id)
        if len(cpus) != self._threads.count and cpus:
            self._threads.follow(len(cpus))
            environment.keep_all()
        if self._pin and cpus and not (self._is_bound and cpus == self._cpus):
            set_affinity(cpus, with_threads=cpus != self._cpus)
            self._cpus = cpus
            self._is_bound = True

    def _on_other_cpus(self, _arguments: Any) -> None:
        self._is_bound = False

    def _find_programs_of(self, interpreter: str) -> None:
        """Functions of a client with another interpreter come: `python3` shall be that one."""
        self._interpreter = interpreter
        os.environ["PATH"] = search_path(interpreter, self._path)
        self._surroundings.environment.keep_all()

    def _end_if_forked(self) -> None:
        """A child that the task forked came back from the function: it must not go on as a second
        subworker.
        """
        if os.getpid() != self._pid:
            os._exit(0)

    def _is_own_fault(self, error: BaseException) -> bool:
        """A task could not even be prepared: whether that is likely what earlier tasks have made of this
        process. If not, or in a new process, what went wrong is the task's.
        """
        cause = error.__cause__ if isinstance(error, RainException) else error
        if self._used and self.spoiled is None and isinstance(cause, _OWN_FAULTS):
            self.spoiled = f"a task could not be prepared after others: {type(cause).__name__}: {cause}"
        return self.spoiled is not None

    def _restore(self, thorough: bool) -> None:
        lost = self._surroundings.restore(thorough)
        if lost is not None:
            self.spoiled = f"a task changed its process for good: {lost}"

    def _clean_up(self, task: SubworkerTask, keep: set[str], duration_ns: int) -> None:
        """Undo what a task may have left that would disturb the next one."""
        self._restore(thorough=duration_ns > _LONG_NS)
        if duration_ns > _SHORT_NS:
            self._is_bound = False
        self._random.refresh()
        self._streams.restore()
        self._sandbox.leave(keep)
        if self._temporary is not None:
            self._temporary.clean()
        children.forget_arguments()
        children.end_lost_fork_server()
        self._leftovers.look(task.id[0])


def set_affinity(cpus: list[int], with_threads: bool) -> None:
    """Bind this process to `cpus`; `with_threads` also those threads that libraries keep between tasks.

    Nothing happens when these are no cpus for this process, as when those of a container changed.
    """
    try:
        os.sched_setaffinity(0, cpus)
        threads = os.listdir("/proc/self/task") if with_threads else []
    except OSError:
        return
    for thread in threads:
        with suppress(OSError):  # it has just ended
            os.sched_setaffinity(int(thread), cpus)


def _instance(item: SubworkerInput) -> DataInstance:
    data_type = DataType.DIRECTORY if item.is_directory else DataType.BLOB
    spec = ObjectSpec(
        id=ID(*item.id),
        label=item.own_label,
        data_type=data_type,
        content_type=item.content_type,
        user=_user(item.spec_user),
    )
    info = ObjectInfo(
        size=item.size,
        content_type=item.content_type,
        user=_user(item.info_user),
        executable=not item.is_directory and item.path is not None and _is_program(item.path),
    )
    return DataInstance(item.data, item.path, spec=spec, info=info)


def _is_program(path: str) -> bool:
    """Whether a stored file is executable, by its mode. An executable blob is a file whatever its size."""
    try:
        return is_executable(os.stat(path).st_mode)
    except OSError:  # reading it tells why
        return False


def _user(data: bytes) -> dict[str, Any]:
    if not data:
        return {}
    import json

    user: dict[str, Any] = json.loads(data)
    return user
