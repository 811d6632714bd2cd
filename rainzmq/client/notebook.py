"""How clients, sessions, tasks, data objects and graphs look in notebooks: tables of what is known here.

Nobody is asked anything for it, so that displaying a variable takes no time and cannot fail. Everything is
escaped. Colours are the notebook's own, so that it can be read in its dark and its light theme.
"""

from __future__ import annotations

import html
import time
from collections import Counter
from typing import Any

from rainzmq.client.draft import Draft
from rainzmq.client.ended import SessionEnd
from rainzmq.client.nodes import ObjectNode, TaskNode
from rainzmq.common.specs import TaskInfo
from rainzmq.common.states import DataObjectState, DataType, SessionState, TaskState
from rainzmq.common.units import format_duration, format_size

Rows = list[tuple[str, str]]
"""(what, HTML) of the lines of a table."""

_MOST_ITEMS = 10
_LONGEST_TEXT = 4000

_LINE = "1px solid rgba(128,128,128,.45)"
_BOX = f"display:inline-block;border:{_LINE};border-radius:6px;padding:.5em .8em;margin:.2em 0;max-width:100%"
_TABLE = "border:0;border-collapse:collapse;margin:.3em 0 0;background:none"
_WHAT = "text-align:left;vertical-align:top;opacity:.7;padding:.1em 1em .1em 0;font-weight:normal"
_VALUE = "text-align:left;vertical-align:top;padding:.1em 0;overflow-wrap:anywhere"
_PRE = "white-space:pre-wrap;max-height:20em;overflow:auto;margin:0;background:none;color:inherit"


def client_html(address: str, connected: bool, url: str | None) -> str:
    """A client: where it is connected, and where the pages of its server are, if it has any."""
    rows: Rows = [("server", text(address)), ("state", text("connected" if connected else "closed"))]
    if url is not None:
        # Without the token: notebooks are saved and sent around.
        url = html.escape(url, quote=True)
        link = f'<a href="{url}/" target="_blank" rel="noopener noreferrer">{url}</a>'
        rows.append(("dashboard", f"{link} (its first visit needs <code>client.dashboard_link</code>)"))
    return card("Client", "", rows)


def session_html(
    session_id: int, name: str, state: SessionState, submitted: int, draft: Draft, end: SessionEnd | None
) -> str:
    """A session: how many tasks were submitted, what was not, and what ended it."""
    rows: Rows = [("state", text(state)), ("submitted", text(_count(submitted, "task")))]
    if draft.tasks or draft.constants:
        objects = sum(1 for _ in draft.objects())
        waiting = f"{_count(len(draft.tasks), 'task')}, {_count(objects, 'data object')}"
        rows.append(("not submitted", text(waiting)))
    if end is not None:
        rows.append(("error", pre(end.failure.message)))
    return card(f"Session {session_id}", name, rows)


def task_html(task: TaskNode, state: TaskState | None, info: TaskInfo | None) -> str:
    """A task: what it was declared as, and what was last heard of it."""
    inputs = [] if task.inputs is None else list(task.inputs.items())
    rows: Rows = [
        ("type", text(task.body.task_type)),
        ("state", text("not submitted" if state is None else state.value)),
        ("inputs", _objects(inputs)),
        ("outputs", _objects([(obj.label, obj) for obj in task.outputs])),
    ]
    if task.body.cpus != 1:
        rows.append(("cpus", text(task.body.cpus)))
    if info is not None:
        rows += [
            ("worker", text(info.worker)),
            ("began", text(_moment(info.start_time))),
            ("ran", text(None if info.duration is None else format_duration(info.duration))),
        ]
        rows += [("error", pre(info.error))] if info.error else []
        rows += [("debug", pre(info.debug))] if info.debug else []
    return card(f"Task {task.id}", task.name or "", [row for row in rows if row[1]])


def object_html(obj: ObjectNode, state: DataObjectState | None) -> str:
    """A data object: what it was declared as, and what was last heard of it."""
    info = obj.info
    kind = "directory" if obj.data_type is DataType.DIRECTORY else obj.content_type or "blob"
    rows: Rows = [
        ("content", text(kind)),
        ("state", text("not submitted" if state is None else state.value)),
        ("kept", text("yes" if obj.keep else "no")),
    ]
    if info is not None:
        rows += [("size", text(None if info.size is None else format_size(info.size)))]
        rows += [("worker", text(info.worker))]
    return card(f"Data object {obj.id}", obj.label or "", [row for row in rows if row[1]])


def graph_html(tasks: list[TaskNode], constants: int) -> str:
    """A graph that is too large to be drawn: how many tasks of what name there are."""
    names = Counter(task.name or task.body.task_type for task in tasks)
    most = names.most_common(_MOST_ITEMS)
    rows: Rows = [(name, text(f"{count:,}")) for name, count in most]
    rest = len(tasks) - sum(count for _, count in most)
    if rest:
        rows.append(("others", text(f"{rest:,}")))
    return card("Graph", f"{_count(len(tasks), 'task')}, {_count(constants, 'constant')}", rows)


def card(kind: str, name: str, rows: Rows) -> str:
    """A box with a heading and a table."""
    lines = "".join(
        f'<tr style="background:none"><th style="{_WHAT}">{text(what)}</th>'
        f'<td style="{_VALUE}">{value}</td></tr>'
        for what, value in rows
    )
    heading = f"<strong>{text(kind)}</strong> {text(name)}".rstrip()
    return f'<div style="{_BOX}">{heading}<table style="{_TABLE}">{lines}</table></div>'


def text(value: Any) -> str:
    """A value as HTML; None is empty."""
    return "" if value is None else html.escape(str(value))


def pre(value: str) -> str:
    """A text of several lines as HTML; the end of it when it is long."""
    cut = value if len(value) <= _LONGEST_TEXT else f"[...]\n{value[-_LONGEST_TEXT:]}"
    return f'<pre style="{_PRE}">{html.escape(cut)}</pre>'


def _objects(objects: list[tuple[str | None, Any]]) -> str:
    shown = [
        text(str(obj.id) if label is None else f"{label} ({obj.id})") for label, obj in objects[:_MOST_ITEMS]
    ]
    if len(objects) > _MOST_ITEMS:
        shown.append(text(f"and {len(objects) - _MOST_ITEMS:,} more"))
    return ", ".join(shown)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
