"""Where a process of rainzmq logs to: all of it to `LOGDIR/NAME.log`, briefly to stderr."""

from __future__ import annotations

import logging
import os
import socket
import sys
from pathlib import Path
from typing import TextIO

from rainzmq.cli.options import writable_directory

_FILE_FORMAT = "%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s"
_TERMINAL_FORMAT = "%(asctime)s {name}: %(message)s"


def start_logging(name: str, logdir: Path | None) -> Path:
    """Sends the log of this process to `logdir/name.log` (all levels from debug) and to stderr (from info).

    Args:
        name: of the process, such as `server`.
        logdir: None is `$RAINZMQ_HOME/logs/NAME-HOST-PID`. Made if need be, readable by its owner only.

    Returns:
        The directory, absolute.

    Raises:
        RainException: nothing can be written there.
    """
    hint = ""
    if logdir is None:
        from rainzmq.transport.access import HOME_HINT, home

        logdir, hint = home() / "logs" / f"{name}-{socket.gethostname()}-{os.getpid()}", HOME_HINT
    logdir = writable_directory(logdir, "--logdir", hint)
    # Created here with its mode, so that not even its first lines can be read by others.
    path = logdir / f"{name}.log"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    to_file = _LogFile(path)
    to_file.setFormatter(logging.Formatter(_FILE_FORMAT, "%Y-%m-%d %H:%M:%S"))
    to_stderr = _Terminal(sys.stderr)
    to_stderr.setFormatter(_BriefFormatter(_TERMINAL_FORMAT.format(name=name), "%H:%M:%S"))
    to_stderr.setLevel(logging.INFO)
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    logging.getLogger("rainzmq").setLevel(logging.DEBUG)
    root.addHandler(to_file)
    root.addHandler(to_stderr)
    return logdir


def log_path() -> str | None:
    """The file this process logs to, None when it does not."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _LogFile):
            return handler.baseFilename
    return None


class _LogFile(logging.FileHandler):
    """Says once on stderr when it cannot be written to, as on a full disk: the process goes on without.

    It is told apart from the file handlers of others, too.
    """

    _is_broken = False

    def handleError(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._is_broken:
            self._is_broken = True
            text = f"the log {self.baseFilename} cannot be written: {error.strerror}"
            logging.getLogger("rainzmq.cli").warning("%s; what comes next is missing there", text)


class _Terminal(logging.StreamHandler[TextIO]):
    """Writes to stderr, or not at all when that is a file on a full disk, or a terminal that is gone."""

    def handleError(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)


class _BriefFormatter(logging.Formatter):
    """Leaves tracebacks to the log file."""

    def format(self, record: logging.LogRecord) -> str:
        brief = logging.makeLogRecord(
            {**record.__dict__, "exc_info": None, "exc_text": None, "stack_info": None}
        )
        return super().format(brief)
