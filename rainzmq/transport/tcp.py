"""What the kernel knows of a TCP connection, by its descriptor, beside the one who owns it.

libzmq tells of a connection's end, but not whether the other host still answers, nor whether it still reads
what has come. A number that does not belong to a TCP connection (any more) gives the answer for "unknown":
the owner may close its descriptor, and the process take the number for something else, at any time.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_TCP_INFO = struct.Struct("=8B13I")
"""The beginning of Linux's `struct tcp_info`: eight single bytes, then counters."""

_RETRANSMITS, _PROBES = 2, 3
_UNACKED, _LAST_ACK_MS = 8 + 4, 8 + 12
_ASKED_OFTEN = 2
"""What is not acknowledged at the first try may just have been sent."""


@contextmanager
def _borrowed(descriptor: int) -> Iterator[socket.socket]:
    """The connection behind a descriptor. OSError when there is none."""
    connection = socket.socket(fileno=os.dup(descriptor))
    try:
        yield connection
    finally:
        connection.close()


def unanswered_s(descriptor: int) -> float:
    """For how long the other host has acknowledged nothing although the kernel sent it something, more than
    once; 0.0 while it answers or nothing is asked.

    A host answers whatever its processes do: stopped ones, too, until its buffers are full, and then it
    answers the kernel's probes.
    """
    try:
        with _borrowed(descriptor) as connection:
            info = _TCP_INFO.unpack(
                connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
            )
    except (OSError, struct.error):
        return 0.0
    asked = info[_UNACKED] and info[_RETRANSMITS] >= _ASKED_OFTEN
    return info[_LAST_ACK_MS] / 1000 if asked or info[_PROBES] >= _ASKED_OFTEN else 0.0


def unread(descriptor: int, size: int) -> bytes:
    """The first bytes, at most `size`, that have come and were not read yet; b"" for none."""
    try:
        with _borrowed(descriptor) as connection:
            return connection.recv(size, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        return b""


def cut(descriptor: int) -> None:
    """End a connection in both directions; its owner notices as if the other side had."""
    with suppress(OSError), _borrowed(descriptor) as connection:
        connection.shutdown(socket.SHUT_RDWR)


def silence_in_child(descriptor: int, host: str, port: int) -> None:
    """In a forked child: let go of a connection to `host` and `port`, whose end the other side would not see
    while we hold it. The number stays taken, since libzmq's memory still has it.
    """
    with suppress(OSError):
        with _borrowed(descriptor) as connection:
            if connection.getpeername()[:2] != (host, port):
                return
        empty = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(empty, descriptor, inheritable=False)
        os.close(empty)
