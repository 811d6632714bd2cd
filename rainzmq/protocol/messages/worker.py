"""Worker and server: registration, assignments, reports. Control plane.

A loop turn sends at most one multipart message per peer; each of its frames is one of these.
"""

from __future__ import annotations

from typing import Annotated

from rainzmq.protocol.messages.shared import Endpoint, ObjectMeta, TaskBody
from rainzmq.protocol.schema import message

CONVERSATION = "worker-server"
_WORKER = "worker"
_SERVER = "server"


@message("hello", CONVERSATION, _WORKER)
class WorkerHello:
    """First message of a worker, also after it was fenced. Its shape never changes before `cpus`."""

    software: Annotated[str, "version of the package"]
    hostname: Annotated[str, "the worker's host"]
    pid: Annotated[int, "the worker's process"]
    cpus: Annotated[int, "cpus it offers"]
    data: Annotated[Endpoint, "its data endpoint; `host:port` of it is the worker_id"]
    subworkers: Annotated[
        list[str], "kinds of task it can run, such as `builtin`, `python`, and `python 3.11.7`: its Python"
    ]
    previous_epoch: Annotated[int, "its epoch before, which it drops hereby; 0 for none"]


@message("welcome", CONVERSATION, _SERVER)
class WorkerWelcome:
    """The worker is known from now on, with an epoch that it puts in every header."""

    software: Annotated[str, "version of the server's package"]
    epoch: Annotated[int, "the worker's epoch, random"]
    relay: Annotated[Endpoint, "data endpoint of the relay"]
    heartbeat_interval_s: Annotated[float, "how often the worker must be heard, seconds"]
    dead_after_s: Annotated[float, "silence after which the worker counts as dead, seconds"]
    sample_interval_s: Annotated[float, "how often the worker shall send a `Sample`, seconds; 0 for never"]


@message("refused", CONVERSATION, _SERVER)
class WorkerRefused:
    """The worker may not take part; it ends, unless it may try again. Its shape never changes."""

    software: Annotated[str, "version of the server's package"]
    reason: Annotated[str, "human-readable"]
    again: Annotated[bool, "what stands against it may pass: say hello again in a while"]


@message("fenced", CONVERSATION, _SERVER)
class Fenced:
    """The server had declared this worker dead (or never knew it): it must drop everything and say hello
    again.
    """

    reason: Annotated[str, "human-readable"]


@message("heartbeat", CONVERSATION, _WORKER, _SERVER)
class WorkerHeartbeat:
    """I am alive. Sent every heartbeat interval by both sides."""


@message("knock", CONVERSATION, _SERVER)
class WorkerKnock:
    """Say something at once, a heartbeat for one: there is doubt whether this connection still works."""


@message("bye", CONVERSATION, _WORKER, _SERVER)
class WorkerBye:
    """The sender leaves on purpose: a worker's tasks run elsewhere, a server's workers end or wait for
    another.
    """

    reason: Annotated[str, "human-readable, may be empty"]


@message("trouble", CONVERSATION, _WORKER)
class WorkerTrouble:
    """What is wrong with this worker, so that it takes no tasks of some kinds for now; it looks again by
    itself. Sent when that changes, before tasks of these kinds are given back.
    """

    kinds: Annotated[list[tuple[str, str]], "(kind of task, why, human-readable); empty: it takes all again"]


@message("assign", CONVERSATION, _SERVER)
class Assign:
    """Tasks to run, as columns. A worker starts each when its inputs are here and its cpus are free."""

    bodies: Annotated[list[tuple[int, TaskBody]], "(session id, body) not sent to this worker before"]
    uids: Annotated[list[int], "uids of the tasks"]
    attempts: Annotated[list[int], "attempt of each, from 0"]
    body_keys: Annotated[list[int], "body of each, within its session"]
    configs: Annotated[list[bytes], "configuration of each"]
    priorities: Annotated[list[int], "higher starts first; ties in order of arrival"]
    input_counts: Annotated[list[int], "number of inputs of each"]
    inputs: Annotated[list[int], "uids of all inputs, one task after the other"]
    spec_users: Annotated[
        list[tuple[int, bytes]], "(uid, `spec.user` as JSON) of tasks and outputs that have one"
    ]
    names: Annotated[list[tuple[int, str]], "(uid, name) of tasks whose name differs from their body's"]
    inline: Annotated[list[int], "outputs whose content should come with the report when it is small"]
    objects: Annotated[list[ObjectMeta], "inputs that this worker does not know yet"]
    object_data: Annotated[list[bytes | None], "content of each of `objects` when it is small, else None"]
    object_holders: Annotated[list[list[int]], "per item of `objects`: indices into `holders` that have it"]
    holders: Annotated[list[Endpoint], "data endpoints"]


@message("retract", CONVERSATION, _SERVER)
class Retract:
    """Give these tasks back if they have not started. Answered in the next `Report`."""

    uids: Annotated[list[int], "tasks"]


