"""Tasks: nodes of the graph that make data objects out of data objects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from rainzmq.client.call_site import Site, user_site
from rainzmq.client.checks import check_cpus, check_label, check_name
from rainzmq.client.dataobj import DataObject
from rainzmq.client.inputs import Input
from rainzmq.client.outputs import Output, Template, make_outputs
from rainzmq.client.owner import get_active_session
from rainzmq.common.errors import RainException
from rainzmq.common.ids import ID
from rainzmq.common.labeled_list import LabeledList
from rainzmq.common.limits import CONFIG_LIMIT_BYTES
from rainzmq.common.specs import TaskInfo, TaskSpec
from rainzmq.common.states import TaskState
from rainzmq.common.tracebacks import at_border
from rainzmq.protocol.codec import pack

if TYPE_CHECKING:
    from rainzmq.client.session import Session
    from rainzmq.common.data_instance import DataInstance


class Body(NamedTuple):
    """What many tasks share, as in `protocol.messages.shared.TaskBody` but for the labels of the inputs."""

    task_type: str
    cpus: int
    name: str | None
    config: bytes
    outputs: tuple[Template, ...]


class Task:
    """A task of a session. Users make tasks of their own subworkers by this class or a subclass with
    `TASK_TYPE`.

    Attributes:
        session: the session it belongs to.
        inputs: its data objects, with the labels they have as its inputs; may be changed before submit.
        outputs: the data objects it makes.
    """

    TASK_TYPE: str | None = None
    inputs: LabeledList[DataObject]
    outputs: LabeledList[DataObject]

    __slots__ = (
        "__weakref__",
        "_batch",
        "_body",
        "_config",
        "_hidden",
        "_info",
        "_name",
        "_num",
        "_site",
        "_spec",
        "_spec_config",
        "_state",
        "inputs",
        "outputs",
        "session",
    )

    @at_border
    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        *,
        config: Any = None,
        session: Session | None = None,
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
        session = get_active_session() if session is None else session
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
        self._setup(session, body, objects, made, packed, spec_config=config)

    def _setup(
        self,
        session: Session,
        body: Body,
        inputs: LabeledList[DataObject] | None,
        outputs: tuple[Output, ...],
        config: bytes = b"",
        *,
        name: str | None = None,
        hidden: tuple[DataObject, ...] = (),
        spec_config: Any = None,
    ) -> None:
        """Everything has been checked: become a task of the session. `hidden` objects are extra last
        inputs; `inputs` may be None only where empty lists are made when they are asked for."""
        self.session = session
        self.inputs = inputs  # type: ignore[assignment]
        self._body = body
        self._config = config
        self._name = body.name if name is None else name
        self._hidden = hidden
        self._spec_config = spec_config
        self._site: Site | None = user_site(self)
        self._batch = 0  # the submit it went with, 0 before
        self._state: TaskState | None = None
        self._info: TaskInfo | None = None
        self._spec: TaskSpec | None = None
        num = session._take_ids(len(outputs) + 1)
        self._num = num
        made: LabeledList[DataObject] | None = None
        if outputs or inputs is not None:
            made = LabeledList()
            for output in outputs:
                num += 1
                made.append(
                    DataObject(
                        session, num, output.label, output.data_type, output.content_type, output.size_hint
                    ),
                    output.label,
                )
        self.outputs = made  # type: ignore[assignment]
        session._add_task(self)

    def _peek_inputs(self) -> LabeledList[DataObject] | tuple[()]:
        """`inputs`, or () when there are none."""
        return self.inputs

    def _peek_outputs(self) -> LabeledList[DataObject] | tuple[()]:
        """`outputs`, or () when there are none."""
        return self.outputs

    @property
    def id(self) -> ID:
        """Its ID."""
        return ID(self.session.session_id, self._num)

    @property
    def name(self) -> str | None:
        """Its name, None without one. Names are grouped by `/` on the dashboard."""
        return self._name

    @property
    def task_type(self) -> str:
        """`subworker/method`."""
        return self._body.task_type

    @property
    def output(self) -> DataObject:
        """The only output; RainException unless there is exactly one."""
        if len(self.outputs) != 1:
            raise RainException(
                f"{self.describe()} has {len(self.outputs)} outputs, not exactly one; choose from .outputs"
            )
        return self.outputs[0]

    @property
    def spec(self) -> TaskSpec:
        """What was declared. `spec.user` may be filled before submit."""
        if self._spec is None:
            self._spec = TaskSpec(
                self.id,
                self.task_type,
                self._spec_config,
                tuple((obj.id, label) for label, obj in self.inputs.items()),
                tuple(obj.id for obj in self.outputs),
                {"cpus": self._body.cpus},
                self._name,
            )
        return self._spec

    @property
    def info(self) -> TaskInfo | None:
        """What was last heard of it, None before anything was."""
        if self._batch:
            failure = self.session._failure_of(self._num)
            if failure is not None and (self._info is None or self._info.error is None):
                info = TaskInfo() if self._info is None else self._info
                self._info = replace(info, error=failure.message, worker=failure.worker, debug=failure.debug)
        return self._info

    @property
    def state(self) -> TaskState | None:
        """None before submit; then as last heard from the server."""
        if not self._batch:
            return None
        if self.session._failure_of(self._num) is not None:
            return TaskState.FAILED
        if self.session._finished_batch >= self._batch:
            return TaskState.FINISHED
        return TaskState.NOT_ASSIGNED if self._state is None else self._state

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
        return describe_task(self._name, self.id, self.task_type)

    def __reduce__(self) -> Any:
        raise RainException(
            f"{self.describe()} can not be pickled; pass its outputs as arguments of a remote function"
        )

    def _repr_html_(self) -> str:
        """For notebooks."""
        from rainzmq.client.notebook import task_html

        return task_html(self)

    def __repr__(self) -> str:
        state = "unsubmitted" if self.state is None else self.state.value
        name = "" if self._name is None else f" {self._name!r}"
        return f"<{type(self).__name__} {self.id}{name} {self.task_type} {state}>"


def describe_task(name: str | None, task_id: ID, task_type: str | None) -> str:
    """For error messages: a task by its name, id and type."""
    named = "" if name is None else f" {name!r}"
    typed = "" if task_type is None else f", {task_type}"
    return f"Task{named} ({task_id}{typed})"


def check_task_type(task_type: Any) -> str:
    """`subworker/method`; ValueError otherwise."""
    if task_type is None:
        raise ValueError(
            "A task needs a task_type, or a subclass of Task with TASK_TYPE = 'subworker/method'"
        )
    if not isinstance(task_type, str) or not all(task_type.partition("/")) or not task_type.isprintable():
        raise ValueError(f"A task type is 'subworker/method', not {task_type!r}")
    return task_type


def make_inputs(inputs: Any, session: Session) -> LabeledList[DataObject]:
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


def input_object(item: Input, session: Session, what: str) -> DataObject:
    """The data object of a filled `Input`, checked; RainException when it has none or the wrong one."""
    if item.dataobj is None:
        raise RainException(f"{what}: {item!r} has no data object")
    obj = as_object(item.dataobj, session, what)
    item.check_object(obj)
    return obj


def as_object(value: Any, session: Session, what: str) -> DataObject:
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
    if value._batch and not value._keep:
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
        raise RainException(f"The config of a {task_type} task can not be sent: {error}") from None
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
