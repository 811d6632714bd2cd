"""Client and server: sessions, submits, waiting, results. Control plane.

Requests carry `request`, a number of the client's choosing; every reply repeats it. A request that cannot be
served is answered with `RequestFailed`. `Submit` has no reply: what is wrong with it fails the session.

Both sides count what they get from the other after the handshake, and keep what they sent until the other
side has confirmed it with that number in its `heartbeat`. So a connection that broke can be taken up again:
`resume` and `resumed` tell each other how far it had come, and what is missing is sent once more. `hello`,
`welcome`, `resume`, `resumed`, `heartbeat`, `knock` and `bye` are not counted.
"""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any

from rainzmq.common.states import DataObjectState, SessionState, TaskState
from rainzmq.protocol.messages.shared import Failure, ObjectMeta, TaskBody
from rainzmq.protocol.schema import UInt32s, message

CONVERSATION = "client-server"
_CLIENT = ("client", "viewer")
_OWNER = "client"
_SERVER = "server"


@message("hello", CONVERSATION, *_CLIENT)
class ClientHello:
    """First message of a client or viewer. Its shape never changes, so that any version can be refused
    politely.
    """

    software: Annotated[str, "version of the package"]
    hostname: Annotated[str, "the client's host"]
    pid: Annotated[int, "the client's process"]


@message("welcome", CONVERSATION, _SERVER)
class ClientWelcome:
    """The client is known from now on. The header carries cluster id, server epoch and the client's epoch."""

    software: Annotated[str, "version of the server's package"]
    epoch: Annotated[int, "the client's epoch, to be put in every header"]
    data_port: Annotated[int, "TCP port of the relay's sockets for clients"]
    heartbeat_interval_s: Annotated[float, "how often the client must be heard, seconds"]
    dead_after_s: Annotated[float, "silence after which a client gives the server up, seconds"]
    grace_s: Annotated[float, "how long sessions outlive a connection that broke, seconds"]


@message("process", CONVERSATION, _OWNER)
class ClientProcess:
    """Which process the client is. A server that sees the same processes watches it: when it has ended, so
    have its sessions, and while it lives it has all of the grace to come back.
    """

    space: Annotated[str, "names the boot of the machine and the namespace of process ids; empty: unknown"]
    pid: Annotated[int, "the client's process in it"]
    started: Annotated[int, "when it started, in clock ticks after the boot"]


@message("resume", CONVERSATION, _OWNER)
class ClientResume:
    """First message of a client on a new connection after its last one broke; the header carries its epoch.
    Answered by `ClientResumed`, or by `ClientBye` when its sessions have ended.
    """

    received: Annotated[int, "how many messages of the server it has got"]


@message("resumed", CONVERSATION, _SERVER)
class ClientResumed:
    """The client goes on where it was. What it had not got of the server's messages follows."""

    received: Annotated[int, "how many messages of the client the server has got"]


@message("knock", CONVERSATION, _SERVER)
class Knock:
    """Say something at once, a heartbeat for one: there is doubt whether this connection still works."""


@message("refused", CONVERSATION, _SERVER)
class ClientRefused:
    """The client may not take part; the connection ends. Its shape never changes."""

    software: Annotated[str, "version of the server's package"]
    reason: Annotated[str, "human-readable"]


@message("heartbeat", CONVERSATION, *_CLIENT, _SERVER)
class ClientHeartbeat:
    """I am alive. Sent every heartbeat interval by both sides. A server does not judge a client by them: a
    client is alive while its connection is.
    """

    received: Annotated[int, "how many messages of the other side the sender has got"]


@message("bye", CONVERSATION, *_CLIENT, _SERVER)
class ClientBye:
    """The sender leaves; a client's sessions end with it, a server's going ends all of them."""

    reason: Annotated[str, "human-readable, may be empty"]


@message("new_session", CONVERSATION, _OWNER)
class NewSession:
    """Open a session. Answered by `SessionOpened`."""

    request: Annotated[int, "number of the request"]
    name: Annotated[str, "human-readable"]


