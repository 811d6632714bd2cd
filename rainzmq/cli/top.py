"""`rainzmq top`: the server, its sessions and workers, live in the terminal."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click

from rainzmq.cli.sessions import session_table
from rainzmq.cli.source import Item, ItemSource
from rainzmq.cli.source_options import open_source, source_options
from rainzmq.cli.workers import worker_table
from rainzmq.common.errors import RainException
from rainzmq.common.states import SessionState, WorkerState

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

_MOST_SESSIONS = 8
_MOST_GROUPS = 8
_RATE_S = 10.0
"""The rate of finished tasks is a mean over so long."""

_BAR = 20
_BESIDE_BAR = 75
"""Lengths of a bar at most, and of what is beside it."""

_QUIT_KEYS = "qQ\x03\x04"
_OTHER_LINES = 11
"""Lines of the view that are neither sessions, groups nor workers."""


@click.command(short_help="Watch sessions and workers live.")
@click.option(
    "--interval",
    type=click.FloatRange(0.2, 3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two looks.",
)
@source_options
def top(
    interval: float, server: str | None, access_file: Path | None, replay: Path | None, as_json: bool
) -> int:
    """Shows sessions, groups of tasks and workers until q or Ctrl-C. Not in a terminal: prints them once."""
    from rainzmq.cli.terminal import console, print_json

    source = open_source(server, access_file, replay)
    look = _look(source)
    if as_json:
        print_json(look)
        return 0
    out = console()
    if not out.is_terminal or not source.is_live:
        out.print(_view(look, "", out.width, None))
        return 0
    _watch(source, look, out, interval)
    return 0


def _look(source: ItemSource) -> dict[str, Any]:
    sessions = source.sessions()
    shown = _session_of_groups(sessions)
    return {
        "server": source.server(),
        "sessions": sessions,
        "groups": [] if shown is None else source.groups(shown),
        "groups_of": shown,
        "workers": [
            item for item in source.workers() if item["state"] == WorkerState.LIVE or not source.is_live
        ],
    }


def _session_of_groups(sessions: list[Item]) -> int | None:
    """The session whose groups are shown: the newest one that is open, else the newest one."""
    for item in reversed([item for item in sessions if item["state"] == SessionState.OPEN] or sessions):
        return int(item["session_id"])
    return None


# The live view.


def _watch(source: ItemSource, look: dict[str, Any], out: Console, interval_s: float) -> None:
    """Show it again and again until the user ends it, and leave the terminal as it was."""
    from rich.live import Live

    rate = _Rate()
    problem = ""
    with _terminated_by_exception(), _single_keys(), Live(
        console=out, screen=True, auto_refresh=False, vertical_overflow="crop"
    ) as live:  # fmt: skip
        while True:
            rate.add(look)
            said = problem or "q ends"
            shown = _view(look, f"{rate.text()}  {said}".strip(), out.width, out.height)
            live.update(shown, refresh=True)
            try:
                if _key_within(interval_s):
                    return
                look, problem = _look(source), ""
            except KeyboardInterrupt:
                return
            except RainException as error:
                # The server may come back, and what was seen last is worth more than nothing.
                problem = str(error)


@contextlib.contextmanager
def _terminated_by_exception() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind the stack meanwhile, so that the terminal is put right."""

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _single_keys() -> Iterator[None]:
    """Keys come one by one and are not echoed meanwhile, where stdin is a terminal."""
    import termios
    import tty

    if not sys.stdin.isatty():
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _key_within(seconds: float) -> bool:
    """Waits so long; True as soon as a key comes that means the end."""
    deadline = time.monotonic() + seconds
    if not sys.stdin.isatty():
        time.sleep(seconds)
        return False
    while (left := deadline - time.monotonic()) > 0:
        if select.select([sys.stdin], [], [], left)[0]:
            typed = os.read(sys.stdin.fileno(), 64).decode(errors="replace")
            if not typed or any(key in _QUIT_KEYS for key in typed):
                return True
    return False


