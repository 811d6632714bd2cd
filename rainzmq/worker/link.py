"""The worker's connection to its server: hello, epochs, heartbeats, silence.

    connecting --Welcome--> registered --8 s of silence, Fenced--> lost --a message of the server-->
    connecting

While lost the tasks are stopped; the connection is made again, and whatever the server then says to a worker
that it does not know any more (`Fenced`) makes the worker say hello again. A connection on which the server's
host acknowledges nothing for as long as the server takes to give a worker up is made again, too: TCP would
try ever less often, and go on seconds after the network is back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from rainzmq.common.limits import CONNECT_TIMEOUT_S, DEAD_AFTER_S, SERVER_LOST_AFTER_S
from rainzmq.common.tally import Tally
from rainzmq.protocol.codec import Header, decode, encode, peek_header
from rainzmq.protocol.messages import worker as m
from rainzmq.protocol.schema import ProtocolError
from rainzmq.protocol.version import PROTOCOL_VERSION
from rainzmq.transport.control import ControlClient
from rainzmq.transport.loop import Loop
from rainzmq.worker.core.events import Instruction, ServerMessage

_log = logging.getLogger(__name__)

GIVE_UP_AFTER_S = 60.0
"""A worker that has lost its server for so long ends."""

LOOK_AFTER_S = 0.2
"""A server that is killed closes its connections a moment before its process is gone."""


class ServerLink:
    """Speaks the worker-server conversation over a connected `ControlClient`.

    Args:
        hello: makes the worker's hello, given its previous epoch.
        is_idle: whether no job runs.
        dies_with_server: end when the connection breaks, instead of waiting for it to come back, unless the
            server is on this machine and lives.
        on_message: called with each `Instruction`; the other messages are about the link itself.
        on_welcome: called with the `WorkerWelcome` at each registration.
        on_lost: called with the reason when the tasks must be stopped.
        on_end: called with an exit reason (None: the server was stopped in order) when the worker must end.
    """

    def __init__(
        self,
        loop: Loop,
        control: ControlClient,
        hello: Callable[[int], m.WorkerHello],
        *,
        is_idle: Callable[[], bool],
        dies_with_server: bool,
        on_message: Callable[[Instruction], None],
        on_welcome: Callable[[m.WorkerWelcome], None],
        on_lost: Callable[[str], None],
        on_end: Callable[[str | None], None],
    ) -> None:
        self._loop = loop
        self._control = control
        self._hello = hello
        self._is_idle = is_idle
        self._greeting_due = False
        self._dies_with_server = dies_with_server
        self._epoch = 0
        self._on_message = on_message
        self._on_welcome = on_welcome
        self._on_lost = on_lost
        self._on_end = on_end
        self._header = Header()
        self._bad = Tally()
        self.registered = False
        self._interval_s = 1.0
        self._dead_after_s = DEAD_AFTER_S
        self._last_heard = self._last_tick = self._hello_sent = loop.now()

    def start(self) -> None:
        """Say hello and listen."""
        self._control.attach(self._loop, self._on_frames, self._on_connection)
        self._say_hello()
        self._loop.call_later(self._interval_s, self._on_tick)

    def tell(self, messages: list[Any]) -> None:
        """Send messages as one multipart; dropped while not registered (the server would not know us)."""
        if self.registered:
            self._control.send([encode(message, self._header) for message in messages])

    def rejoin(self, reason: str) -> None:
        """Say goodbye, human-readable, and hello again as soon as this worker is idle."""
        self.tell([m.WorkerBye(reason)])
        self._lose(reason)
        self._say_hello()

    def close(self, reason: str) -> None:
        """Say goodbye."""
        self.tell([m.WorkerBye(reason)])
        self._control.close()

    def greet_if_due(self) -> None:
        """Say hello if that had to wait until the last job of the former life was gone."""
        if self._greeting_due and self._is_idle():
            self._say_hello()

    def _say_hello(self) -> None:
        """Say hello, as soon as nothing of the former life runs any more: the server may give us the same
        tasks again, on cpus that must be free.
        """
        self.registered = False
        self._greeting_due = not self._is_idle()
        if self._greeting_due:
            return
        self._header = Header()
        self._hello_sent = self._loop.now()
        self._control.send([encode(self._hello(self._epoch), self._header)])

    def _on_connection(self, connected: bool) -> None:
        """The connection broke, or is back: what was under way may be lost, so both sides start again."""
        if connected:
            if self.registered:
                self._lose("the connection to the server was broken")
            self._say_hello()
        else:
            _log.warning("the connection to the server broke")
            if self._dies_with_server:
                self._look_after_server()

    def _look_after_server(self) -> None:
        """While there is no connection: end when it was the server that ended, not the connection alone."""
        if not self._control.server_lives():
            self._on_end("the server is gone")
        elif not self._control.connected:
            self._loop.call_later(LOOK_AFTER_S, self._look_after_server)

    def _on_frames(self, frames: list[bytes]) -> None:
        self._last_heard = self._loop.now()
        for frame in frames:
            self._on_frame(frame)

    def _on_frame(self, frame: bytes) -> None:
        try:
            header, message = decode(frame, m.CONVERSATION, "server")
        except ProtocolError as error:
            self._on_bad_frame(frame, error)
            return
        self._take(header, message)

    def _take(self, header: Header, message: ServerMessage) -> None:
        match message:
            case m.WorkerWelcome():
                self._take_welcome(header, message)
            case m.WorkerRefused():
                if message.again:
                    _log.warning("the server refused this worker for now: %s", message.reason)
                else:
                    self._on_end(
                        f"the server (rainzmq {message.software}) refused this worker: {message.reason}"
                    )
            case m.Fenced():
                if self.registered or self._loop.now() - self._hello_sent > CONNECT_TIMEOUT_S:
                    self._lose(f"the server fenced this worker: {message.reason}")
                    self._say_hello()
            case m.WorkerBye():
                self._on_end(None)
            case m.WorkerKnock():
                self.tell([m.WorkerHeartbeat()])
            case _ if header.server_epoch != self._header.server_epoch:
                _log.warning("a message of another life of the server was dropped")
            case m.WorkerHeartbeat():
                pass  # that it was heard is all that it says
            case _:
                # What is left is an `Instruction`, or mypy would say so.
                if self.registered:
                    self._on_message(message)

    def _take_welcome(self, header: Header, welcome: m.WorkerWelcome) -> None:
        if self.registered:
            return
        self._header = Header(PROTOCOL_VERSION, header.cluster_id, header.server_epoch, welcome.epoch)
        self._epoch = welcome.epoch
        self._interval_s = welcome.heartbeat_interval_s
        self._dead_after_s = welcome.dead_after_s
        self.registered = True
        self._on_welcome(welcome)

    def _on_bad_frame(self, frame: bytes, error: ProtocolError) -> None:
        try:
            version = peek_header(frame)[1].version
        except ProtocolError:
            version = PROTOCOL_VERSION
        if version != PROTOCOL_VERSION:
            self._on_end(f"the server speaks protocol version {version}, this worker {PROTOCOL_VERSION}")
        else:
            self._note_bad(error)

    def _note_bad(self, error: ProtocolError) -> None:
        times = self._bad.note("the server")
        if times:
            _log.warning("bad message of the server (%d so far): %s", times, error)

    def _on_tick(self) -> None:
        now = self._loop.now()
        if now - self._last_tick > 2 * self._interval_s + 1:
            # We were stopped ourselves: what the server sent meanwhile has not been read yet.
            self._last_heard = max(self._last_heard, now - self._interval_s)
        self._last_tick = now
        silence = now - self._last_heard
        if silence > GIVE_UP_AFTER_S:
            self._on_end(f"nothing has been heard of the server for {silence:.0f} s")
            return
        if silence > SERVER_LOST_AFTER_S and self.registered:
            self._lose(f"nothing has been heard of the server for {silence:.1f} s")
            self.registered = False
        self._control.break_if_unanswered(self._dead_after_s)
        if self.registered:
            self.tell([m.WorkerHeartbeat()])
        elif now - self._hello_sent >= self._interval_s:
            self._say_hello()
        self._loop.call_later(self._interval_s, self._on_tick)

    def _lose(self, reason: str) -> None:
        _log.warning("%s; its tasks are stopped", reason)
        self._on_lost(reason)
