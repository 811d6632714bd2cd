"""What a session remembers of the tasks it submitted, and what it makes of that when one fails.

A few numbers for each task: the tasks themselves may be gone.
"""

from __future__ import annotations

import shlex
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from typing import Any

from rainzmq.client.call_site import CallSite
from rainzmq.client.ended import SessionEnd
from rainzmq.client.nodes import BodyKey, ObjectNode, TaskNode, describe_task
from rainzmq.common.errors import SessionException, TaskCancelled, TaskException
from rainzmq.common.ids import id_of, local_of
from rainzmq.common.states import SessionState
from rainzmq.protocol.codec import unpack
from rainzmq.protocol.messages.client import Submit

_LOADS = ("builtin/load", "builtin/load_dir")
_MAX_INPUTS = 10
_MAX_TEXT = 200


class SubmittedTasks:
    """The submitted tasks of a session: where each was made, and what it was given."""

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
        self._noted_ids = array("I")
        self._noted_sites = array("I")
        self._complete = 0  # of the noted ones, those of complete submits
        self._sites: list[CallSite | None] = []
        self._site_numbers: dict[tuple[int, int] | None, int] = {}

    def __len__(self) -> int:
        """How many there are, with those that are just being submitted."""
        return len(self._noted_ids)

    def begin(self, tasks: Iterable[TaskNode], hidden: Iterable[ObjectNode]) -> None:
        """These tasks, and constants that the user does not know of, are about to be submitted: they may fail
        before everything is sent."""
        self._hidden.update([obj.num for obj in hidden])
        # What a submit that broke off has noted is noted again now.
        del self._noted_ids[self._complete :], self._noted_sites[self._complete :]
        for task in sorted(tasks, key=lambda task: task.num):
            site = task.site
            # Code objects of different files may be equal, and hashing one takes long.
            key = None if site is None else (id(site.code), site.instruction)
            index = self._site_numbers.get(key)
            if index is None:
                index = self._site_numbers[key] = len(self._sites)
                self._sites.append(site)
            self._noted_ids.append(task.num)
            self._noted_sites.append(index)

    def end(self) -> None:
        """The submit is complete."""
        self._complete = len(self._noted_ids)

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

    def site_of(self, num: int) -> CallSite | None:
        """Where a task was made, None when that is not known."""
        if num not in self._noted_ids:
            return None
        # Searched from the start: with several threads they need not be in order.
        return self._sites[self._noted_sites[self._noted_ids.index(num)]]

    def given_to(self, num: int) -> list[str]:
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


def failure_error(
    end: SessionEnd, session_id: int, submitted: SubmittedTasks, told: bool = False
) -> SessionException:
    """A new exception for the end of a session. `told` is for calls after the one that was told first."""
    failure = end.failure
    done = f"{failure.finished} of {failure.submitted} tasks were finished" if failure.submitted > 1 else ""
    if not failure.task:
        is_cancelled = end.state is SessionState.CANCELLED
        text = f"Session {session_id} {'was cancelled' if is_cancelled else 'failed'}: {failure.message}"
        kind = TaskCancelled if is_cancelled else SessionException
        return kind(f"{text}\n{done}" if done else text, session_id)
    task_id = id_of(failure.task)
    where = "" if failure.worker is None else f" on worker {failure.worker}"
    again = "" if not failure.attempt else f" in attempt {failure.attempt + 1}"
    lines = [f"{describe_task(failure.name, task_id, failure.task_type)} failed{where}{again}:"]
    lines.append(failure.message.rstrip("\n") or "(no message)")
    num = local_of(failure.task)
    site = submitted.site_of(num)
    if site is not None:
        lines.append(f"The task was made at {site}")
    lines += submitted.given_to(num)
    debug = failure.debug.rstrip("\n")
    if debug:
        lines.append("Its debug messages:")
        lines += [f"  {line}" for line in debug.split("\n")]
    if done:
        lines.append(done)
    if told:
        lines.append("The session failed with it, and its objects are gone; open another session")
    return TaskException(
        "\n".join(lines),
        session_id,
        task_id=task_id,
        task_name=failure.name,
        task_type=failure.task_type,
        attempt=failure.attempt,
        worker=failure.worker,
    )
