"""The worker's directories: made, looked at, made again.

    <workdir>/lock            held by this process; without it others take the directory for abandoned
    <workdir>/store/...       data objects
    <workdir>/tasks/builtin/, tasks/programs/, tasks/subworkers/   where tasks run

They lie where others tidy up: systemd's RemoveIPC empties /dev/shm when a user logs out, cleaners of
temporary files remove what looks old, administrators remove what they do not know; and disks break, or become
read-only. A worker that does not notice fails every task at once, and so draws all the work of its cluster.
So each failure of a task is a reason to look, and an idle worker looks now and then.
"""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path

from rainzmq.common.room import is_full, no_room
from rainzmq.store.workdir import default_workdir, private_workdir, release_workdir
from rainzmq.worker import guard
from rainzmq.worker.faults import SCARCE

RUNNERS = ("builtin", "programs", "subworkers")
"""Who has a directory of its own below `Workplace.scratch`."""

_TRIAL_BYTES = 4 << 10
_REASONS = {
    "/dev/shm": "systemd empties /dev/shm of a user who logs out, unless logind.conf says RemoveIPC=no",
    "/tmp": "cleaners of temporary files remove what looks old to them",
    "/var/tmp": "cleaners of temporary files remove what looks old to them",
}


class Workplace:
    """The directories of one worker.

    Attributes:
        path: the working directory.
        store_root: where the store is to be.
        scratch: where tasks run; each runner has a directory of its own in it.
        is_full: there was no room at all when it was looked at last.
    """

    def __init__(self, wanted: Path | None) -> None:
        """Make them below `wanted`; None: where there is room. Raises `RainException`, `OSError`."""
        self.path = private_workdir(wanted) if wanted else default_workdir()
        guard.watch(self.path)
        self.store_root = self.path / "store"
        self.scratch = self.path / "tasks"
        self.is_full = False
        self._known: dict[Path, tuple[int, int]] = {}
        try:
            self.scratch.mkdir(mode=0o700)
            for name in RUNNERS:
                (self.scratch / name).mkdir(mode=0o700)
        except OSError:
            self.release()
            raise

    def remember(self) -> None:
        """All is as it should be: what is found later is compared with this. Raises `OSError`."""
        paths = [self.path / "lock", self.store_root / "objects", self.store_root / "incoming"]
        paths += [self.scratch / name for name in RUNNERS]
        self._known = {path: _identity(path) for path in paths}

    def problem(self) -> str | None:
        """What is wrong with the directories and for what likely reason; None when nothing is.
        That a disk is full is no fault of the directories: see `trial`.
        """
        for path, known in self._known.items():
            try:
                if _identity(path) == known:
                    continue
                what = "was replaced"
            except FileNotFoundError:
                what = "is gone"
            except OSError as broken:
                return f"the working directory {self.path} cannot be used: {broken.strerror} ({path})"
            name = path.relative_to(self.path)
            return f"the working directory {self.path} was emptied ({name} {what}): {self._likely()}"
        error = self._try()
        self.is_full = is_full(error)
        if error is None or self.is_full or error.errno in SCARCE:
            return None
        hint = "; the kernel does that when a disk has errors" if error.errno == errno.EROFS else ""
        return f"the working directory {self.path} cannot be written to: {error.strerror}{hint}"

    def trial(self) -> str | None:
        """Why nothing can be made in the directories now, a full disk included; None when that works."""
        error = self._try()
        if error is None:
            return None
        if is_full(error):
            return f"{no_room(self.path, _TRIAL_BYTES)} (where the working directory {self.path} is)"
        return f"the working directory {self.path} cannot be written to: {error.strerror}"

    def release(self) -> None:
        """Remove all that is left of it, as far as that is possible."""
        with suppress(OSError):
            release_workdir(self.path)

    def _try(self) -> OSError | None:
        trial = self.scratch / f"trial-{secrets.token_hex(4)}"
        try:
            descriptor = os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, bytes(_TRIAL_BYTES))
            finally:
                os.close(descriptor)
                os.unlink(trial)
        except OSError as error:
            return error
        return None

    def _likely(self) -> str:
        for place, reason in _REASONS.items():
            if self.path.is_relative_to(place):
                return f"{reason}, or somebody removed it"
        return "somebody removed it"


def _identity(path: Path) -> tuple[int, int]:
    info = os.lstat(path)
    return info.st_dev, info.st_ino
