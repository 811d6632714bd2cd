"""The directory a program runs in: its inputs are mapped before, its outputs taken after.

An input that lives in a file is mapped as a symlink into the store, where nobody can write
(`worker.namespace`), or copied where that cannot be had; one that lives in memory is written to a fresh
file. With `write` it is always a writable copy. A mapped input that was not given for writing must be there
afterwards as it was: the task fails if not, for what it computed does not follow from its declared inputs.
Deleting or replacing one counts as a change. So an output at the path of such an input, or below it, is that
data under another id, and nothing is copied.

Fresh files get a modification time of a second ago, so that every later write shows, however soon it comes.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import msgpack

from rainzmq.common.content_types import is_subtype
from rainzmq.common.ids import id_of
from rainzmq.common.limits import MEMORY_OBJECT_BYTES
from rainzmq.common.trees import (
    check_tree,
    copy_file,
    copy_tree,
    is_executable,
    is_inside,
    make_executable,
    remove_tree,
    walk_tree,
)
from rainzmq.protocol.messages.shared import ObjectMeta, OutputTemplate
from rainzmq.store import ObjectStore
from rainzmq.store.streams import write_all
from rainzmq.worker.core.jobs import Job, Produced
from rainzmq.worker.faults import TaskFault, WorkerFault, own_error, split_inner_path
from rainzmq.worker.filework import make_parents

_NAMES_SHOWN = 20
_FEW_ENTRIES = 64
_INLINE_COPY_BYTES = 1 << 20


@dataclass(slots=True)
class ProgramPlan:
    """How to run a program: the shared configuration of an `Execute`.

    Attributes:
        args: the program and its arguments; with `shell` one command.
        stdin: index of the input that is its standard input, None for nothing.
        stdout: index of the output that its standard output becomes, None when it is not kept.
        shell: run through /bin/sh.
        inputs: per input of the task its path, None when it is not mapped, and whether it may be written.
        outputs: per output of the task its path, None for the standard output.
        interpreter: directory of the client's Python interpreter.
    """

    args: list[str]
    stdin: int | None
    stdout: int | None
    shell: bool
    inputs: list[tuple[str | None, bool]]
    outputs: list[str | None]
    interpreter: str = ""


def plan_of(job: Job) -> ProgramPlan:
    """Read the configuration of a job. Raises `TaskFault` when it is malformed or does not fit the task."""
    try:
        config = msgpack.unpackb(job.body.config, unicode_errors="surrogateescape")
        plan = ProgramPlan(
            args=[str(arg) for arg in config["args"]],
            stdin=config["stdin"],
            stdout=config["stdout"],
            shell=bool(config["shell"]),
            inputs=[(path, bool(write)) for path, write in config["inputs"]],
            outputs=list(config["outputs"]),
            interpreter=str(config.get("interpreter", "")),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise TaskFault(f"the configuration of the program cannot be read: {error!r}") from None
    if len(plan.inputs) != len(job.inputs) or len(plan.outputs) != len(job.body.outputs):
        raise TaskFault("the configuration of the program does not fit the task's inputs and outputs")
    for index, bound in ((plan.stdin, len(plan.inputs)), (plan.stdout, len(plan.outputs))):
        if index is not None and not (isinstance(index, int) and 0 <= index < bound):
            raise TaskFault(f"the configuration of the program names {index!r}, which is not there")
    if not plan.args or not plan.args[0]:
        raise TaskFault("there is no program to run: the arguments are empty")
    return plan


@dataclass(slots=True)
class _Mapped:
    """An input at its path.

    `link` is where a symlink must point; else `state` is what a file or tree must be like.
    """

    index: int
    item: ObjectMeta
    path: str
    link: str | None = None
    state: object = None


class Sandbox:
    """The private directory of one attempt. `path` is a path that nothing is at."""

    def __init__(self, path: str, job: Job, plan: ProgramPlan, store: ObjectStore, copy_inputs: bool) -> None:
        self.path = path
        self.temporary = path + ".tmp"
        """For the program's temporary files, beside the directory, which is empty when it starts."""
        self._job = job
        self._plan = plan
        self._store = store
        self._copy_inputs = copy_inputs
        self._watched: list[_Mapped] = []
        self._kept = {
            path: item
            for item, (path, write) in zip(job.inputs, plan.inputs, strict=True)
            if path is not None and not write
        }
        self.stdin_copy: str | None = None
        """A file beside the directory that `prepare` makes for the standard input to be read from; None when
        that is done without a copy. Removed by whoever opens it, or with the directory.
        """
        if copy_inputs and plan.stdin is not None and store.path(job.inputs[plan.stdin].uid) is not None:
            self.stdin_copy = None if job.inputs[plan.stdin].is_directory else path + ".in"

    def is_quick_to_prepare(self) -> bool:
        """Whether `prepare` copies so little that it need not be done in a thread."""
        total = 0 if self.stdin_copy is None else self._job.inputs[self._plan.stdin or 0].size
        for item, (path, write) in zip(self._job.inputs, self._plan.inputs, strict=True):
            if path is not None and (write or self._copy_inputs) and self._store.path(item.uid) is not None:
                if item.is_directory:
                    return False
                total += item.size
        return total <= _INLINE_COPY_BYTES

    def prepare(self, cancelled: Callable[[], bool]) -> None:
        """Make the directory, map the inputs, make the directories of outputs.

        Raises `TaskFault` for a bad path, `WorkerFault` when the directory cannot be made or the content of
        an input is gone, `TreeCancelled` when `cancelled()` was true, `ArchiveError`,
        `OSError`.
        """
        try:
            os.mkdir(self.path, 0o700)
            os.mkdir(self.temporary, 0o700)
        except OSError as error:
            raise own_error(error, "no directory can be made for the task") from error
        for index, (path, write) in enumerate(self._plan.inputs):
            if path is not None:
                self._map(index, path, write, cancelled)
        for path in self._plan.outputs:
            if path is not None and self._kept_input(path) is None:
                make_parents(self.path, _parts_of(path)[:-1], path)
        if self.stdin_copy is not None and self._plan.stdin is not None:
            source = self._store.path(self._job.inputs[self._plan.stdin].uid)
            copy_file(source or "", self.stdin_copy, 0o444, cancelled=cancelled)

    def _map(self, index: int, path: str, write: bool, cancelled: Callable[[], bool]) -> None:
        item = self._job.inputs[index]
        parts = _parts_of(path)
        make_parents(self.path, parts[:-1], path)
        target = os.path.join(self.path, *parts)
        if os.path.lexists(target):
            raise TaskFault(f"two inputs are mapped to {path!r}")
        mapped = _Mapped(index, item, target)
        source = self._store.path(item.uid)
        if source is not None and not self._store.is_there(item.uid):
            raise WorkerFault(f"the content of its input {id_of(item.uid)} is gone", [item.uid])
        if source is not None and not write and not self._copy_inputs:
            os.symlink(source, target)
            mapped.link = source
        elif source is None:
            _write_file(target, self._store.read(item.uid), 0o644 if write else 0o444)
        elif item.is_directory:
            copy_tree(source, target, writable=write, cancelled=cancelled)
        else:
            mode = (0o644 if write else 0o444) | (0o111 if item.executable else 0)
            copy_file(source, target, mode, cancelled=cancelled)
        if not write:
            if mapped.link is None:
                mapped.state = _age(target)
            self._watched.append(mapped)

    def changed_inputs(self) -> tuple[list[str], list[int]]:
        """What the program changed, described, and the uids of stored objects it may have harmed."""
        changed: list[str] = []
        damaged: list[int] = []
        for mapped in self._watched:
            unharmed = mapped.link is None or self._store.looks_unchanged(mapped.item.uid)
            if not unharmed:
                damaged.append(mapped.item.uid)
            if not (unharmed and _is_as_before(mapped)):
                changed.append(self._describe(mapped))
        if self._plan.stdin is not None and self.stdin_copy is None:
            uid = self._job.inputs[self._plan.stdin].uid
            # A program may open what it reads from once more, for writing.
            if uid not in damaged and not self._store.looks_unchanged(uid):
                damaged.append(uid)
                changed.append("its standard input")
        return changed, damaged

    def _describe(self, mapped: _Mapped) -> str:
        label = self._job.input_label(mapped.index)
        name = f"input {mapped.index}" if label is None else f"input {label!r}"
        return f"{name} (mapped to {os.path.relpath(mapped.path, self.path)!r})"

    def collect(self, stdout: Callable[[], Produced]) -> list[Produced]:
        """The outputs, still in the sandbox if they are not small. `stdout` gives that of the standard
        output.

        Raises `TaskFault` naming an output that is missing, leaves the sandbox, or is not what was declared;
        `ArchiveError`, `OSError`.
        """
        outputs = self._job.body.outputs
        return [
            stdout() if path is None else self._collect(path, declared)
            for path, declared in zip(self._plan.outputs, outputs, strict=True)
        ]

    def _kept_input(self, path: str) -> tuple[ObjectMeta, str] | None:
        """The input that an output is, or lies in, if that cannot be changed; and where in it."""
        if not self._kept:
            return None
        parts = _parts_of(path)
        for count in range(len(parts), 0, -1):
            item = self._kept.get("/".join(parts[:count]))
            if item is not None:
                return item, "/".join(parts[count:])
        return None

    def _passed_on(self, item: ObjectMeta, inner: str, path: str, declared: OutputTemplate) -> Produced:
        """An output that is an input, or a part of one, as it was: the same data under another id."""
        if inner:
            made, is_directory = self._part_of(item, inner, path)
        else:
            keeps_type = not item.is_directory and is_subtype(item.content_type, declared.content_type)
            made = Produced(alias=item.uid, content_type=item.content_type if keeps_type else None)
            is_directory = item.is_directory
        if is_directory != declared.is_directory:
            kinds = ("a blob", "a directory") if is_directory else ("a directory", "a file")
            raise TaskFault(f"the output {path!r} is declared as {kinds[0]}, but it is {kinds[1]}")
        return made

    def _part_of(self, item: ObjectMeta, inner: str, path: str) -> tuple[Produced, bool]:
        """What is at a path inside of an input, and whether it is a directory."""
        root = self._store.path(item.uid)
        if root is None or not item.is_directory:
            raise TaskFault(f"the output {path!r} is missing: the input it would lie in is a file")
        root = os.path.realpath(root)
        found = os.path.realpath(os.path.join(root, inner))  # links stay inside: that was checked
        if not os.path.exists(found):
            raise TaskFault(f"the output {path!r} is missing: the input it would lie in has no such entry")
        info = os.stat(found)
        is_directory = stat.S_ISDIR(info.st_mode)
        if not is_directory and info.st_size <= MEMORY_OBJECT_BYTES and not is_executable(info.st_mode):
            with open(found, "rb", buffering=0) as file:
                return Produced(data=file.read()), False
        inner = os.path.relpath(found, root)
        return Produced(alias=item.uid, inner="" if inner == "." else inner), is_directory

    def _collect(self, path: str, declared: OutputTemplate) -> Produced:
        kept = self._kept_input(path)
        if kept is not None:
            return self._passed_on(*kept, path, declared)
        parts = _parts_of(path)
        full = os.path.join(self.path, *parts)
        if not os.path.lexists(full):
            raise TaskFault(f"the output {path!r} is missing; {self._listing()}")
        if os.path.islink(full) or len(parts) > 1:
            if not is_inside(full, self.path):
                raise TaskFault(f"the output {path!r} is a symlink that leaves the task's directory")
            if not os.path.exists(full):
                raise TaskFault(f"the output {path!r} is a symlink to nothing")
            full = self._materialized(full)
        info = os.lstat(full)
        if declared.is_directory:
            if not stat.S_ISDIR(info.st_mode):
                raise TaskFault(
                    f"the output {path!r} is declared as a directory, but the program made a file"
                )
            check_tree(full)
            return Produced(path=full)
        if stat.S_ISDIR(info.st_mode):
            raise TaskFault(f"the output {path!r} is declared as a blob, but the program made a directory")
        if not stat.S_ISREG(info.st_mode):
            raise TaskFault(f"the output {path!r} is neither a file nor a directory")
        if info.st_size <= MEMORY_OBJECT_BYTES and not is_executable(info.st_mode):
            with open(full, "rb", buffering=0) as file:
                return Produced(data=file.read())
        return Produced(path=full)

    def _materialized(self, full: str) -> str:
        """A file or directory with what a link inside the sandbox points to; others may point there too."""
        if not os.path.islink(full):
            return full
        target = os.path.realpath(full)
        os.unlink(full)
        if os.path.isdir(target):
            copy_tree(target, full)
        else:
            copy_file(target, full)
            if is_executable(os.stat(target).st_mode):
                make_executable(full)
        return full

    def _listing(self) -> str:
        names = sorted(os.listdir(self.path))
        shown = ", ".join(map(repr, names[:_NAMES_SHOWN])) + (", ..." if len(names) > _NAMES_SHOWN else "")
        return f"the task's directory has {shown}" if names else "the task's directory is empty"

    def remove_quickly(self) -> bool:
        """Remove the directory if that takes few steps; whether it is gone. Else `remove` it in a thread."""
        if self.stdin_copy is not None:
            with suppress(FileNotFoundError):
                os.unlink(self.stdin_copy)
        try:
            with suppress(FileNotFoundError):
                os.rmdir(self.temporary)
        except OSError:
            return False
        try:
            os.rmdir(self.path)
            return True
        except FileNotFoundError:
            return True
        except OSError:
            pass
        with os.scandir(self.path) as listing:
            items = [(item.path, item.is_dir(follow_symlinks=False)) for item in listing]
        if len(items) > _FEW_ENTRIES or any(is_directory for _, is_directory in items):
            return False
        for path, _ in items:
            os.unlink(path)
        os.rmdir(self.path)
        return True

    def remove(self) -> None:
        """Remove the directory with all that is in it, whatever its modes."""
        remove_tree(self.temporary)
        remove_tree(self.path)