class _Rate:
    """Tasks finished per second, lately."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, look: dict[str, Any]) -> None:
        """One more look, now."""
        now = time.monotonic()
        done = sum(item["counts"]["finished"] for item in look["sessions"])
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[1][0] >= _RATE_S:
            self._seen.popleft()

    def text(self) -> str:
        """Such as "12.5 tasks/s"; empty after the first look."""
        (since, before), (now, done) = self._seen[0], self._seen[-1]
        return f"{max(0, done - before) / (now - since):.3g} tasks/s" if now > since else ""


# What is shown.


def _view(look: dict[str, Any], status: str, width: int, height: int | None) -> RenderableType:
    """All of it. `width`, `height`: of the terminal; `height` None: any number of lines."""
    from rich.console import Group

    from rainzmq.cli.terminal import cell

    # Open ones first, of those the newest.
    sessions = sorted(
        look["sessions"], key=lambda item: (item["state"] != SessionState.OPEN, -item["session_id"])
    )
    groups = [item for item in look["groups"] if item["depth"] == 0]
    workers = look["workers"]
    parts: list[RenderableType] = [_head(look["server"], workers)]
    if status:
        parts.append(cell(status, "dim"))
    if height is not None:
        sessions = sessions[:_MOST_SESSIONS]
        room = max(1, height - _OTHER_LINES - len(sessions) - min(len(groups), _MOST_GROUPS + 1))
        workers, hidden = workers[:room], len(workers) - room
    else:
        hidden = 0
    parts += [cell(""), session_table(sessions, look["server"].get("now"), width)]
    if groups:
        title = f"tasks of session {look['groups_of']}"
        parts += [cell(""), _group_table(_limited(groups), title, width)]
    with_gone = any(item["state"] != WorkerState.LIVE for item in workers)
    parts += [cell(""), worker_table(workers, width, with_gone=with_gone)]
    if hidden > 0:
        parts.append(cell(f"and {hidden} more", "dim"))
    return Group(*parts)


def _head(server: Item, workers: list[Item]) -> RenderableType:
    from rich.console import Group

    from rainzmq.cli.terminal import cell, count, duration, size

    cpus = sum(item["cpus"] for item in workers if item["state"] == WorkerState.LIVE)
    parts = [f"rainzmq {server['version']}", server["source"]]
    if server["started"] is not None and server["now"] is not None:
        parts.append(f"up {duration(server['now'] - server['started'])}")
    if server["memory_bytes"] is not None:
        parts.append(f"server {size(server['memory_bytes'])}")
    if not server["is_replay"]:
        parts.append(f"{count(len(workers), 'worker')}, {count(cpus, 'cpu')}")
        parts += [] if server["is_connected"] else ["NOT CONNECTED"]
    notes = [cell(f"note: {text}", "yellow") for text in server["notes"]]
    return Group(cell("   ".join(part for part in parts if part), "bold"), *notes)


def _limited(groups: list[Item]) -> list[Item]:
    """The largest groups, and one of all others when there are more than fit."""
    if len(groups) <= _MOST_GROUPS:
        return groups
    largest = sorted(groups, key=lambda item: -item["total"])[: _MOST_GROUPS - 1]
    names = {item["name"] for item in largest}
    rest = [item for item in groups if item["name"] not in names]
    states = rest[0]["counts"]
    others = {
        "name": f"{len(rest)} others",
        "total": sum(item["total"] for item in rest),
        "done": sum(item["done"] for item in rest),
        "mean_s": None,
        "counts": {state: sum(item["counts"][state] for item in rest) for state in states},
    }
    return [*(item for item in groups if item["name"] in names), others]


def _group_table(groups: list[Item], title: str, width: int) -> Table:
    from rainzmq.cli.terminal import cell, duration, table

    numbers = ("done", "total", "running", "could run", "waiting", "failed", "mean")
    rows = table(title, "", *numbers, right=numbers, wide=title)
    length = min(_BAR, max(4, width - _BESIDE_BAR))
    for item in groups:
        counts = item["counts"]
        full = round(length * item["done"] / max(1, item["total"]))
        rows.add_row(
            cell(item["name"]),
            cell("█" * full + "░" * (length - full), "green"),
            cell(item["done"]),
            cell(item["total"]),
            cell(counts["running"]),
            cell(counts["ready"] + counts["assigned"]),
            cell(counts["waiting"]),
            cell(counts["failed"], "bold red" if counts["failed"] else ""),
            cell(duration(item["mean_s"])),
        )
    return rows
