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
from rainzmq.client.dataobj import DataObject, Snapshot
from rainzmq.client.graph_task import Body, Task, as_object, make_inputs
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

BodyKey = tuple[Body, tuple[Any, ...]]
"""A body and the labels of the inputs."""

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
        session_id: int,
        tasks: Sequence[Task],
        constants: Sequence[DataObject],
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
            check_task_inputs(task)
            _check_sizes(task, checked)
        for obj in constants:
            _user_json(obj)
        self._items = _ordered(tasks, constants)
        self._builder = _Builder(session_id, known_bodies)
        self.bodies = self._builder.bodies
        self.uploads = [obj for obj in constants if _inline_data(obj) is None]

    def messages(self) -> Iterator[Submit]:
        """The messages, each made when it is asked for: the server works on the first ones meanwhile."""
        builder = self._builder
        for item in self._items:
            if isinstance(item, DataObject):
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


def check_task_inputs(task: Task) -> None:
    """RainException when an input of an unsubmitted task can not be one; tasks among them become their
    outputs, and what was assigned as `inputs` a `LabeledList`."""
    if not task._peek_inputs():
        return
    session = task.session
    if type(task.inputs) is not LabeledList:
        task.inputs = make_inputs(task.inputs, session)
    inputs = task.inputs
    if len(inputs) > MAX_INPUTS:
        raise RainException(
            f"{task.describe()} has {len(inputs)} inputs, the limit is {MAX_INPUTS}; "
            "combine them in several steps"
        )
    for index, obj in enumerate(inputs):
        if type(obj) is not DataObject or obj.session is not session or (obj._batch and not obj._keep):
            label = inputs.get_label(index)
            what = f"{task.describe()}, input {index if label is None else label!r}"
            inputs.set(index, as_object(obj, session, what), label)
    if inputs.has_labels:
        for label in inputs.labels:
            if label is not None:
                check_label(label)


def _check_sizes(task: Task, checked: set[int]) -> None:
    """RainException when a task does not fit into one message, with what only it has or with its body, unless
    that is among the ids of bodies that were `checked`.
    """
    users = sum([len(user) for _, user in _users(task)])
    size = (
        _TASK_BYTES + len(task._config) + _ID_BYTES * (len(task._peek_inputs()) + len(task._hidden)) + users
    )
    body = task._body
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

    def add_constant(self, obj: DataObject) -> None:
        payload = obj._payload
        assert payload is not None
        is_snapshot = isinstance(payload, Snapshot)
        data = _inline_data(obj)
        user = _user_json(obj)
        self._make_room(_OBJECT_BYTES + len(data or b"") + len(user))
        meta = ObjectMeta(
            make_uid(self._session_id, obj._num),
            obj.label,
            is_snapshot,
            None if is_snapshot else obj._declared_type,
            payload.size if isinstance(payload, Snapshot) else len(payload),
            user,
            b"",
        )
        self._message.const_objects.append(meta)
        self._message.const_data.append(data)
        self._made(obj)

    def add_task(self, task: Task) -> None:
        inputs: list[int] = []
        labels: tuple[Any, ...] = ()
        if task._peek_inputs():
            inputs = [obj._num for obj in task.inputs]
            labels = tuple(task.inputs.labels) if task.inputs.has_labels else ()
        if task._hidden:
            inputs += [obj._num for obj in task._hidden]
            if labels:
                labels += (None,) * len(task._hidden)
        users = _users(task)
        size = _TASK_BYTES + len(task._config) + _ID_BYTES * len(inputs) + sum(len(user) for _, user in users)
        key = self._keys.get((id(task._body), labels))
        if key is not None:
            self._make_room(size)
        else:
            key = self._add_body(task._body, labels, size)
        message = self._message
        message.task_ids.append(task._num)
        message.task_bodies.append(key)
        message.task_configs.append(task._config)
        message.task_input_counts.append(len(inputs))
        message.task_inputs += inputs
        if task._name is not None and task._name != task._body.name:
            message.task_names.append((task._num, task._name))
        message.users += users
        for obj in task._peek_outputs():
            self._made(obj)

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

    def _made(self, obj: DataObject) -> None:
        if obj._keep:
            self._message.keep.append(obj._num)

    def finish(self) -> Submit:
        self._message.last = True
        return self._message


def _inline_data(constant: DataObject) -> bytes | None:
    """The content of a constant that is small enough to go with the graph, else None."""
    payload = constant._payload
    return payload if isinstance(payload, bytes) and len(payload) <= INLINE_OBJECT_BYTES else None


def _ordered(tasks: Sequence[Task], constants: Iterable[DataObject]) -> list[Task | DataObject]:
    """Constants and tasks, each after what it needs; RainException naming a cycle."""
    for task in tasks:
        num = task._num
        for obj in task._peek_inputs():
            if obj._num > num:
                return [*constants, *_sorted_by_needs(tasks)]
    return sorted([*constants, *tasks], key=lambda item: item._num)


def _sorted_by_needs(tasks: Sequence[Task]) -> list[Task]:
    """Depth first, without recursion, since a chain may be a million tasks long."""
    makers = {obj._num: task for task in tasks for obj in task.outputs}
    done: set[int] = set()
    result: list[Task] = []
    for start in tasks:
        if start._num in done:
            continue
        path: dict[int, Task] = {start._num: start}
        stack = [(start, iter(start.inputs))]
        while stack:
            task, rest = stack[-1]
            maker = next(
                (m for m in (makers.get(obj._num) for obj in rest) if m and m._num not in done), None
            )
            if maker is None:
                stack.pop()
                del path[task._num]
                done.add(task._num)
                result.append(task)
            elif maker._num in path:
                raise RainException(_cycle_text(list(path.values()), maker))
            else:
                path[maker._num] = maker
                stack.append((maker, iter(maker.inputs)))
    return result


def _cycle_text(path: list[Task], first: Task) -> str:
    cycle = [first.describe(), *[task.describe() for task in reversed(path[path.index(first) + 1 :])]]
    return f"The graph has a cycle, so its tasks can never run: {' -> '.join([*cycle, cycle[0]])}"


def _users(task: Task) -> list[tuple[int, bytes]]:
    users = []
    for item in (task, *task._peek_outputs()):
        if item._spec is not None and item._spec.user:
            users.append((item._num, _user_json(item)))
    return users


def _user_json(item: Task | DataObject) -> bytes:
    """`spec.user` as JSON, empty for {}; RainException when it is not JSON-able, no dict, or too large."""
    if item._spec is None or not item._spec.user:
        return b""
    if not isinstance(item._spec.user, dict):
        raise RainException(f"{item.describe()}: spec.user is a dict, not a {type(item._spec.user).__name__}")
    try:
        check_nesting(item._spec.user)
        data = json.dumps(item._spec.user).encode()
    except (TypeError, ValueError, RecursionError, RainException) as error:
        raise RainException(f"{item.describe()}: spec.user is not JSON-able: {error}") from None
    if len(data) > INFO_LIMIT_BYTES:
        raise RainException(
            f"{item.describe()}: spec.user has {len(data)} bytes as JSON, the limit is {INFO_LIMIT_BYTES}"
        )
    return data
