"""Tasks: nodes of the graph that make data objects out of data objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, overload

from rainzmq.client.call_site import user_site
from rainzmq.client.checks import check_cpus, check_label, check_name
from rainzmq.client.dataobj import DataObject
from rainzmq.client.inputs import Input
from rainzmq.client.nodes import Body, ObjectNode, TaskNode
from rainzmq.client.outputs import Output, make_outputs
from rainzmq.client.owner import Owner, active_owner
from rainzmq.common.data_instance import DataInstance
from rainzmq.common.errors import RainException
from rainzmq.common.ids import ID
from rainzmq.common.labeled_list import LabeledList
from rainzmq.common.limits import CONFIG_LIMIT_BYTES
from rainzmq.common.specs import TaskInfo, TaskSpec
from rainzmq.common.states import TaskState
from rainzmq.common.tracebacks import at_border
from rainzmq.protocol.codec import pack


class _Lists:
    """The list `inputs` or `outputs` of each task, made when somebody asks for it.

    A subclass may have something of its own under these names, such as the labels of what it makes: that is
    seen on the class, and on a task until that is made.
    """

    def __init__(self, name: str, lists: Callable[[Task], LabeledList[DataObject]], own: Any = None) -> None:
        self._name = name
        self._lists = lists
        self._own = own

    @overload
    def __get__(self, task: None, kind: type) -> Any: ...
    @overload
    def __get__(self, task: Task, kind: type) -> LabeledList[DataObject]: ...
    def __get__(self, task: Task | None, kind: type) -> Any:
        if task is None:
            return self._own
        if hasattr(task, "graph_node"):
            return self._lists(task)
        return vars(task).get(self._name, self._own)

    def __set__(self, task: Task, value: LabeledList[DataObject]) -> None:
        if not hasattr(task, "graph_node"):
            vars(task)[self._name] = value
        elif self._name == "inputs":
            task.graph_node.inputs = value
        else:
            task.graph_node.shown_outputs = value


def _inputs_of(task: Task) -> LabeledList[DataObject]:
    node = task.graph_node
    if node.inputs is None:
        node.inputs = LabeledList()
    return node.inputs


def _outputs_of(task: Task) -> LabeledList[DataObject]:
    node = task.graph_node
    if node.shown_outputs is None:
        node.shown_outputs = LabeledList()
        for made in node.outputs:
            shown = task.output if len(node.outputs) == 1 else DataObject(task.session, made)
            node.shown_outputs.append(shown, made.label)
    return node.shown_outputs


class Task:
    """A task of a session. Users make tasks of their own subworkers by this class or a subclass with
    `TASK_TYPE`.

    Attributes:
        session: the session it belongs to.
        inputs: its data objects, with the labels they have as its inputs; may be changed before submit.
        outputs: the data objects it makes.
        graph_node: for the package itself: all that is known of it.
    """

    TASK_TYPE: str | None = None

    __slots__ = ("__weakref__", "graph_node", "session")
    session: Owner
    graph_node: TaskNode

    inputs = _Lists("inputs", _inputs_of)
    outputs = _Lists("outputs", _outputs_of)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, lists in (("inputs", _inputs_of), ("outputs", _outputs_of)):
            if name in vars(cls):
                setattr(cls, name, _Lists(name, lists, vars(cls)[name]))

    @at_border
    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        *,
        config: Any = None,
        session: Owner | None = None,
        task_type: str | None = None,
        cpus: int = 1,
        name: str | None = None,
    ) -> None:
        """Make a task in `session`, by default the active one. Nothing runs before `submit()`.

        `inputs` are data objects, tasks with one output, or pairs (label, object). `outputs` is a count, a
        label, an `Output`, several labels or `Output`s, or None. `config` is what the method is told: None,
        bool, int, float, str, bytes, and lists and dictionaries of them. `cpus` are needed while it runs.

        Raises:
            ValueError: neither `task_type` nor `TASK_TYPE`, or one that is not "subworker/method".
            RainException: anything else that is wrong with an argument; no active session.
        """
        task_type = check_task_type(self.TASK_TYPE if task_type is None else task_type)
        session = active_owner() if session is None else session
        objects = make_inputs(inputs, session)
        made = make_outputs(outputs)
        packed = b"" if config is None else _pack_config(config, task_type)
        body = Body(
            task_type,
            check_cpus(cpus),
            None if name is None else check_name(name),
            b"",
            tuple([output.template() for output in made]),
        )
        declare(self, session, body, objects, made, packed, spec_config=config)

    @property
    def id(self) -> ID:
        """Its ID."""
        return self.graph_node.id

    @property
    def name(self) -> str | None:
        """Its name, None without one. Names are grouped by `/` on the dashboard."""
        return self.graph_node.name

    @property
    def task_type(self) -> str:
        """`subworker/method`."""
        return self.graph_node.body.task_type

    @property
    def output(self) -> DataObject:
        """The only output; RainException unless there is exactly one."""
        node = self.graph_node
        if node.shown_output is None:
            count = len(node.outputs)
            if count != 1:
                raise RainException(
                    f"{self.describe()} has {count} outputs, not exactly one; choose from .outputs"
                )
            node.shown_output = DataObject(self.session, node.outputs[0])
        return node.shown_output  # type: ignore[no-any-return]

    @property
    def spec(self) -> TaskSpec:
        """What was declared. `spec.user` may be filled before submit."""
        return self.graph_node.spec

    @property
    def info(self) -> TaskInfo | None:
        """What was last heard of it, None before anything was."""
        node = self.graph_node
        end = self.session.heard.end if node.batch else None
        if end is not None and (node.info is None or node.info.error is None):
            node.info = end.task_info(node.num, node.info)
        return node.info

    @property
    def state(self) -> TaskState | None:
        """None before submit; then as last heard from the server."""
        node, heard = self.graph_node, self.session.heard
        if not node.batch:
            return None
        if heard.end is not None:
            return heard.end.task_state(node.num)
        if heard.finished_batch >= node.batch:
            return TaskState.FINISHED
        return TaskState.WAITING if node.state is None else node.state

    def keep_outputs(self) -> None:
        """Keep all outputs; see `DataObject.keep`."""
        for obj in self.outputs:
            obj.keep()

    @at_border
    def unkeep_outputs(self) -> None:
        """Undo `keep_outputs()`; RainException when one is not kept."""
        self.session.unkeep(self.outputs)

    @at_border
    def fetch_outputs(self) -> list[DataInstance]:
        """The contents of all outputs, in order; see `Session.fetch`."""
        return [obj.fetch() for obj in self.outputs]

    @at_border
    def wait(self) -> None:
        """Wait until it is finished; see `Session.wait`."""
        self.session.wait((self,))

    @at_border
    def update(self) -> None:
        """Ask for its state and info; see `Session.update`."""
        self.session.update((self,))

    def describe(self) -> str:
        """For error messages: what it is, its name, id and type."""
        return self.graph_node.describe()

    def __reduce__(self) -> Any:
        raise RainException(
            f"{self.describe()} cannot be pickled; pass its outputs as arguments of a remote function"
        )

    def _repr_html_(self) -> str:
        """For notebooks."""
        from rainzmq.client.notebook import task_html

        return task_html(self.graph_node, self.state, self.info)

    def __repr__(self) -> str:
        state = "unsubmitted" if self.state is None else self.state.value
        name = "" if self.name is None else f" {self.name!r}"
        return f"<{type(self).__name__} {self.id}{name} {self.task_type} {state}>"


def declare(
    task: Task,
    session: Owner,
    body: Body,
    inputs: LabeledList[DataObject] | None,
    outputs: tuple[Output, ...],
    config: bytes = b"",
    *,
    name: str | None = None,
    hidden: tuple[ObjectNode, ...] = (),
    spec_config: Any = None,
) -> None:
    """Everything has been checked: make what was only just created a task of the session. `hidden` constants
    are extra last inputs."""
    draft = session.draft
    session_id = draft.session_id
    first = num = draft.take_ids(len(outputs) + 1)
    made = []
    for output in outputs:
        num += 1
        made.append(
            ObjectNode(session_id, num, output.label, output.data_type, output.content_type, output.size_hint)
        )
    task.session = session
    task.graph_node = node = TaskNode(
        session_id,
        first,
        body,
        config,
        body.name if name is None else name,
        spec_config,
        user_site(task),
        inputs,
        hidden,
        tuple(made),
    )
    draft.tasks.append(node)


def flatten(items: Any) -> Iterator[Any]:
    """Tasks, data objects and whatever else is in nested sequences, one after the other."""
    if (
        isinstance(items, (Task, DataObject))
        or not isinstance(items, Iterable)
        or isinstance(items, (str, bytes))
    ):
        yield items
        return
    for item in items.values() if isinstance(items, dict) else items:
        if isinstance(item, (Task, DataObject)):
            yield item
        else:
            yield from flatten(item)


def check_task_type(task_type: Any) -> str:
    """`subworker/method`; ValueError otherwise."""
    if task_type is None:
        raise ValueError(
            "A task needs a task_type, or a subclass of Task with TASK_TYPE = 'subworker/method'"
        )
    if not isinstance(task_type, str) or not all(task_type.partition("/")) or not task_type.isprintable():
        raise ValueError(f"A task type is 'subworker/method', not {task_type!r}")
    return task_type


def make_inputs(inputs: Any, session: Owner) -> LabeledList[DataObject]:
    """The inputs that a user gave, as data objects with labels.

    Raises:
        RainException: one is no data object, of another session, or gone; a label twice.
    """
    if isinstance(inputs, (str, bytes, bytearray)):
        raise _not_an_object(inputs, "inputs")
    if isinstance(inputs, (DataObject, Task, Input)):
        inputs = (inputs,)
    elif isinstance(inputs, LabeledList):
        inputs = list(inputs.items())
    elif inputs is None or not isinstance(inputs, Iterable):
        raise RainException(f"inputs is a sequence of data objects and tasks, not {inputs!r}")
    made: LabeledList[DataObject] = LabeledList()
    for position, item in enumerate(inputs):
        label = None
        what = f"input {position}"
        if isinstance(item, tuple) and len(item) == 2:
            label, item = item
            if label is not None:
                check_label(label)
                what = f"input {label!r}"
        if isinstance(item, Input):
            obj = input_object(item, session, what)
            label = item.label if label is None else label
        else:
            obj = as_object(item, session, what)
        if label is not None and label in made:
            raise RainException(f"The label {label!r} is given to two inputs of the task")
        made.append(obj, label)
    return made


def input_object(item: Input, session: Owner, what: str) -> DataObject:
    """The data object of a filled `Input`, checked; RainException when it has none or the wrong one."""
    if item.dataobj is None:
        raise RainException(f"{what}: {item!r} has no data object")
    obj = as_object(item.dataobj, session, what)
    item.check_object(obj)
    return obj


def as_object(value: Any, session: Owner, what: str) -> DataObject:
    """The data object that `value` is or, as a task with one output, stands for.

    Raises:
        RainException: it is something else, of another session, or from an earlier submit and not kept.
            `what` says in the error where it was given.
    """
    if isinstance(value, Task):
        value = value.output
    elif not isinstance(value, DataObject):
        raise _not_an_object(value, what)
    if value.session is not session:
        raise RainException(
            f"{what}: {value.describe()} belongs to session {value.session.session_id}, not to session "
            f"{session.session_id} of the task; fetch it there and make a blob of it here"
        )
    node = value.graph_node
    if node.batch and not node.keep:
        raise RainException(
            f"{what}: {value.describe()} was submitted before and is not kept, so it may be gone; "
            "call keep() on it before that submit()"
        )
    return value  # type: ignore[no-any-return]


def _not_an_object(value: Any, what: str) -> RainException:
    kind = type(value).__qualname__
    if isinstance(value, (str, bytes, bytearray)):
        return RainException(f"{what}: a {kind} is no data object; make one of it with blob({value!r:.40})")
    return RainException(
        f"{what}: {value!r:.80} of type {kind} is no data object; make one of it with blob() or pickled()"
    )


def _pack_config(config: Any, task_type: str) -> bytes:
    try:
        _check_plain(config, "config")
        packed = pack(config)
    except (ValueError, OverflowError, RecursionError) as error:
        raise RainException(f"The config of a {task_type} task cannot be sent: {error}") from None
    if len(packed) > CONFIG_LIMIT_BYTES:
        raise RainException(
            f"The config of a {task_type} task has {len(packed)} bytes, the limit is {CONFIG_LIMIT_BYTES}; "
            "pass large data as a blob among its inputs"
        )
    return packed


def _check_plain(value: Any, where: str) -> None:
    """RainException naming what is not plain, before msgpack says less."""
    if value is None or isinstance(value, (bool, float, bytes)):
        return
    if isinstance(value, int):
        if not -(1 << 63) <= value < 1 << 64:
            raise RainException(f"{where} is {value}, which does not fit into 64 bits")
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise RainException(f"{where} is {value!r}, which is not valid Unicode") from None
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_plain(item, f"{where}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise RainException(f"{where} has the key {key!r} of type {type(key).__name__}; keys are str")
            _check_plain(item, f"{where}[{key!r}]")
    else:
        raise RainException(
            f"{where} is of type {type(value).__qualname__}; a config holds None, bool, int, float, str, "
            "bytes, and lists and dictionaries of them"
        )
