"""What the worker's core asks its runners to do, and what they answer.

A *job* is one attempt of one task with its resources in hand. A runner (built-in tasks, programs, subworkers)
takes a job and later gives back exactly one *outcome*, also after a kill.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from rainzmq.common.states import AttemptState
from rainzmq.protocol.messages.shared import ObjectMeta, TaskBody


@lru_cache(maxsize=1024)
def _split(task_type: str) -> tuple[str, str]:
    """Kind and method of a task type; there are few, and they are asked for again and again."""
    kind, _, method = task_type.partition("/")
    return kind, method


@dataclass(slots=True)
class Job:
    """One attempt of one task, ready to run.

    Attributes:
        uid: the task.
        attempt: from 0.
        session_id: its session.
        body: what it shares with others: type, cpus, shared configuration, input labels, outputs.
        config: its own configuration.
        inputs: its inputs, in order. All are in the worker's store, but for those that a job before it on
            the same cpus is about to make: see `unmade`.
        cpus: indices of the cpus it may use; the worker holds them until the outcome.
        name: the task's name, None without one.
        user: `spec.user` of the task as JSON, empty for {}.
        output_users: `spec.user` of outputs that have one, by uid, as JSON.
    """

    uid: int
    attempt: int
    session_id: int
    body: TaskBody
    config: bytes
    inputs: list[ObjectMeta]
    cpus: tuple[int, ...] = ()
    name: str | None = None
    user: bytes = b""
    output_users: dict[int, bytes] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The runner's name: what stands before the `/` of the task type."""
        return _split(self.body.task_type)[0]

    @property
    def method(self) -> str:
        """What stands after the `/` of the task type."""
        return _split(self.body.task_type)[1]

    def input_label(self, index: int) -> str | None:
        """Label of the input at `index`, None without one."""
        labels = self.body.input_labels
        return labels[index] if index < len(labels) else None

    def has_unmade_inputs(self) -> bool:
        """Some input is still to be made by a job before it."""
        return any(meta.size < 0 for meta in self.inputs)

    def made(self, meta: ObjectMeta) -> None:
        """An input is in the store now."""
        self.inputs = [meta if item.uid == meta.uid else item for item in self.inputs]

    def output_uid(self, index: int) -> int:
        """The uid of the output at `index`."""
        return self.uid + 1 + index


def unmade(uid: int) -> ObjectMeta:
    """Stands for an input that is not made yet."""
    return ObjectMeta(uid, None, False, None, -1, b"", b"")


@dataclass(slots=True)
class Produced:
    """One output a job made.

    Attributes:
        data: the content, None when it is a file or directory.
        path: file or directory that the store takes over by rename, None when `data` is set.
        alias: uid of a stored object that has the same content (passed on without a copy), None otherwise.
        content_type: the actual content type, None for the declared one.
        user: `info.user` as JSON, empty for {}.
        inner: with `alias`, the path inside of that directory that is the content; "" for all of it.
    """

    data: bytes | None = None
    path: str | None = None
    alias: int | None = None
    content_type: str | None = None
    user: bytes = b""
    inner: str = ""


@dataclass(slots=True)
class Printed:
    """What a job wrote to its standard streams.

    Attributes:
        stdout, stderr: the end of each, at most `common.tails.TAIL_BYTES` characters.
        stdout_bytes, stderr_bytes: how much it wrote to each.
    """

    stdout: str
    stderr: str
    stdout_bytes: int
    stderr_bytes: int


FINISHED = AttemptState.FINISHED
FAILED = AttemptState.FAILED
CRASHED = AttemptState.CRASHED
UNABLE = AttemptState.UNABLE
CANCELLED = AttemptState.CANCELLED


@dataclass(slots=True)
class Outcome:
    """How a job ended.

    Attributes:
        uid: the task.
        attempt: the attempt.
        kind: FINISHED, FAILED (an error that running again would not mend), CRASHED (its subworker died under
            it, so another attempt may be made), UNABLE (a fault of this worker, not of the task: it runs
            elsewhere) or CANCELLED (it was killed on request).
        error: human-readable, empty when it finished.
        outputs: one per declared output when it finished, else empty.
        user: `info.user` of the task as JSON, empty for {}.
        debug: its debug messages, one a line.
        start_time: when it began, s since the epoch.
        duration_us: how long it ran, microseconds.
        damaged: inputs whose stored content is gone or may have changed; the store must check them.
        printed: what it wrote to its standard streams, None for nothing.
    """

    uid: int
    attempt: int
    kind: AttemptState
    error: str = ""
    outputs: list[Produced] = field(default_factory=list)
    user: bytes = b""
    debug: str = ""
    start_time: float = 0.0
    duration_us: int = 0
    damaged: list[int] = field(default_factory=list)
    printed: Printed | None = None
