"""The directory for temporary files of a Python subworker: its TMPDIR. What a task leaves in it goes with it.

One for all tasks, since `tempfile` asks for the place once per process. As in `sandbox`, a directory whose
modification time is still the mark has had nothing made in it, and is not looked at further.
"""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress
from typing import Any

from rainzmq.common.trees import remove_tree

_MARK_NS = 1_073_741_824_987_654_321
"""Modification time of a directory in which nothing was made, ns since 1970."""


class TemporaryFiles:
    """Empties the directory after tasks."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1
        self._times = (0, 0)
        self._renew()

    def clean(self) -> None:
        """A task ended: remove its temporary files. Never raises."""
        try:
            info = os.fstat(self._descriptor)
            same = (info.st_mtime_ns, info.st_ctime_ns) == self._times
        except OSError:  # the task closed it
            same = False
        if not same:
            self._renew()
        if tempfile.tempdir != self._path and tempfile.tempdir is not None:
            tempfile.tempdir = None  # what it was set to may be gone; it asks again

    def _renew(self) -> None:
        """Make the directory again, empty. What cannot be removed the worker removes, after this process."""
        with suppress(OSError):
            os.close(self._descriptor)
        self._descriptor = -1
        with suppress(OSError):
            remove_tree(self._path)
        _forget_place_of_multiprocessing(self._path)
        with suppress(OSError):
            with suppress(FileExistsError):
                os.mkdir(self._path)
            os.chmod(self._path, 0o700)  # whatever the umask is
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            os.utime(self._descriptor, ns=(_MARK_NS, _MARK_NS))
            info = os.fstat(self._descriptor)
            self._times = info.st_mtime_ns, info.st_ctime_ns


def _forget_place_of_multiprocessing(path: str) -> None:
    """It keeps a directory for its sockets, once per process, which is gone now."""
    module: Any = sys.modules.get("multiprocessing.process")
    config = {} if module is None else module.current_process()._config
    if str(config.get("tempdir", "")).startswith(path + os.sep):
        del config["tempdir"]
