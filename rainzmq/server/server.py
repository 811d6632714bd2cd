"""The server process: one thread, one loop around the core, and the relay's thread beside it.

    ROUTER --frames--> FrameReader --event--> Engine --effects--> frames, relay, log

A turn of the loop reads all that is there, then schedules once and sends at most one multipart to each peer.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import assert_never

import psutil

from rainzmq._version import __version__
from rainzmq.common.collector import GarbageCollector
from rainzmq.common.limits import (
    CHECK_VARIABLE,
    CLIENT_GRACE_S,
    CONTROL_FRAME_LIMIT_BYTES,
    CRASH_LIMIT,
    DEAD_AFTER_S,
    DEFAULT_PORT,
    HEARTBEAT_INTERVAL_S,
    SUSPECT_AFTER_S,
)
from rainzmq.common.machine import process_space
from rainzmq.common.ready import write_ready
from rainzmq.common.tally import Tally
from rainzmq.protocol.codec import Header, encode
from rainzmq.protocol.messages.client import ClientBye, ClientRefused, ClientWelcome, Knock, RequestFailed
from rainzmq.protocol.messages.worker import WorkerBye, WorkerKnock, WorkerRefused, WorkerWelcome
from rainzmq.server.core import events as ev
from rainzmq.server.core import invariants
from rainzmq.server.core.engine import Engine
from rainzmq.server.core.presence import RETURN_S
from rainzmq.server.core.state import CoreOptions
from rainzmq.server.peers import FrameReader
from rainzmq.server.processes import ProcessWatch
from rainzmq.server.relay import Relay
from rainzmq.server.web import WebChild, WebOptions
from rainzmq.transport.access import ROLES, Access, process_started, remove_access, write_access
from rainzmq.transport.control_server import ControlServer
from rainzmq.transport.keys import KeyPair
from rainzmq.transport.loop import Loop, Timer
from rainzmq.transport.net import advertised_host, is_every_interface, is_loopback
from rainzmq.transport.sockets import new_context, raise_file_limit
from rainzmq.transport.zap import Authenticator

_log = logging.getLogger(__name__)

FLUSH_INTERVAL_S = 0.25
"""How long events are gathered before watchers get them."""

SNAPSHOT_INTERVAL_S = 0.05
"""How long after a part of a snapshot the next one follows: tasks are scheduled in between."""

SAMPLE_INTERVAL_S = 1.0
"""How often workers and the server say how busy they are, while a dashboard is served."""

WATCHER_QUEUE_BYTES = 16 << 20
"""A watcher for which more is waiting misses events until it has caught up."""

LAST_WATCHER_S = 0.7
"""How long a server that ends waits for a web process that has just been started."""

SLOW_WATCHER_S = 0.5
"""How often it is looked whether it has caught up."""

TRY_AFTER_S = 0.05
"""How long after a connection seems closed it is tried whether it is."""

_END_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""SIGHUP comes when the terminal is closed; under nohup it is ignored, and stays so."""


