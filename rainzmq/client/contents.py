"""Contents of objects between this process and the server's relay: constants to it, results from it."""

from __future__ import annotations

import io
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rainzmq.client.datalink import DataLink, Sink
from rainzmq.client.nodes import ObjectNode
from rainzmq.client.snapshot import Snapshot
from rainzmq.common.archive import unpack_tree
from rainzmq.common.data_instance import DataInstance
from rainzmq.common.errors import RainException
from rainzmq.common.states import DataType
from rainzmq.common.trees import make_executable


class RelayContents:
    """Contents that the relay has, or gets."""

    def __init__(self, data: DataLink) -> None:
        self._data = data

    def upload(self, obj: ObjectNode) -> None:
        """Send a constant. RainException when the relay does not take it."""
        uid, payload = obj.id.uid, obj.payload
        assert payload is not None
        if isinstance(payload, Snapshot):
            with open(payload.path, "rb") as file:
                self._data.upload(uid, True, file, payload.archive_size)
        else:
            self._data.upload(uid, False, io.BytesIO(payload), len(payload))

    def download(self, obj: ObjectNode, ticket: bytes, target: str | None) -> DataInstance:
        """The content of an object whose info is known, in memory or at `target`.

        Raises:
            ContentLost: the relay could not get it.
            RainException: it cannot be written there, or the connection is lost.
        """
        if target is None:
            return self._download_to(obj, ticket, None)
        with target_errors(obj, target):
            return self._download_to(obj, ticket, target)

    def _download_to(self, obj: ObjectNode, ticket: bytes, target: str | None) -> DataInstance:
        assert obj.info is not None
        uid = obj.id.uid
        if obj.data_type is DataType.DIRECTORY:
            return self._download_directory(obj, ticket, target)
        if target is None:
            sink = Sink(obj.info.size)
            self._data.download(uid, ticket, sink)
            return DataInstance(sink.view(), spec=obj.spec, info=obj.info)
        temporary = f"{target}.{secrets.token_hex(4)}.rainzmq-new"
        try:
            with open(temporary, "xb") as file:
                self._data.download(uid, ticket, Sink(file=file))
            if obj.info.executable:
                make_executable(temporary)
            os.replace(temporary, target)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        return DataInstance(path=target, spec=obj.spec, info=obj.info)

    def _download_directory(self, obj: ObjectNode, ticket: bytes, target: str | None) -> DataInstance:
        handle, archive = tempfile.mkstemp(prefix="rainzmq-dir-", suffix=".tar")
        try:
            with open(handle, "wb") as file:
                self._data.download(obj.id.uid, ticket, Sink(file=file))
            if target is None:
                return DataInstance(archive=archive, spec=obj.spec, info=obj.info)
            with open(archive, "rb") as source:
                unpack_tree(source, target, writable=True)
        except BaseException:
            os.unlink(archive)
            raise
        os.unlink(archive)
        return DataInstance(path=target, spec=obj.spec, info=obj.info)


@contextmanager
def target_errors(obj: ObjectNode, target: str) -> Iterator[None]:
    """An OSError becomes a RainException that names what is written where."""
    try:
        yield
    except OSError as error:
        raise RainException(
            f"{obj.describe()} cannot be fetched to {target}: {error.strerror or error}"
        ) from None
