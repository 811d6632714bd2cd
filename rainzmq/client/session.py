"""Sessions: containers of one graph each, submitted in one or more steps."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rainzmq.client import owner
from rainzmq.client.asking import ask_news, unkeep, wait_for, wait_for_session
from rainzmq.client.call_site import warn, warn_softly
from rainzmq.client.channel import SessionChannel, SessionClient
from rainzmq.client.checks import check_name
from rainzmq.client.dataobj import DataObject
from rainzmq.client.draft import Draft
from rainzmq.client.explain import SubmittedTasks
from rainzmq.client.fetching import fetch_object
from rainzmq.client.graph import Graph
from rainzmq.client.graph_task import Task, flatten
from rainzmq.client.news import apply_news
from rainzmq.client.nodes import BodyKey, GraphNode, ObjectNode, TaskNode
from rainzmq.client.owner import Heard
from rainzmq.client.pickling import renew_at_submit
from rainzmq.client.submit import Submission
from rainzmq.common.data_instance import DataInstance
from rainzmq.common.errors import RainException, SessionException
from rainzmq.common.states import DataObjectState, SessionState, TaskState
from rainzmq.common.tracebacks import at_border
from rainzmq.protocol.messages.client import AskProgress, CloseSession, News, Update

__all__ = ["Session", "get_active_session"]

_MESSAGES_AT_ONCE = 32
_DONE = (TaskState.FINISHED, TaskState.FAILED, DataObjectState.FINISHED, DataObjectState.REMOVED)


class Session:
    """A graph of tasks and data objects, and what became of it on the server.

    Holds tasks and objects only until they are submitted; after that it knows no more of a task than where it
    was made, so that a program may drop the tasks of a large graph.

    Attributes:
        client: the client it belongs to; None for a session that only builds and checks graphs.
        session_id: its number on the server.
        name: human-readable.
        draft, heard: for the package itself: what is not submitted yet, and what became of the rest.
    """

    def __init__(self, client: SessionClient | None, session_id: int, name: str = "Unnamed Session") -> None:
        """Users of a server call `Client.new_session`; `Session(None, 1)` builds and checks graphs
        offline."""
        self.client = client
        self.session_id = session_id
        self.name = check_name(name, "session name")
        self.draft = Draft(session_id)
        self.heard = Heard()
        self._entered = 0
        self._bodies: dict[BodyKey, int] = {}  # that the server knows
        self._batch = 0
        self._submitted = SubmittedTasks()
        self._channel = SessionChannel(client, self.draft, self.heard, self._submitted)

    # -- life --------------------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        """Whether it is open: not closed, and its client still connected. A failed session is open until
        closed."""
        return not self.draft.closed and (self.client is None or self.client.connected)

    def __enter__(self) -> Session:
        """Make it the active session until the end of the block, and close it at the end of the outermost
        block.

        Raises:
            RainException: it is closed.
        """
        self.draft.check_open()
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
        self.draft.check_open()
        owner.push(self)
        try:
            yield self
        finally:
            owner.pop(self)

    def set_as_default(self) -> None:
        """Use it when no session is entered, until it is closed. RainException when it is closed."""
        self.draft.check_open()
        owner.set_default(self)

    def close(self) -> None:
        """Stop its running tasks and free its objects. A closed session can only be closed again."""
        if self.draft.closed:
            return
        connection = self._channel.connection if self._channel.connected else None
        self.draft.close()
        owner.clear_default(self)
        if connection is not None:
            connection.ask_in_parting(lambda number: CloseSession(number, self.session_id))
            connection.end_waits(self.session_id)

    # -- building ----------------------------------------------------------------------------------

    @property
    def task_count(self) -> int:
        """Unsubmitted tasks."""
        return len(self.draft.tasks)

    @property
    def dataobj_count(self) -> int:
        """Unsubmitted data objects: constants, and outputs of unsubmitted tasks."""
        return sum(1 for _ in self.draft.objects())

    def keep_all(self) -> None:
        """Keep all unsubmitted data objects."""
        for obj in self.draft.objects():
            obj.keep = True

    def make_graph(self) -> Graph:
        """The unsubmitted part of the graph, to be looked at."""
        return Graph(list(self.draft.tasks), list(self.draft.constants))

    @at_border
    def submit(self) -> None:
        """Send the unsubmitted part of the graph to the server, which starts to work on it.

        Raises:
            RainException: something is wrong with the graph, such as a cycle; nothing was sent then. Or the
                session has no client.
            SessionException: the session is closed or failed, or the connection is lost.
        """
        self.draft.check_open()
        # Other threads may make tasks meanwhile: those are for the next submit.
        tasks = list(self.draft.tasks)
        renew_at_submit(self, tasks)
        constants, hidden = list(self.draft.constants), list(self.draft.hidden)
        submission = Submission(self, tasks, [*constants, *hidden], self._bodies)
        if self.client is None:
            raise RainException("A session without a client can build and check a graph, but not submit it")
        self._channel.check()
        if not tasks and not constants and not hidden:
            return
        self._submitted.begin(tasks, hidden)
        for obj in submission.uploads:
            self.client.contents.upload(obj)
        for position, message in enumerate(submission.messages()):
            self.client.connection.send(message)
            self._submitted.add(message, submission.take_new_bodies())
            if position % _MESSAGES_AT_ONCE == _MESSAGES_AT_ONCE - 1:
                # An answer shows that the server has taken in what was sent before, so nothing piles up.
                self._channel.ask(lambda number: Update(number, self.session_id, []))
        self._bodies.update(submission.bodies)
        self._mark_submitted(tasks, [*constants, *hidden])
        self.draft.forget(len(tasks), len(constants), len(hidden))

    def _mark_submitted(self, tasks: list[TaskNode], constants: list[ObjectNode]) -> None:
        self._submitted.end()
        self._batch += 1
        for obj in constants:
            obj.batch = self._batch
            obj.payload = None
        for task in tasks:
            task.batch = self._batch
            task.config = b""
            task.hidden = ()
            for obj in task.outputs:
                obj.batch = self._batch

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
        self._wait(items, "all", self.name if progress else None)

    @at_border
    def wait_some(self, items: Any) -> tuple[list[Task], list[DataObject]]:
        """Wait until at least one of these is finished; returns the finished tasks and the finished objects,
        in the order given. Without items, two empty lists. Raises what `wait` raises."""
        given = self._wait(items, "some", None)
        finished = [item for item in given.values() if item.state in _DONE]
        return (
            [item for item in finished if isinstance(item, Task)],
            [item for item in finished if isinstance(item, DataObject)],
        )

    @at_border
    def wait_all(self, progress: bool = False) -> None:
        """Wait until everything submitted so far is finished. Raises what `wait` raises."""
        batch = self._batch
        if self.draft.tasks and self.heard.finished_batch == batch:
            # More may be built while other tasks run; but now there is nothing to wait for.
            warn(self._never_submitted())
        wait_for_session(self._channel, self.name if progress else None)
        self.heard.finished_batch = max(self.heard.finished_batch, batch)

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
        node = target.graph_node
        if node.batch and not node.keep:
            if node.unkept:
                raise RainException(f"{target.describe()} is not kept any more: unkeep() released it")
            raise RainException(f"{target.describe()} is not kept; call keep() on it before submit()")
        self._checked([target])
        return fetch_object(self._channel, node, path)

    @at_border
    def update(self, items: Any) -> None:
        """Ask the server for the states and infos of these tasks and data objects. Raises what `wait`
        raises."""
        given = self._checked(items)
        self._take(ask_news(self._channel, list(given)), given)

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
            if not obj.graph_node.keep:
                raise RainException(f"{obj.describe()} is not kept")
        submitted = [obj.graph_node.num for obj in targets if obj.graph_node.batch]
        if submitted:
            unkeep(self._channel, submitted)
        for obj in targets:
            node = obj.graph_node
            node.state = obj.state
            node.keep, node.unkept = False, True

    def _forgotten(self) -> list[str]:
        """What is lost when it is closed now, and was likely not meant to be."""
        texts = [self._never_submitted()] if self.draft.tasks else []
        if self.heard.finished_batch == self._batch or self.heard.end is not None:
            return texts
        progress = self._channel.connection.ask_in_parting(
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
        return f"Session {self.name!r}: {_count(self.task_count, 'task')} not submitted; call submit()"

    @property
    def error(self) -> SessionException | None:
        """The error that ended the session, as far as it was heard of; None while there is none."""
        return self._channel.error

    # -- checks ------------------------------------------------------------------------------------

    def _check_own(self, item: Any) -> None:
        if not isinstance(item, (Task, DataObject)):
            raise RainException(f"Tasks and data objects are due here, not {item!r:.80}")
        if item.session is not self:
            raise RainException(
                f"{item.describe()} belongs to session {item.session.session_id}, "
                f"not to session {self.session_id}"
            )

    def _checked(self, items: Any) -> dict[int, Task | DataObject]:
        """The given items by id, once each, in order; RainException for one that was not submitted."""
        result: dict[int, Task | DataObject] = {}
        for item in flatten(items):
            self._check_own(item)
            if not item.graph_node.batch:
                raise RainException(f"{item.describe()} was not submitted; call submit() first")
            result[item.graph_node.num] = item
        return result

    def _wait(self, items: Any, mode: str, title: str | None) -> dict[int, Task | DataObject]:
        """Wait for `all` or `some` of these, which come back by id."""
        given = self._checked(items)
        self._take(wait_for(self._channel, list(given), mode, title), given)
        return given

    def _take(self, news: list[News], given: dict[int, Task | DataObject]) -> None:
        nodes: dict[int, GraphNode] = {num: item.graph_node for num, item in given.items()}
        for part in news:
            apply_news(part, nodes)

    def __reduce__(self) -> Any:
        raise RainException("A Session cannot be pickled; a task cannot use the client's session")

    def _repr_html_(self) -> str:
        """For notebooks."""
        from rainzmq.client.notebook import session_html

        return session_html(
            self.session_id, self.name, self._state(), len(self._submitted), self.draft, self.heard.end
        )

    def __repr__(self) -> str:
        state = self._state()
        return f"<Session {self.session_id} {self.name!r} {state}, {self.task_count} unsubmitted tasks>"

    def _state(self) -> SessionState:
        if self.heard.end is not None:
            return self.heard.end.state
        return SessionState.CLOSED if self.draft.closed else SessionState.OPEN


def get_active_session() -> Session:
    """The session that new tasks and data objects belong to; raises what `owner.active_owner` raises."""
    session = owner.active_owner()
    assert isinstance(session, Session)
    return session


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
