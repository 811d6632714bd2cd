"""The directories of a subworker.

    <base>/               the `directory` that the worker gives with every task, the same one each time
    <base>/work-<n>/      working directory of a task; used again as long as a task leaves it empty
    <base>/result-<n>     file or directory on its way to the worker, which moves it away

Making a directory for each task costs more than the rest of running a small one, so a clean one is kept. Its
modification time is set to a mark: as long as that is there, and the time of the inode's last change is the
same, nothing has been made in it, and it is neither listed nor looked at otherwise. The mark has more digits
than a float, so that programs that restore times, as `tar` does, do not set it by chance.
What was staged is moved out of the working directory at once: the task cannot change it any more by its
name, and the next task does not see it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
from contextlib import suppress

from rainzmq.common.errors import RainException
from rainzmq.common.room import is_full, no_room
from rainzmq.common.trees import (
    ArchiveError,
    check_tree,
    copy_file,
    copy_tree,
    is_executable,
    remove_tree,
    tree_size,
)
from rainzmq.subworker.leftovers import has_others

_MARK_NS = 1_073_741_824_123_456_789
"""Modification time of a working directory in which nothing was made, ns since 1970."""

_F_SETSIG = 10


class TaskDirectories:
    """Working directories and result paths below one base directory."""

    def __init__(self) -> None:
        self._base = ""
        self._work = ""
        self._work_fd = -1
        self._times = (0, 0)
        self._count = 0
        self._staged: set[str] = set()

    def enter(self, base: str) -> None:
        """Make an empty directory below `base` the working directory."""
        if base != self._base:
            self._base = base
            self._discard_work()
        if self._work_fd >= 0:
            try:
                os.fchdir(self._work_fd)
                return
            except OSError:  # a task took its permissions away, or closed our descriptor
                self._discard_work()
        self._count += 1
        self._work = os.path.join(base, f"work-{self._count}")
        os.mkdir(self._work)
        os.chmod(self._work, 0o700)  # whatever the umask is
        self._work_fd = os.open(self._work, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fchdir(self._work_fd)
        self._mark()

    def leave(self, keep: set[str]) -> None:
        """The task ended: remove what it left, except the results `keep`. Never raises."""
        if self._staged:
            for path in self._staged - keep:
                _remove(path)
            self._staged.clear()
        try:
            info = os.fstat(self._work_fd)
            clean = (info.st_mtime_ns, info.st_ctime_ns) == self._times
            if not clean and self._is_as_made(info):
                self._mark()
                clean = True
        except OSError:
            clean = False
        if not clean:
            with suppress(OSError):
                os.chdir(self._base)
            self._discard_work()

    def _mark(self) -> None:
        """Note that the working directory is empty."""
        os.utime(self._work_fd, ns=(_MARK_NS, _MARK_NS))
        info = os.fstat(self._work_fd)
        self._times = info.st_mtime_ns, info.st_ctime_ns

    def _is_as_made(self, info: os.stat_result) -> bool:
        """The working directory is empty, where it was, and with the modes it had."""
        there = os.lstat(self._work)
        same = (there.st_dev, there.st_ino) == (info.st_dev, info.st_ino)
        return same and stat.S_IMODE(info.st_mode) == 0o700 and not os.listdir(self._work_fd)

    def new_result(self) -> str:
        """A free path outside the working directory, for a result. It is removed by `leave` unless kept."""
        self._count += 1
        path = os.path.join(self._base, f"result-{self._count}")
        self._staged.add(path)
        return path

    def stage(self, path: str | os.PathLike[str], is_directory: bool) -> str:
        """Move a file or directory out of the working directory; its new path.

        Raises:
            RainException: `path` is absolute, leads out of the working directory, is missing, or is of the
                wrong
                kind.
        """
        name = os.fspath(path)
        what = "directory" if is_directory else "file"
        source = self._resolve(name, what)
        mode = os.lstat(source).st_mode
        if is_directory and not stat.S_ISDIR(mode):
            raise RainException(f"{name!r} is not a directory; use stage_file() for a file")
        if not is_directory and not stat.S_ISREG(mode):
            hint = "; use stage_directory()" if stat.S_ISDIR(mode) else ""
            raise RainException(f"{name!r} is not a regular file{hint}")
        if is_directory:
            try:
                check_tree(source)
            except ArchiveError as error:
                raise RainException(f"{name!r} cannot be staged: {error}") from None
        target = self.new_result()
        if is_directory and source == self._root():
            return self._stage_everything(source, target)
        os.rename(source, target)
        return target

    def copy(self, source: str, is_directory: bool) -> str:
        """A copy of a file or directory as a new result; its path. OSError when it cannot be read."""
        target = self.new_result()
        try:
            if is_directory:
                copy_tree(source, target, writable=True)
            else:
                copy_file(source, target, 0o755 if is_executable(os.stat(source).st_mode) else 0o644)
        except OSError as error:
            if is_full(error):
                size = tree_size(source) if is_directory else os.path.getsize(source)
                raise _does_not_fit(target, size) from None
            raise
        return target

    def write(self, data: bytes | memoryview) -> str:
        """A new result file with this content; its path."""
        target = self.new_result()
        try:
            with open(target, "xb") as file:
                file.write(data)
        except OSError as error:
            if is_full(error):
                raise _does_not_fit(target, memoryview(data).nbytes) from None
            raise
        return target

    def describe_room(self) -> str:
        """What to tell of a task that found the disk full while it wrote something itself."""
        return no_room(self._base, tree_size(self._work), at_least=True)

    def is_held(self, path: str, is_directory: bool) -> bool:
        """Whether something may still write to a staged result: somebody has the file open for that, or, of
        a directory, there are threads or children that may have opened what is in it.
        """
        return has_others() if is_directory else is_open_for_writing(path)

    def is_staged(self, path: str) -> bool:
        """The path is a result of the running task."""
        return path in self._staged

    def _root(self) -> str:
        return os.path.realpath(self._work)

    def _resolve(self, name: str, what: str) -> str:
        if os.path.isabs(name):
            raise RainException(
                f"{name!r} is an absolute path; "
                f"a {what} is staged by its path relative to the working directory"
            )
        root = self._root()
        try:
            source = os.path.realpath(os.path.join(root, name), strict=True)
        except FileNotFoundError:
            raise RainException(f"{name!r} cannot be staged: the task made no such {what}") from None
        except (OSError, ValueError) as error:
            raise RainException(f"{name!r} cannot be staged: {error}") from None
        if source != root and not source.startswith(root + os.sep):
            raise RainException(f"{name!r} cannot be staged: it leads out of the task's working directory")
        if source == root and what == "file":
            raise RainException(f"{name!r} is the working directory; use stage_directory()")
        return source

    def _stage_everything(self, source: str, target: str) -> str:
        """Stage the whole working directory; it stays, empty."""
        os.mkdir(target)
        for entry in os.listdir(source):
            os.rename(os.path.join(source, entry), os.path.join(target, entry))
        return target

    def _discard_work(self) -> None:
        if self._work_fd >= 0:
            with suppress(OSError):
                os.close(self._work_fd)
            self._work_fd = -1
        if self._work:
            _remove(self._work)
            self._work = ""


def is_open_for_writing(path: str) -> bool:
    """Whether any process has the file open for writing, this one included. The kernel gives a lease for
    reading only on a file that nobody writes. False where a file system knows no leases.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:  # a file that its user may not read
        return False
    try:
        # Without this a process that opens the file for writing just now would end this one by SIGIO.
        fcntl.fcntl(descriptor, _F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(descriptor)


def _does_not_fit(target: str, needed_bytes: int) -> RainException:
    """The error for a result that the disk is too full for; what is there of it is removed."""
    _remove(target)
    return RainException(f"A result cannot be stored: {no_room(target, needed_bytes)}")


def _remove(path: str) -> None:
    """Remove whatever is at `path`. What cannot be removed the worker removes, after this process."""
    with suppress(OSError):
        remove_tree(path)
