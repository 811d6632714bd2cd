"""The client: a program's connection to a server."""

from __future__ import annotations

import atexit
import io
import os
import secrets
import tempfile
import time
import weakref
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from rainzmq.client.asking import flatten, target_errors
from rainzmq.client.checks import check_name
from rainzmq.client.connection import Connection
from rainzmq.client.datalink import Channel, DataLink, Sink
from rainzmq.client.dataobj import DataObject, Snapshot
from rainzmq.client.graph_task import Task
from rainzmq.client.owner import set_default
from rainzmq.client.session import Session
from rainzmq.common.archive import unpack_tree
from rainzmq.common.data_instance import DataInstance
from rainzmq.common.errors import RainException
from rainzmq.common.ids import id_of
from rainzmq.common.limits import CONNECT_TIMEOUT_S
from rainzmq.common.states import DataType
from rainzmq.common.tracebacks import at_border
from rainzmq.common.trees import make_executable
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
        self._connection = connection
        data_access = replace(access, port=welcome.data_port)
        self._data = DataLink(
            partial(_connect_data, self._context, data_access), connection.header, connection.check
        )
        self._closed = False
        self._at_exit = _close_at_exit(self)
        self._dropped = weakref.finalize(self, _drop, connection, self._data, self._context, self._at_exit)
        self._dropped.atexit = False

    @property
    def connected(self) -> bool:
        """Whether it is connected, as far as is known."""
        return not self._closed and self._connection.connected

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
        if self._connection.forked:
            atexit.unregister(self._at_exit)
            return
        _release(self._connection, self._data, self._context, self._at_exit)

    @at_border
    def new_session(self, name: str = "Unnamed Session", default: bool = False) -> Session:
        """Open a session; with `default` it is used wherever no session is active.

        Raises:
            RainException: a bad name.
            SessionException: the client is closed, or the server is gone.
        """
        check_name(name, "session name")
        opened: SessionOpened = self._connection.ask(lambda number: NewSession(number, name))
        self._connection.send(SessionPython(opened.session_id, python_version()))
        session = Session(self, opened.session_id, name)
        if default:
            set_default(session)
        return session

    @at_border
    def get_server_info(self) -> dict[str, Any]:
        """What runs where: `{"workers": [...], "version": ..., ...}`. Per worker: "worker_id", "hostname",
        "pid", "resources", and lists of `ID`s: "tasks" (assigned to it), "objects" (it holds),
        "objects_to_delete" (copies that are not needed any more and still there)."""
        parts: list[ServerInfo] = self._connection.ask_all(AskServerInfo)
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
            if item.session.client is not self:
                raise RainException(f"{item.describe()} belongs to a session of another client")
            by_session.setdefault(item.session, []).append(item)
        for session, group in by_session.items():
            session.update(group)

    def _upload(self, uid: int, payload: bytes | Snapshot) -> None:
        if isinstance(payload, Snapshot):
            with open(payload.path, "rb") as file:
                self._data.upload(uid, True, file, payload.archive_size)
        else:
            self._data.upload(uid, False, io.BytesIO(payload), len(payload))

    def _download(self, obj: DataObject, ticket: bytes, target: str | None) -> DataInstance:
        """The content of an object that the relay has, in memory or at `target`."""
        if target is None:
            return self._download_to(obj, ticket, None)
        with target_errors(obj, target):
            return self._download_to(obj, ticket, target)

    def _download_to(self, obj: DataObject, ticket: bytes, target: str | None) -> DataInstance:
        assert obj._info is not None
        uid = obj.id.uid
        if obj.data_type is DataType.DIRECTORY:
            return self._download_directory(obj, ticket, target)
        if target is None:
            sink = Sink(obj._info.size)
            self._data.download(uid, ticket, sink)
            return DataInstance(sink.view(), spec=obj.spec, info=obj._info)
        temporary = f"{target}.{secrets.token_hex(4)}.rainzmq-new"
        try:
            with open(temporary, "xb") as file:
                self._data.download(uid, ticket, Sink(file=file))
            if obj._info.executable:
                make_executable(temporary)
            os.replace(temporary, target)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        return DataInstance(path=target, spec=obj.spec, info=obj._info)

    def _download_directory(self, obj: DataObject, ticket: bytes, target: str | None) -> DataInstance:
        handle, archive = tempfile.mkstemp(prefix="rainzmq-dir-", suffix=".tar")
        try:
            with open(handle, "wb") as file:
                self._data.download(obj.id.uid, ticket, Sink(file=file))
            if target is None:
                return DataInstance(archive=archive, spec=obj.spec, info=obj._info)
            with open(archive, "rb") as source:
                unpack_tree(source, target, writable=True)
        except BaseException:
            os.unlink(archive)
            raise
        os.unlink(archive)
        return DataInstance(path=target, spec=obj.spec, info=obj._info)

    def __reduce__(self) -> Any:
        raise RainException("A Client can not be pickled; a task can not use the client's connection")

    def _repr_html_(self) -> str:
        """For notebooks."""
        from rainzmq.client.notebook import client_html

        return client_html(self)

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