@message("session_opened", CONVERSATION, _SERVER)
class SessionOpened:
    """Answer to `NewSession`."""

    request: Annotated[int, "number of the request"]
    session_id: Annotated[int, "the new session, from 1"]


@message("session_python", CONVERSATION, _OWNER)
class SessionPython:
    """The functions of a session are of this Python: only workers with the same minor version run them. Comes
    before the session's first `Submit`. No answer; without it any worker runs them."""

    session_id: Annotated[int, "the session"]
    version: Annotated[str, "the version, such as `3.11.7`"]


@message("close_session", CONVERSATION, _OWNER)
class CloseSession:
    """Stop the session's tasks and free its objects. Answered by `Done`."""

    request: Annotated[int, "number of the request"]
    session_id: Annotated[int, "the session"]


@message("submit", CONVERSATION, _OWNER)
class Submit:
    """A part of a graph. Columns: the n-th item of each `task_*` list belongs to the n-th task. Inputs stand
    before their consumers, in this message or an earlier one. Ids are local to the session."""

    session_id: Annotated[int, "the session"]
    bodies: Annotated[list[TaskBody], "bodies not sent before in this session"]
    task_ids: Annotated[list[int], "ids of the tasks"]
    task_bodies: Annotated[list[int], "key of each task's body"]
    task_configs: Annotated[list[bytes], "configuration of each task, may be empty"]
    task_input_counts: Annotated[list[int], "number of inputs of each task"]
    task_inputs: Annotated[list[int], "ids of all inputs, one task after the other"]
    task_names: Annotated[
        list[tuple[int, str]], "(task id, name) of tasks whose name differs from their body's"
    ]
    const_objects: Annotated[list[ObjectMeta], "constant objects; uid is the full uid"]
    const_data: Annotated[
        list[bytes | None], "content of each constant; None when it was uploaded to the relay"
    ]
    keep: Annotated[list[int], "ids of the objects to keep until told otherwise"]
    users: Annotated[list[tuple[int, bytes]], "(id, `spec.user` as JSON) of tasks and outputs that have one"]
    last: Annotated[
        bool, "no other part of this submit follows: unkept objects that nothing reads may go now"
    ]


@message("wait", CONVERSATION, _OWNER)
class Wait:
    """Wait for tasks and objects of a session. Answered by `News` once all (or one, or the whole session)
    finished.
    """

    request: Annotated[int, "number of the request"]
    session_id: Annotated[int, "the session"]
    ids: Annotated[list[int], "tasks and objects; ignored for mode `session`"]
    mode: Annotated[
        str, "`all` of the ids, `some` of them (at least one), or `session`: every task submitted so far"
    ]


@message("cancel_wait", CONVERSATION, _OWNER)
class CancelWait:
    """Forget a `Wait`; it is not answered any more."""

    request: Annotated[int, "number of the `Wait`"]


@message("update", CONVERSATION, _OWNER)
class Update:
    """Ask for states and infos. Answered by `News`, once per chunk of ids the client chooses."""

    request: Annotated[int, "number of the request"]
    session_id: Annotated[int, "the session"]
    ids: Annotated[list[int], "tasks and objects"]


@message("news", CONVERSATION, _SERVER)
class News:
    """States and infos of tasks and objects. Answer to `Wait` and `Update`, in one or more parts."""

    request: Annotated[int, "number of the request"]
    more: Annotated[bool, "another part follows"]
    tasks: Annotated[
        list[tuple[int, TaskState, float | None, float | None, str | None, bytes, str]],
        "(id, state, start in s, duration in s, worker_id, `info.user` as JSON, debug)",
    ]
    objects: Annotated[
        list[tuple[int, DataObjectState, int | None, str | None, str | None, bytes]],
        "(id, state, size in bytes, content type, worker_id of a holder, user info as JSON)",
    ]
    executables: Annotated[list[int], "ids of those of `objects` that were executable files"] = field(
        default_factory=list
    )


@message("fetch", CONVERSATION, _OWNER)
class Fetch:
    """Get the content of a kept object once it is finished. Answered by `Fetched`."""

    request: Annotated[int, "number of the request"]
    session_id: Annotated[int, "the session"]
    id: Annotated[int, "the object"]


