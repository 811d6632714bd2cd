"""What happens to the server's core, and what it wants done.

`Engine.handle(event, now)` takes one event and returns effects; the reactor performs them in order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rainzmq.protocol.messages import client as c
from rainzmq.protocol.messages import worker as w
from rainzmq.protocol.messages.events import CancelSession, Watch
from rainzmq.protocol.messages.shared import Endpoint

SessionMessage = c.Submit | c.Wait | c.Update | c.Fetch | c.Unkeep | c.SessionPython | c.AskProgress
"""What a client says about a session that is open."""

ClientMessage = (
    SessionMessage
    | c.CloseSession
    | c.ClientHeartbeat
    | c.ClientProcess
    | c.NewSession
    | c.CancelWait
    | c.AskServerInfo
    | Watch
    | CancelSession
    | c.ClientBye
)
"""What a client says once it is registered."""

WorkerMessage = w.Report | w.WorkerHeartbeat | w.Sample | w.VersionsDiffer | w.WorkerTrouble | w.WorkerBye
"""What a worker says once it is registered."""


@dataclass(slots=True)
class ClientJoined:
    """A client of the right version said hello. `viewer`: it may only look."""

    peer: bytes
    hello: c.ClientHello
    viewer: bool


@dataclass(slots=True)
class ClientReturned:
    """A client says on a new connection that it is the one with that epoch, and how many messages it got."""

    peer: bytes
    epoch: int
    received: int


@dataclass(slots=True)
class ClientProcessSeen:
    """The process of the client with that epoch was found on this machine, or (`alive` unset) has ended."""

    epoch: int
    alive: bool


@dataclass(slots=True)
class WorkerJoined:
    """A worker of the right version said hello."""

    peer: bytes
    hello: w.WorkerHello


@dataclass(slots=True)
class ClientSaid:
    """A message of a client, with the epoch in its header."""

    peer: bytes
    epoch: int
    message: ClientMessage


@dataclass(slots=True)
class WorkerSaid:
    """A message of a worker, with the epoch in its header."""

    peer: bytes
    epoch: int
    message: WorkerMessage


@dataclass(slots=True)
class PeerGone:
    """The connection of a peer is gone. `cut_off`: on purpose, so that it may not come back to what it
    had.
    """

    peer: bytes
    reason: str
    cut_off: bool = False


@dataclass(slots=True)
class Uploaded:
    """The relay has a constant that a client uploaded."""

    uid: int
    size: int
    is_directory: bool


@dataclass(slots=True)
class RelayMissed:
    """The relay could not get an object from any of the holders it was told: `holders`, as worker_ids."""

    uid: int
    reason: str
    holders: list[str]


@dataclass(slots=True)
class Tick:
    """Time passed; silence is judged. `unanswered`: for how many s the hosts of clients have not answered
    what the kernel sent them, where they have not.
    """

    unanswered: dict[bytes, float] = field(default_factory=dict)


@dataclass(slots=True)
class ReturnDue:
    """A client whose connection was closed had time to come back."""


@dataclass(slots=True)
class Flush:
    """Hand out the events that were gathered for watchers."""


@dataclass(slots=True)
class WatcherMissed:
    """A watcher missed events, because it took them too slowly."""

    peer: bytes


@dataclass(slots=True)
class Sampled:
    """How the server's process does: cpu time since its start in s, resident memory in bytes."""

    cpu_s: float
    memory_bytes: int


@dataclass(slots=True)
class TurnEnded:
    """All that was there has been handled: schedule, and send what was gathered, one message per peer."""


Event = (
    ClientJoined
    | WorkerJoined
    | ClientSaid
    | WorkerSaid
    | ClientReturned
    | ClientProcessSeen
    | ReturnDue
    | PeerGone
    | Uploaded
    | RelayMissed
    | Tick
    | Flush
    | WatcherMissed
    | Sampled
    | TurnEnded
)


@dataclass(slots=True)
class Send:
    """Send messages to a client or worker, as the frames of one multipart."""

    peer: bytes
    messages: list[Any]


@dataclass(slots=True)
class SendEvents:
    """Send events to watchers, as the frames of one multipart. Slow watchers may miss events."""

    peers: list[bytes]
    messages: list[Any]


@dataclass(slots=True)
class ForgetPeer:
    """A peer is not known any more; frames that wait for it may go."""

    peer: bytes


@dataclass(slots=True)
class WatchProcess:
    """Say (`ClientProcessSeen`) whether a process is on this machine, and when it has ended. Until
    `UnwatchProcess`."""

    epoch: int
    pid: int
    started: int


@dataclass(slots=True)
class UnwatchProcess:
    """The client with that epoch is gone."""

    epoch: int


@dataclass(slots=True)
class OfferTicket:
    """The relay shall give an object to whoever shows the ticket, from its own store or from the holders."""

    ticket: bytes
    uid: int
    is_directory: bool
    holders: list[Endpoint]


@dataclass(slots=True)
class WorkerGone:
    """The relay can get nothing more from the worker at a data endpoint."""

    endpoint: Endpoint


@dataclass(slots=True)
class DropUploads:
    """The relay shall drop these constants."""

    uids: list[int]


@dataclass(slots=True)
class SessionOwner:
    """Who may upload constants of a session: the client with that epoch; None: nobody, and its uploads go."""

    session_id: int
    epoch: int | None


@dataclass(slots=True)
class Log:
    """Something an operator should be able to read later. `level`: "info" or "warning"."""

    level: str
    text: str


@dataclass(slots=True)
class AnotherTurn:
    """Something is left to do: end another turn soon, even if nothing happens."""


Effect = (
    Send
    | SendEvents
    | ForgetPeer
    | WatchProcess
    | UnwatchProcess
    | OfferTicket
    | WorkerGone
    | DropUploads
    | SessionOwner
    | Log
    | AnotherTurn
)
