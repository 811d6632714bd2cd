"""What a server tells its watchers: the event log, live and as it is stored.

A viewer or client sends `Watch`; from then on it gets every event, in order, gathered for a fraction of a
second and sent as the frames of one multipart. Events are numbered from 1 in each life of a server; who
misses a number sends `Watch` again and gets a snapshot: the same kinds of event, and `TaskStates`, that
together say how things are. What an event says is absolute, so that hearing it twice does no harm.

All events begin with `number` and `time`, seconds since the epoch on the server's clock (which never goes
back). Events of a snapshot have the number of the last event before it. Workers are named by `worker`, a
number the server gives out at each registration, never twice. Tasks and objects are named by uid. Columns:
the n-th item of each belongs to the n-th task or object.
"""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any

from rainzmq.common.states import AttemptState, SessionState, TaskState
from rainzmq.protocol.messages.client import CONVERSATION
from rainzmq.protocol.messages.shared import Failure, TaskBody
from rainzmq.protocol.schema import Float64s, Int32s, Int64s, UInt32s, message

_WATCHERS = ("client", "viewer")
_SERVER = "server"

Number = Annotated[int, "number of the event; of a snapshot's: of the last event before it"]
Time = Annotated[float, "when it happened, s since the epoch"]
Worker = Annotated[int, "number of the worker"]


@message("watch", CONVERSATION, *_WATCHERS)
class Watch:
    """Send me a snapshot, then all events. Sent again after a gap in the numbers."""

    request: Annotated[int, "number of the request, repeated by `SnapshotBegin` and `SnapshotEnd`"]


@message("cancel_session", CONVERSATION, "client")
class CancelSession:
    """End a session of whatever client, as if it had failed. Answered by `Done`."""

    request: Annotated[int, "number of the request"]
    session_id: Annotated[int, "the session"]
    reason: Annotated[str, "for the session's client"]


@message("ev_snapshot_begin", CONVERSATION, _SERVER)
class SnapshotBegin:
    """What follows up to `SnapshotEnd` says how things are. Events may stand in between."""

    number: Number
    time: Time
    request: Annotated[int, "number of the `Watch`"]
    software: Annotated[str, "version of the server's package"]
    started: Annotated[float, "when this server started, s since the epoch"]


@message("ev_snapshot_end", CONVERSATION, _SERVER)
class SnapshotEnd:
    """The snapshot is complete. Sessions, workers that it did not name are gone."""

    number: Number
    time: Time
    request: Annotated[int, "number of the `Watch`"]


@message("ev_worker_came", CONVERSATION, _SERVER)
class WorkerCame:
    """A worker registered."""

    number: Number
    time: Time
    worker: Worker
    worker_id: Annotated[str, "host:port of its data endpoint"]
    hostname: Annotated[str, "its host"]
    pid: Annotated[int, "its process"]
    cpus: Annotated[int, "cpus it offers"]
    kinds: Annotated[list[str], "kinds of task it can run"]


@message("ev_worker_went", CONVERSATION, _SERVER)
class WorkerWent:
    """A worker is gone. What it had been assigned is not assigned any more."""

    number: Number
    time: Time
    worker: Worker
    reason: Annotated[str, "human-readable"]
    on_purpose: Annotated[bool, "it said goodbye; False: it was lost"]


@message("ev_worker_troubled", CONVERSATION, _SERVER)
class WorkerTroubled:
    """What a worker cannot do for now changed."""

    number: Number
    time: Time
    worker: Worker
    kinds: Annotated[list[tuple[str, str]], "(kind of task it takes none of, why, readable); empty: none"]


@message("ev_worker_sampled", CONVERSATION, _SERVER)
class WorkerSampled:
    """How busy a worker's machine is, once a second. Counters grow from the start of the machine."""

    number: Number
    time: Time
    worker: Worker
    cpu_percent: Annotated[list[float], "load of each cpu of the machine, 0 to 100"]
    memory_used_bytes: Annotated[int, "memory of the machine in use"]
    memory_total_bytes: Annotated[int, "memory of the machine"]
    net_sent_bytes: Annotated[int, "counter of the machine's network, loopback left out"]
    net_received_bytes: Annotated[int, "counter of the machine's network, loopback left out"]
    disk_read_bytes: Annotated[int, "counter of the machine's disks"]
    disk_written_bytes: Annotated[int, "counter of the machine's disks"]
    store_bytes: Annotated[int, "size of the objects in its store"]
    store_objects: Annotated[int, "number of the objects in its store"]
    store_free_bytes: Annotated[int, "room left where the store is"]


