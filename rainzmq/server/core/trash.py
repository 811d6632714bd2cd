"""What is left of sessions that ended, taken apart a little in every turn.

Tasks and objects refer to each other, so that a graph is not freed by forgetting its session: each reference
must be cut. With a million tasks that takes half a second, in which nobody else would be answered.
"""

from __future__ import annotations

from rainzmq.server.core.records import ObjectRecord, TaskRecord
from rainzmq.server.core.session_records import SessionRecord
from rainzmq.server.core.table import Table

SLICE = 16_384
"""Records that are taken apart in a turn, about: 5 ms."""


class Trash:
    """Tables of tasks and of objects that nobody asks for any more."""

    def __init__(self) -> None:
        self._tasks: list[Table[TaskRecord]] = []
        self._objects: list[Table[ObjectRecord]] = []

    def __bool__(self) -> bool:
        return bool(self._tasks or self._objects)

    def add(self, session: SessionRecord) -> None:
        """Take the tables of a session, which gets new ones."""
        self._tasks.append(session.tasks)
        self._objects.append(session.objects)

    def take_apart(self) -> None:
        """Cut the references of some records, page by page."""
        left = SLICE
        while left > 0 and self:
            if self._tasks:
                tasks = self._tasks[-1].take_page()
                for task in tasks.values():
                    task.inputs = task.outputs = ()
                left -= 1 + len(tasks)
                if not self._tasks[-1]:
                    self._tasks.pop()
            if self._objects:
                objects = self._objects[-1].take_page()
                for item in objects.values():
                    item.consumers = item.holders = item.expected = ()
                    item.producer = None
                left -= 1 + len(objects)
                if not self._objects[-1]:
                    self._objects.pop()
