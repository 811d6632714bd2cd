"""Packages that a client has in other versions than this process.

Looked for when a function ran for the first time, since much is imported only then, and whenever a task
failed, since that may be why.
"""

from __future__ import annotations

from collections.abc import Iterable

from rainzmq.common.versions import other_versions
from rainzmq.protocol.messages.subworker import PackagesDiffer


class PackageCheck:
    """Remembers what was looked at and what was told."""

    def __init__(self) -> None:
        self.looked: set[tuple[int, int]] = set()
        """Sessions and keys of bodies that were looked at."""
        self._told: set[tuple[int, str]] = set()

    def look(self, key: tuple[int, int], theirs: dict[str, str]) -> PackagesDiffer | None:
        """A task of this session and body ended. What to tell the worker; None for nothing new."""
        session_id = key[0]
        self.looked.add(key)
        rows = [row for row in other_versions(theirs) if (session_id, row[0]) not in self._told]
        self._told.update((session_id, name) for name, _, _ in rows)
        return PackagesDiffer(session_id, rows) if rows else None

    def forget(self, session_ids: Iterable[int]) -> None:
        """Sessions ended."""
        gone = set(session_ids)
        self.looked = {key for key in self.looked if key[0] not in gone}
        self._told = {key for key in self._told if key[0] not in gone}
