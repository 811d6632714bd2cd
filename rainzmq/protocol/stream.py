"""Frames on the stream socket between worker and subworker, and what both sides must agree on besides
messages.

A frame is a big-endian u32 length and as many bytes, which are one message. See `docs/subworker_protocol.md`.

*Claims*: a Python subworker is sent tasks ahead. So that the worker can take back those that have not
begun, each task also puts its number (how many tasks were sent on this connection before it, as a
little-endian u64) into a pipe, whose read end both sides have. The subworker runs only a task whose number
it read from there; a number that the worker reads back belongs to a task that will never begin. The kernel
decides who gets a number, so there is no race.
"""

from __future__ import annotations

import struct
from typing import Any

from rainzmq.protocol.codec import encode_bare
from rainzmq.protocol.schema import ProtocolError

SOCKET_VARIABLE = "RAINZMQ_SUBWORKER_FD"
"""Environment variable with the number of the subworker's end of the socket."""

KIND_VARIABLE = "RAINZMQ_SUBWORKER"
"""Environment variable with the kind of the subworker."""

CLAIMS_VARIABLE = "RAINZMQ_SUBWORKER_CLAIMS"
"""Environment variable with the number of the read end of the claims pipe; only Python subworkers have it."""

PIN_VARIABLE = "RAINZMQ_SUBWORKER_PIN"
"""Environment variable that is `1` when tasks set their cpus as affinity, else `0`."""

TEMPORARY_VARIABLE = "RAINZMQ_SUBWORKER_TMPDIR"
"""Environment variable with the same directory as TMPDIR: a Python subworker empties it after each task."""

HELLO_TIMEOUT_S = 10.0
"""A subworker that has not said hello this long after its start is killed."""

UNABLE_EXIT_CODE = 75
"""A subworker that cannot begin a task for reasons of the machine, such as a directory that it cannot use,
ends with this code (EX_TEMPFAIL): the task is not blamed, it runs elsewhere."""

RESULT_FRAME_LIMIT_BYTES = 8 << 20
"""A longer frame of a subworker ends it."""

CLAIM = struct.Struct("<Q")
"""One number in the claims pipe."""

_LENGTH = struct.Struct(">I")


def to_frame(message: Any) -> bytes:
    """A message as one frame."""
    payload = encode_bare(message)
    return _LENGTH.pack(len(payload)) + payload


class FrameCutter:
    """Cuts a stream of bytes into the payloads of frames."""

    __slots__ = ("_limit", "_rest")

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._rest = bytearray()

    def feed(self, data: bytes | memoryview) -> list[bytes]:
        """The payloads that are complete with `data`; ProtocolError when one is longer than the limit."""
        stream: bytes | bytearray | memoryview = data
        if self._rest:
            self._rest += data
            stream = self._rest
        position, size = 0, len(stream)
        payloads: list[bytes] = []
        while size - position >= 4:
            (length,) = _LENGTH.unpack_from(stream, position)
            if length > self._limit:
                raise ProtocolError(f"a frame of {length} bytes; at most {self._limit} are allowed")
            end = position + 4 + length
            if end > size:
                break
            payloads.append(bytes(stream[position + 4 : end]))
            position = end
        if stream is self._rest:
            del self._rest[:position]
        elif position < size:
            self._rest += stream[position:]
        return payloads
