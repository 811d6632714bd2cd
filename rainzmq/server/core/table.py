"""Records by uid, for a million of them.

A dictionary that grows is copied as a whole: with 700,000 entries that is a pause of 0.1 s. This one has
pages of consecutive uids, each of which is a small dictionary.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Generic, TypeVar

T = TypeVar("T")

PAGE_BITS = 14
"""A page has room for 2 to the power of this many uids."""

_PAGES_PER_SESSION_BITS = 32 - PAGE_BITS


class Table(Generic[T]):
    """A mapping from uids to records; uids that are near each other are found fast."""

    __slots__ = ("_pages",)

    def __init__(self) -> None:
        self._pages: dict[int, dict[int, T]] = {}

    def get(self, uid: int) -> T | None:
        """The record, None without one."""
        page = self._pages.get(uid >> PAGE_BITS)
        return None if page is None else page.get(uid)

    def __getitem__(self, uid: int) -> T:
        return self._pages[uid >> PAGE_BITS][uid]

    def __setitem__(self, uid: int, record: T) -> None:
        page = self._pages.get(uid >> PAGE_BITS)
        if page is None:
            page = self._pages[uid >> PAGE_BITS] = {}
        page[uid] = record

    def __contains__(self, uid: int) -> bool:
        page = self._pages.get(uid >> PAGE_BITS)
        return page is not None and uid in page

    def __len__(self) -> int:
        return sum(map(len, self._pages.values()))

    def __bool__(self) -> bool:
        return bool(self._pages)

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(self._pages.values())

    def values(self) -> Iterator[T]:
        """All records."""
        return chain.from_iterable(page.values() for page in self._pages.values())

    def items(self) -> Iterator[tuple[int, T]]:
        """All pairs of uid and record."""
        return chain.from_iterable(page.items() for page in self._pages.values())

    def blocks(self, bits: int) -> Iterator[int]:
        """Numbers of the blocks of 2 to the power of `bits` uids (at most a page) that may have records."""
        per_page = 1 << (PAGE_BITS - bits)
        for page, records in self._pages.items():
            if len(records) < per_page:
                yield from {uid >> bits for uid in records}
            else:
                yield from range(page * per_page, (page + 1) * per_page)

    def discard(self, uid: int) -> None:
        """Remove a record, if it is there."""
        page = self._pages.get(uid >> PAGE_BITS)
        if page is not None and page.pop(uid, None) is not None and not page:
            del self._pages[uid >> PAGE_BITS]

    def take_page(self) -> dict[int, T]:
        """Remove some records and return them; none when it is empty."""
        return self._pages.popitem()[1] if self._pages else {}

    def take_session(self, session_id: int) -> list[int]:
        """Remove all records of a session; their uids."""
        pages = [page for page in self._pages if page >> _PAGES_PER_SESSION_BITS == session_id]
        return list(chain.from_iterable(map(self._pages.pop, pages)))