@message("fetched", CONVERSATION, _SERVER)
class Fetched:
    """Content of an object, or a ticket to get it from the relay."""

    request: Annotated[int, "number of the request"]
    meta: Annotated[ObjectMeta, "the object"]
    worker: Annotated[str | None, "worker_id of a holder, None when only the server holds it"]
    data: Annotated[bytes | None, "the content when it is small, else None"]
    ticket: Annotated[bytes, "to be shown to the relay; empty when the content is here"]


@message("unkeep", CONVERSATION, _OWNER)
class Unkeep:
    """The client needs these objects no more. Answered by `Done`."""

    request: Annotated[int, "number of the request"]
    session_id: Annotated[int, "the session"]
    ids: Annotated[list[int], "kept objects"]


@message("done", CONVERSATION, _SERVER)
class Done:
    """The request was carried out."""

    request: Annotated[int, "number of the request"]


@message("request_failed", CONVERSATION, _SERVER)
class RequestFailed:
    """The request cannot be served."""

    request: Annotated[int, "number of the request"]
    code: Annotated[str, "`session` when the session is closed or unknown, `request` for anything else"]
    reason: Annotated[str, "human-readable"]


@message("finished_tasks", CONVERSATION, _SERVER)
class FinishedTasks:
    """What had finished of a session that ended, as runs of ids: tasks with their outputs, and constants. Its
    other tasks are cancelled, but the one that failed. Sent before `SessionFailed`, in any number of parts.
    """

    session_id: Annotated[int, "the session"]
    firsts: Annotated[UInt32s, "first id of each run"]
    lasts: Annotated[UInt32s, "last id of each run"]


@message("session_failed", CONVERSATION, _SERVER)
class SessionFailed:
    """A session ended because of a task, for a reason of the server's, or on request. Sent once, unasked."""

    session_id: Annotated[int, "the session"]
    state: Annotated[SessionState, "`failed`, or `cancelled` on request"]
    failure: Annotated[Failure, "why"]


@message("session_warned", CONVERSATION, _SERVER)
class SessionWarned:
    """Something that the program should know, though nothing failed yet. Sent unasked."""

    session_id: Annotated[int, "the session"]
    text: Annotated[str, "human-readable"]


@message("progress", CONVERSATION, *_CLIENT)
class AskProgress:
    """How far is a session, and what keeps it? Answered by `Progress`."""

    request: Annotated[int, "number of the request"]
    session_id: Annotated[int, "the session"]


@message("progress_reply", CONVERSATION, _SERVER)
class Progress:
    """Answer to `AskProgress`."""

    request: Annotated[int, "number of the request"]
    finished: Annotated[int, "finished tasks of the session"]
    running: Annotated[int, "running tasks of the session"]
    total: Annotated[int, "submitted tasks of the session"]
    reasons: Annotated[list[str], "why tasks wait for more than their turn, human-readable"]
    groups: Annotated[
        list[tuple[str, int, int]],
        "(what stands before the first `/` of names, finished, total), at most 65; `` has all others",
    ]


@message("server_info", CONVERSATION, *_CLIENT)
class AskServerInfo:
    """What runs where? Answered by `ServerInfo`."""

    request: Annotated[int, "number of the request"]


@message("server_info_reply", CONVERSATION, _SERVER)
class ServerInfo:
    """Answer to `AskServerInfo`, in one or more parts."""

    request: Annotated[int, "number of the request"]
    more: Annotated[bool, "another part follows"]
    workers: Annotated[
        list[dict[str, Any]],
        "per worker: worker_id, hostname, pid, resources, lists of uids: tasks, objects, objects_to_delete",
    ]
    facts: Annotated[dict[str, Any], "version, address, uptime_s, sessions and other facts about the server"]


UNCOUNTED = frozenset(
    {
        ClientHello,
        ClientWelcome,
        ClientRefused,
        ClientResume,
        ClientResumed,
        ClientHeartbeat,
        Knock,
        ClientBye,
    }
)
"""What is about the connection itself, and not sent again on a new one."""
