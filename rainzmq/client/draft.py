"""The part of a session's graph that is not submitted yet."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from rainzmq.client.nodes import ObjectNode, TaskNode
from rainzmq.client.snapshot import Snapshot
from rainzmq.common.code_units import UnitRef
from rainzmq.common.errors import RainException, SessionException
from rainzmq.common.ids import MAX_ID
from rainzmq.common.states import DataType

Code = tuple[tuple[UnitRef, ...], tuple[ObjectNode, ...]]
"""Units of modules, and the constants that hold large ones."""


class Draft:
    """Tasks and constants that wait for the next submit. Any number of threads may add some.

    Attributes:
        session_id: of its session.
        closed: whether that was closed; then nothing can be added.
        tasks, constants: what users made.
        hidden: constants of which users do not know.
        functions: pickled functions of the session, by what is called; submitted ones too.
        function_count: how many were pickled in all.
        code: units of modules that calls need, of a version of the code base.
        inline_code_bytes: how much code went with bodies so far.
        code_constants: the constants of large units, by the digest of the unit; submitted ones too.
    """

    def __init__(self, session_id: int) -> None:
        self.session_id = session_id
        self.closed = False
        self.tasks: list[TaskNode] = []
        self.constants: list[ObjectNode] = []
        self.hidden: list[ObjectNode] = []
        self.functions: dict[Any, Any] = {}
        self.function_count = 0
        self.code: tuple[int, Code] = (-1, ((), ()))
        self.inline_code_bytes = 0
        self.code_constants: dict[bytes, ObjectNode] = {}
        self._lock = threading.Lock()
        self._next_id = 1

    def take_ids(self, count: int) -> int:
        """The first of `count` consecutive new ids.

        Raises:
            SessionException: the session is closed.
            RainException: there are not so many ids left.
        """
        with self._lock:
            first = self._next_id
            if self.closed:
                self.check_open()
            if first + count > MAX_ID:
                raise RainException(
                    f"Session {self.session_id} has used up its {MAX_ID} ids; open another session"
                )
            self._next_id = first + count
        return first

    def check_open(self) -> None:
        """SessionException when the session is closed."""
        if self.closed:
            raise SessionException(f"Session {self.session_id} is closed", self.session_id)

    def new_constant(
        self, label: str, data_type: DataType, content_type: str | None, payload: bytes | Snapshot
    ) -> ObjectNode:
        """Add a constant. Raises what `take_ids` raises."""
        node = ObjectNode(self.session_id, self.take_ids(1), label, data_type, content_type, None, payload)
        self.constants.append(node)
        return node

    def new_hidden_constant(self, payload: bytes) -> ObjectNode:
        """Add a constant that the user does not see, for what is too large for a task's configuration. Raises
        what `take_ids` raises."""
        node = ObjectNode(self.session_id, self.take_ids(1), None, DataType.BLOB, None, None, payload)
        self.hidden.append(node)
        return node

    def objects(self) -> Iterator[ObjectNode]:
        """Constants, and outputs of tasks, that users know of."""
        yield from self.constants
        for task in self.tasks:
            yield from task.outputs

    def forget(self, tasks: int, constants: int, hidden: int) -> None:
        """So many of each, the first ones, were submitted."""
        del self.tasks[:tasks], self.constants[:constants], self.hidden[:hidden]

    def close(self) -> None:
        """The session is closed: nothing is submitted any more."""
        self.closed = True
        for kept in (self.tasks, self.constants, self.hidden, self.functions):
            kept.clear()
