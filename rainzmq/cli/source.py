"""What the commands that look at a cluster read from: the REST interface of a running server, or a database.

    tasks, task, workers, sessions, logs, top --Source--> RestSource --HTTP--> web process of a server
                                                  `-----> HubSource  --------> events.db of a run that is over

Both give the same items: plain dictionaries, as `monitoring/shapes.py` declares them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rainzmq.common.errors import RainException
from rainzmq.common.states import SessionState

if TYPE_CHECKING:
    pass

Item = dict[str, Any]
"""A worker, session, task or group, as REST gives it."""


@dataclass(slots=True)
class FirstTasks:
    """The first of some tasks, and how many there are in all."""

    items: list[Item]
    total: int


class ItemSource(Protocol):
    """Where items come from. Every method raises RainException, with the reason, when it cannot tell."""

    @property
    def is_live(self) -> bool:
        """What it tells may change."""

    @property
    def place(self) -> str:
        """What is looked at, human-readable: "on 127.0.0.1:7210", "in events.db"."""

    def server(self) -> Item:
        """The server."""

    def workers(self) -> list[Item]:
        """All workers, those that are gone too."""

    def sessions(self) -> list[Item]:
        """All sessions, those that ended too."""

    def groups(self, session_id: int) -> list[Item]:
        """The tasks of a session by the parts of their names, depth first."""

    def tasks(self, wanted: dict[str, str], limit: int) -> FirstTasks:
        """Up to `limit` tasks. `wanted` may hold "session", "state", "name" and "worker"."""

    def task(self, task_id: str) -> Item:
        """All about the task of an id such as "3/17"."""


def session_number(source: ItemSource, text: str, *, prefer_open: bool = False) -> int:
    """The session that a user means by its number or, when only one has it, its name.

    Args:
        prefer_open: a session that is open goes before those of the same name that are over.

    Raises:
        RainException: there is none, or more than one.
    """
    sessions = source.sessions()
    if text.isascii() and text.isdigit():
        found = [item["session_id"] for item in sessions if item["session_id"] == int(text)]
    else:
        named = [item for item in sessions if item["name"] == text]
        still_open = [item for item in named if item["state"] == SessionState.OPEN] if prefer_open else []
        found = [item["session_id"] for item in still_open or named]
    if len(found) == 1:
        return int(found[0])
    if found:
        numbers = ", ".join(str(number) for number in found)
        raise RainException(f"the sessions {numbers} have the name {text!r}; give a number")
    known = ", ".join(f"{item['session_id']} {item['name']!r}" for item in sessions[-10:])
    what = f"there are: {known}" if known else "there is none"
    raise RainException(f"there is no session {text!r} {source.place} ({what})")


def full_task_id(source: ItemSource, text: str) -> str:
    """A task id such as "3/17" from one, or from "17" when there is only one session.

    Raises:
        RainException: it is neither, or there are other than one session.
    """
    session, slash, number = text.rpartition("/")
    if not all(part.isascii() and part.isdigit() for part in ((session, number) if slash else (number,))):
        raise RainException(f"{text!r} is not a task; write SESSION/TASK, such as 3/17")
    if slash:
        return text
    known = [item["session_id"] for item in source.sessions()]
    if len(known) == 1:
        return f"{known[0]}/{number}"
    if not known:
        raise RainException(f"there is no task {text}: there is no session yet")
    others = ", ".join(f"{item}/{number}" for item in known[-5:])
    raise RainException(f"{text} may be the task of several sessions; write one of {others}")
