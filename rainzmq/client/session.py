"""Sessions: containers of one graph each, submitted in one or more steps."""

from __future__ import annotations

import os
import threading
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rainzmq.client import owner
from rainzmq.client.asking import (
    IDS_PER_MESSAGE,
    fetch_object,
    flatten,
    update_items,
    wait_for_items,
    wait_for_session,
)
from rainzmq.client.call_site import Site, warn, warn_softly
from rainzmq.client.checks import check_name
from rainzmq.client.dataobj import DataObject, Snapshot
from rainzmq.client.explain import History
from rainzmq.client.failure import failure_error
from rainzmq.client.graph import Graph
from rainzmq.client.graph_task import Task
from rainzmq.client.owner import get_active_session
from rainzmq.client.pickling import renew_at_submit
from rainzmq.client.submit import BodyKey, Submission
from rainzmq.common.code_units import UnitRef
from rainzmq.common.errors import RainException, SessionException
from rainzmq.common.ids import MAX_ID, local_of
from rainzmq.common.states import DataType
from rainzmq.common.tracebacks import at_border
from rainzmq.protocol.messages.client import AskProgress, CloseSession, Unkeep, Update
from rainzmq.protocol.messages.shared import Failure

if TYPE_CHECKING:
    from rainzmq.client.client import Client
    from rainzmq.client.connection import Connection
    from rainzmq.common.data_instance import DataInstance

__all__ = ["Session", "get_active_session"]

_MESSAGES_AT_ONCE = 32

_Code = tuple[tuple[UnitRef, ...], tuple[DataObject, ...]]
"""Units of modules, and the constants that hold large ones."""