@message("cancel_fetch", CONVERSATION, _SERVER)
class CancelFetch:
    """The holders of these objects are gone: stop asking them. Confirmed in the next `Report`, unless it is
    here.
    """

    uids: Annotated[list[int], "objects"]


@message("peers_gone", CONVERSATION, _SERVER)
class PeersGone:
    """These workers are gone: expect nothing more of them, and send them nothing more."""

    endpoints: Annotated[list[Endpoint], "their data endpoints"]


@message("remove", CONVERSATION, _SERVER)
class Remove:
    """Delete these objects. Confirmed in the next `Report`."""

    uids: Annotated[list[int], "objects"]


@message("end_sessions", CONVERSATION, _SERVER)
class EndSessions:
    """Stop all tasks of these sessions, delete their objects, forget their bodies."""

    session_ids: Annotated[list[int], "sessions"]


@message("report", CONVERSATION, _WORKER)
class Report:
    """What happened on a worker since its last report, as columns. All lists may be empty."""

    started: Annotated[list[tuple[int, int]], "(uid, attempt) of tasks that began to run"]
    finished: Annotated[list[int], "uids of tasks that finished"]
    attempts: Annotated[list[int], "attempt of each finished task"]
    start_times: Annotated[list[float], "when each finished task began, s since the epoch"]
    durations_us: Annotated[list[int], "how long each finished task ran, microseconds"]
    cpus: Annotated[list[int], "lowest index of the cpus of each finished task"]
    output_counts: Annotated[list[int], "number of outputs of each finished task"]
    sizes: Annotated[list[int], "sizes in bytes of all outputs of finished tasks, one task after the other"]
    content_types: Annotated[
        list[tuple[int, str]], "(uid, content type) of outputs that differ from the declared one"
    ]
    executables: Annotated[list[int], "uids of outputs that were executable files"]
    users: Annotated[
        list[tuple[int, bytes]], "(uid, `info.user` as JSON) of finished tasks and outputs that have one"
    ]
    debugs: Annotated[list[tuple[int, str]], "(uid, debug messages) of finished tasks that have some"]
    inline: Annotated[list[tuple[int, bytes]], "(uid, content) of small outputs that were asked for"]
    failed: Annotated[
        list[tuple[int, int, float, int, str, str]],
        "(uid, attempt, start in s, duration in us, error, debug messages) of tasks that failed for good",
    ]
    crashed: Annotated[
        list[tuple[int, int, str]], "(uid, attempt, what happened) of tasks that ended their subworker"
    ]
    unable: Annotated[
        list[tuple[int, int, str]],
        "(uid, attempt, why) of tasks that came to nothing through a fault of the worker, not of theirs",
    ]
    retracted: Annotated[list[tuple[int, int]], "(uid, attempt) of tasks given back"]
    fetched: Annotated[list[int], "objects of which this worker has a replica now"]
    moves: Annotated[
        list[tuple[int, str, float, int, int]],
        "(uid, worker_id it came from or `server`, start in s since the epoch, duration in us, bytes) of "
        "fetched objects",
    ]
    printed: Annotated[
        list[tuple[int, int, str, str, int, int]],
        "(task uid, attempt, end of its stdout, end of its stderr, bytes of the whole stdout, of the "
        "stderr) of tasks that ended and wrote something",
    ]
    unfetched: Annotated[list[int], "objects whose transfer was cancelled on request; they are not here"]
    removed: Annotated[list[int], "objects that were deleted on request"]
    ended_sessions: Annotated[list[int], "sessions whose objects and bodies are gone here, as was asked"]
    missing: Annotated[
        list[tuple[int, str, list[str], bool]],
        "(uid, why, worker_ids of holders that did not answer, whether it was refused for what it is) of "
        "inputs that no holder could give",
    ]
    lost: Annotated[
        list[int], "objects this worker reported and does not have any more, such as damaged files"
    ]


@message("versions_differ", CONVERSATION, _WORKER)
class VersionsDiffer:
    """A Python task of a session met packages here of other versions than its client has."""

    session_id: Annotated[int, "the session"]
    rows: Annotated[list[tuple[str, str, str]], "(name, the client's version, the version here)"]


@message("sample", CONVERSATION, _WORKER)
class Sample:
    """How busy the worker's machine is. Counters grow from the start of the machine."""

    cpu_percent: Annotated[list[float], "load of each cpu of the machine since the last sample, 0 to 100"]
    memory_used_bytes: Annotated[int, "memory in use, of the machine or of a container with a limit"]
    memory_total_bytes: Annotated[int, "memory of the machine, or the tighter limit of a container"]
    net_sent_bytes: Annotated[int, "counter of the machine's network, loopback left out"]
    net_received_bytes: Annotated[int, "counter of the machine's network, loopback left out"]
    disk_read_bytes: Annotated[int, "counter of the machine's disks"]
    disk_written_bytes: Annotated[int, "counter of the machine's disks"]
    store_bytes: Annotated[int, "size of the objects in the worker's store"]
    store_objects: Annotated[int, "number of the objects in its store"]
    store_free_bytes: Annotated[int, "room left where the store is"]
