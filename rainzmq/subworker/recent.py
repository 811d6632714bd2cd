"""What the last tasks made, for tasks that were sent before the worker had it.

A worker sends a chain of tasks at once: later ones name inputs that earlier ones make here. The worker sends
such a task only while it has not seen the result of the maker, so what is needed is always recent; how much
that can be is bounded by how far it sends ahead. What is not here all the same, such as a result that went
to a file, which the worker takes away, makes the task *unmet*: it is not run, and the server places it again.
"""

from __future__ import annotations

from collections.abc import Iterable

from rainzmq.protocol.messages.subworker import SubworkerTask, TaskResult

MAX_OBJECTS = 512
MAX_BYTES = 4 << 20

Key = tuple[int, int]

_Made = tuple[bytes, str | None, bytes, bytes, str | None]
"""Content, content type, `user` as declared and as made, label. No messages: those would not be reused by the
allocator, so that each task would touch memory that no cache has any more."""


class RecentOutputs:
    """Small outputs of the last tasks, by session and number."""

    def __init__(self) -> None:
        self._made: dict[Key, _Made] = {}
        self._bytes = 0

    def add(self, task: SubworkerTask, result: TaskResult) -> None:
        """Remember the outputs of a task that are not in files, instead of older ones."""
        for declared, made in zip(task.outputs, result.outputs, strict=False):
            data = made.data
            if data is None:
                continue
            old = self._made.pop(declared.id, None)
            if old is not None:
                self._bytes -= len(old[0])
            content_type = made.content_type or declared.content_type
            self._made[declared.id] = data, content_type, declared.user, made.user, declared.label
            self._bytes += len(data)
        while len(self._made) > MAX_OBJECTS or self._bytes > MAX_BYTES:
            self._bytes -= len(self._made.pop(next(iter(self._made)))[0])

    def fill(self, task: SubworkerTask) -> bool:
        """Give a task the inputs that were made here; False when one is not there."""
        for item in task.inputs:
            if item.data is None and item.path is None:
                found = self._made.get(item.id)
                if found is None:
                    return False
                item.data, item.content_type, item.spec_user, item.info_user, item.own_label = found
                item.size = len(item.data)
        return True

    def forget(self, session_ids: Iterable[int]) -> None:
        """Drop what belongs to sessions that ended."""
        gone = set(session_ids)
        self._made = {key: made for key, made in self._made.items() if key[0] not in gone}
        self._bytes = sum(len(made[0]) for made in self._made.values())
