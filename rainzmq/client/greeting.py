"""The server's answer to a client's hello."""

from __future__ import annotations

from rainzmq._version import __version__
from rainzmq.common.errors import RainException
from rainzmq.protocol.codec import Header, decode, peek_header
from rainzmq.protocol.messages.client import CONVERSATION, ClientRefused, ClientWelcome
from rainzmq.protocol.schema import MESSAGES, ProtocolError
from rainzmq.protocol.version import PROTOCOL_VERSION


def take_greeting(frame: bytes, where: str) -> tuple[ClientWelcome, Header] | None:
    """The server's welcome, and the header for all that is said after it; None when `frame` is something
    else.

    Raises:
        RainException: the server at `where` refused this client, or is of another version.
    """
    try:
        tag, header = peek_header(frame)
        if tag not in (MESSAGES[ClientRefused].tag, MESSAGES[ClientWelcome].tag):
            return None
        if header.version != PROTOCOL_VERSION and tag != MESSAGES[ClientRefused].tag:
            raise RainException(
                f"The server at {where} speaks protocol version {header.version}, this client "
                f"{PROTOCOL_VERSION}; install the same version of rainzmq on both sides"
            )
        header, message = decode(frame, CONVERSATION, "server")
    except ProtocolError as error:
        raise RainException(f"The server at {where} does not speak this protocol: {error}") from None
    if isinstance(message, ClientRefused):
        raise RainException(
            f"The server at {where} (rainzmq {message.software}) refused this client "
            f"(rainzmq {__version__}): {message.reason}"
        )
    return message, Header(PROTOCOL_VERSION, header.cluster_id, header.server_epoch, message.epoch)
