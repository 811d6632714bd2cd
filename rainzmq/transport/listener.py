"""Listening on a TCP port with a socket that survives a lack of file descriptors."""

from __future__ import annotations

import logging
from collections.abc import Callable

import zmq
from zmq.utils.monitor import recv_monitor_message

from rainzmq.transport.loop import Loop, Timer
from rainzmq.transport.sockets import Socket, bind_tcp

_log = logging.getLogger(__name__)

PAUSE_S = 1.0
"""No connection is taken for so long after one could not be."""


def _ignore(event: int, value: int) -> None:
    """No other events are asked for."""


class Listener:
    """Binds a socket, and takes no connections for a while when there is no descriptor for one.

    libzmq would try the one that waits again and again, with a whole cpu. Meanwhile those who connect are
    refused, and try again by themselves; connections that are there go on.
    """

    def __init__(
        self, socket: Socket, loop: Loop, events: int = 0, on_event: Callable[[int, int], None] = _ignore
    ) -> None:
        """`close` must be called before `socket` is closed. `on_event(event, value)` is called for those of
        libzmq's `events`: a socket has but one monitor.
        """
        self._socket = socket
        self._loop = loop
        self._endpoint = ""
        self._timer: Timer | None = None
        self._on_other = on_event
        self._monitor: Socket = socket.get_monitor_socket(zmq.EVENT_ACCEPT_FAILED | events)
        loop.add_reader(self._monitor, self._on_events)

    def bind(self, host: str, port: int) -> int:
        """Listen on host and port (0: any free one); the port. RainException when that is not possible."""
        port = bind_tcp(self._socket, host, port)
        self._endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        return port

    def close(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._monitor)
        self._socket.disable_monitor()
        self._monitor.close(linger=0)

    def _on_events(self) -> None:
        while not self._monitor.closed and self._monitor.poll(0):
            event = recv_monitor_message(self._monitor, zmq.DONTWAIT)
            if event["event"] == zmq.EVENT_ACCEPT_FAILED:  # each try that failed is an event
                self._pause()
            else:
                self._on_other(int(event["event"]), int(event["value"]))

    def _pause(self) -> None:
        if self._timer is None:
            self._socket.unbind(self._endpoint)
            self._timer = self._loop.call_later(PAUSE_S, self._resume)
            _log.warning("no connection can be taken on %s: no file descriptor is left", self._endpoint)

    def _resume(self) -> None:
        self._timer = None
        try:
            self._socket.bind(self._endpoint)
        except zmq.ZMQError:  # its own descriptor was taken by something else
            self._timer = self._loop.call_later(PAUSE_S, self._resume)
