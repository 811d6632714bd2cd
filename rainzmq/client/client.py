"""The client: a program's connection to a server."""

from __future__ import annotations

import atexit
import os
import time
import weakref
from dataclasses import replace
from functools import partial
from typing import Any

from rainzmq.client.checks import check_name
from rainzmq.client.connection import Connection
from rainzmq.client.contents import RelayContents
from rainzmq.client.datalink import Channel, DataLink
from rainzmq.client.dataobj import DataObject
from rainzmq.client.graph_task import Task, flatten
from rainzmq.client.owner import set_default
from rainzmq.client.session import Session
from rainzmq.common.errors import RainException
from rainzmq.common.ids import id_of
from rainzmq.common.limits import CONNECT_TIMEOUT_S
from rainzmq.common.tracebacks import at_border
from rainzmq.common.versions import python_version
from rainzmq.protocol.messages.client import (
    AskServerInfo,
    NewSession,
    ServerInfo,
    SessionOpened,
    SessionPython,
)
from rainzmq.transport.access import Access, find_access
from rainzmq.transport.control import ControlClient
from rainzmq.transport.net import format_address
from rainzmq.transport.sockets import Context, new_context

_ROLE = "client"
_ID_LISTS = ("tasks", "objects", "objects_to_delete")


class Client:
    """A connection to a server. Its sessions end with it. Threads may share it; forked processes may not.

    A context manager, which closes it at the end.

    Attributes:
        connection, contents: for the package itself: the ways to the server and to its relay.
    """

    @at_border
    def __init__(
        self,
        address: str | os.PathLike[str] | None = None,
        port: int | None = None,
        *,
        access_file: str | os.PathLike[str] | None = None,
    ) -> None:
        """Connect to the server at `address` ("host", "host:port", or the path of an access file) and `port`;
        with neither to the one that the environment variable RAINZMQ_SERVER names, else to the newest one
        that this user runs on this machine. `access_file` names the access file of a server elsewhere.

        Raises:
            RainException: within 10 s, saying why: no such server, not reachable, no or a wrong key, another
                version.
        """
        deadline = time.monotonic() + CONNECT_TIMEOUT_S
        access = find_access(address, port, access_file)
        self._access: Access = access
        self._context = new_context()
        opened: ControlClient | Connection | None = None
        try:
            opened = control = ControlClient(self._context, access, _ROLE)
            control.connect(deadline - time.monotonic())
            opened = connection = Connection(control, format_address(access.address, access.port))
            welcome = connection.greet(deadline - time.monotonic())
        except BaseException:
            if opened is not None:
                opened.close()
            self._context.destroy(linger=0)
            raise
        self.connection = connection
        data_access = replace(access, port=welcome.data_port)
        data = DataLink(
            partial(_connect_data, self._context, data_access), connection.header, connection.check
        )
        self.contents = RelayContents(data)
        self._data = data
        self._closed = False
        self._at_exit = _close_at_exit(self)
        self._dropped = weakref.finalize(self, _drop, connection, self._data, self._context, self._at_exit)
        self._dropped.atexit = False

    @property
    def connected(self) -> bool:
        """Whether it is connected, as far as is known."""
        return not self._closed and self.connection.connected

    @property
    def dashboard_link(self) -> str | None:
        """The address of the server's dashboard with the token that opens it, a secret; None when the server
        has none."""
        return None if self._access.http is None else self._access.http.link

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the server, which ends the client's sessions. A closed client can only be closed again."""
        if self._closed:
            return
        self._closed = True
        self._dropped.detach()
        if self.connection.forked:
            atexit.unregister(self._at_exit)
            return
        _release(self.connection, self._data, self._context, self._at_exit)

    @at_border
    def new_session(self, name: str = "Unnamed Session", default: bool = False) -> Session:
        """Open a session; with `default` it is used wherever no session is active.

        Raises:
            RainException: a bad name.
            SessionException: the client is closed, or the server is gone.
        """
        check_name(name, "session name")
        opened: SessionOpened = self.connection.ask(lambda number: NewSession(number, name))
        self.connection.send(SessionPython(opened.session_id, python_version()))
        session = Session(self, opened.session_id, name)
        if default:
            set_default(session)
        return session

    @at_border
    def get_server_info(self) -> dict[str, Any]:
        """What runs where: `{"workers": [...], "version": ..., ...}`. Per worker: "worker_id", "hostname",
        "pid", "resources", and lists of `ID`s: "tasks" (assigned to it), "objects" (it holds),
        "objects_to_delete" (copies that are not needed any more and still there)."""
        parts: list[ServerInfo] = self.connection.ask_all(AskServerInfo)
        workers: dict[Any, dict[str, Any]] = {}
        facts: dict[str, Any] = {}
        for part in parts:
            facts.update(part.facts)
            for worker in part.workers:
                known = workers.setdefault(worker.get("worker_id"), {})
                for key, value in worker.items():
                    if key in _ID_LISTS:
                        known.setdefault(key, []).extend(id_of(uid) for uid in value)
                    else:
                        known[key] = value
        return {"workers": list(workers.values()), **facts}

    @at_border
    def update(self, items: Any) -> None:
        """Ask for the states and infos of tasks and data objects of any of this client's sessions; raises
        what `Session.update` raises."""
        by_session: dict[Session, list[Task | DataObject]] = {}
        for item in flatten(items):
            if not isinstance(item, (Task, DataObject)):
                raise RainException(f"Tasks and data objects are due here, not {item!r:.80}")
            session = item.session
            if not isinstance(session, Session) or session.client is not self:
                raise RainException(f"{item.describe()} belongs to a session of another client")
            by_session.setdefault(session, []).append(item)
        for session, group in by_session.items():
            session.update(group)

    def __reduce__(self) -> Any:
        raise RainException("A Client cannot be pickled; a task cannot use the client's connection")

    def _repr_html_(self) -> str:
        """For notebooks."""
        from rainzmq.client.notebook import client_html

        access = self._access
        return client_html(
            format_address(access.address, access.port),
            self.connected,
            None if access.http is None else access.http.url,
        )

    def __repr__(self) -> str:
        state = "connected" if self.connected else "closed"
        return f"<Client of {format_address(self._access.address, self._access.port)}, {state}>"


def _connect_data(context: Context, access: Access) -> Channel:
    channel = ControlClient(context, access, _ROLE)
    try:
        channel.connect()
    except BaseException:
        channel.close()
        raise
    return channel


def _release(connection: Connection, data: DataLink, context: Context, at_exit: Any) -> None:
    """Let go of all that a client has."""
    atexit.unregister(at_exit)
    data.close()
    connection.close()
    context.destroy()


def _drop(connection: Connection, data: DataLink, context: Context, at_exit: Any) -> None:
    """Close a client that nobody refers to any more; none of these may refer to it.

    Without it the garbage collector may end the context first, which waits for sockets that nobody closes.
    """
    if not connection.forked:
        connection.end_later(partial(_release, connection, data, context, at_exit))


def _close_at_exit(client: Client) -> Any:
    """Registers `client.close()` for the interpreter's end, without keeping the client alive until then."""
    reference = weakref.ref(client)

    def close() -> None:
        alive = reference()
        if alive is not None:
            alive.close()

    atexit.register(close)
    return close
