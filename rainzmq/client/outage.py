"""What a client remembers so that a broken connection can be taken up again, and when it gives that up.

The server keeps the sessions of a client whose connection broke for a while (`server/core/presence.py`). The
client makes a new connection and both tell each other how many messages they got; the rest is sent again.
Whoever waits for a reply goes on waiting.

Whether there is still a server to come back to:

- On this machine its process tells: when it has ended, so has everything.
- Its host answers, but nothing listens there, or nothing greets us: the server is dead or stuck. It has as
  long as it would have with a connection on which nothing is heard (`dead_after_s`).
- Its host does not answer: host or network are gone, as they are for the server, which waits until the grace
  is over. So do we.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from rainzmq.common.limits import HOST_SILENT_S
from rainzmq.protocol.messages.client import ClientWelcome

_log = logging.getLogger(__name__)

RETRY_S = 0.1
"""How often it is looked after a broken connection."""

LOOK_TIMEOUT_S = 0.5

_LOOKS_BEFORE_S = 1.0
"""So much later than it happens may it be noticed that a connection broke."""


class Ledger:
    """Frames that were sent and are not confirmed, and how many messages came.

    Attributes:
        received: messages of the server so far; what is not counted is said in `protocol.messages.client`.
    """

    def __init__(self) -> None:
        self.received = 0
        self._unconfirmed: deque[bytes] = deque()
        self._confirmed = 0

    def sent(self, frame: bytes) -> None:
        """A counted message is being sent."""
        self._unconfirmed.append(frame)

    def confirm(self, count: int) -> None:
        """The server has got so many; what it says beyond sense is ignored."""
        for _ in range(min(count - self._confirmed, len(self._unconfirmed))):
            self._unconfirmed.popleft()
            self._confirmed += 1

    def unconfirmed(self) -> list[bytes]:
        """What has to be sent again, in order."""
        return list(self._unconfirmed)


class Outage:
    """One break of a connection until it is mended.

    Args:
        now: when it was noticed, monotonic seconds; so are all times here.
        where: the server's address, human-readable.
        host_answers: asks the network, and may take `LOOK_TIMEOUT_S`.
        server_ended: whether its process, on this machine, has ended.

    Attributes:
        greeted: the server was told on the present new connection who we are.
        tried_at: when the present new connection was asked for.
    """

    def __init__(
        self, now: float, where: str, host_answers: Callable[[], bool], server_ended: Callable[[], bool]
    ) -> None:
        self.greeted = False
        self.tried_at = float("-inf")
        self._since = now
        self._where = where
        self._host_answers = host_answers
        self._server_ended = server_ended
        self._ended = False
        self._answers_since: float | None = None
        self._looked_at = float("-inf")
        self._warned = False

    def look(self, now: float) -> None:
        """Find out how the server does."""
        if now - self._looked_at < LOOK_TIMEOUT_S:
            return
        self._looked_at = now
        self._ended = self._server_ended()
        if self._ended or not self._host_answers():
            self._answers_since = None
        elif self._answers_since is None:
            self._answers_since = now

    def stood_still(self, seconds: float) -> None:
        """This process was stopped or starved for so long: that says nothing about the server."""
        self._since += seconds
        if self._answers_since is not None:
            self._answers_since += seconds

    def why_over(self, now: float, welcome: ClientWelcome) -> str | None:
        """Why it is not worth to wait any longer; None while it is."""
        broken_s = now - self._since
        lasts_s = HOST_SILENT_S + welcome.grace_s
        if self._ended:
            return "its process has ended"
        answers_s = 0.0 if self._answers_since is None else now - self._answers_since
        if answers_s >= welcome.dead_after_s - _LOOKS_BEFORE_S:
            return (
                f"the connection broke, and for {answers_s:.0f} s its host has answered, but nothing there "
                "has greeted this client again: the server was ended, is stuck, or another one has its place"
            )
        if broken_s >= lasts_s:
            return (
                f"the connection broke, and neither the server nor its host was reached for {broken_s:.0f} "
                "s; the server has ended this client's sessions by now"
            )
        if broken_s >= welcome.dead_after_s and not self._warned:
            self._warned = True
            _log.warning(
                "the server at %s has not been reached for %.0f s; this program goes on if that changes "
                "within %.0f s",
                self._where,
                broken_s,
                lasts_s - broken_s,
            )
        return None