@message("ev_server_sampled", CONVERSATION, _SERVER)
class ServerSampled:
    """How the server itself does, once a second."""

    number: Number
    time: Time
    cpu_s: Annotated[float, "cpu time the server has used since its start, s"]
    memory_bytes: Annotated[int, "resident memory of the server"]
    clients: Annotated[int, "connected clients, viewers included"]
    counters: Annotated[dict[str, Any], "counters since the start, as in `get_server_info`"]


@message("ev_session_came", CONVERSATION, _SERVER)
class SessionCame:
    """A client opened a session."""

    number: Number
    time: Time
    session_id: Annotated[int, "the session"]
    name: Annotated[str, "as its client named it"]
    client: Annotated[str, "host and process of the client"]


@message("ev_session_ended", CONVERSATION, _SERVER)
class SessionEnded:
    """A session ended: tasks that were not finished are cancelled, its objects are gone."""

    number: Number
    time: Time
    session_id: Annotated[int, "the session"]
    state: Annotated[SessionState, "how it ended: never `open`"]
    failure: Annotated[Failure | None, "why, when it failed or was cancelled"]


@message("ev_session_waits", CONVERSATION, _SERVER)
class SessionWaits:
    """Why tasks of a session wait for more than their turn. Sent when that changes."""

    number: Number
    time: Time
    session_id: Annotated[int, "the session"]
    reasons: Annotated[list[str], "human-readable; empty when nothing keeps it"]


@message("ev_submitted", CONVERSATION, _SERVER)
class TasksSubmitted:
    """Tasks and constants were submitted. All ids are local to the session."""

    number: Number
    time: Time
    session_id: Annotated[int, "the session"]
    bodies: Annotated[
        list[TaskBody], "bodies not named before; the configuration of `builtin` ones only, else empty"
    ]
    ids: Annotated[UInt32s, "ids of the tasks; the outputs of each follow it"]
    body_keys: Annotated[Int64s, "body of each task"]
    input_counts: Annotated[UInt32s, "number of inputs of each task"]
    inputs: Annotated[UInt32s, "ids of all inputs, one task after the other"]
    names: Annotated[list[tuple[int, str]], "(task id, name) of tasks whose name differs from their body's"]
    configs: Annotated[
        list[tuple[int, bytes]],
        "(task id, configuration) of `builtin` and `python` tasks that is short, as the worker gets it",
    ]
    users: Annotated[list[tuple[int, bytes]], "(id, `spec.user` as JSON) of tasks and outputs that have one"]
    constants: Annotated[
        list[tuple[int, str | None, bool, str | None, int]],
        "(id, label, is a directory, content type, size in bytes) of constants",
    ]
    keep: Annotated[UInt32s, "ids of objects to keep"]


@message("ev_assigned", CONVERSATION, _SERVER)
class TasksAssigned:
    """Tasks were given to a worker."""

    number: Number
    time: Time
    worker: Worker
    uids: Annotated[Int64s, "the tasks"]
    attempts: Annotated[Int32s, "attempt of each, from 0"]


@message("ev_started", CONVERSATION, _SERVER)
class TasksStarted:
    """A worker began to run tasks. Short ones may be heard of only when they are finished."""

    number: Number
    time: Time
    worker: Worker
    uids: Annotated[Int64s, "the tasks"]
    attempts: Annotated[Int32s, "attempt of each"]


@message("ev_finished", CONVERSATION, _SERVER)
class TasksFinished:
    """Results of tasks were committed; their outputs are objects on that worker from now on."""

    number: Number
    time: Time
    worker: Worker
    uids: Annotated[Int64s, "the tasks"]
    attempts: Annotated[Int32s, "attempt of each"]
    start_times: Annotated[Float64s, "when each began, s since the epoch on the worker's clock"]
    durations_us: Annotated[Int64s, "how long each ran, microseconds"]
    cpus: Annotated[Int32s, "lowest index of the cpus each had"]
    output_counts: Annotated[Int32s, "number of outputs of each"]
    sizes: Annotated[Int64s, "sizes in bytes of all outputs, one task after the other"]
    content_types: Annotated[
        list[tuple[int, str]], "(uid, content type) of outputs that differ from the declared"
    ]
    users: Annotated[list[tuple[int, bytes]], "(uid, `info.user` as JSON) of tasks and outputs"]
    debugs: Annotated[list[tuple[int, str]], "(uid, debug messages) of tasks that have some"]
    executables: Annotated[list[int], "uids of outputs that were executable files"] = field(
        default_factory=list
    )


