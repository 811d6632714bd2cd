"""Nodes of the graph: all that is known here of tasks and data objects.

    user's program --> Task, DataObject --graph_node--> TaskNode, ObjectNode <-- submit, news, explain, ...

A `Task` or `DataObject` is what a user holds; it has its node, and its session. Whatever handles graphs takes
nodes, so it knows neither the classes of users nor the session, and the names of `Task` and its subclasses
belong to users. A session keeps nodes until they are submitted, and nothing after that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from rainzmq.client.call_site import CallSite
from rainzmq.client.outputs import Template
from rainzmq.client.snapshot import Snapshot
from rainzmq.common.ids import ID
from rainzmq.common.labeled_list import LabeledList
from rainzmq.common.specs import ObjectInfo, ObjectSpec, TaskInfo, TaskSpec
from rainzmq.common.states import DataObjectState, DataType, TaskState


class Body(NamedTuple):
    """What many tasks share, as in `protocol.messages.shared.TaskBody` but for the labels of the inputs."""

    task_type: str
    cpus: int
    name: str | None
    config: bytes
    outputs: tuple[Template, ...]


BodyKey = tuple[Body, tuple[Any, ...]]
"""A body and the labels of the inputs."""


@dataclass(slots=True, eq=False)
class ObjectNode:
    """A data object.

    Attributes:
        session_id, num: its id.
        label: None without one.
        data_type: blob or directory.
        declared_type: the declared content type, None for unknown.
        size_hint: expected size in bytes, None for unknown.
        payload: the content of a constant until it is submitted; else None.
        keep: whether it is kept.
        unkept: whether it was kept once.
        batch: the submit it went with, from 1; 0 before.
        state, info: what was last heard of it, None before anything was.
        made_spec: the spec once somebody asked for it; None before.
    """

    session_id: int
    num: int
    label: str | None
    data_type: DataType
    declared_type: str | None
    size_hint: int | None = None
    payload: bytes | Snapshot | None = None
    keep: bool = False
    unkept: bool = False
    batch: int = 0
    state: DataObjectState | None = None
    info: ObjectInfo | None = None
    made_spec: ObjectSpec | None = None

    @property
    def id(self) -> ID:
        """Its ID."""
        return ID(self.session_id, self.num)

    @property
    def content_type(self) -> str | None:
        """The actual content type once it is known, before that the declared one."""
        info = self.info
        return self.declared_type if info is None or info.content_type is None else info.content_type

    @property
    def spec(self) -> ObjectSpec:
        """What was declared; the same one each time, since users fill `spec.user`."""
        if self.made_spec is None:
            self.made_spec = ObjectSpec(
                self.id, self.label, self.data_type, self.declared_type, self.size_hint
            )
        return self.made_spec

    def describe(self) -> str:
        """For error messages: what it is, its label and id."""
        label = "" if self.label is None else f" {self.label!r}"
        return f"Data object{label} ({self.id})"


@dataclass(slots=True, eq=False)
class TaskNode:
    """A task.

    Attributes:
        session_id, num: its id. Those of its outputs follow.
        body: what it shares with others.
        config: what only it is told; empty once it is submitted.
        name: None without one.
        spec_config: what users see in its spec as `config`.
        site: where it was made; None when not known.
        inputs: its data objects, as users see and change them, so anything may be in it until it is checked;
            None as long as there are none and nobody asked.
        hidden: constants that are further inputs, of which users do not know.
        outputs: what it makes.
        shown_outputs: the same as users see it; None as long as nobody asked, and of a million tasks most are
            never asked.
        shown_output: the only one of them.
        batch: the submit it went with, from 1; 0 before.
        state, info: what was last heard of it, None before anything was.
        made_spec: the spec once somebody asked for it; None before.
    """

    session_id: int
    num: int
    body: Body
    config: bytes
    name: str | None
    spec_config: Any
    site: CallSite | None
    inputs: LabeledList[Any] | None
    hidden: tuple[ObjectNode, ...]
    outputs: tuple[ObjectNode, ...]
    shown_outputs: LabeledList[Any] | None = None
    shown_output: Any = None
    batch: int = 0
    state: TaskState | None = None
    info: TaskInfo | None = None
    made_spec: TaskSpec | None = None

    @property
    def id(self) -> ID:
        """Its ID."""
        return ID(self.session_id, self.num)

    @property
    def spec(self) -> TaskSpec:
        """What was declared; the same one each time, since users fill `spec.user`."""
        if self.made_spec is None:
            self.made_spec = TaskSpec(
                self.id,
                self.body.task_type,
                self.spec_config,
                tuple([(obj.id, label) for label, obj in self.inputs.items()]) if self.inputs else (),
                tuple([obj.id for obj in self.outputs]),
                {"cpus": self.body.cpus},
                self.name,
            )
        return self.made_spec

    def describe(self) -> str:
        """For error messages: what it is, its name, id and type."""
        return describe_task(self.name, self.id, self.body.task_type)


GraphNode = TaskNode | ObjectNode


def describe_task(name: str | None, task_id: ID, task_type: str | None) -> str:
    """For error messages: a task by its name, id and type."""
    named = "" if name is None else f" {name!r}"
    typed = "" if task_type is None else f", {task_type}"
    return f"Task{named} ({task_id}{typed})"
