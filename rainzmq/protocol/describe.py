"""The declared messages as Markdown: `python -m rainzmq.protocol.describe` prints the tables of
`docs/protocol.md`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable

from rainzmq.common import states
from rainzmq.protocol.messages import client, data, events, shared, subworker, worker
from rainzmq.protocol.schema import MESSAGES, STRUCTS, Declaration

CONVERSATIONS = (
    (client.CONVERSATION, "Client and server"),
    (worker.CONVERSATION, "Worker and server"),
    (data.CONVERSATION, "Data plane"),
    (subworker.CONVERSATION, "Worker and subworker"),
)

_MODULES = [module.__name__ for module in (shared, client, data, events, subworker, worker)]


def describe() -> str:
    """All messages, by conversation, then the records that stand in them."""
    assert events.EVENTS, "declared by being imported"
    parts: list[str] = []
    for conversation, title in CONVERSATIONS:
        parts.append(f"## {title}\n")
        for declaration in _in_order(MESSAGES.values()):
            if declaration.conversation == conversation:
                heading = f"### `{declaration.tag}` {declaration.cls.__name__}"
                parts.append(f"{heading}\n\nSent by: {', '.join(declaration.senders)}.")
                parts.append(_body(declaration))
    parts.append("## Records inside messages\n")
    for declaration in _in_order(STRUCTS.values()):
        parts.append(f"### {declaration.cls.__name__}\n")
        parts.append(_body(declaration))
    parts.append("## States in messages\n")
    for kind in (states.TaskState, states.DataObjectState, states.SessionState, states.AttemptState):
        values = ", ".join(f"`{member}`" for member in kind)
        parts.append(f"- {kind.__name__}: {values}")
    return "\n".join(parts).rstrip() + "\n"


def _in_order(declarations: Iterable[Declaration]) -> list[Declaration]:
    """By module, and as they stand in each: which was imported first depends on who describes them."""
    return sorted(declarations, key=lambda declaration: _MODULES.index(declaration.cls.__module__))


def _body(declaration: Declaration) -> str:
    text = " ".join((inspect.getdoc(declaration.cls) or "").split())
    if not declaration.fields:
        return f"{text}\n"
    rows = "\n".join(
        f"| {field.name} | `{_cell(field.type_text)}` | {_cell(field.doc)} |" for field in declaration.fields
    )
    return f"{text}\n\n| field | type | meaning |\n|---|---|---|\n{rows}\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(describe())
