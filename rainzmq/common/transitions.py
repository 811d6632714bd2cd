"""Changes of state that tables allow, and what states a thing was in before.

A *past* is a node of a tree: the states that a thing was in, the last one being where it stands. Things with
the same past share the node, which is made when the first of them gets there. So a change of state is one
look-up that checks the table by the way, and a thing's history costs it one reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

REMEMBERED = 8
"""States that a past tells, the last ones."""

S = TypeVar("S", bound=str)


class IllegalTransition(AssertionError):
    """Our own logic moved something between states that its table does not connect."""

    def __init__(self, entity: str, identity: str, past: tuple[str, ...], new: str) -> None:
        way = " -> ".join((*past, new))
        super().__init__(f"{entity} {identity}: {way}: the last step is not a legal transition")


class Past(dict[S, "Past[S]"], Generic[S]):
    """The states of a thing until now; its items are where it may go from there.

    Attributes:
        states: the last ones, at most `REMEMBERED`; the newest is the last.
    """

    __slots__ = ("_known", "_table", "states")

    def __init__(
        self,
        table: Mapping[S, frozenset[S]],
        *states: S,
        known: dict[tuple[S, ...], Past[S]] | None = None,
    ) -> None:
        self.states = states
        self._table = table
        self._known = {states: self} if known is None else known

    __hash__ = object.__hash__  # type: ignore[assignment]  # one is itself: it may be a default of dataclasses

    def __missing__(self, new: S) -> Past[S]:
        """What follows when the state becomes `new`; KeyError when the table does not have that."""
        if new not in self._table[self.states[-1]]:
            raise KeyError(new)
        states = (*self.states, new)[-REMEMBERED:]
        past = self._known.get(states)
        if past is None:
            past = self._known[states] = Past(self._table, *states, known=self._known)
        self[new] = past
        return past
