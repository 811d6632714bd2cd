"""Bulk data between a client and the server's relay: uploads of constants and downloads of results.

A DEALER to the relay's ROUTER, connected at its first use. The receiver drives, as everywhere on the data
plane: it asks from an offset on and grants credit. One transfer at a time; another thread waits for its turn.
ZeroMQ is not relied on: a download without progress, or whose connection broke, is asked for again at the
offset it reached, and an upload whose connection broke is offered again; the relay asks for the rest of it.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from rainzmq.common.errors import RainException
from rainzmq.common.ids import id_of
from rainzmq.common.limits import CHUNK_BYTES, CREDIT_BYTES
from rainzmq.protocol.codec import Header, decode, encode
from rainzmq.protocol.messages.data import (
    CONVERSATION,
    CancelTransfer,
    Credit,
    Data,
    End,
    FetchData,
    Offer,
    Stored,
    TransferError,
)
from rainzmq.protocol.schema import ProtocolError

RETRY_AFTER_S = 5.0
MAX_TRIES = 3
GIVE_UP_AFTER_S = 60.0
"""An upload in which the relay asks for nothing for so long fails."""

STOOD_STILL_S = 5.0
"""A process that did nothing for so long was stopped; the relay may have given its upload up meanwhile."""

_POLL_S = 1.0
_CONNECT_PAUSE_S = 1.0
"""Before it is tried again to connect: what refused us just now may be there in a moment."""


class ContentLost(RainException):
    """The server could not get the content from those who had it. It makes it again, if they are gone."""


class _Broken(Exception):
    """The connection broke while something was on its way, or could not be made."""


@dataclass
class _Upload:
    """One constant on its way, over as many connections as it takes."""

    offer: Offer
    source: BinaryIO
    digest: bytes
    reached: int = 0
    failures: int = 0
    """In a row, without that the relay asked for bytes after `reached` meanwhile."""


class Channel(Protocol):
    """What is needed of `transport.control.ControlClient`."""

    def send(self, frames: list[bytes]) -> None:
        """Send frames, now or as soon as they are taken."""

    def receive(self, timeout_s: float | None = None) -> list[list[bytes]]:
        """Messages that are there, after waiting for the first."""

    def disconnected(self) -> bool:
        """Whether the connection broke."""

    def close(self) -> None:
        """Let go of it."""


class DataLink:
    """A client's connection to the relay, made again after it broke."""

    def __init__(self, connect: Callable[[], Channel], header: Header, check: Callable[[], None]) -> None:
        """`connect` gives a connected channel; `check` raises when the client's connection is lost, and waits
        while it is broken."""
        self._connect = connect
        self._header = header
        self._check = check
        self._channel: Channel | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._drop()

    def upload(self, uid: int, is_directory: bool, source: BinaryIO, size: int) -> None:
        """Give a constant to the relay; `source` has `size` bytes and can seek.

        Raises:
            RainException: the relay does not take it, or the server is gone.
        """
        with self._lock:
            try:
                self._upload(uid, is_directory, source, size)
            except BaseException:
                self._drop()
                raise

    def download(self, uid: int, ticket: bytes, sink: Sink) -> None:
        """Get an object from the relay into `sink`; its size and digest are checked.

        Raises:
            RainException: the relay cannot give it, or the server is gone.
        """
        with self._lock:
            try:
                self._download(uid, ticket, sink)
            except BaseException:
                self._drop()
                raise

    def _upload(self, uid: int, is_directory: bool, source: BinaryIO, size: int) -> None:
        # The same transfer in each try, so that the relay knows it again.
        upload = _Upload(Offer(secrets.randbits(62), uid, is_directory, size), source, _digest(source))
        why = ""
        while upload.failures < MAX_TRIES:
            try:
                self._try_upload(upload)
                return
            except _Broken as broken:
                why = str(broken)
                upload.failures += 1
                self._drop()
        raise RainException(
            f"The constant {id_of(uid)} could not be sent to the server: "
            f"the connection broke {MAX_TRIES} times{why and ', at last: '}{why}"
        )

    def _try_upload(self, upload: _Upload) -> None:
        offer, source = upload.offer, upload.source
        transfer, uid, size = offer.transfer, offer.uid, offer.size
        self._start(offer)
        offset, credit, ended = 0, 0, True
        heard_s = looked_s = time.monotonic()
        while True:
            if _stood_still(looked_s):
                raise _Broken("this process stood still")
            looked_s = time.monotonic()
            for message, _ in self._receive(transfer):
                heard_s = time.monotonic()
                if isinstance(message, FetchData):
                    offset, credit, ended = min(message.offset, size), message.credit, False
                    if offset > upload.reached:
                        upload.reached, upload.failures = offset, 0
                elif isinstance(message, Credit):
                    credit += message.credit
                elif isinstance(message, Stored):
                    return
                elif isinstance(message, TransferError):
                    if _stood_still(looked_s):  # it may well have given us up for that
                        raise _Broken(message.reason)
                    raise RainException(f"The server cannot take the constant {id_of(uid)}: {message.reason}")
            if time.monotonic() - heard_s > GIVE_UP_AFTER_S:
                raise RainException(
                    f"The server did not take the constant {id_of(uid)}: nothing was heard of the transfer "
                    f"for {GIVE_UP_AFTER_S:.0f} s"
                )
            while not ended and credit > 0 and offset < size:
                source.seek(offset)
                piece = source.read(min(CHUNK_BYTES, credit, size - offset))
                self._send(Data(transfer, offset), piece)
                offset += len(piece)
                credit -= len(piece)
            if not ended and offset == size:
                self._send(End(transfer, size, upload.digest))
                ended = True

    def _download(self, uid: int, ticket: bytes, sink: Sink) -> None:
        failures = 0
        why = ""
        while failures < MAX_TRIES:
            before = sink.position
            try:
                why = self._try_download(uid, ticket, sink)
            except _Broken as broken:
                self._drop()
                why = str(broken) or "the data connection broke again and again"
            if not why:
                return
            failures = failures + 1 if sink.position <= before else 1
        raise RainException(f"Data object {id_of(uid)} could not be fetched from the server: {why}")

    def _try_download(self, uid: int, ticket: bytes, sink: Sink) -> str:
        """One try from where the sink stands; why it did not succeed, "" when it did."""
        transfer = secrets.randbits(62)
        self._start(FetchData(transfer, uid, sink.position, CREDIT_BYTES, None, ticket))
        heard_s = time.monotonic()
        used = 0
        while time.monotonic() - heard_s < RETRY_AFTER_S:
            for message, piece in self._receive(transfer):
                heard_s = time.monotonic()
                if isinstance(message, Data):
                    if message.offset != sink.position:
                        self._send(CancelTransfer(transfer))
                        return "a piece of it was lost"
                    sink.write(piece)
                    used += len(piece)
                elif isinstance(message, End):
                    if sink.is_complete(message.size, message.digest):
                        return ""
                    sink.restart()
                    return "it was damaged on its way"
                elif isinstance(message, TransferError):
                    raise ContentLost(f"Data object {id_of(uid)} could not be fetched: {message.reason}")
            if used >= CREDIT_BYTES // 4:
                self._send(Credit(transfer, used))
                used = 0
        self._send(CancelTransfer(transfer))
        return f"nothing came for {RETRY_AFTER_S:.0f} s"

    def _start(self, message: Any) -> None:
        """Send the first message of a transfer, on a new connection when there is none."""
        self._check()
        if self._channel is None or self._channel.disconnected():
            self._drop()
            try:
                self._channel = self._connect()
            except RainException as error:
                # As long as the client's own connection stands or comes back, it is worth another try.
                time.sleep(_CONNECT_PAUSE_S)
                raise _Broken(str(error)) from None
        self._send(message)

    def _send(self, message: Any, *frames: bytes) -> None:
        assert self._channel is not None
        if self._channel.disconnected():
            raise _Broken  # a new connection knows nothing of this transfer
        self._channel.send([encode(message, self._header), *frames])

    def _receive(self, transfer: int) -> Iterator[tuple[Any, bytes]]:
        """Messages about a transfer, each with its bytes; none when none came within a second."""
        self._check()
        assert self._channel is not None
        messages = self._channel.receive(_POLL_S)
        if not messages and self._channel.disconnected():
            raise _Broken
        for frames in messages:
            try:
                _, message = decode(frames[0], CONVERSATION, "server")
            except ProtocolError as error:
                raise RainException(f"The server's relay does not speak this protocol: {error}") from None
            if getattr(message, "transfer", None) == transfer:
                yield message, frames[1] if len(frames) > 1 else b""

    def _drop(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None


class Sink:
    """Takes what is downloaded: into memory, or with `file` into an open binary file.

    Attributes:
        position: bytes taken so far.
    """

    def __init__(self, size: int | None = None, file: BinaryIO | None = None) -> None:
        """`size` is the expected number of bytes in memory."""
        self.position = 0
        self._file = file
        self._data = bytearray(0 if size is None or file is not None else size)
        self._digest = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Take the next bytes. OSError when the file cannot be written."""
        if self._file is not None:
            self._file.write(data)
        else:
            # Slices of a bytearray replace, and at its end extend.
            self._data[self.position : self.position + len(data)] = data
        self._digest.update(data)
        self.position += len(data)

    def is_complete(self, size: int, digest: bytes) -> bool:
        """Whether exactly those bytes came."""
        return self.position == size and self._digest.digest() == digest

    def restart(self) -> None:
        """Forget what came."""
        self.position = 0
        self._digest = hashlib.sha256()
        if self._file is not None:
            self._file.seek(0)
            self._file.truncate()

    def view(self) -> memoryview:
        """What came into memory."""
        return memoryview(self._data)[: self.position].toreadonly()


def _stood_still(looked_s: float) -> bool:
    return time.monotonic() - looked_s > _POLL_S + STOOD_STILL_S


def _digest(source: BinaryIO) -> bytes:
    digest = hashlib.sha256()
    source.seek(0)
    while piece := source.read(CHUNK_BYTES):
        digest.update(piece)
    return digest.digest()