def _parts_of(path: str) -> list[str]:
    parts = split_inner_path(path)
    if not parts:
        raise TaskFault(f"the path {path!r} is the task's directory itself; give a name in it")
    return parts


def _write_file(path: str, data: bytes | memoryview, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        write_all(descriptor, data)
    finally:
        os.close(descriptor)


def _age(path: str) -> object:
    """Make all files of a fresh copy a second old; returns what `_state_of` says then."""
    then = time.time_ns() - 1_000_000_000
    if os.path.isdir(path):
        for name, info in walk_tree(path):
            if not stat.S_ISDIR(info.st_mode):
                os.utime(os.path.join(path, name), ns=(then, then), follow_symlinks=False)
    os.utime(path, ns=(then, then))
    return _state_of(path)


def _state_of(path: str) -> object:
    """What changes when a file is written or replaced, or anything is in a tree."""
    info = os.lstat(path)
    if not stat.S_ISDIR(info.st_mode):
        return stat.S_IFMT(info.st_mode), info.st_ino, info.st_size, info.st_mtime_ns
    states = set()
    for name, found in walk_tree(path):
        content = () if stat.S_ISDIR(found.st_mode) else (found.st_size, found.st_mtime_ns)
        states.add((name, found.st_mode, found.st_ino, content))
    return states


def _is_as_before(mapped: _Mapped) -> bool:
    with suppress(OSError):
        if mapped.link is not None:
            return os.readlink(mapped.path) == mapped.link
        return _state_of(mapped.path) == mapped.state
    return False
