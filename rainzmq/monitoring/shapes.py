"""What is said of servers, workers, sessions, tasks and objects: the records that REST, pages and terminal
share. Declared once: the text beside each field is also its description in the JSON schemas.

Times are s since the epoch, None for what has not happened. Ids of tasks and objects are such as "3/17".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

from rainzmq.common.states import AttemptState, DataObjectState, SessionState, TaskState, WorkerState

Time = float | None


@dataclass(slots=True)
class ServerView:
    """The server, and what those who look at it must know."""

    version: Annotated[str, "version of the server's package; empty before it was heard of"]
    started: Annotated[Time, "when the server started, s since the epoch"]
    now: Annotated[Time, "the time that is shown, s since the epoch; null before the first event"]
    source: Annotated[str, "what is watched, human-readable: an address, or the path of a database"]
    is_replay: Annotated[bool, "a finished run is shown"]
    is_connected: Annotated[bool, "the server is there"]
    events: Annotated[Literal["none", "memory", "sqlite"], "where the event log is kept"]
    notes: Annotated[list[str], "what those who look must know"]
    counters: Annotated[dict[str, Any], "the server's counters since its start, as last heard"]
    cpu_s: Annotated[float | None, "cpu time used by the server since its start, s"]
    memory_bytes: Annotated[int | None, "resident memory of the server"]
    clients: Annotated[int | None, "connected clients, viewers included"]
    dropped_sessions: Annotated[list[int], "sessions that ended and were dropped to save memory"]


@dataclass(slots=True)
class WorkerView:
    """A worker and its machine."""

    worker_id: Annotated[str, "host:port of its data endpoint"]
    number: Annotated[int, "number the server gave it when it registered, never given twice"]
    hostname: Annotated[str, "its host"]
    pid: Annotated[int, "its process"]
    cpus: Annotated[int, "cpus it offers"]
    kinds: Annotated[list[str], "kinds of task it can run"]
    troubles: Annotated[
        dict[str, str], "kinds of task it takes none of for now, with why; empty when all is well"
    ]
    state: Annotated[Literal[WorkerState.LIVE, WorkerState.GONE], "whether it is registered"]
    came: Annotated[float, "when it registered, s since the epoch"]
    went: Annotated[Time, "when it left, s since the epoch"]
    why: Annotated[str, "why it left; empty while it is there"]
    running: Annotated[int, "tasks that run there"]
    assigned: Annotated[int, "tasks that are assigned to it and do not run yet"]
    finished: Annotated[int, "tasks whose last attempt finished there"]
    cpu_percent: Annotated[float | None, "mean load of its machine's cpus, 0 to 100"]
    cpu_percents: Annotated[list[int], "load of each cpu of its machine, 0 to 100"]
    memory_used_bytes: Annotated[int | None, "memory of its machine in use"]
    memory_total_bytes: Annotated[int | None, "memory of its machine"]
    net_sent_bytes: Annotated[int | None, "counter of its machine's network, loopback left out"]
    net_received_bytes: Annotated[int | None, "counter of its machine's network, loopback left out"]
    disk_read_bytes: Annotated[int | None, "counter of its machine's disks"]
    disk_written_bytes: Annotated[int | None, "counter of its machine's disks"]
    store_bytes: Annotated[int | None, "size of the objects in its store"]
    store_objects: Annotated[int | None, "number of the objects in its store"]
    store_free_bytes: Annotated[int | None, "room left where its store is"]
    sampled: Annotated[Time, "when its machine was looked at, s since the epoch; null: never yet"]


@dataclass(slots=True)
class StateCounts:
    """How many tasks are in each state."""

    waiting: Annotated[int, "inputs are missing"] = 0
    ready: Annotated[int, "could run, no worker has it"] = 0
    assigned: Annotated[int, "a worker has it and it does not run yet"] = 0
    running: Annotated[int, "runs"] = 0
    finished: Annotated[int, "done"] = 0
    failed: Annotated[int, "its own run failed"] = 0
    cancelled: Annotated[int, "stopped, or never ran: another one failed, or on request"] = 0

    def __getitem__(self, state: str) -> int:
        return cast(int, getattr(self, state))

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self[state] for state in TaskState)


@dataclass(slots=True)
class FailureView:
    """Why a session failed or was cancelled."""

    task: Annotated[str | None, "id of the task that failed; null when no task is to blame"]
    name: Annotated[str | None, "the task's name"]
    task_type: Annotated[str | None, "the task's type"]
    attempt: Annotated[int, "the attempt that failed, from 0"]
    worker: Annotated[str | None, "worker_id it ran on; null when it ran nowhere"]
    message: Annotated[str, "what went wrong"]
    debug: Annotated[str, "the task's debug messages, one a line"]


@dataclass(slots=True)
class SessionView:
    """A session and how far it is."""

    session_id: Annotated[int, "its number"]
    name: Annotated[str, "as its client named it"]
    client: Annotated[str, "host and process of its client"]
    state: Annotated[SessionState, "how it is"]
    came: Annotated[float, "when it was opened, s since the epoch"]
    ended: Annotated[Time, "when it ended, s since the epoch"]
    total: Annotated[int, "submitted tasks"]
    counts: Annotated[StateCounts, "tasks in each state"]
    reasons: Annotated[list[str], "why tasks that could run do not, as the server says; mostly empty"]
    failure: Annotated[FailureView | None, "why it failed or was cancelled"]


@dataclass(slots=True)
class GroupView:
    """The tasks whose names begin alike. Durations are those of finished tasks, in s."""

    name: Annotated[str, "common part of the names: all up to a `/` or the end"]
    depth: Annotated[int, "0 for the first part of names"]
    is_leaf: Annotated[bool, "no group is below it"]
    own: Annotated[int, "tasks with exactly this name; the others are in the groups below"]
    total: Annotated[int, "tasks, those of the groups below included"]
    counts: Annotated[StateCounts, "tasks in each state, those of the groups below included"]
    done: Annotated[int, "finished tasks"]
    mean_s: Annotated[float | None, "mean duration; null when none is finished"]
    std_s: Annotated[float | None, "standard deviation of the durations; null when none is finished"]
    sum_s: Annotated[float, "sum of the durations"]
    min_s: Annotated[float | None, "shortest duration; null when none is finished"]
    max_s: Annotated[float | None, "longest duration; null when none is finished"]


@dataclass(slots=True)
class TaskView:
    """A task and how it stands."""

    id: Annotated[str, "session and number, such as 3/17"]
    session_id: Annotated[int, "its session"]
    name: Annotated[str, "its name, that of its type when it has none"]
    task_type: Annotated[str, "`kind/method`"]
    state: Annotated[TaskState, "how it stands"]
    attempt: Annotated[int, "its current attempt, or the next one; from 0"]
    worker: Annotated[str | None, "worker_id of the worker that has or had it"]
    cpu: Annotated[int | None, "lowest index of its cpus there; known once it is finished"]
    submitted: Annotated[float, "when it was submitted, s since the epoch"]
    assigned: Annotated[Time, "when it was assigned, s since the epoch"]
    started: Annotated[Time, "when it began to run, s since the epoch"]
    ended: Annotated[Time, "when it ended, s since the epoch"]
    duration_s: Annotated[float | None, "how long it ran, or has been running until now"]
    reason: Annotated[
        str | None,
        "in one line why it failed (exception, or exit code and last words), or by whom it was cancelled; "
        "else null",
    ]


@dataclass(slots=True)
class PartView:
    """An input or output of a task."""

    id: Annotated[str, "id of the object"]
    label: Annotated[str | None, "label by which the task knows it"]
    state: Annotated[DataObjectState, "how it is"]
    size_bytes: Annotated[int | None, "its size; null before it is finished"]
    from_task: Annotated[str | None, "id of the task that makes it; null for a constant"]


@dataclass(slots=True)
class AttemptView:
    """One attempt at a task."""

    attempt: Annotated[int, "from 0; a retracted attempt does not count, its number is used again"]
    worker: Annotated[str | None, "worker_id"]
    cpu: Annotated[int | None, "lowest index of its cpus; known once it is finished"]
    assigned: Annotated[Time, "when it was assigned, s since the epoch"]
    started: Annotated[Time, "when it began to run, s since the epoch; null: it was not heard of"]
    ended: Annotated[Time, "when it ended, s since the epoch"]
    outcome: Annotated[AttemptState, "what became of it"]
    note: Annotated[str, "what happened, human-readable; may be empty"]


@dataclass(slots=True)
class TaskDetail(TaskView):
    """All that is known of a task."""

    cpus: Annotated[int, "cpus it needs"]
    input_count: Annotated[int, "number of its inputs"]
    inputs: Annotated[list[PartView], "its inputs in order, the first 1000"]
    output_count: Annotated[int, "number of its outputs"]
    outputs: Annotated[list[PartView], "its outputs in order, the first 1000"]
    config: Annotated[Any, "what it was told, of builtin tasks and programs; null when that is not known"]
    arguments: Annotated[
        list[str] | None,
        "arguments of a Python call, human-readable; null when not known, as those of over 256 bytes",
    ]
    user: Annotated[Any, "`spec.user`"]
    info_user: Annotated[Any, "`info.user`: what it attached"]
    debug: Annotated[str, "its debug messages, one a line"]
    error: Annotated[str | None, "why it failed"]
    attempts: Annotated[list[AttemptView], "all attempts, the oldest first"]
    stdout: Annotated[str, "end of what it wrote to its standard output, as far as it is kept"]
    stderr: Annotated[str, "end of what it wrote to its standard error, as far as it is kept"]
    stdout_bytes: Annotated[int, "length of the whole standard output"]
    stderr_bytes: Annotated[int, "length of the whole standard error"]
    why: Annotated[str, "why it is where it is, human-readable"]


@dataclass(slots=True)
class ObjectView:
    """A data object."""

    id: Annotated[str, "session and number, such as 3/18"]
    session_id: Annotated[int, "its session"]
    label: Annotated[str | None, "its label as an output or constant"]
    state: Annotated[DataObjectState, "how it is"]
    size_bytes: Annotated[int | None, "its size; null before it is finished"]
    content_type: Annotated[str | None, "its content type; null when unknown"]
    is_directory: Annotated[bool, "a directory rather than a blob"]
    executable: Annotated[bool, "a blob that was an executable file when it was made"]
    keep: Annotated[bool, "its client wants it kept"]
    producer: Annotated[str | None, "id of the task that makes it; null for a constant"]
    consumers: Annotated[int, "tasks that have it as an input"]
    holders: Annotated[list[str], "worker_ids of those that are known to hold it; `server` for constants"]
    finished: Annotated[Time, "when it was made, s since the epoch"]
    removed: Annotated[Time, "when it was removed, s since the epoch"]


@dataclass(slots=True)
class MoveView:
    """What moved from one process to another."""

    source: Annotated[str, "worker_id it came from; `server`, or `unknown`"]
    worker: Annotated[str, "worker_id it came to, or `unknown`"]
    bytes: Annotated[int, "sum of the sizes"]
    count: Annotated[int, "number of objects"]
    seconds: Annotated[float, "sum of the durations of the transfers, s"]
