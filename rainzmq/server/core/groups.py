"""How far a session is, by the first part of its tasks' names: counted as tasks come and finish.

Counts are lists [total, finished], so that a body can hold the ones its tasks count in.
"""

from __future__ import annotations

MOST_GROUPS = 64
"""Groups of a session; a name that would make another one counts in `OTHERS`."""

OTHERS = ""


class NameGroups:
    """Counts of a session's tasks by what stands before the first `/` of their names."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}

    def of(self, name: str) -> list[int]:
        """[total, finished] of the group of a name, to be changed in place."""
        group = name.partition("/")[0]
        if group not in self._counts and len(self._counts) >= MOST_GROUPS:
            group = OTHERS
        return self._counts.setdefault(group, [0, 0])

    def rows(self) -> list[tuple[str, int, int]]:
        """(group, finished, total) of all groups, in the order of their coming."""
        return [(name, finished, total) for name, (total, finished) in self._counts.items() if total]
