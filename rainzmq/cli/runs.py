"""Which event log a user means who wants to look at a run that is over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rainzmq.common.errors import RainException

LAST = "last"
"""As a path: the newest event log under `$RAINZMQ_HOME/logs`; a file of that name is `./last`."""

HELP = "a database, a directory of logs, or 'last' for the newest run"

_NAMES = ("events.db", "server/events.db")
"""Where a directory of logs has it: that of a server, that of a local cluster."""


def find_events(path: Path) -> Path:
    """The database that `path` means: itself, that of a directory of logs, or that of the newest run.

    A path that is not there is returned as it is: who opens it says so.

    Raises:
        RainException: a directory without a database, or no run has left one.
    """
    if str(path) == LAST:
        return _newest()
    if not path.is_dir():
        return path
    for name in _NAMES:
        if (path / name).is_file():
            return path / name
    raise RainException(f"there is no event log in {path}: neither {' nor '.join(_NAMES)}")


def _newest() -> Path:
    from rainzmq.cli.terminal import note
    from rainzmq.transport.access import home

    logs = home() / "logs"
    found = [(_changed(path), path) for name in _NAMES for path in logs.glob(f"*/{name}") if path.is_file()]
    if not found:
        raise RainException(
            f"no run has left an event log in {logs}; give the path of one whose server had another --logdir"
        )
    path = max(found)[1]
    note(f"the last run: {path}")
    return path


def _changed(path: Path) -> float:
    """When it was written to last, s since the epoch. What a server writes stands beside it first."""
    return max(_times(path, Path(f"{path}-wal")), default=0.0)


def _times(*paths: Path) -> Iterator[float]:
    for path in paths:
        try:
            yield path.stat().st_mtime
        except OSError:
            continue  # it went away meanwhile, or never was there
