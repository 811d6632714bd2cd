"""The file work of built-in tasks, each a function that may take long and runs in a thread.

Each takes the attempt, the store, and a path in scratch that nothing is at and where it may make a file or
directory; it returns the outputs. It raises `TaskFault`, `ArchiveError` or `OSError` when the task cannot be
done, and `TreeCancelled` when it noticed that the task was killed. Whatever it leaves at the scratch path is
removed.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress

import msgpack

from rainzmq.common.limits import MEMORY_OBJECT_BYTES
from rainzmq.common.room import is_full, no_room
from rainzmq.common.trees import (
    TreeCancelled,
    append_file,
    copy_file,
    copy_tree,
    is_executable,
    is_inside,
    make_executable,
    remove_tree,
    tree_size,
)
from rainzmq.protocol.messages.shared import ObjectMeta
from rainzmq.store import ObjectStore
from rainzmq.store.streams import write_all
from rainzmq.worker.core.jobs import Job, Produced
from rainzmq.worker.faults import Attempt, TaskFault, split_inner_path

Work = Callable[[Attempt, ObjectStore, str], list[Produced]]

_NAMES_SHOWN = 8


def concat(attempt: Attempt, store: ObjectStore, temporary: str) -> list[Produced]:
    """All input blobs, one after the other."""
    with open(temporary, "xb", buffering=0) as out:
        for item in attempt.job.inputs:
            _check_alive(attempt)
            path = store.path(item.uid)
            if path is None:
                write_all(out.fileno(), store.read(item.uid))
            else:
                append_file(path, out, cancelled=attempt.is_cancelled)
    return [Produced(path=temporary)]


def load(attempt: Attempt, store: ObjectStore, temporary: str) -> list[Produced]:
    """A copy of a file of this host."""
    path = _absolute_path(attempt.job)
    info = os.stat(path)
    if stat.S_ISDIR(info.st_mode):
        raise TaskFault(f"{path} is a directory; LoadDir takes directories")
    if not stat.S_ISREG(info.st_mode):
        raise TaskFault(f"{path} is neither a file nor a directory")
    return [_produced_copy(path, info, temporary, attempt)]


def load_dir(attempt: Attempt, store: ObjectStore, temporary: str) -> list[Produced]:
    """A copy of a directory of this host."""
    path = _absolute_path(attempt.job)
    if not stat.S_ISDIR(os.stat(path).st_mode):
        raise TaskFault(f"{path} is not a directory; Load takes files")
    copy_tree(path, temporary, cancelled=attempt.is_cancelled)
    return [Produced(path=temporary)]


def store_object(attempt: Attempt, store: ObjectStore, temporary: str) -> list[Produced]:
    """Write the input to a path of this host: completely or not at all, under a temporary name beside it
    first.

    A file is replaced. A directory is written where nothing or an empty directory is; one with something in
    it is refused, for neither mixing the two nor deleting files we did not make is what anybody asked for.
    """
    path = _absolute_path(attempt.job, must_exist=False)
    item = _single_input(attempt.job)
    if item.is_directory:
        if os.path.lexists(path) and not (os.path.isdir(path) and not os.path.islink(path)):
            raise TaskFault(f"{path} is a file; a directory cannot be stored there")
        if os.path.isdir(path) and os.listdir(path):
            raise TaskFault(
                f"{path} is there and is not empty; a directory can only be stored in a new place"
            )
    elif os.path.isdir(path):
        raise TaskFault(f"{path} is a directory; give the path of the file in it")
    parent = os.path.dirname(path)
    try:
        os.makedirs(parent, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise TaskFault(f"{path} needs directories, but {error.filename} is a file") from None
    beside = os.path.join(parent, f".{os.path.basename(path)[:100]}.{secrets.token_hex(4)}.part")
    try:
        _write_input(item, store, beside, None, attempt)
        _check_alive(attempt)
        os.rename(beside, path)
    except BaseException as error:
        with suppress(OSError):
            remove_tree(beside)
        if is_full(error):  # not on the disk of this worker's data
            raise TaskFault(f"{parent}: {no_room(parent, item.size)}") from None
        raise
    return []


def make_directory(attempt: Attempt, store: ObjectStore, temporary: str) -> list[Produced]:
    """A directory with each input at its path."""
    job = attempt.job
    paths = _config_paths(job)
    if len(paths) != len(job.inputs):
        raise TaskFault(f"there are {len(paths)} paths for {len(job.inputs)} inputs")
    os.mkdir(temporary, 0o755)
    taken: set[str] = set()
    for path, item in zip(paths, job.inputs, strict=True):
        _check_alive(attempt)
        parts = split_inner_path(path)
        name = "/".join(parts)
        if not item.is_directory and (not parts or path.endswith("/")):
            raise TaskFault(f"a blob cannot be laid at {path!r}; give it a file name")
        if name in taken:
            raise TaskFault(f"two objects are to be laid at {name or '.'!r}")
        taken.add(name)
        make_parents(temporary, parts[:-1], path)
        try:
            _write_input(item, store, os.path.join(temporary, name) if name else temporary, 0o644, attempt)
        except FileExistsError as error:
            there = os.path.relpath(error.filename or "", temporary)
            raise TaskFault(f"laying an object at {path!r}: {there!r} is there already") from None
    return [Produced(path=temporary)]


def slice_directory(attempt: Attempt, store: ObjectStore, temporary: str) -> list[Produced]:
    """A file, or with a trailing `/` a directory, out of the input."""
    item = _single_input(attempt.job)
    (path,) = _config_paths(attempt.job)
    if not item.is_directory:
        raise TaskFault("the input is a blob, not a directory")
    parts = split_inner_path(path)
    root = store.path(item.uid)
    if root is None or path == "":
        raise TaskFault("the path is empty; './' is the whole directory")
    found = _find(root, parts, path)
    if path.endswith("/"):
        if not os.path.isdir(found):
            raise TaskFault(f"{path!r} asks for a directory, but {'/'.join(parts)!r} is a file")
        below = os.path.relpath(os.path.realpath(found), os.path.realpath(root))
        if below == ".":
            return [Produced(alias=item.uid)]
        copy_tree(root, temporary, below=below, cancelled=attempt.is_cancelled)
        return [Produced(path=temporary)]
    if os.path.isdir(found):
        raise TaskFault(f"{path!r} is a directory; ask for it as {path + '/'!r}")
    return [_produced_copy(found, os.stat(found), temporary, attempt)]


METHODS: dict[str, Work] = {
    "load": load,
    "load_dir": load_dir,
    "store": store_object,
    "make_directory": make_directory,
    "slice_directory": slice_directory,
}
"""The function of each method that always runs in a thread."""


def needed_bytes(job: Job) -> int:
    """How much a job that does not fit would have written, 0 when that is not known."""
    if job.method == "slice_directory":
        return 0
    if job.method not in ("load", "load_dir"):
        return sum(item.size for item in job.inputs)
    try:
        path = _absolute_path(job)
        return tree_size(path) if os.path.isdir(path) else os.path.getsize(path)
    except (TaskFault, OSError):
        return 0


def make_parents(root: str, parts: list[str], path: str) -> None:
    """Make the directories `parts` below `root`. Raises `TaskFault` when a file or link, which is not
    followed, is on the way to `path`.
    """
    here = root
    for index, part in enumerate(parts):
        here = os.path.join(here, part)
        try:
            os.mkdir(here, 0o755)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(here).st_mode):
                what = "a symlink" if os.path.islink(here) else "a file"
                on_the_way = "/".join(parts[: index + 1])
                raise TaskFault(f"{path!r} needs a directory {on_the_way!r}, but that is {what}") from None


def _write_input(
    item: ObjectMeta, store: ObjectStore, target: str, mode: int | None, attempt: Attempt
) -> None:
    """Write an object to a new file, or into a directory."""
    path = store.path(item.uid)
    if path is None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(target, flags, 0o666 if mode is None else mode), "wb", buffering=0) as out:
            write_all(out.fileno(), store.read(item.uid))
    elif item.is_directory:
        if os.path.islink(target):
            raise FileExistsError(17, "a symlink is there", target)
        copy_tree(path, target, cancelled=attempt.is_cancelled)
    else:
        copy_file(path, target, mode, cancelled=attempt.is_cancelled)
        if item.executable:
            make_executable(target)


def _produced_copy(path: str, info: os.stat_result, temporary: str, attempt: Attempt) -> Produced:
    """A file, of which `info` is known: in memory when it is small and no program, else as a copy at
    `temporary`.
    """
    executable = is_executable(info.st_mode)
    if info.st_size <= MEMORY_OBJECT_BYTES and not executable:
        with open(path, "rb") as file:
            data = file.read(MEMORY_OBJECT_BYTES + 1)
        if len(data) <= MEMORY_OBJECT_BYTES:
            return Produced(data=data)
    copy_file(path, temporary, 0o755 if executable else 0o644, cancelled=attempt.is_cancelled)
    return Produced(path=temporary)


def _find(root: str, parts: list[str], path: str) -> str:
    """Where an entry of a stored directory is.

    Links in it are followed; they stay inside, which was checked.
    """
    here = root
    for index, part in enumerate(parts):
        if not os.path.isdir(here):
            raise TaskFault(f"{path!r} is not in the directory: {'/'.join(parts[:index])!r} is a file")
        parent, here = here, os.path.join(here, part)
        if not os.path.exists(here):
            names = sorted(os.listdir(parent))
            shown = ", ".join(map(repr, names[:_NAMES_SHOWN])) + (
                ", ..." if len(names) > _NAMES_SHOWN else ""
            )
            where = repr("/".join(parts[:index])) if index else "it"
            raise TaskFault(f"{path!r} is not in the directory; {where} has {shown or 'no entries'}")
    if not is_inside(here, root):
        raise TaskFault(f"{path!r} leaves the directory")
    return here


def _absolute_path(job: Job, must_exist: bool = True) -> str:
    (path,) = _config_paths(job)
    if not path.startswith("/"):
        raise TaskFault(f"the path {path!r} is relative; a path on the worker's host must be absolute")
    if "\0" in path:
        raise TaskFault(f"the path {path!r} has a NUL in it")
    path = path.rstrip("/") or "/"
    if must_exist and not os.path.exists(path):
        raise TaskFault(f"{path} does not exist on the worker's host")
    return path


def _config_paths(job: Job) -> list[str]:
    try:
        paths = msgpack.unpackb(job.config, unicode_errors="surrogateescape")
    except ValueError:
        paths = None
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise TaskFault("the configuration is not a list of paths")
    if job.method != "make_directory" and len(paths) != 1:
        raise TaskFault(f"the configuration has {len(paths)} paths instead of one")
    return paths


def _single_input(job: Job) -> ObjectMeta:
    if len(job.inputs) != 1:
        raise TaskFault(f"it takes one input, not {len(job.inputs)}")
    return job.inputs[0]


def _check_alive(attempt: Attempt) -> None:
    if attempt.cancelled:
        raise TreeCancelled
