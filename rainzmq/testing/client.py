"""The client of a simulated cluster: it says what tests say, over a connection that can break."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, Protocol

from rainzmq.protocol.messages import client as c
from rainzmq.server.core.engine import Engine
from rainzmq.server.core.events import ClientReturned, ClientSaid, Event, PeerGone

CLIENT = b"client"

_NOTICED_WITHIN_S = 0.05


class SimulatedWorld(Protocol):
    """What it needs of the cluster."""

    random: Random
    server: Engine

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something later."""


class SimulatedClient:
    """As far as the server sees it.

    Attributes:
        peer: its present connection, or its last one.
        epoch: given out by the server.
        inbox: messages it got, once each, in order.
    """

    def __init__(self, cluster: SimulatedWorld, server: Callable[[Event], None]) -> None:
        self.peer = CLIENT
        self.epoch = 0
        self.inbox: list[Any] = []
        self._cluster = cluster
        self._server = server
        self._said: list[Any] = []
        self._received = 0
        self._connected = self._delivers = True

    def say(self, message: Any) -> None:
        """Say something, or keep it until there is a connection."""
        if type(message) not in c.UNCOUNTED:
            self._said.append(message)
        if self._connected and self._delivers:
            self._server(ClientSaid(self.peer, self.epoch, message))

    def heartbeat(self) -> None:
        """Confirm what came."""
        self.say(c.ClientHeartbeat(self._received))

    def deliver(self, messages: list[Any]) -> None:
        """Messages of the server arrive, or are lost."""
        for message in messages if self._delivers else ():
            if isinstance(message, c.ClientWelcome):
                self.epoch = self._cluster.server.state.clients[self.peer].epoch
            elif isinstance(message, c.ClientResumed):
                self._cluster.after(0.0, partial(self._say_again, message.received))
            elif type(message) not in c.UNCOUNTED:
                self._received += 1
                self.inbox.append(message)

    def break_connection(self, seconds: float) -> None:
        """What is said from now on is lost in both directions, both sides notice that after a while, and
        after some seconds more there is another connection. Nothing when it is broken.
        """
        if not self._connected or not self._delivers:
            return
        self._delivers = False
        noticed_s = self._cluster.random.random() * _NOTICED_WITHIN_S
        self._cluster.after(noticed_s, lambda: self._notice(seconds))

    def _notice(self, seconds: float) -> None:
        self._connected = False
        self._server(PeerGone(self.peer, "its connection is gone"))
        self._cluster.after(seconds, self._come_back)

    def _come_back(self) -> None:
        self._delivers = True
        self.peer += b"'"
        self._server(ClientReturned(self.peer, self.epoch, self._received))

    def _say_again(self, count: int) -> None:
        self._connected = True
        for message in self._said[count:]:
            self._server(ClientSaid(self.peer, self.epoch, message))
