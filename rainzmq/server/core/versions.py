"""Other versions of Python and of packages at workers: told to the client once, before a task fails of them.

Python functions are never assigned to a worker with another minor version of Python: that is part of their
request (`records.Body`). Everything else that differs is only named.
"""

from __future__ import annotations

from rainzmq.common.versions import minor_of
from rainzmq.protocol.messages import worker as m
from rainzmq.protocol.messages.client import SessionWarned
from rainzmq.server.core.records import WorkerRecord
from rainzmq.server.core.session_records import SessionRecord
from rainzmq.server.core.state import ServerState

MAX_NAMED = 200
"""Names and versions that one session is told of."""


def name_other_pythons(state: ServerState, session: SessionRecord) -> None:
    """Say which workers cannot run the session's functions; nothing without functions, and nothing twice."""
    if not session.python or not any(body.kind == "python" for body in session.bodies.values()):
        return
    needed = minor_of(session.python)
    for worker in state.workers.values():
        key = f"Python {minor_of(worker.python)}"
        if not worker.python or minor_of(worker.python) == needed or key in session.named_versions:
            continue
        session.named_versions.add(key)
        _warn(
            state,
            session,
            f"worker {worker.name} ({worker.hello.hostname}) has Python {worker.python}, this program has "
            f"Python {session.python}: Python tasks do not run there, since functions only run under the "
            "same minor version",
        )


def name_other_packages(state: ServerState, worker: WorkerRecord, message: m.VersionsDiffer) -> None:
    """Say which packages differ at a worker, as far as the session was not told."""
    session = state.sessions.get(message.session_id)
    if session is None:
        return
    rows = [row for row in message.rows if f"{row[0]} {row[2]}" not in session.named_versions]
    if not rows or len(session.named_versions) + len(rows) > MAX_NAMED:
        return
    session.named_versions.update(f"{name} {there}" for name, _, there in rows)
    listed = ", ".join(f"{name} {there} (here {here})" for name, here, there in rows)
    _warn(
        state,
        session,
        f"worker {worker.name} ({worker.hello.hostname}) has other versions than this program: {listed}. "
        "What is pickled by one may fail under the other, or mean something else there; install the same",
    )


def why_no_python(session: SessionRecord, workers: list[WorkerRecord]) -> str | None:
    """Why no worker runs the session's functions, when that is because of their Python; else None."""
    others = [worker for worker in workers if worker.python]
    if not session.python or not others:
        return None
    versions = ", ".join(sorted({worker.python for worker in others}))
    example = others[0]
    return (
        f"is a function of Python {session.python}, and the workers have Python {versions} (such as "
        f"{example.name} on {example.hello.hostname}): functions only run under the same minor version; "
        "start the program, or a worker, with the other's Python"
    )


def _warn(state: ServerState, session: SessionRecord, text: str) -> None:
    state.log("info", f"session {session.session_id} was told: {text}")
    state.tell(session.peer, SessionWarned(session.session_id, text))
