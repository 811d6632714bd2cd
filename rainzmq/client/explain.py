"""What a session remembers of the tasks it submitted, to explain a failure: a few numbers for each task."""

from __future__ import annotations

import shlex
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rainzmq.protocol.codec import unpack

if TYPE_CHECKING:
    from rainzmq.client.submit import BodyKey
    from rainzmq.protocol.messages.client import Submit

_LOADS = ("builtin/load", "builtin/load_dir")
_MAX_INPUTS = 10
_MAX_TEXT = 200


class History:
    """The submitted tasks of a session; the tasks themselves may be gone."""

    def __init__(self) -> None:
        self._ids = array("I")
        self._bodies = array("I")
        self._counts = array("I")
        self._inputs = array("I")
        self._names: dict[int, str] = {}
        self._shared: dict[int, BodyKey] = {}
        self._hidden: set[int] = set()
        self._load_keys: set[int] = set()
        self._paths: dict[int, str] = {}  # of tasks that load a file or directory of a worker

    def hide(self, constants: Iterable[int]) -> None:
        """These constants are submitted, which the user does not know of."""
        self._hidden.update(constants)

    def add(self, message: Submit, bodies: Iterable[tuple[BodyKey, int]]) -> None:
        """The tasks of a message were submitted; `bodies` are those that came with it, and their keys."""
        for (body, labels), key in bodies:
            self._shared[key] = body, labels
            if body.task_type in _LOADS:
                self._load_keys.add(key)
        self._ids.extend(message.task_ids)
        self._bodies.extend(message.task_bodies)
        self._counts.extend(message.task_input_counts)
        self._inputs.extend(message.task_inputs)
        self._names.update(message.task_names)
        if self._load_keys:
            columns = (message.task_ids, message.task_bodies, message.task_configs)
            for num, key, config in zip(*columns, strict=True):
                if key in self._load_keys:
                    self._paths[num] = unpack(config)[0]

    def explain(self, num: int) -> list[str]:
        """Lines about what a task was given: the arguments of a program, and the inputs."""
        if num not in self._ids:
            return []
        index = self._ids.index(num)
        body, labels = self._shared[self._bodies[index]]
        start = sum(self._counts[:index])
        given = self._inputs[start : start + self._counts[index]]
        inputs = [obj for obj in given if obj not in self._hidden]
        lines = []
        if body.task_type == "builtin/execute":
            lines.append(f"Its arguments: {_short(_arguments(unpack(body.config)))}")
        if inputs:
            order = sorted(range(len(self._ids)), key=self._ids.__getitem__)
            shown = [
                self._describe(labels[position] if labels else None, obj, order)
                for position, obj in enumerate(inputs[:_MAX_INPUTS])
            ]
            more = f" and {len(inputs) - len(shown)} more" if len(inputs) > len(shown) else ""
            lines.append(f"Its inputs: {', '.join(shown)}{more}")
        return lines

    def _describe(self, label: str | None, obj: int, order: list[int]) -> str:
        named = "" if label is None else f"{label!r} "
        after = bisect_left(order, obj, key=self._ids.__getitem__)
        if after:
            index = order[after - 1]
            num = self._ids[index]
            body, _ = self._shared[self._bodies[index]]
            # The outputs of a task have the numbers after its own.
            if num < obj <= num + len(body.outputs):
                name = self._names.get(num, body.name)
                what = self._paths.get(num) or (body.task_type if name is None else name)
                return f"{named}({_short(what)})"
        return f"{named}(constant)"


def _arguments(config: Any) -> str:
    args = config["args"]
    return str(args[0]) if config["shell"] else shlex.join(args)


def _short(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."
