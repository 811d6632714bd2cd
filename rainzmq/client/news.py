"""What the server says of tasks and objects, put into their nodes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rainzmq.client.nodes import GraphNode, ObjectNode, TaskNode
from rainzmq.common.specs import ObjectInfo, TaskInfo
from rainzmq.common.states import DataObjectState, DataType
from rainzmq.protocol.messages.client import Fetched, News


def apply_news(news: News, nodes: Mapping[int, GraphNode]) -> None:
    """Put states and infos into the nodes, which are given by number."""
    for num, state, start_time, duration, worker, user, debug in news.tasks:
        task = nodes.get(num)
        if isinstance(task, TaskNode):
            task.state = state
            task.info = TaskInfo(None, start_time, duration, worker, _user(user), debug)
    executables = frozenset(news.executables)
    for num, object_state, size, content_type, worker, user in news.objects:
        obj = nodes.get(num)
        if isinstance(obj, ObjectNode):
            obj.state = object_state
            if obj.data_type is DataType.DIRECTORY:
                content_type = obj.declared_type
            obj.info = ObjectInfo(size, content_type, worker, _user(user), num in executables)


def apply_fetched(fetched: Fetched, obj: ObjectNode) -> ObjectInfo:
    """Put what came with the content of an object into its node; returns its info."""
    meta = fetched.meta
    content_type = obj.declared_type if obj.data_type is DataType.DIRECTORY else meta.content_type
    obj.state = DataObjectState.FINISHED
    obj.info = ObjectInfo(meta.size, content_type, fetched.worker, _user(meta.info_user), meta.executable)
    return obj.info


def _user(data: bytes) -> dict[str, Any]:
    """`info.user` from JSON that a task wrote; {} when it is none."""
    if not data:
        return {}
    try:
        user = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return user if isinstance(user, dict) else {}