@message("ev_returned", CONVERSATION, _SERVER)
class TasksReturned:
    """Attempts ended without a result; the tasks wait or are ready again."""

    number: Number
    time: Time
    worker: Worker
    uids: Annotated[Int64s, "the tasks"]
    attempts: Annotated[Int32s, "the attempt of each that ended"]
    outcome: Annotated[
        AttemptState, "`retracted`, `lost` (with its worker), `crashed`, or `unable` (a fault of the worker)"
    ]
    notes: Annotated[list[str], "what happened, human-readable; empty when there is nothing to say"]


@message("ev_rerun", CONVERSATION, _SERVER)
class TasksRerun:
    """Finished tasks run again, because what they made was lost and is needed."""

    number: Number
    time: Time
    uids: Annotated[Int64s, "the tasks"]
    attempts: Annotated[Int32s, "the next attempt of each"]
    lost: Annotated[Int64s, "their outputs that are unfinished again"]
    there: Annotated[Int64s, "their inputs that are there, though they may have been removed before"]


@message("ev_failed", CONVERSATION, _SERVER)
class TaskFailed:
    """A task failed for good. Its session ends next."""

    number: Number
    time: Time
    worker: Annotated[int, "number of the worker, 0 when it ran nowhere"]
    failure: Annotated[Failure, "why"]
    start_time: Annotated[float, "when it began, s since the epoch; 0 when it ran nowhere"]
    duration_us: Annotated[int, "how long it ran, microseconds; -1 when it ran nowhere"]


@message("ev_output", CONVERSATION, _SERVER)
class TasksPrinted:
    """The end of what tasks wrote to their standard streams, as far as there was something."""

    number: Number
    time: Time
    worker: Worker
    rows: Annotated[
        list[tuple[int, int, str, str, int, int]],
        "(task uid, attempt, end of its stdout, end of its stderr, bytes of the whole stdout, of the stderr)",
    ]


@message("ev_moved", CONVERSATION, _SERVER)
class ObjectsMoved:
    """Replicas came to a worker from others."""

    number: Number
    time: Time
    worker: Worker
    rows: Annotated[
        list[tuple[int, str, float, int, int]],
        "(uid, worker_id it came from or `server`, start in s since the epoch, duration in us, bytes)",
    ]


@message("ev_removed", CONVERSATION, _SERVER)
class ObjectsRemoved:
    """Objects that nobody needs any more were removed everywhere."""

    number: Number
    time: Time
    uids: Annotated[Int64s, "the objects"]


@message("ev_task_states", CONVERSATION, _SERVER)
class TaskStates:
    """Part of a snapshot: how tasks are, after a `TasksSubmitted` that names them."""

    number: Number
    time: Time
    uids: Annotated[Int64s, "the tasks"]
    states: Annotated[list[TaskState], "state of each"]
    attempts: Annotated[Int32s, "attempt of each"]
    workers: Annotated[Int64s, "number of the worker of each, 0 for none"]
    start_times: Annotated[Float64s, "when each began, s since the epoch; 0 unless it runs or is finished"]
    durations_us: Annotated[Int64s, "how long each ran, microseconds; -1 unless finished"]
    output_counts: Annotated[Int32s, "number of outputs of each"]
    sizes: Annotated[Int64s, "sizes in bytes of all outputs, -1 unless finished"]
    removed: Annotated[Int64s, "outputs that were removed, by uid"]


EVENTS: tuple[type, ...] = (
    SnapshotBegin,
    SnapshotEnd,
    WorkerCame,
    WorkerWent,
    WorkerTroubled,
    WorkerSampled,
    ServerSampled,
    SessionCame,
    SessionEnded,
    SessionWaits,
    TasksSubmitted,
    TasksAssigned,
    TasksStarted,
    TasksFinished,
    TasksReturned,
    TasksRerun,
    TaskFailed,
    TasksPrinted,
    ObjectsMoved,
    ObjectsRemoved,
    TaskStates,
)
"""All events, those of snapshots too."""
