"""From the unsubmitted part of a graph to `Submit` messages.

Everything is checked here once more before anything is sent, because `Task.inputs` can be changed after a
task was made. Tasks and constants go in the order of their ids, which is topological unless inputs were
changed; then they are sorted.

A large graph takes several messages, and the server runs the first ones before the last ones are made; it
keeps everything until the last one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rainzmq.client.checks import check_label
from rainzmq.client.dataobj import DataObject
from rainzmq.client.graph_task import as_object, make_inputs
from rainzmq.client.nodes import Body, BodyKey, GraphNode, ObjectNode, TaskNode
from rainzmq.client.owner import Owner
from rainzmq.client.snapshot import Snapshot
from rainzmq.common.errors import RainException
from rainzmq.common.ids import make_uid
from rainzmq.common.labeled_list import LabeledList
from rainzmq.common.limits import (
    CONTROL_FRAME_LIMIT_BYTES,
    INFO_LIMIT_BYTES,
    INLINE_OBJECT_BYTES,
    MESSAGE_TARGET_BYTES,
)
from rainzmq.common.nesting import check_nesting
from rainzmq.protocol.messages.client import Submit
from rainzmq.protocol.messages.shared import ObjectMeta, OutputTemplate, TaskBody

MAX_INPUTS = 100_000
"""Inputs of one task; more would not fit into one message."""

FIRST_MESSAGE_BYTES = 16 << 10
"""The first message is small, so that work begins soon; each further one may be twice as large."""

_LARGEST_TASK_BYTES = CONTROL_FRAME_LIMIT_BYTES - (64 << 10)

_TASK_BYTES = 40
_ID_BYTES = 5
_BODY_BYTES = 60
_OUTPUT_BYTES = 30
_OBJECT_BYTES = 80


class Submission:
    """What a submit sends.

    Attributes:
        uploads: constants to be uploaded to the relay.
        bodies: keys of the bodies that `messages` brought so far.
    """

    def __init__(
        self,
        session: Owner,
        tasks: Sequence[TaskNode],
        constants: Sequence[ObjectNode],
        known_bodies: dict[BodyKey, int],
    ) -> None:
        """Submit these tasks and constants of a session; `known_bodies` went with earlier ones.

        All that can be wrong is found here, and nothing is changed by it, so a submit that is refused can be
        mended and tried again.

        Raises:
            RainException: a cycle, or an input that is no data object, of another session, or from an earlier
                submit and not kept; a `spec.user` that is not JSON-able or too large.
        """
        checked: set[int] = set()
        for task in tasks:
            check_inputs(task, session)
            _check_sizes(task, checked)
        for obj in constants:
            _user_json(obj)
        self._items = _ordered(tasks, constants)
        self._builder = _Builder(session.session_id, known_bodies)
        self.bodies = self._builder.bodies
        self.uploads = [obj for obj in constants if _inline_data(obj) is None]

    def messages(self) -> Iterator[Submit]:
        """The messages, each made when it is asked for: the server works on the first ones meanwhile."""
        builder = self._builder
        for item in self._items:
            if isinstance(item, ObjectNode):
                builder.add_constant(item)
            else:
                builder.add_task(item)
            if builder.full is not None:
                yield builder.full
                builder.full = None
        yield builder.finish()

    def take_new_bodies(self) -> list[tuple[BodyKey, int]]:
        """Bodies of the messages so far that were not taken yet, with their keys."""
        new, self._builder.new_bodies = self._builder.new_bodies, []
        return new


def check_inputs(task: TaskNode, session: Owner) -> None:
    """RainException when an input of an unsubmitted task cannot be one; tasks among them become their
    outputs, and what was assigned as `inputs` a `LabeledList`."""
    inputs = task.inputs
    if not inputs:
        return
    if type(inputs) is not LabeledList:
        inputs = task.inputs = make_inputs(inputs, session)
    if len(inputs) > MAX_INPUTS:
        raise RainException(
            f"{task.describe()} has {len(inputs)} inputs, the limit is {MAX_INPUTS}; "
            "combine them in several steps"
        )
    for index, obj in enumerate(inputs):
        ours = type(obj) is DataObject and obj.session is session
        if not ours or (obj.graph_node.batch and not obj.graph_node.keep):
            label = inputs.get_label(index)
            what = f"{task.describe()}, input {index if label is None else label!r}"
            inputs.set(index, as_object(obj, session, what), label)
    if inputs.has_labels:
        for label in inputs.labels:
            if label is not None:
                check_label(label)


def _check_sizes(task: TaskNode, checked: set[int]) -> None:
    """RainException when a task does not fit into one message, with what only it has or with its body, unless
    that is among the ids of bodies that were `checked`.
    """
    users = sum([len(user) for _, user in _users(task)])
    inputs = len(task.inputs or ()) + len(task.hidden)
    size = _TASK_BYTES + len(task.config) + _ID_BYTES * inputs + users
    body = task.body
    if id(body) not in checked:
        checked.add(id(body))
        size += sum([_OUTPUT_BYTES + sum([len(str(item)) for item in output]) for output in body.outputs])
        size += len(body.config)
    if size > _LARGEST_TASK_BYTES:
        raise RainException(
            f"{task.describe()} takes about {size} bytes to submit, the limit is {_LARGEST_TASK_BYTES}; make "
            "`spec.user` and labels shorter, or pass large data as blobs"
        )


class _Builder:
    """Columns of one message after the other.

    Attributes:
        bodies: keys of the bodies that came with them.
        new_bodies: those of them that nobody has taken yet.
        full: a message that nothing is added to any more, until it is taken.
    """

    def __init__(self, session_id: int, known_bodies: dict[BodyKey, int]) -> None:
        self._session_id = session_id
        self._known = known_bodies
        self.bodies: dict[BodyKey, int] = {}
        self.new_bodies: list[tuple[BodyKey, int]] = []
        self.full: Submit | None = None
        # By identity of the body: hashing one is slow.
        self._keys: dict[tuple[int, tuple[Any, ...]], int] = {}
        self._size = 0
        self._target = FIRST_MESSAGE_BYTES
        self._message = self._start()

    def _start(self) -> Submit:
        self._size = 0
        return Submit(self._session_id, [], [], [], [], [], [], [], [], [], [], [], False)

    def _make_room(self, size: int) -> None:
        if self._size and self._size + size > self._target:
            self.full = self._message
            self._message = self._start()
            self._target = min(2 * self._target, MESSAGE_TARGET_BYTES)
        self._size += size

    def add_constant(self, obj: ObjectNode) -> None:
        payload = obj.payload
        assert payload is not None
        is_snapshot = isinstance(payload, Snapshot)
        data = _inline_data(obj)
        user = _user_json(obj)
        self._make_room(_OBJECT_BYTES + len(data or b"") + len(user))
        meta = ObjectMeta(
            make_uid(self._session_id, obj.num),
            obj.label,
            is_snapshot,
            None if is_snapshot else obj.declared_type,
            payload.size if isinstance(payload, Snapshot) else len(payload),
            user,
            b"",
        )
        self._message.const_objects.append(meta)
        self._message.const_data.append(data)
        self._keep(obj)

    def add_task(self, task: TaskNode) -> None:
        inputs: list[int] = []
        labels: tuple[Any, ...] = ()
        if task.inputs:
            inputs = [obj.graph_node.num for obj in task.inputs]
            labels = tuple(task.inputs.labels) if task.inputs.has_labels else ()
        if task.hidden:
            inputs += [obj.num for obj in task.hidden]
            if labels:
                labels += (None,) * len(task.hidden)
        users = _users(task)
        size = _TASK_BYTES + len(task.config) + _ID_BYTES * len(inputs) + sum(len(user) for _, user in users)
        key = self._keys.get((id(task.body), labels))
        if key is not None:
            self._make_room(size)
        else:
            key = self._add_body(task.body, labels, size)
        message = self._message
        message.task_ids.append(task.num)
        message.task_bodies.append(key)
        message.task_configs.append(task.config)
        message.task_input_counts.append(len(inputs))
        message.task_inputs += inputs
        if task.name is not None and task.name != task.body.name:
            message.task_names.append((task.num, task.name))
        message.users += users
        for obj in task.outputs:
            self._keep(obj)

    def _add_body(self, body: Body, labels: tuple[Any, ...], task_size: int) -> int:
        """The key of a body, which goes into the message of its first task, and room for that task."""
        known = self._known.get((body, labels)) or self.bodies.get((body, labels))
        if known is not None:
            self._keys[id(body), labels] = known
            self._make_room(task_size)
            return known
        size = _BODY_BYTES + len(body.config) + _OUTPUT_BYTES * len(body.outputs) + 10 * len(labels)
        self._make_room(task_size + size)
        key = len(self._known) + len(self.bodies) + 1
        self.bodies[body, labels] = key
        self.new_bodies.append(((body, labels), key))
        self._keys[id(body), labels] = key
        outputs = [OutputTemplate(*template) for template in body.outputs]
        self._message.bodies.append(
            TaskBody(key, body.task_type, body.cpus, body.name, body.config, list(labels), outputs)
        )
        return key

    def _keep(self, obj: ObjectNode) -> None:
        if obj.keep:
            self._message.keep.append(obj.num)

    def finish(self) -> Submit:
        self._message.last = True
        return self._message


def _inline_data(constant: ObjectNode) -> bytes | None:
    """The content of a constant that is small enough to go with the graph, else None."""
    payload = constant.payload
    return payload if isinstance(payload, bytes) and len(payload) <= INLINE_OBJECT_BYTES else None


def _ordered(tasks: Sequence[TaskNode], constants: Iterable[ObjectNode]) -> list[GraphNode]:
    """Constants and tasks, each after what it needs; RainException naming a cycle."""
    for task in tasks:
        if task.inputs is not None:
            num = task.num
            for obj in task.inputs:
                if obj.graph_node.num > num:
                    return [*constants, *_sorted_by_needs(tasks)]
    return sorted([*constants, *tasks], key=lambda item: item.num)


def _sorted_by_needs(tasks: Sequence[TaskNode]) -> list[TaskNode]:
    """Depth first, without recursion, since a chain may be a million tasks long."""
    makers = {obj.num: task for task in tasks for obj in task.outputs}
    done: set[int] = set()
    result: list[TaskNode] = []
    for start in tasks:
        if start.num in done:
            continue
        path: dict[int, TaskNode] = {start.num: start}
        stack = [(start, _makers(start, makers))]
        while stack:
            task, rest = stack[-1]
            maker = next((maker for maker in rest if maker.num not in done), None)
            if maker is None:
                stack.pop()
                del path[task.num]
                done.add(task.num)
                result.append(task)
            elif maker.num in path:
                raise RainException(_cycle_text(list(path.values()), maker))
            else:
                path[maker.num] = maker
                stack.append((maker, _makers(maker, makers)))
    return result


def _makers(task: TaskNode, makers: dict[int, TaskNode]) -> Iterator[TaskNode]:
    """Those that make the inputs of a task, each when it is asked for."""
    nums = (obj.graph_node.num for obj in task.inputs or ())
    return (makers[num] for num in nums if num in makers)


def _cycle_text(path: list[TaskNode], first: TaskNode) -> str:
    cycle = [first.describe(), *[task.describe() for task in reversed(path[path.index(first) + 1 :])]]
    return f"The graph has a cycle, so its tasks can never run: {' -> '.join([*cycle, cycle[0]])}"


def _users(task: TaskNode) -> list[tuple[int, bytes]]:
    users = []
    items: tuple[GraphNode, ...] = (task, *task.outputs)
    for item in items:
        if item.made_spec is not None and item.made_spec.user:
            users.append((item.num, _user_json(item)))
    return users


def _user_json(item: GraphNode) -> bytes:
    """`spec.user` as JSON, empty for {}; RainException when it is not JSON-able, no dict, or too large."""
    user = None if item.made_spec is None else item.made_spec.user
    if not user:
        return b""
    if not isinstance(user, dict):
        raise RainException(f"{item.describe()}: spec.user is a dict, not a {type(user).__name__}")
    try:
        check_nesting(user)
        data = json.dumps(user).encode()
    except (TypeError, ValueError, RecursionError, RainException) as error:
        raise RainException(f"{item.describe()}: spec.user is not JSON-able: {error}") from None
    if len(data) > INFO_LIMIT_BYTES:
        raise RainException(
            f"{item.describe()}: spec.user has {len(data)} bytes as JSON, the limit is {INFO_LIMIT_BYTES}"
        )
    return data
