"""A client's control connection: requests and replies, heartbeats, and the end of it.

There is no thread that does all I/O: the thread that asks does its own. Any number of threads may ask at
once. The lock guards the socket and all state; it is only ever held for moments. A thread that waits for a
reply first takes in what is there. Then one of those that wait, the *leader*, sleeps on the file descriptors
of the socket without the lock; the others sleep on the condition. Whoever takes something in wakes all
others.

The descriptor of a ZeroMQ socket becomes readable only when something changed since the socket was last used.
So every use of the socket, also a send, is followed by taking in everything that is there, under the same
lock.

A small thread sends heartbeats when nobody else sends, takes in what comes meanwhile, and notices when the
server has been silent for too long. A connection that broke is made again and taken up where it was
(`outage.py`): those who ask do not notice. One that is lost stays lost: the server has ended this client's
sessions by then.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from rainzmq._version import __version__
from rainzmq.client.call_site import warn_softly
from rainzmq.client.doorbell import Doorbell
from rainzmq.client.ended import SessionEnd, SessionEnds
from rainzmq.client.greeting import take_greeting
from rainzmq.client.heartbeat import start_heartbeat
from rainzmq.client.outage import RETRY_S, Ledger, Outage
from rainzmq.client.pending import Pending
from rainzmq.common.errors import RainException, SessionException
from rainzmq.common.limits import CONNECT_TIMEOUT_S, CONTROL_FRAME_LIMIT_BYTES
from rainzmq.common.machine import process_space, start_ticks
from rainzmq.protocol.codec import Header, decode, encode
from rainzmq.protocol.messages.client import (
    CONVERSATION,
    UNCOUNTED,
    CancelWait,
    ClientBye,
    ClientHeartbeat,
    ClientHello,
    ClientProcess,
    ClientRefused,
    ClientResume,
    ClientResumed,
    ClientWelcome,
    FinishedTasks,
    Knock,
    RequestFailed,
    SessionFailed,
    SessionWarned,
    Wait,
)
from rainzmq.protocol.schema import MESSAGES, ProtocolError
from rainzmq.transport.control import ControlClient

_log = logging.getLogger(__name__)

_MAX_BAD_FRAMES = 20

_CONFIRM_EVERY = 256
"""After so many messages the server is told that they came, so that it need not keep them."""

_BEAT_S = 1.0
"""The heartbeat thread looks at least so often: nobody else may notice that the connection broke."""

_GOODBYE_S = 1.0
"""How long it is tried to say goodbye while the connection is broken."""


class Connection:
    """The connection of one client.

    Attributes:
        ends: how sessions ended, as far as heard.
        header: what stands before every message of this client.
        welcome: what the server said at the handshake.
    """

    def __init__(self, control: ControlClient, where: str) -> None:
        """`control` is connected; `where` is the server's address, human-readable. Call `greet` next."""
        self.ends = SessionEnds()
        self.welcome: ClientWelcome | None = None
        self._control = control
        self._where = where
        self.header = Header()
        self._ledger = Ledger()
        self._confirmed = 0  # messages of the server that it knows we got
        self._outage: Outage | None = None
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._pending: dict[int, Pending] = {}
        self._next_number = 0
        self._leading = False
        self._lost: str | None = None
        self._bad_frames = 0
        self._unread = False  # the socket was used since it was last read
        self._warnings: deque[str] = deque()
        self._pid = os.getpid()
        self._last_sent_s = self._last_heard_s = time.monotonic()
        self._bell = Doorbell(control)
        self._endings: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    # -- life --------------------------------------------------------------------------------------

    def greet(self, timeout_s: float = CONNECT_TIMEOUT_S) -> ClientWelcome:
        """The handshake; then the heartbeats begin.

        Raises:
            RainException: the server refused this client, is of another version, or did not answer in time.
        """
        hello = ClientHello(__version__, socket.gethostname(), os.getpid())
        self._control.send([encode(hello, self.header)])
        deadline = time.monotonic() + timeout_s
        while self.welcome is None:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise RainException(
                    f"The server at {self._where} accepted the connection but did not answer in time"
                )
            for frames in self._control.receive(left_s):
                for frame in frames:
                    greeting = take_greeting(frame, self._where)
                    if greeting is not None:
                        self.welcome, self.header = greeting
            if self.welcome is None and self._control.disconnected():
                raise RainException(f"The server at {self._where} ended the connection during the handshake")
        self._last_heard_s = time.monotonic()
        pid = os.getpid()
        with self._lock:
            process = ClientProcess(process_space(), pid, start_ticks(pid) or 0)
            self._send(encode(process, self.header))
        start_heartbeat(self, self._endings, self.welcome.heartbeat_interval_s, _BEAT_S)
        return self.welcome

    def _check_process(self) -> None:
        """Before the lock, which another thread may have held when this process was forked."""
        if self.forked:
            raise SessionException("A client cannot be used in a forked process; make a new Client there")

    @property
    def forked(self) -> bool:
        """Whether this is a copy in a forked process, which must not touch the socket."""
        return os.getpid() != self._pid

    @property
    def connected(self) -> bool:
        """Whether the connection stands, as far as is known, or may be taken up again."""
        return self._lost is None

    def check(self) -> None:
        """SessionException when the connection is lost; takes in what has come. Waits while it is broken."""
        self._check_process()
        with self._lock:
            self._take_in()
            self._check()
            while self._outage is not None:
                self._changed.wait(RETRY_S)
                self._take_in()
                self._check()

    def close(self, reason: str = "") -> None:
        """Say goodbye and let go of the sockets. Whoever waits gets an error."""
        if self.forked:
            return
        self._endings.put(lambda: None)
        with self._lock:
            if self._control.socket.closed:
                return
            deadline = time.monotonic() + _GOODBYE_S
            while self._outage is not None and self._lost is None and time.monotonic() < deadline:
                self._changed.wait(RETRY_S)
                self._take_in()
            if self._lost is None:
                try:
                    self._control.send([encode(ClientBye(reason), self.header)])
                except RainException:
                    _log.debug("the server takes no goodbye")
            self._lose("the client was closed")
            self._control.close()
            self._bell.close()

    def end_later(self, end: Callable[[], None]) -> None:
        """Have the heartbeat thread call `end`, which closes this connection, as the last thing it does.

        May be called where no lock may be waited for, as while garbage is collected in any thread.
        """
        # Unlike an Event or a Condition this queue can be used by a thread that is just using it.
        self._endings.put(end)

    # -- asking ------------------------------------------------------------------------------------

    def send(self, message: Any) -> None:
        """Send a message that has no reply. SessionException when the connection is lost."""
        self._check_process()
        frame = encode(message, self.header)
        if len(frame) > CONTROL_FRAME_LIMIT_BYTES:
            raise RainException(
                f"A {MESSAGES[type(message)].tag!r} message of {len(frame)} bytes is over the limit of "
                f"{CONTROL_FRAME_LIMIT_BYTES}: a task with very many inputs, outputs or labels; split it"
            )
        with self._lock:
            self._send(frame)

    def request(self, make: Callable[[int], Any], session_id: int | None = None) -> Pending:
        """Send the request that `make(number)` gives. The failure of session `session_id` ends waiting for
        it."""
        self._check_process()
        with self._lock:
            self._check()
            self._next_number += 1
            message = make(self._next_number)
            pending = Pending(self, self._next_number, session_id, isinstance(message, Wait))
            self._pending[pending.number] = pending
            self._send(encode(message, self.header))
        return pending

    def ask(self, make: Callable[[int], Any], session_id: int | None = None) -> Any:
        """Send a request and wait for its answer of one part; raises what `Pending.wait` raises."""
        return self.ask_all(make, session_id)[-1]

    def ask_all(self, make: Callable[[int], Any], session_id: int | None = None) -> list[Any]:
        """Send a request and wait for all parts of its answer; raises what `Pending.wait` raises."""
        pending = self.request(make, session_id)
        try:
            return pending.wait(None) or []
        finally:
            pending.cancel()

    def end_of(self, session_id: int) -> SessionEnd | None:
        """How a session ended, None when it did not, after taking in what has come.

        Raises:
            SessionException: the connection is lost, and not after a failure of that session.
        """
        self._check_process()
        with self._lock:
            if self._lost is None:
                self._take_in()
            end = self.ends.get(session_id)
            if end is None:
                self._check()
        return end

    def end_waits(self, session_id: int) -> None:
        """The session was closed: whatever other threads still ask about it fails with SessionException."""
        with self._lock:
            for pending in [item for item in self._pending.values() if item.session_id == session_id]:
                pending.error = SessionException(f"Session {session_id} was closed", session_id)
                pending.done = True
                del self._pending[pending.number]
            self._wake_others()

    def ask_in_parting(self, make: Callable[[int], Any], session_id: int | None = None) -> Any:
        """As `ask`, for goodbyes: None when the connection or the session has gone already, or breaks
        meanwhile (then the server hears of it when the connection is back).
        """
        try:
            pending = self.request(make, session_id)
            try:
                replies = pending.wait(_GOODBYE_S)
                while replies is None and self._outage is None:
                    replies = pending.wait(_GOODBYE_S)
            finally:
                pending.cancel()
        except RainException as error:
            _log.debug("goodbye was not needed: %s", error)
            return None
        return replies[-1] if replies else None

    def warn(self) -> None:
        """Give what the server warned of as `RainWarning`s, in the thread that asks something just now."""
        while self._warnings:
            try:
                text = self._warnings.popleft()
            except IndexError:  # another thread was faster
                return
            warn_softly(text)

    # -- waiting -----------------------------------------------------------------------------------

    def wait_for(self, pending: Pending, timeout_s: float | None) -> None:
        """Until the request is done, its session failed, or the time is over."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._lock:
            while True:
                if self._lost is None:
                    self._take_in()
                if pending.done:
                    return
                if pending.session_id is not None and self.ends.get(pending.session_id) is not None:
                    raise SessionException(f"Session {pending.session_id} failed", pending.session_id)
                self._check()
                left_s = None if deadline is None else deadline - time.monotonic()
                if left_s is not None and left_s <= 0:
                    return
                if self._leading:
                    self._changed.wait(left_s)
                else:
                    self._lead(left_s)

    def _lead(self, timeout_s: float | None) -> None:
        self._leading = True
        self._lock.release()
        try:
            self._bell.sleep(timeout_s)
        finally:
            self._lock.acquire()
            self._leading = False
            self._changed.notify_all()
        if not self._control.socket.closed:
            self._bell.clear()

    def _wake_others(self) -> None:
        self._changed.notify_all()
        if self._leading:
            self._bell.ring()

    def forget(self, pending: Pending, tell: bool) -> None:
        """The answer to a request is not wanted any more; with `tell` the server hears of it."""
        with self._lock:
            if self._pending.pop(pending.number, None) is None or not tell or self._lost is not None:
                return
            try:
                self._send(encode(CancelWait(pending.number), self.header))
            except RainException as error:
                _log.debug("a wait could not be taken back: %s", error)

    # -- with the lock held ------------------------------------------------------------------------

    def _check(self) -> None:
        if self._lost is not None:
            raise SessionException(f"The connection to the server at {self._where} has ended: {self._lost}")

    def _send(self, frame: bytes) -> None:
        self._check()
        self._ledger.sent(frame)
        if self._outage is None:
            self._put(frame)
        self._last_sent_s = time.monotonic()
        self._take_in()
        self._check()

    def _put(self, frame: bytes) -> None:
        self._control.send([frame])
        self._unread = True

    def _send_heartbeat(self) -> None:
        """Say what has come. Without a connection that is not needed."""
        self._confirmed = self._ledger.received
        self._last_sent_s = time.monotonic()
        if self._outage is None:
            self._put(encode(ClientHeartbeat(self._ledger.received), self.header))

    def _lose(self, reason: str) -> None:
        if self._lost is None:
            self._lost = reason
            self._wake_others()

    def _take_in(self) -> None:
        """Everything that has come, also while something was sent because of it."""
        took, self._unread = False, True
        while self._unread:
            self._unread = False
            while frames_of_messages := self._control.receive(0):
                took = True
                self._last_heard_s = time.monotonic()
                for frames in frames_of_messages:
                    for frame in frames:
                        self._take_frame(frame)
            if self._lost is None:
                self._mend()
            if self._ledger.received - self._confirmed >= _CONFIRM_EVERY:
                self._send_heartbeat()
        if took:
            self._wake_others()

    def _mend(self) -> None:
        """Make a connection that broke again; once there is one, say who we are and what we got."""
        now = time.monotonic()
        if self._control.disconnected():
            if self._outage is None:
                _log.info("the connection to the server at %s broke; it is made again", self._where)
                control = self._control
                self._outage = Outage(now, self._where, control.host_answers, control.server_ended)
            if now - self._outage.tried_at >= RETRY_S:
                self._outage.tried_at, self._outage.greeted = now, False
                self._control.reconnect()
                self._bell.watch(self._control)
                self._wake_others()
        elif self._outage is not None and not self._outage.greeted and self._control.connected:
            self._outage.greeted = True
            self._put(encode(ClientResume(self._ledger.received), self.header))

    def _on_resumed(self, message: ClientResumed) -> None:
        """The server knows us again, and what it got of us."""
        _log.info("the connection to the server at %s is back", self._where)
        self._outage = None
        self._ledger.confirm(message.received)
        for frame in self._ledger.unconfirmed():
            self._put(frame)

    def _take_frame(self, frame: bytes) -> None:
        try:
            header, message = decode(frame, CONVERSATION, "server")
        except ProtocolError as error:
            self._bad_frames += 1
            _log.warning("the server sent a bad message, which is dropped: %s", error)
            if self._bad_frames >= _MAX_BAD_FRAMES:
                self._lose(f"the server sent {self._bad_frames} bad messages, the last one: {error}")
            return
        if (header.cluster_id, header.server_epoch) != (self.header.cluster_id, self.header.server_epoch):
            self._lose("the server was restarted")
            return
        if type(message) not in UNCOUNTED:
            self._ledger.received += 1
        if isinstance(message, ClientHeartbeat):
            self._ledger.confirm(message.received)
        elif isinstance(message, Knock):
            self._send_heartbeat()
        elif isinstance(message, ClientResumed):
            self._on_resumed(message)
        elif isinstance(message, FinishedTasks | SessionFailed):
            self.ends.take(message)
        elif isinstance(message, SessionWarned):
            self._warnings.append(message.text)
        elif isinstance(message, ClientBye):
            self._lose(
                f"the server says goodbye: {message.reason}" if message.reason else "the server has ended"
            )
        elif not isinstance(message, (ClientWelcome, ClientRefused)):
            self._take_reply(message)

    def _take_reply(self, message: Any) -> None:
        pending = self._pending.get(message.request)
        if pending is None:
            return  # of a request that was given up
        if isinstance(message, RequestFailed):
            kind = SessionException if message.code == "session" else RainException
            pending.error = kind(message.reason)
        else:
            pending.parts.append(message)
            if getattr(message, "more", False):
                return
        pending.done = True
        del self._pending[message.request]

    def beat(self, interval_s: float, late_s: float) -> float:
        """Called by the heartbeat thread, `late_s` later than it should be; seconds until the next time."""
        outage = self._outage
        if outage is not None:
            outage.look(time.monotonic())  # without the lock: it asks the network
        with self._lock:
            return self._look(interval_s, late_s)

    def give_up(self, reason: str) -> None:
        """The heartbeat thread ended with an error: nobody looks at the clock any more for those who wait."""
        with self._lock:
            self._lose(reason)

    def _look(self, interval_s: float, late_s: float) -> float:
        assert self.welcome is not None
        if self._lost is not None or self._control.socket.closed:
            return interval_s
        self._take_in()
        now = time.monotonic()
        # This process was stopped or starved, so the silence says nothing about the server.
        stood_still = late_s > min(interval_s, _BEAT_S)
        if stood_still:
            self._last_heard_s = now
        if self._outage is not None:
            if stood_still:
                self._outage.stood_still(late_s)
            over = self._outage.why_over(now, self.welcome)
            if over is not None:
                self._lose(over)
            return RETRY_S
        return self._judge_silence(now, interval_s, self.welcome.dead_after_s)

    def _judge_silence(self, now: float, interval_s: float, limit_s: float) -> float:
        """Give up a server that says nothing, unless it is its host that does not answer; say that we are
        here.
        """
        silence_s = now - self._last_heard_s
        if silence_s >= limit_s and not self._control.break_if_unanswered(0.0):
            self._lose(f"nothing was heard from it for {silence_s:.0f} s, though its host answers")
            return interval_s
        if now - self._last_sent_s >= 0.5 * interval_s or self._ledger.received != self._confirmed:
            self._send_heartbeat()
            self._take_in()
        return max(min(interval_s, _BEAT_S, limit_s - silence_s), RETRY_S)
