"""The data plane: objects from one process to another.

Between workers, and between workers and the relay: each process binds one PULL and connects one PUSH per
peer. Between clients and the relay: DEALER to ROUTER. The receiver drives every transfer: it asks from an
offset and grants credit; the sender never sends more than was granted. A transfer is named by `transfer`, a
random number of the receiver's; what comes for an unknown one is dropped.

A directory travels as one tar archive (see `common.archive`).
"""

from __future__ import annotations

from typing import Annotated

from rainzmq.protocol.messages.shared import Endpoint
from rainzmq.protocol.schema import message

CONVERSATION = "data"
_PEERS = ("worker", "server", "client")


@message("fetch", CONVERSATION, *_PEERS)
class FetchData:
    """Send me an object, from an offset on."""

    transfer: Annotated[int, "names this try"]
    uid: Annotated[int, "the object"]
    offset: Annotated[int, "bytes of it that are here already"]
    credit: Annotated[int, "bytes that may be sent before more credit is granted"]
    reply_to: Annotated[
        Endpoint | None, "the asking worker's data endpoint; None on a connection that has a way back"
    ]
    ticket: Annotated[bytes, "given by the server to clients for one object; empty between workers"]


@message("credit", CONVERSATION, *_PEERS)
class Credit:
    """That many bytes more may be sent."""

    transfer: Annotated[int, "the try"]
    credit: Annotated[int, "bytes"]


@message("data", CONVERSATION, *_PEERS)
class Data:
    """A piece of the object; its bytes are the second frame."""

    transfer: Annotated[int, "the try"]
    offset: Annotated[int, "where the piece begins, bytes"]


@message("end", CONVERSATION, *_PEERS)
class End:
    """All has been sent."""

    transfer: Annotated[int, "the try"]
    size: Annotated[int, "bytes of the whole; of a directory, of its archive"]
    digest: Annotated[bytes, "SHA-256 of the whole"]


@message("error", CONVERSATION, *_PEERS)
class TransferError:
    """The object cannot be sent, or taken."""

    transfer: Annotated[int, "the try"]
    reason: Annotated[str, "human-readable"]


@message("cancel", CONVERSATION, *_PEERS)
class CancelTransfer:
    """The receiver wants no more."""

    transfer: Annotated[int, "the try"]


@message("offer", CONVERSATION, "client")
class Offer:
    """A client has a constant for the relay, which then fetches it with `transfer` of the client's
    choosing.
    """

    transfer: Annotated[int, "names the upload"]
    uid: Annotated[int, "the object"]
    is_directory: Annotated[bool, "an archive of a directory"]
    size: Annotated[int, "bytes of the whole; of a directory, of its archive"]


@message("stored", CONVERSATION, "server")
class Stored:
    """The relay has an offered constant, checked."""

    transfer: Annotated[int, "the upload"]
