"""How commands show things in a terminal: tables, times, and text that can do no harm.

Names, messages and output of tasks are what users and programs made them. Shown as they are, an escape
sequence in them could do to a terminal whatever it likes, and `[bold]` would be taken for markup.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

import click

from rainzmq.common.states import SessionState, TaskState, WorkerState
from rainzmq.common.units import format_duration, format_size

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

STATE_STYLES: dict[str, str] = {
    TaskState.WAITING: "dim",
    TaskState.READY: "cyan",
    TaskState.ASSIGNED: "cyan",
    TaskState.RUNNING: "blue",
    TaskState.FINISHED: "green",
    TaskState.FAILED: "bold red",
    TaskState.CANCELLED: "yellow",
    SessionState.OPEN: "blue",
    SessionState.CLOSED: "green",
    WorkerState.LIVE: "green",
    WorkerState.GONE: "yellow",
}
"""Colours of the states of tasks, sessions and workers."""

_PIPE_WIDTH = 100_000
"""Nothing is cut where nobody looks at lines of a certain width."""

_DAY_S = 86_400


def clean(value: Any, *, keep_lines: bool = False) -> str:
    """A value as text with everything escaped that is not printable: control characters, marks that turn the
    direction, half surrogates. With `keep_lines` line ends and tabs stay.
    """
    text = str(value)
    if keep_lines:
        text = text.replace("\r\n", "\n")
    if text.isprintable():
        return text
    kept = "\n\t" if keep_lines else ""
    return "".join(
        char if char.isprintable() or char in kept else char.encode("unicode_escape").decode()
        for char in text
    )


def count(number: int, what: str) -> str:
    """Such as "1 worker", "2 workers"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def console(file: TextIO | None = None) -> Console:
    """A console for stdout: coloured and as wide as the terminal, or plain and of any width in a pipe."""
    from rich.console import Console

    file = file or sys.stdout
    if isinstance(file, io.TextIOWrapper):
        # A terminal or locale that cannot show a character is no reason to stop.
        file.reconfigure(errors="backslashreplace")
    if file.isatty():
        return Console(file=file, highlight=False, markup=False, emoji=False)
    return Console(
        file=file,
        highlight=False,
        markup=False,
        emoji=False,
        force_terminal=False,
        color_system=None,
        width=_PIPE_WIDTH,
    )


def table(*columns: str, right: Sequence[str] = (), wide: str | None = None) -> Table:
    """An empty table. `right`: columns of numbers; `wide`: the one that is cut when there is no room."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        is_wide = name == wide
        made.add_column(
            name,
            justify="right" if name in right else "left",
            # Cells do not wrap themselves; only a column that may is narrowed when there is no room.
            no_wrap=not is_wide,
            overflow="ellipsis",
            min_width=8 if is_wide else None,
        )
    return made


def cell(value: Any, style: str = "") -> Text:
    """A value for a table, harmless; None is empty."""
    from rich.text import Text

    return Text("" if value is None else clean(value), style=style, no_wrap=True, overflow="ellipsis")


def state_cell(state: str) -> Text:
    """A state in its colour."""
    return cell(state, STATE_STYLES.get(state, ""))


def size(value: int | None) -> str:
    """A size in bytes human-readable; empty when it is not known."""
    return "" if value is None else format_size(value)


def duration(value: float | None) -> str:
    """A duration in s human-readable; empty when it is not known."""
    return "" if value is None else format_duration(max(0.0, value))


def moment(value: float | None, now: float | None = None) -> str:
    """A time in s since the epoch as local time, with the date when that is not the day of `now`."""
    if value is None:
        return ""
    now = time.time() if now is None else now
    try:
        local = time.localtime(value)
        is_today = abs(value - now) < _DAY_S and local[:3] == time.localtime(now)[:3]
        return time.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M:%S", local)
    except (OverflowError, ValueError, OSError):
        return "?"


def print_json(value: Any) -> None:
    """JSON on stdout; in ASCII, so that it is harmless and every locale can take it."""
    click.echo(json.dumps(value, indent=2))


def note(text: str) -> None:
    """A remark on stderr, where it does not get into what is piped."""
    click.echo(f"rainzmq: {clean(text)}", err=True)
