"""Identifiers of tasks and data objects.

A user sees `ID(session_id, id)`. The engine and the wire use one integer for the pair, the *uid*
(`session_id << 32 | id`), so that columns of ids of different sessions can stand in one message and one
dictionary can hold them all.
"""

from __future__ import annotations

from typing import NamedTuple

_ID_BITS = 32
_ID_MASK = (1 << _ID_BITS) - 1

MAX_ID = _ID_MASK
"""The largest number a task or object can have within its session."""

MAX_SESSION_ID = (1 << 31) - 1


class ID(NamedTuple):
    """A task or a data object of a session; both share one number space. Printed as `3/17`."""

    session_id: int
    id: int

    def __str__(self) -> str:
        return f"{self.session_id}/{self.id}"

    @property
    def uid(self) -> int:
        """The pair as one integer."""
        return self.session_id << _ID_BITS | self.id


def make_uid(session_id: int, local_id: int) -> int:
    """The uid of object or task `local_id` of session `session_id`."""
    return session_id << _ID_BITS | local_id


def id_of(uid: int) -> ID:
    """The inverse of `ID.uid`."""
    return ID(uid >> _ID_BITS, uid & _ID_MASK)


def session_of(uid: int) -> int:
    """The session that a uid belongs to."""
    return uid >> _ID_BITS


def local_of(uid: int) -> int:
    """The number of a uid within its session."""
    return uid & _ID_MASK
