"""What all our TCP sockets have in common: CURVE, an enforced authentication domain, limits, error texts."""

from __future__ import annotations

import resource
from contextlib import suppress

import zmq

from rainzmq.transport.keys import KeyPair
from rainzmq.transport.net import bind_error, format_address, resolve

Context = zmq.Context[zmq.Socket[bytes]]
Socket = zmq.Socket[bytes]

MAX_SOCKETS = 16_384
"""One PUSH per peer: the default of 1023 would bound the cluster."""

HANDSHAKE_LIMIT_MS = 3000
"""A connection that has not proved its key by then is cut."""

HEARTBEAT_MS = 3000
HEARTBEAT_TIMEOUT_MS = 15_000
"""Between workers, transport heartbeats clear away connections whose other end is gone without a word. They
are answered by an I/O thread and say nothing about the peer's loop. A stopped process does not answer them,
so there are none where a client is at one end.
"""

KEEPALIVE_IDLE_S = 10
KEEPALIVE_INTERVAL_S = 5
KEEPALIVE_PROBES = 4
"""Instead the kernel asks the other kernel, and ends an idle connection when it has not answered for 30 s."""

FRAME_MARGIN_BYTES = 4096
"""Room above the largest frame we send: CURVE adds 33 bytes, and headers of data frames stand beside the
bytes.
"""


def new_context() -> Context:
    """A context for a process that talks to many peers."""
    context: Context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, MAX_SOCKETS)
    return context


def raise_file_limit() -> int:
    """Let this process have as many open files as it may: each connection and each running program takes
    some. Returns the limit it had, which is what its children should get.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Where it is refused the old limit stays, and running out of it is reported where it happens.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft


def set_common(
    socket: Socket, *, frame_limit: int, linger_ms: int, high_water: int, to_workers: bool = False
) -> None:
    """Options of every TCP socket. `high_water` is in messages per peer and direction; `to_workers`: no
    client is ever at one end.
    """
    socket.linger = linger_ms
    socket.set_hwm(high_water)
    socket.setsockopt(zmq.MAXMSGSIZE, frame_limit + FRAME_MARGIN_BYTES)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_LIMIT_MS)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, KEEPALIVE_IDLE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, KEEPALIVE_INTERVAL_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, KEEPALIVE_PROBES)
    if to_workers:
        socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)


def use_family_of(socket: Socket, host: str) -> None:
    """Speak IPv6 for an IPv6 address only: such a socket gives IPv4 addresses as mapped ones otherwise."""
    socket.setsockopt(zmq.IPV6, int(":" in host))


def make_curve_server(socket: Socket, keys: KeyPair, domain: str) -> None:
    """Take only connections that the context's `Authenticator` knows in `domain`; none when there is no
    live one.
    """
    socket.curve_publickey = keys.public
    socket.curve_secretkey = keys.secret
    socket.curve_server = True
    socket.setsockopt_string(zmq.ZAP_DOMAIN, domain)
    # Without this CURVE lets anyone in when no authenticator answers.
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)


def make_curve_client(socket: Socket, keys: KeyPair, server_public: bytes) -> None:
    """Prove to own `keys`, and talk only to the owner of `server_public`."""
    socket.curve_publickey = keys.public
    socket.curve_secretkey = keys.secret
    socket.curve_serverkey = server_public


def bind_tcp(socket: Socket, host: str, port: int) -> int:
    """Listen on host and port (0: any free one); the port.

    Raises:
        RainException: the port is in use, the host does not resolve or is not this machine's, or it is not
        allowed.
    """
    address = "0.0.0.0" if host == "*" else resolve(host)[0]
    use_family_of(socket, address)
    try:
        socket.bind(f"tcp://{format_address(address, port)}")
    except zmq.ZMQError as error:
        raise bind_error(host, port, error.errno or 0, str(error)) from None
    endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)
    return int(endpoint.rpartition(":")[2])
