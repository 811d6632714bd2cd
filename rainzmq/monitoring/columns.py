"""Growing tables of numbers: one numpy array per column, rows found by an id.

A million tasks as Python objects are a gigabyte and a second for each look at all of them; as columns they
are some 100 MB and a few milliseconds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

_FIRST_CAPACITY = 8


class Columns:
    """Rows that are only ever appended. `table["name"]` is the column, as a view that may be written to.

    Args:
        **kinds: numpy dtype of each column.
    """

    def __init__(self, **kinds: str) -> None:
        self._arrays: dict[str, NDArray[Any]] = {
            name: np.empty(_FIRST_CAPACITY, dtype=kind) for name, kind in kinds.items()
        }
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name][: self._length]

    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self._arrays)

    def append(self, count: int, **values: Any) -> slice:
        """Add `count` rows, each column from a sequence of so many values or one for all; where they are.

        Every column must be named.
        """
        start, end = self._length, self._length + count
        capacity = len(next(iter(self._arrays.values())))
        if end > capacity:
            while capacity < end:
                capacity *= 2
            for name, old in self._arrays.items():
                grown = np.empty(capacity, dtype=old.dtype)
                grown[:start] = old[:start]
                self._arrays[name] = grown
        for name, array in self._arrays.items():
            array[start:end] = values[name]
        self._length = end
        return slice(start, end)


class IdColumns(Columns):
    """Columns with a column `ids` of numbers that stand in one row only. Fast when they come in ascending
    order.
    """

    def __init__(self, **kinds: str) -> None:
        super().__init__(ids="i8", **kinds)
        self._order: IntArray | None = None
        self._ascending = True

    def append(self, count: int, **values: Any) -> slice:
        """As `Columns.append`; the caller has checked that the ids are new."""
        last = self["ids"][-1] if len(self) else -1
        added = super().append(count, **values)
        if count:
            new = self["ids"][added]
            self._ascending = self._ascending and bool(new[0] > last) and bool(np.all(new[1:] > new[:-1]))
            self._order = None
        return added

    def rows(self, ids: Any) -> IntArray:
        """The row of each id, -1 for those that have none."""
        wanted = np.asarray(ids, dtype=np.int64)
        known = self["ids"]
        if not len(known):
            return np.full(len(wanted), -1, dtype=np.int64)
        if self._ascending:
            found = np.searchsorted(known, wanted)
            found[found == len(known)] = 0
        else:
            if self._order is None:
                self._order = np.argsort(known, kind="stable")
            place = np.searchsorted(known, wanted, sorter=self._order)
            place[place == len(known)] = 0
            found = self._order[place]
        return np.where(known[found] == wanted, found, -1)

    def row(self, number: int) -> int:
        """The row of one id, -1 without one."""
        return int(self.rows([number])[0])


class IdList:
    """A growing list of ids as one array."""

    def __init__(self) -> None:
        self._array: IntArray = np.empty(8, dtype=np.int64)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def extend(self, ids: IntArray) -> None:
        """Append ids."""
        end = self._length + len(ids)
        if end > len(self._array):
            grown = np.empty(max(end, 2 * len(self._array)), dtype=np.int64)
            grown[: self._length] = self._array[: self._length]
            self._array = grown
        self._array[self._length : end] = ids
        self._length = end

    def view(self) -> IntArray:
        """All ids, in order."""
        return self._array[: self._length]


def ranges(starts: IntArray, counts: IntArray) -> IntArray:
    """`starts[i], starts[i] + 1, ...`, `counts[i]` numbers of each, one after the other."""
    total = int(counts.sum())
    offsets = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(starts, counts) + offsets
