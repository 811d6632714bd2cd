"""Fetching the content of an object: asking for it, getting it, and asking again when it was lost."""

from __future__ import annotations

import os

from rainzmq.client.asking import ask_content
from rainzmq.client.channel import SessionChannel
from rainzmq.client.contents import target_errors
from rainzmq.client.datalink import ContentLost
from rainzmq.client.news import apply_fetched
from rainzmq.client.nodes import ObjectNode
from rainzmq.common.data_instance import DataInstance
from rainzmq.common.errors import RainException
from rainzmq.common.states import DataType

_FETCH_TRIES = 3


def fetch_object(
    channel: SessionChannel, obj: ObjectNode, path: str | os.PathLike[str] | None
) -> DataInstance:
    """The content of a kept, submitted object; streamed to `path` when one is given. Raises what
    `Session.fetch` raises."""
    for _ in range(_FETCH_TRIES - 1):
        try:
            return _fetch_once(channel, obj, path)
        except ContentLost:
            continue  # its worker died: asked again, the server waits until it is made again
    return _fetch_once(channel, obj, path)


def _fetch_once(
    channel: SessionChannel, obj: ObjectNode, path: str | os.PathLike[str] | None
) -> DataInstance:
    channel.check()
    target = None if path is None else _free_target(obj, os.fspath(path))
    fetched = ask_content(channel, obj.num)
    info = apply_fetched(fetched, obj)
    if fetched.data is None:
        return channel.client.contents.download(obj, fetched.ticket, target)
    instance = DataInstance(fetched.data, spec=obj.spec, info=info)
    if target is None:
        return instance
    with target_errors(obj, target):
        instance.write(target)
    return DataInstance(path=target, spec=obj.spec, info=info)


def _free_target(obj: ObjectNode, target: str) -> str:
    """`target`, if the object can be written there; checked before what may be a long wait."""
    parent = os.path.dirname(os.path.abspath(target))
    if not os.path.isdir(parent):
        raise RainException(f"{obj.describe()} cannot be fetched to {target}: there is no directory {parent}")
    if obj.data_type is DataType.BLOB:
        if os.path.isdir(target):
            raise RainException(f"{target} is a directory; name the file that {obj.describe()} is written to")
    elif os.path.lexists(target) and (not os.path.isdir(target) or os.listdir(target)):
        raise RainException(f"{target} is there already; a directory is fetched to a new path")
    return target
