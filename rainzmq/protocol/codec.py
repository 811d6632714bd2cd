"""Messages to frames and back.

A control or data message is one msgpack array: `[tag, version, cluster, server epoch, sender epoch,
*fields]`. Subworker messages have no header: `[tag, *fields]`. Everything that comes from a peer is decoded
with explicit limits and no extension types, and raises `ProtocolError` when it is not what its declaration
says.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgpack

from rainzmq.protocol.schema import MESSAGES, ProtocolError, by_tag, from_row, to_row
from rainzmq.protocol.version import PROTOCOL_VERSION

HEADER_FIELDS = 5
"""Elements of the array before the message's own fields."""

_MAX_ITEMS = 1 << 18


class Header(NamedTuple):
    """Who speaks, and in which life of the cluster.

    Attributes:
        version: the protocol's version.
        cluster_id: random, the same for all processes of a cluster; 0 before the handshake.
        server_epoch: which life of the server the sender speaks to; 0 before the handshake.
        sender_epoch: which life of itself the sender speaks for, given out by the server; 0 before the
            handshake.
    """

    version: int = PROTOCOL_VERSION
    cluster_id: int = 0
    server_epoch: int = 0
    sender_epoch: int = 0


def pack(value: Any) -> bytes:
    """Plain values as msgpack."""
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def unpack(data: bytes | memoryview) -> Any:
    """Plain values from msgpack of an untrusted peer.

    Raises:
        ProtocolError: not msgpack, too deep, extension types, map keys other than str, or trailing bytes.
    """
    size = len(data)
    try:
        return msgpack.unpackb(
            data,
            raw=False,
            use_list=True,
            strict_map_key=True,
            ext_hook=_no_extensions,
            max_str_len=size,
            max_bin_len=size,
            max_array_len=min(size, _MAX_ITEMS),
            max_map_len=min(size, _MAX_ITEMS),
            max_ext_len=0,
        )
    except ProtocolError:
        raise
    except (
        ValueError,
        TypeError,
        RecursionError,
        OverflowError,
        msgpack.exceptions.UnpackException,
    ) as error:
        raise ProtocolError(f"not a msgpack frame: {type(error).__name__}: {error!s:.80}") from None


def encode(message: Any, header: Header) -> bytes:
    """A message as one frame."""
    return pack((MESSAGES[type(message)].tag, *header, *to_row(message)))


def decode(frame: bytes | memoryview, conversation: str, sender: str) -> tuple[Header, Any]:
    """The message in a frame that a peer in role `sender` sent.

    Raises:
        ProtocolError: the frame is malformed, or that role may not send it. The version is not checked here
            but by the handshake, so that a peer of another version can be told so.
    """
    row = unpack(frame)
    if type(row) is not list or len(row) < HEADER_FIELDS:
        raise ProtocolError("a frame without a header")
    header = row[1:HEADER_FIELDS]
    if any(type(item) is not int or item < 0 for item in header):
        raise ProtocolError("a header of something other than integers")
    if type(row[0]) is not str:
        raise ProtocolError("a message without a tag")
    declaration = by_tag(conversation, row[0])
    if sender not in declaration.senders:
        raise ProtocolError(f"a {sender} may not send {row[0]!r}")
    return Header(*header), from_row(declaration.cls, row[HEADER_FIELDS:])


def peek_header(frame: bytes | memoryview) -> tuple[str, Header]:
    """Tag and header of a frame, whatever its version; ProtocolError when it has none."""
    row = unpack(frame)
    if type(row) is not list or len(row) < HEADER_FIELDS or type(row[0]) is not str:
        raise ProtocolError("a frame without a header")
    header = row[1:HEADER_FIELDS]
    if any(type(item) is not int or item < 0 for item in header):
        raise ProtocolError("a header of something other than integers")
    return row[0], Header(*header)


def _no_extensions(code: int, data: bytes) -> Any:
    raise ProtocolError(f"msgpack extension type {code}")


def encode_bare(message: Any) -> bytes:
    """A message without a header, as subworkers speak it."""
    return pack((MESSAGES[type(message)].tag, *to_row(message)))


def decode_bare(frame: bytes | memoryview, conversation: str, sender: str) -> Any:
    """The message without a header in a frame that a peer in role `sender` sent; ProtocolError if it is
    none.
    """
    row = unpack(frame)
    if type(row) is not list or not row or type(row[0]) is not str:
        raise ProtocolError("a message without a tag")
    declaration = by_tag(conversation, row[0])
    if sender not in declaration.senders:
        raise ProtocolError(f"a {sender} may not send {row[0]!r}")
    return from_row(declaration.cls, row[1:])