class Session:
    """A graph of tasks and data objects, and what became of it on the server.

    Holds tasks and objects only until they are submitted; after that it knows no more of a task than where it
    was made, so that a program may drop the tasks of a large graph.

    Attributes:
        client: the client it belongs to; None for a session that only builds and checks graphs.
        session_id: its number on the server.
        name: for people.
    """

    def __init__(self, client: Client | None, session_id: int, name: str = "Unnamed Session") -> None:
        """Users of a server call `Client.new_session`; `Session(None, 1)` builds and checks graphs
        offline."""
        self.client = client
        self.session_id = session_id
        self.name = check_name(name, "session name")
        self._closed = False
        self._entered = 0
        self._lock = threading.Lock()
        self._next_id = 1
        self._tasks: list[Task] = []
        self._constants: list[DataObject] = []
        self._hidden: list[DataObject] = []  # constants that the user does not know of
        self._bodies: dict[BodyKey, int] = {}
        self._functions: dict[Any, Any] = {}  # pickled functions, by `Remote`
        self._function_count = 0  # of all that were pickled
        self._code: tuple[int, _Code] = (-1, ((), ()))  # of a version of the code base
        self._code_constants: dict[bytes, DataObject] = {}
        self._batch = 0
        self._finished_batch = 0
        self._failure: Failure | None = None
        self._failure_told = False
        self._history = History()
        self._noted = 0  # tasks of complete submits in the next two
        self._submitted_ids = array("I")
        self._submitted_sites = array("I")
        self._sites: list[Site | None] = []
        self._site_numbers: dict[tuple[int, int] | None, int] = {}

    # -- life --------------------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        """Whether it is open: not closed, and its client still connected. A failed session is open until
        closed."""
        return not self._closed and (self.client is None or self.client.connected)

    def __enter__(self) -> Session:
        """Make it the active session until the end of the block, and close it at the end of the outermost
        block.

        Raises:
            RainException: it is closed.
        """
        self._check_open()
        owner.push(self)
        self._entered += 1
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        owner.pop(self)
        self._entered -= 1
        if self._entered:
            return
        forgotten: list[str] = []
        try:
            if kind is None and self.client is not None and self.active:
                forgotten = self._forgotten()
        finally:
            self.close()
        for text in forgotten:
            warn_softly(text)

    @contextmanager
    def bind_only(self) -> Iterator[Session]:
        """Make it the active session for a block, without closing it. RainException when it is closed."""
        self._check_open()
        owner.push(self)
        try:
            yield self
        finally:
            owner.pop(self)

    def set_as_default(self) -> None:
        """Use it when no session is entered, until it is closed. RainException when it is closed."""
        self._check_open()
        owner.set_default(self)

    def close(self) -> None:
        """Stop its running tasks and free its objects. A closed session can only be closed again."""
        if self._closed:
            return
        connection = None if self.client is None or not self.client.connected else self._connection()
        self._closed = True
        owner.clear_default(self)
        for kept in (self._tasks, self._constants, self._hidden, self._functions):
            kept.clear()
        if connection is not None:
            connection.ask_in_parting(lambda number: CloseSession(number, self.session_id))
            connection.end_waits(self.session_id)

    # -- building ----------------------------------------------------------------------------------

    @property
    def task_count(self) -> int:
        """Unsubmitted tasks."""
        return len(self._tasks)

    @property
    def dataobj_count(self) -> int:
        """Unsubmitted data objects: constants, and outputs of unsubmitted tasks."""
        return len(self._constants) + sum(len(task._peek_outputs()) for task in self._tasks)

    def keep_all(self) -> None:
        """Keep all unsubmitted data objects."""
        for obj in self._unsubmitted_objects():
            obj._keep = True

    def make_graph(self) -> Graph:
        """The unsubmitted part of the graph, to be looked at."""
        return Graph(list(self._tasks), list(self._constants))

    @at_border
    def submit(self) -> None:
        """Send the unsubmitted part of the graph to the server, which starts to work on it.

        Raises:
            RainException: something is wrong with the graph, such as a cycle; nothing was sent then. Or the
                session has no client.
            SessionException: the session is closed or failed, or the connection is lost.
        """
        self._check_open()
        # Other threads may make tasks meanwhile: those are for the next submit.
        tasks = list(self._tasks)
        renew_at_submit(self, tasks)
        constants, hidden = list(self._constants), list(self._hidden)
        submission = Submission(self.session_id, tasks, [*constants, *hidden], self._bodies)
        if self.client is None:
            raise RainException("A session without a client can build and check a graph, but not submit it")
        connection = self._connection()
        self._raise_failure(connection)
        if not tasks and not constants and not hidden:
            return
        self._remember(tasks, hidden)
        for obj in submission.uploads:
            assert obj._payload is not None
            self.client._upload(obj.id.uid, obj._payload)
        for position, message in enumerate(submission.messages()):
            connection.send(message)
            self._history.add(message, submission.take_new_bodies())
            if position % _MESSAGES_AT_ONCE == _MESSAGES_AT_ONCE - 1:
                # An answer shows that the server has taken in what was sent before, so nothing piles up.
                self._ask(connection, lambda number: Update(number, self.session_id, []))
        self._bodies.update(submission.bodies)
        self._mark_submitted(tasks, [*constants, *hidden])
        del self._tasks[: len(tasks)], self._constants[: len(constants)], self._hidden[: len(hidden)]

    def _remember(self, tasks: list[Task], hidden: list[DataObject]) -> None:
        """Note what is needed to explain a failure, which may come before everything is sent."""
        self._history.hide(obj._num for obj in hidden)
        # What a submit that broke off has noted is noted again now.
        del self._submitted_ids[self._noted :], self._submitted_sites[self._noted :]
        for task in sorted(tasks, key=lambda task: task._num):
            site = task._site
            # Code objects of different files may be equal, and hashing one takes long.
            key = None if site is None else (id(site.code), site.instruction)
            index = self._site_numbers.get(key)
            if index is None:
                index = self._site_numbers[key] = len(self._sites)
                self._sites.append(site)
            self._submitted_ids.append(task._num)
            self._submitted_sites.append(index)

    def _mark_submitted(self, tasks: list[Task], constants: list[DataObject]) -> None:
        self._batch += 1
        self._noted = len(self._submitted_ids)
        for obj in constants:
            obj._batch = self._batch
            obj._payload = None
        for task in tasks:
            task._batch = self._batch
            task._config = b""
            task._hidden = ()
            for obj in task._peek_outputs():
                obj._batch = self._batch

    # -- results -----------------------------------------------------------------------------------

    @at_border
    def wait(self, items: Any, progress: bool = False) -> None:
        """Wait until these tasks and data objects (also in nested sequences) are finished; their states and
        infos are updated. `progress` shows a progress bar.

        Raises:
            RainException: one was not submitted, or is of another session.
            TaskException: a task of the session failed.
            SessionException: the session is closed, or the server is gone.
        """
        wait_for_items(self, self._submitted(items), "all", progress)

    @at_border
    def wait_some(self, items: Any) -> tuple[list[Task], list[DataObject]]:
        """Wait until at least one of these is finished; returns the finished tasks and the finished objects,
        in the order given. Without items, two empty lists. Raises what `wait` raises."""
        return wait_for_items(self, self._submitted(items), "some", False)

    @at_border
    def wait_all(self, progress: bool = False) -> None:
        """Wait until everything submitted so far is finished. Raises what `wait` raises."""
        batch = self._batch
        if self._tasks and self._finished_batch == batch:
            # More may be built while other tasks run; but now there is nothing to wait for.
            warn(self._never_submitted())
        wait_for_session(self, progress)
        self._finished_batch = max(self._finished_batch, batch)

    @at_border
    def fetch(self, obj: DataObject | Task, path: str | os.PathLike[str] | None = None) -> DataInstance:
        """The content of a kept object, once it is finished. With `path` it is streamed to that file or
        directory and not held in memory.

        Raises:
            RainException: it is not kept or was not submitted.
            TaskException: a task of the session failed.
            SessionException: the session is closed, or the server is gone.
        """
        target = obj.output if isinstance(obj, Task) else obj
        if not isinstance(target, DataObject):
            raise RainException(f"Only data objects and tasks can be fetched, not {obj!r:.80}")
        self._check_own(target)
        if target._batch and not target._keep:
            if target._unkept:
                raise RainException(f"{target.describe()} is not kept any more: unkeep() released it")
            raise RainException(f"{target.describe()} is not kept; call keep() on it before submit()")
        self._submitted([target])
        return fetch_object(self, target, path)

    @at_border
    def update(self, items: Any) -> None:
        """Ask the server for the states and infos of these tasks and data objects. Raises what `wait`
        raises."""
        update_items(self, self._submitted(items))

    @at_border
    def unkeep(self, objs: Any) -> None:
        """Undo `keep()` of these objects; they are removed as soon as no task needs them.

        Raises:
            RainException: one is not kept, and then none is changed, or is of another session.
            TaskException: a task of the session failed.
            SessionException: the session is closed, or the server is gone.
        """
        targets = [item.output if isinstance(item, Task) else item for item in flatten(objs)]
        for obj in targets:
            self._check_own(obj)
            if not obj._keep:
                raise RainException(f"{obj.describe()} is not kept")
        submitted = [obj for obj in targets if obj._batch]
        if submitted:
            connection = self._usable_connection()
            ids = [obj._num for obj in submitted]
            for start in range(0, len(ids), IDS_PER_MESSAGE):
                part = ids[start : start + IDS_PER_MESSAGE]
                self._ask(connection, lambda number, part=part: Unkeep(number, self.session_id, part))
        for obj in targets:
            obj._state = obj.state
            obj._keep, obj._unkept = False, True

    def _forgotten(self) -> list[str]:
        """What is lost when it is closed now, and was likely not meant to be."""
        texts = [self._never_submitted()] if self._tasks else []
        if self._finished_batch == self._batch or self._failure is not None:
            return texts
        connection = self._connection()
        progress = connection.ask_in_parting(
            lambda number: AskProgress(number, self.session_id), self.session_id
        )
        unfinished = 0 if progress is None else progress.total - progress.finished
        if unfinished:
            texts.append(
                f"Leaving session {self.name!r} stops {_count(unfinished, 'unfinished task')}; "
                "call wait_all() first, or close() when that is meant"
            )
        return texts

    def _never_submitted(self) -> str:
        return f"Session {self.name!r}: {_count(len(self._tasks), 'task')} not submitted; call submit()"

    # -- for the package ---------------------------------------------------------------------------

    @property
    def error(self) -> SessionException | None:
        """The error that ended the session, as far as it was heard of; None while there is none."""
        if self._failure is None and self.client is not None and self.client.connected:
            self._failure = self._connection().failures.get(self.session_id)
        return None if self._failure is None else self._failure_exception(self._failure, False)

    def _take_ids(self, count: int) -> int:
        """The first of `count` consecutive new ids."""
        with self._lock:
            first = self._next_id
            if self._closed:
                raise SessionException(f"Session {self.session_id} is closed", self.session_id)
            if first + count > MAX_ID:
                raise RainException(
                    f"Session {self.session_id} has used up its {MAX_ID} ids; open another session"
                )
            self._next_id = first + count
        return first

    def _add_task(self, task: Task) -> None:
        self._tasks.append(task)

    def _new_constant(
        self, label: str, data_type: DataType, content_type: str | None, payload: bytes | Snapshot
    ) -> DataObject:
        obj = DataObject(self, self._take_ids(1), label, data_type, content_type, None, payload)
        self._constants.append(obj)
        return obj

    def _new_hidden_constant(self, payload: bytes) -> DataObject:
        """A constant that the user does not see, for what is too large for a task's configuration."""
        obj = DataObject(self, self._take_ids(1), None, DataType.BLOB, None, None, payload)
        self._hidden.append(obj)
        return obj

    def _unsubmitted_objects(self) -> Iterator[DataObject]:
        yield from self._constants
        for task in self._tasks:
            yield from task._peek_outputs()

    def _check_open(self) -> None:
        if self._closed:
            raise SessionException(f"Session {self.session_id} is closed", self.session_id)

    def _check_own(self, item: Any) -> None:
        if not isinstance(item, (Task, DataObject)):
            raise RainException(f"Tasks and data objects are due here, not {item!r:.80}")
        if item.session is not self:
            raise RainException(
                f"{item.describe()} belongs to session {item.session.session_id}, "
                f"not to session {self.session_id}"
            )

    def _submitted(self, items: Any) -> dict[int, Task | DataObject]:
        """The given items by id, once each, in order; RainException for one that was not submitted."""
        result: dict[int, Task | DataObject] = {}
        for item in flatten(items):
            self._check_own(item)
            if not item._batch:
                raise RainException(f"{item.describe()} was not submitted; call submit() first")
            result[item._num] = item
        return result

    def _connection(self) -> Connection:
        if self.client is None:
            raise RainException("The session has no client")
        return self.client._connection

    def _usable_connection(self) -> Connection:
        """The connection, when neither it nor the session has ended."""
        self._check_open()
        connection = self._connection()
        self._raise_failure(connection)
        return connection

    def _raise_failure(self, connection: Connection) -> None:
        if self._failure is None:
            self._failure = connection.failure_of(self.session_id)
        if self._failure is not None:
            error = self._failure_exception(self._failure, self._failure_told)
            self._failure_told = True
            raise error from None

    def _failure_exception(self, failure: Failure, told: bool) -> SessionException:
        # A new one each time: an exception that is raised again and again collects tracebacks.
        num = local_of(failure.task)
        return failure_error(failure, self.session_id, self._site_of(num), self._history.explain(num), told)

    def _reason(self, connection: Connection, error: RainException) -> RainException:
        """Why a request ended with `error`: the session's failure, if there is one."""
        try:
            self._raise_failure(connection)
        except SessionException as failure:
            return failure
        return error

    def _ask(self, connection: Connection, make: Any) -> Any:
        """A request and its answer; the session's failure is raised in place of what came of it."""
        try:
            return connection.ask(make, self.session_id)
        except RainException as error:
            raise self._reason(connection, error) from None

    def _failure_of(self, num: int) -> Failure | None:
        """Why a task failed, None when it is not known to have."""
        failure = self._failure
        return failure if failure is not None and local_of(failure.task) == num else None

    def _site_of(self, num: int) -> Site | None:
        if num not in self._submitted_ids:
            return None
        # Searched from the start: with several threads they need not be in order.
        index = self._submitted_ids.index(num)
        return self._sites[self._submitted_sites[index]]

    def __reduce__(self) -> Any:
        raise RainException("A Session can not be pickled; a task can not use the client's session")

    def _repr_html_(self) -> str:
        """For notebooks."""
        from rainzmq.client.notebook import session_html

        return session_html(self)

    def __repr__(self) -> str:
        state = "failed" if self._failure is not None else "closed" if self._closed else "open"
        return f"<Session {self.session_id} {self.name!r} {state}, {self.task_count} unsubmitted tasks>"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
