"""A list whose items may have labels."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")

_SHOWN_LABELS = 20


class LabeledList(Generic[T]):
    """A list whose items may have unique labels; indexed by position, slice or label.

    A label is a str (anything but an int, a slice and None that can be hashed will do). `in` tests labels.
    Two lists are equal when their items and labels are. Not hashable, since it is mutable.
    """

    __slots__ = ("_data", "_labels", "_positions")
    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self,
        items: Iterable[T] | None = None,
        labels: Iterable[Any] | None = None,
        pairs: Iterable[tuple[Any, T]] | None = None,
    ) -> None:
        """`(items)`, `(items, labels=)` with as many labels (None for none), or `(pairs=)` of (label, item).

        Raises:
            ValueError: both items and pairs, labels without items, or another number of labels than of items.
            KeyError: a label twice.
            TypeError: a label that is an int or a slice.
        """
        self._data: list[T]
        self._labels: list[Any] | None = None
        self._positions: dict[Any, int] | None = None
        if pairs is not None:
            if items is not None or labels is not None:
                raise ValueError("Give either pairs, or items with or without labels")
            self._data = []
            for label, item in pairs:
                self.append(item, label)
            return
        self._data = [] if items is None else list(items)
        if labels is None:
            return
        given = list(labels)
        if len(given) != len(self._data):
            raise ValueError(f"{len(given)} labels for {len(self._data)} items")
        for index, label in enumerate(given):
            if label is not None:
                self.set_label(index, label)

    @property
    def data(self) -> list[T]:
        """The items, as a new list."""
        return list(self._data)

    @property
    def labels(self) -> list[Any]:
        """The label of each item, None for none, as a new list."""
        return [None] * len(self._data) if self._labels is None else list(self._labels)

    @property
    def has_labels(self) -> bool:
        """Whether an item has, or had, a label."""
        return self._labels is not None

    def append(self, item: T, label: Any = None) -> None:
        """Add an item at the end. KeyError when the label is taken."""
        if label is not None:
            self._check_new(label, None)
        self._data.append(item)
        if self._labels is not None:
            self._labels.append(label)
        elif label is not None:
            self._labels = [None] * (len(self._data) - 1) + [label]
        if self._positions is not None and label is not None:
            self._positions[label] = len(self._data) - 1

    def insert(self, index: int, item: T, label: Any = None) -> None:
        """Add an item before `index`. KeyError when the label is taken."""
        if label is not None:
            self._check_new(label, None)
        labels = self.labels
        labels.insert(index, label)
        self._data.insert(index, item)
        self._relabel(labels)

    def extend(self, items: Iterable[T]) -> None:
        """Add items at the end; those of another `LabeledList` with their labels. KeyError when a label is
        taken."""
        if isinstance(items, LabeledList):
            for label, item in list(items.items()):
                self.append(item, label)
        else:
            for item in items:
                self.append(item)

    def pop(self, index: int | Any = -1) -> T:
        """Remove an item (the last one by default) and return it."""
        position = self._position(index)
        item = self._data[position]
        del self[position]
        return item

    def set(self, index: Any, item: T, label: Any = None) -> None:
        """Replace the item at a position or label, and its label. KeyError when the label is another
        item's."""
        position = self._position(index)
        if label is not None:
            self._check_new(label, position)
        self._data[position] = item
        self.set_label(position, label)

    def get_label(self, index: int) -> Any:
        """The label of the item at a position, None for none."""
        position = self._position(index)
        return None if self._labels is None else self._labels[position]

    def set_label(self, index: Any, label: Any) -> None:
        """Label the item at a position (or label); None takes the label off. KeyError when it is another
        item's."""
        position = self._position(index)
        if label is not None:
            self._check_new(label, position)
        if self._labels is None:
            if label is None:
                return
            self._labels = [None] * len(self._data)
        self._labels[position] = label
        self._positions = None

    def items(self) -> Iterator[tuple[Any, T]]:
        """Pairs (label or None, item), in order."""
        return zip(self.labels, self._data, strict=True)

    def index(self, label: Any) -> int:
        """The position of a label; KeyError when it is not there, which tells the labels that are."""
        if self._positions is None:
            self._positions = {name: i for i, name in enumerate(self._labels or ()) if name is not None}
        try:
            return self._positions[label]
        except KeyError:
            raise KeyError(self._no_label(label)) from None

    def __contains__(self, label: object) -> bool:
        if label is None or self._labels is None:
            return False
        return label in self._labels

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[T]:
        return iter(self._data)

    def __reversed__(self) -> Iterator[T]:
        return reversed(self._data)

    @overload
    def __getitem__(self, index: slice) -> LabeledList[T]: ...
    @overload
    def __getitem__(self, index: Any) -> T: ...
    def __getitem__(self, index: Any) -> T | LabeledList[T]:
        """An item by position or label, or a part of the list, with its labels, by slice."""
        if isinstance(index, slice):
            return LabeledList(self._data[index], None if self._labels is None else self._labels[index])
        return self._data[self._position(index)]

    def __setitem__(self, index: Any, item: Any) -> None:
        """By position: replace the item and clear its label. By label: replace it, or append it under a new
        label. By slice: replace items by those of a list, which bring their labels when it is a
        `LabeledList`."""
        if isinstance(index, slice):
            self._set_slice(index, item)
        elif isinstance(index, int):
            self.set(index, item)
        elif index in self:
            self._data[self._position(index)] = item
        else:
            self.append(item, index)

    def __delitem__(self, index: Any) -> None:
        """Remove an item by position or label, or several by slice."""
        where = index if isinstance(index, slice) else self._position(index)
        del self._data[where]
        if self._labels is not None:
            del self._labels[where]
            self._positions = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LabeledList):
            return NotImplemented
        return self._data == other.data and self.labels == other.labels

    def __add__(self, other: Iterable[T]) -> LabeledList[T]:
        result = LabeledList(self._data, self._labels)
        result.extend(other)
        return result

    def __repr__(self) -> str:
        parts = [f"{label}={item!r}" if label is not None else repr(item) for label, item in self.items()]
        return f"LabeledList([{', '.join(parts)}])"

    def _position(self, index: Any) -> int:
        if isinstance(index, int):
            size = len(self._data)
            if not -size <= index < size:
                raise IndexError(f"no item {index} in a list of {size}")
            return index % size
        return self.index(index)

    def _check_new(self, label: Any, position: int | None) -> None:
        if isinstance(label, (int, slice)):
            raise TypeError(f"A label cannot be of type {type(label).__name__}")
        if label in self and self.index(label) != position:
            raise KeyError(f"label {label!r} is already in the list")

    def _set_slice(self, where: slice, items: Iterable[T]) -> None:
        new = items if isinstance(items, LabeledList) else LabeledList(items)
        data, labels = self.data, self.labels
        data[where] = new.data
        labels[where] = new.labels
        LabeledList(data, labels)  # KeyError when a label is there twice
        self._data = data
        self._relabel(labels)

    def _no_label(self, label: Any) -> str:
        names = [repr(name) for name in itertools.islice(self._positions or (), _SHOWN_LABELS + 1)]
        if not names:
            return f"no item is labelled {label!r}; none of the {len(self)} items has a label"
        more = ", ..." if len(names) > _SHOWN_LABELS else ""
        return f"no item is labelled {label!r}; the labels are {', '.join(names[:_SHOWN_LABELS])}{more}"

    def _relabel(self, labels: list[Any]) -> None:
        self._labels = labels if any(label is not None for label in labels) else None
        self._positions = None
