"""What happens to the worker's core, and what it wants done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rainzmq.protocol.messages import worker as m
from rainzmq.protocol.messages.shared import Endpoint
from rainzmq.worker.core.jobs import Job, Outcome

Instruction = m.Assign | m.Retract | m.CancelFetch | m.PeersGone | m.Remove | m.EndSessions
"""What the server tells a registered worker to do."""

ServerMessage = (
    Instruction
    | m.WorkerHeartbeat
    | m.WorkerWelcome
    | m.WorkerRefused
    | m.Fenced
    | m.WorkerKnock
    | m.WorkerBye
)
"""All that the server may say to a worker."""


@dataclass(slots=True)
class Told:
    """A message of the server."""

    message: Instruction


@dataclass(slots=True)
class ObjectArrived:
    """A transfer ended well: the object is in the store.

    Attributes:
        uid: the object.
        move: (worker_id it came from or `server`, start in s since the epoch, duration in us, bytes); None
            when it was here already.
    """

    uid: int
    move: tuple[str, float, int, int] | None = None


@dataclass(slots=True)
class FetchFailed:
    """An object could not be brought here: no holder could give it, or (`own`) this worker has no place for
    it. `silent`: worker_ids of holders that did not answer; `refused`: what it is was refused, as it would be
    from any holder.
    """

    uid: int
    reason: str
    own: bool = False
    silent: list[str] = field(default_factory=list)
    refused: bool = False


@dataclass(slots=True)
class JobEnded:
    """A runner gave an outcome, and its outputs are in the store.

    Attributes:
        outcome: what the runner said.
        sizes: bytes of each output, in order; empty unless it finished.
        inline: (uid, content) of small outputs.
        executables: uids of outputs that were executable files.
    """

    outcome: Outcome
    sizes: list[int] = field(default_factory=list)
    inline: list[tuple[int, bytes]] = field(default_factory=list)
    executables: list[int] = field(default_factory=list)


@dataclass(slots=True)
class JobGivenBack:
    """A runner gave back a job that it had queued and not begun.

    Attributes:
        uid: the task.
        unmet: because a job before it has not made an input of it where it could get it.
    """

    uid: int
    unmet: bool = False


@dataclass(slots=True)
class ObjectDamaged:
    """A stored object's content is not what it was."""

    uid: int


@dataclass(slots=True)
class KindsTroubled:
    """The kinds of task that this worker takes none of for now; empty: it takes all."""

    kinds: frozenset[str]


@dataclass(slots=True)
class Reset:
    """The server is gone or has fenced us: drop everything."""


@dataclass(slots=True)
class StartReady:
    """All that was there has been handled: start what can start."""


@dataclass(slots=True)
class ReportDue:
    """Report what happened. Comes after `StartReady`, so that jobs that end at once are in the same
    report.
    """


Event = (
    Told
    | ObjectArrived
    | FetchFailed
    | JobEnded
    | JobGivenBack
    | ObjectDamaged
    | KindsTroubled
    | Reset
    | StartReady
    | ReportDue
)


@dataclass(slots=True)
class StartJob:
    """Give a job to the runner of its kind."""

    job: Job


@dataclass(slots=True)
class KillJob:
    """Stop a job; its outcome still comes."""

    job: Job


@dataclass(slots=True)
class FetchObject:
    """Bring an object into the store from one of its holders."""

    uid: int
    is_directory: bool
    holders: list[Endpoint]
    executable: bool = False


@dataclass(slots=True)
class StoreObject:
    """Put a small object that came with a message into the store."""

    uid: int
    data: bytes
    executable: bool = False


@dataclass(slots=True)
class RemoveObjects:
    """Cancel transfers of these objects and delete them."""

    uids: list[int]


@dataclass(slots=True)
class ForgetPeers:
    """Workers are gone: nothing is to be had from them, or sent to them."""

    endpoints: list[Endpoint]


@dataclass(slots=True)
class ForgetSessions:
    """Sessions ended: delete what is left of them, and tell subworkers."""

    session_ids: list[int]


@dataclass(slots=True)
class TellServer:
    """Send messages to the server, as the frames of one multipart."""

    messages: list[Any]


Effect = (
    StartJob | KillJob | FetchObject | StoreObject | RemoveObjects | ForgetPeers | ForgetSessions | TellServer
)