@dataclass
class ServerOptions:
    """How a server is started.

    Attributes:
        host, port: where it listens; port 0 takes any free one.
        advertise: name or address by which others reach this machine; None: as `advertised_host` finds it.
        logdir: where its log is, for messages; None without one.
        ready_file: written once connections are accepted; None for none.
        access_file: where the keys are put; None for the usual place.
        web: how the dashboard is served; None: not at all.
        lifeline_fd: a pipe whose end of file ends the server; None without one.
        heartbeat_interval_s, suspect_after_s, dead_after_s, client_grace_s: see `common.limits`.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    advertise: str | None = None
    logdir: Path | None = None
    ready_file: Path | None = None
    access_file: Path | None = None
    lifeline_fd: int | None = None
    web: WebOptions | None = None
    heartbeat_interval_s: float = HEARTBEAT_INTERVAL_S
    suspect_after_s: float = SUSPECT_AFTER_S
    dead_after_s: float = DEAD_AFTER_S
    client_grace_s: float = CLIENT_GRACE_S


def random_id() -> int:
    """A fresh random number under 2^62, never 0."""
    return secrets.randbits(61) + 1


class Server:
    """The reactor: turns frames into events and effects into frames."""

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self.loop = Loop()
        self._context = new_context()
        self._auth = Authenticator(self._context, self.loop)
        keys = KeyPair.new()
        self._roles = {role: KeyPair.new() for role in ROLES}
        self._cluster_id, self._epoch = random_id(), random_id()
        for role, pair in self._roles.items():
            self._auth.allow("control", pair.public, role)
        host = options.advertise or advertised_host(options.host)
        self._relay = Relay(
            self._context,
            self._auth,
            keys,
            self._roles,
            options.host,
            advertise=host,
            owner_of=self._owners_get,
            on_uploaded=self._threadsafe_event(ev.Uploaded),
            on_missed=self._threadsafe_event(ev.RelayMissed),
        )
        self._owners: dict[int, int] = {}
        self._control = ControlServer(
            self._context,
            self.loop,
            keys,
            "control",
            self._on_frames,
            on_closed=self._on_closed,
            on_doubt=self._on_doubt,
        )
        self._processes = ProcessWatch(
            self.loop, lambda epoch, alive: self._handle(ev.ClientProcessSeen(epoch, alive))
        )
        self._reader = FrameReader(
            self._cluster_id, self._epoch, self._refuse, self._deny, self._cut_off, self._name_of
        )
        self._cut_offs = Tally()
        self._web: WebChild | None = None
        self._flushing: Timer | None = None
        self._slow_watchers: set[bytes] = set()
        self._process = psutil.Process()
        self._check = os.environ.get(CHECK_VARIABLE) == "1"
        self._collector = GarbageCollector()
        self._session_ended = False
        self.access = Access(
            address=host,
            port=0,
            server_public=keys.public,
            keys=self._roles,
            cluster_id=self._cluster_id,
            pid=os.getpid(),
            started=process_started() or 0.0,
        )

    def start(self) -> None:
        """Bind, write the access file, then the ready file. RainException for what the user can mend."""
        options = self._options
        self.access.port = self._control.bind(options.host, options.port)
        relay, data_port = self._relay.start()
        self._engine = Engine(
            CoreOptions(
                random_id=random_id,
                software=__version__,
                heartbeat_interval_s=options.heartbeat_interval_s,
                suspect_after_s=options.suspect_after_s,
                dead_after_s=options.dead_after_s,
                crash_limit=CRASH_LIMIT,
                epoch_offset_s=time.time() - self.loop.now(),
                sample_interval_s=SAMPLE_INTERVAL_S if options.web is not None else 0.0,
                keep_events=options.web is not None,
                client_grace_s=options.client_grace_s,
                process_space=process_space(),
            ),
            relay,
            data_port,
            self.loop.now(),
        )
        if options.web is not None:
            self._web = WebChild(self.loop, options.web, options.logdir)
            self.access.http = self._web.access
        self.access.path = write_access(self.access, options.access_file)
        self.loop.at_turn_end(self._on_turn_end)
        self.loop.call_later(options.heartbeat_interval_s, self._on_tick)
        if options.lifeline_fd is not None:
            self.loop.add_reader(options.lifeline_fd, self._on_lifeline)
        _log.info(
            "server %s listens on %s:%d (cluster %x)",
            __version__,
            options.host,
            self.access.port,
            self._cluster_id,
        )
        _log.info("access file: %s", self.access.path)
        if is_every_interface(options.host) and is_loopback(self.access.address):
            _log.warning(
                "no address of this machine was found that others can reach, so the access file says %s: "
                "other machines cannot connect with it; name this one as they know it with --advertise",
                self.access.address,
            )
        if options.ready_file is not None:
            write_ready(options.ready_file)
        self._collector.start()
        if self._web is not None:
            self._web.start(self.access.path)
            self.loop.call_later(SAMPLE_INTERVAL_S, self._on_sample)
            # It opens the dashboard: a secret, so it goes to the terminal's user only on request.
            _log.info("dashboard: %s (open it with `rainzmq dashboard`)", self._web.access.url)

    def close(self) -> None:
        """Tell every peer, then close all sockets and remove the access file."""
        engine = getattr(self, "_engine", None)
        if engine is not None:
            engine.end()
            self._wait_for_watcher()
            self._handle(ev.Flush())
        if self.access.path is not None:
            remove_access(self.access)
        if engine is not None:
            for peer in engine.state.clients:
                self._send(peer, [ClientBye("the server was stopped")])
            for peer in engine.state.workers:
                self._send(peer, [WorkerBye("the server was stopped")])
        if self._web is not None:
            self._web.close()
        self._relay.close()
        self._processes.close()
        self._control.close()
        self._auth.close()
        self._context.term()
        self.loop.close()

    def _wait_for_watcher(self) -> None:
        """A run may be over before the web process, which starts slowly, has come for the events of it."""
        state = self._engine.state
        if self._web is None or not state.feed.keeping or not state.counters.tasks_submitted:
            return
        self.loop.at_turn_end(lambda: None if state.feed.keeping else self.loop.stop())
        self.loop.call_later(LAST_WATCHER_S, self.loop.stop)
        self.loop.run()

    def _on_frames(self, peer: bytes, role: str, frames: list[bytes]) -> None:
        self._engine.state.counters.messages_received += 1
        for frame in frames:
            event = self._reader.read(peer, role, frame)
            if event is not None:
                self._handle(event)

    def _on_closed(self, peer: bytes) -> None:
        """A connection was closed, it seems. That of a client is tried; workers are judged by their
        silence.
        """
        if peer in self._engine.state.clients:
            # libzmq says so before it lets go of the peer.
            self.loop.call_later(TRY_AFTER_S, partial(self._send, peer, [Knock()]))

    def _on_doubt(self) -> None:
        """Some connection brings nothing any more: which, shows when all say something."""
        for peer in list(self._engine.state.clients):
            self.loop.call_soon(partial(self._send, peer, [Knock()]))
        for peer in list(self._engine.state.workers):
            self.loop.call_soon(partial(self._send, peer, [WorkerKnock()]))

    def _on_tick(self) -> None:
        silences = ((peer, self._control.unanswered_s(peer)) for peer in self._engine.state.clients)
        self._handle(ev.Tick({peer: silence_s for peer, silence_s in silences if silence_s}))
        self.loop.call_later(self._options.heartbeat_interval_s, self._on_tick)

    def _on_turn_end(self) -> None:
        self._engine.state.counters.turns += 1
        self._handle(ev.TurnEnded())
        self._collector.step()
        if self._session_ended and not self._owners and not self._engine.state.trash:
            self._session_ended = False
            self._collector.rest()
        self._flush_soon()
        if self._check:
            invariants.check(self._engine.state)

    def _flush_soon(self) -> None:
        """Events are gathered for a while: watchers are woken a few times a second, whatever happens."""
        feed = self._engine.state.feed
        if self._flushing is None and (feed.pending or feed.snapshots):
            delay_s = SNAPSHOT_INTERVAL_S if feed.snapshots else FLUSH_INTERVAL_S
            self._flushing = self.loop.call_later(delay_s, self._on_flush)

    def _on_flush(self) -> None:
        self._flushing = None
        self._handle(ev.Flush())

    def _on_sample(self) -> None:
        if self._engine.state.feed.on:
            # The machine may have slept, or its clock been set forward. Times never go back.
            feed = self._engine.state.feed
            feed.offset = max(feed.offset, time.time() - self.loop.now())
            times = self._process.cpu_times()
            self._handle(ev.Sampled(times.user + times.system, self._process.memory_info().rss))
        self.loop.call_later(SAMPLE_INTERVAL_S, self._on_sample)

    def _on_lifeline(self) -> None:
        assert self._options.lifeline_fd is not None
        if not os.read(self._options.lifeline_fd, 64):
            _log.info("the process that started this server is gone")
            self.loop.remove_reader(self._options.lifeline_fd)
            self.loop.stop()

    def _handle(self, event: ev.Event) -> None:
        for effect in self._engine.handle(event, self.loop.now()):
            self._perform(effect)

    def _perform(self, effect: ev.Effect) -> None:
        match effect:
            case ev.Send():
                self._send(effect.peer, effect.messages)
            case ev.SendEvents():
                self._send_events(effect)
            case ev.ForgetPeer():
                self._reader.forget(effect.peer)
            case ev.WatchProcess():
                self._processes.watch(effect.epoch, effect.pid, effect.started)
            case ev.UnwatchProcess():
                self._processes.forget(effect.epoch)
            case ev.OfferTicket():
                self._relay.add_ticket(effect.ticket, effect.uid, effect.is_directory, effect.holders)
            case ev.WorkerGone():
                self._relay.forget_worker(effect.endpoint)
            case ev.DropUploads():
                self._relay.drop(effect.uids)
            case ev.SessionOwner():
                self._note_owner(effect.session_id, effect.epoch)
            case ev.AnotherTurn():
                self.loop.call_soon(_nothing)
            case ev.Log():
                _log.log(logging.WARNING if effect.level == "warning" else logging.INFO, "%s", effect.text)
            case _:
                assert_never(effect)

    def _note_owner(self, session_id: int, epoch: int | None) -> None:
        if epoch is None:
            self._owners.pop(session_id, None)
            self._relay.drop_session(session_id)
            self._session_ended = True
        else:
            self._owners[session_id] = epoch

    def _send(self, peer: bytes, messages: list[object]) -> None:
        header = Header(cluster_id=self._cluster_id, server_epoch=self._epoch)
        frames = [encode(message, self._with_epoch(header, message)) for message in messages]
        self._engine.state.counters.messages_sent += 1
        if not self._control.send(peer, frames):
            # Not from inside the engine's effects: the peer may be in the middle of them.
            self.loop.call_soon(partial(self._on_gone, peer))

    def _on_gone(self, peer: bytes) -> None:
        self._handle(ev.PeerGone(peer, "its connection is gone"))
        if peer in self._engine.state.clients:
            self.loop.call_later(RETURN_S, partial(self._handle, ev.ReturnDue()))

    def _send_events(self, effect: ev.SendEvents) -> None:
        header = Header(cluster_id=self._cluster_id, server_epoch=self._epoch)
        frames = [encode(message, header) for message in effect.messages]
        if any(len(frame) > CONTROL_FRAME_LIMIT_BYTES for frame in frames):
            # It would end the connection of a watcher. The gap in the numbers makes them ask again.
            _log.warning("an event of over %d bytes is not told", CONTROL_FRAME_LIMIT_BYTES)
            frames = [frame for frame in frames if len(frame) <= CONTROL_FRAME_LIMIT_BYTES]
        for peer in effect.peers:
            if self._control.queued_bytes(peer) > WATCHER_QUEUE_BYTES:
                if peer not in self._slow_watchers:
                    self._slow_watchers.add(peer)
                    self.loop.call_later(SLOW_WATCHER_S, partial(self._on_slow_watcher, peer))
            elif peer not in self._slow_watchers:
                self._engine.state.counters.messages_sent += 1
                if not self._control.send(peer, frames):
                    self.loop.call_soon(partial(self._on_gone, peer))

    def _on_slow_watcher(self, peer: bytes) -> None:
        """It has missed events; once it has taken what waits for it, it gets a snapshot."""
        if peer in self._engine.state.clients and self._control.queued_bytes(peer):
            self.loop.call_later(SLOW_WATCHER_S, partial(self._on_slow_watcher, peer))
        else:
            self._slow_watchers.discard(peer)
            self._handle(ev.WatcherMissed(peer))

    @staticmethod
    def _with_epoch(header: Header, message: object) -> Header:
        if isinstance(message, ClientWelcome | WorkerWelcome):
            return header._replace(sender_epoch=message.epoch)
        return header

    def _refuse(self, peer: bytes, role: str, reason: str) -> None:
        if role == "worker":
            self._send(peer, [WorkerRefused(__version__, reason, False)])
        else:
            self._send(peer, [ClientRefused(__version__, reason)])

    def _deny(self, peer: bytes, request: int, reason: str) -> None:
        self._send(peer, [RequestFailed(request, "request", reason)])

    def _cut_off(self, peer: bytes, reason: str) -> None:
        name = self._name_of(peer, "peer")
        times = self._cut_offs.note(name)
        if times:
            _log.warning("%s is cut off (%d times so far): %s", name, times, reason)
        self._control.disconnect(peer)
        self._reader.forget(peer)
        self._handle(ev.PeerGone(peer, reason, cut_off=True))

    def _name_of(self, peer: bytes, role: str) -> str:
        """Who a peer is, for the log."""
        state = self._engine.state
        if peer in state.workers:
            return f"worker {state.workers[peer].name}"
        if peer in state.clients:
            return f"client {state.clients[peer].name}"
        return f"an unknown {role} at {self._control.address_of(peer)}"

    def _owners_get(self, session_id: int) -> int | None:
        return self._owners.get(session_id)

    def _threadsafe_event(self, event_type: Callable[..., ev.Event]) -> Callable[..., None]:
        """A function for the relay's thread: hands an event to this loop."""

        def hand_over(*args: object) -> None:
            self.loop.call_threadsafe(lambda: self._handle(event_type(*args)))

        return hand_over


def _nothing() -> None:
    """What is called to have another turn of the loop."""


def run_server(options: ServerOptions) -> int:
    """Run a server until SIGTERM, SIGINT or the end of its lifeline; returns the exit code.

    Raises:
        RainException: the port is in use, the address cannot be bound, the access file cannot be written.
    """
    # A signal while the server is made waits until it can end the server in order.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _END_SIGNALS)
    raise_file_limit()
    server = Server(options)
    try:
        for number in _END_SIGNALS:
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            signal.signal(number, lambda *_: server.loop.stop())
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        server.start()
        server.loop.run()
    finally:
        server.close()
    _log.info("server stopped")
    return 0
