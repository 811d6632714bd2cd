"""Python functions as tasks."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, overload

from rainzmq.client.call_site import warn
from rainzmq.client.checks import check_cpus, check_name
from rainzmq.client.graph_task import Task, as_object, declare
from rainzmq.client.inputs import Input
from rainzmq.client.outputs import ONE_OUTPUT, Output, make_outputs, refine_outputs
from rainzmq.client.owner import active_owner
from rainzmq.client.pickling import TASK_TYPE, PickledFunction, References, pickled_now
from rainzmq.common.content_types import check_encoding
from rainzmq.common.errors import RainException
from rainzmq.common.labeled_list import LabeledList
from rainzmq.common.limits import CONFIG_LIMIT_BYTES
from rainzmq.common.pycall import ArgumentFault, encode_arguments, encode_atoms, plain_function
from rainzmq.common.tracebacks import drop_own_frames
from rainzmq.common.units import format_size

WARN_ARGUMENT_BYTES = 256 << 10
"""An argument that pickles to more than this is likely meant to be a blob."""

_OPTIONS = ("output", "outputs", "name", "cpus")
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class PythonTask(Task):
    """A call of a remote function."""

    TASK_TYPE = TASK_TYPE

    __slots__ = ()


class Remote:
    """A function that makes a task when it is called in a session; see `remote`.

    Attributes:
        function: the plain function.
        name: the name of its tasks.
        cpus: cpus that each of its tasks needs.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        outputs: Any = None,
        inputs: Any = (),
        auto_load: bool | None = None,
        auto_encode: str | None = None,
        name: str | None = None,
        cpus: int = 1,
        *,
        scope: Mapping[str, Any] | None = None,
    ) -> None:
        """The arguments are those of `remote`; `scope` has local names that annotations may use."""
        if not callable(function) or isinstance(function, type):
            raise RainException(f"Only a function can be remote, not {function!r:.80}")
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise RainException(
                f"{function.__qualname__} is a coroutine function; only plain functions can be remote"
            )
        functools.update_wrapper(self, function)
        self.function = function
        self.name = getattr(function, "__name__", "call") if name is None else check_name(name)
        self.cpus = check_cpus(cpus)
        self._title = f"{getattr(function, '__qualname__', self.name)}()"
        self._auto_load = auto_load
        self._auto_encode = check_encoding(auto_encode)
        self._read_signature(scope or {})
        for parameter, item in _given_inputs(inputs):
            self._set_input(parameter, item)
        self._declared = None if outputs is None else make_outputs(outputs)
        if self._declared is None:
            self._declared = _annotated_outputs(
                self._annotation(self._signature.return_annotation, scope or {})
            )
        for output in self._declared or ():
            if output.path is not None:
                warn(
                    f"{self._title}: path= of {output!r} has no effect for a Python function; "
                    "ctx.stage_file() makes a result of a file"
                )
        self._outputs = self._encoded(ONE_OUTPUT if self._declared is None else self._declared)
        self._templates = tuple([output.template() for output in self._outputs])

    def __call__(self, *args: Any, **kwargs: Any) -> Task:
        """Make a task of the active session that calls the function with a `Context` and these arguments.

        Unless they are parameters of the function, `output` and `outputs` refine the declared outputs, `name`
        and `cpus` replace those of the function.

        Raises:
            TypeError: the arguments do not fit the function's signature.
            RainException: an argument cannot be sent, or an output is wrong; no active session.
        """
        try:
            options = {key: kwargs.pop(key) for key in self._option_names if key in kwargs} if kwargs else {}
            if kwargs or not self._fewest <= len(args) <= self._most:
                self._check_arguments(args, kwargs)
            session = active_owner()
            outputs, templates, cpus, name = self._outputs, self._templates, self.cpus, None
            if options:
                output, several = options.get("output"), options.get("outputs")
                if output is not None or several is not None:
                    outputs = self._encoded(refine_outputs(self._declared, output, several, self._title))
                    templates = tuple([output.template() for output in outputs])
                cpus = check_cpus(options.get("cpus", cpus))
                name = check_name(options["name"]) if options.get("name") is not None else None
            functions = session.draft.functions
            pickled: PickledFunction | None = functions.get(self)
            if pickled is None or not pickled.unchanged():
                pickled = functions[self] = pickled_now(pickled, self.function, session)
            for obj in pickled.objects:
                as_object(obj, session, self._title)
            objects = pickled.objects
            config = None if kwargs else encode_atoms(args)
            if config is None or len(config) > WARN_ARGUMENT_BYTES:
                references = References(session, self._title, objects, self._auto_load)
                config = self._pack_arguments(args, kwargs, references)
                objects = references.objects
            hide = len(config) > CONFIG_LIMIT_BYTES
            try:
                body, hidden = pickled.body(session.draft, templates, cpus, self.name, hide)
            except RainException:
                del functions[self]  # other calls of the session can be submitted
                raise
            if hide:
                hidden = (*hidden, session.draft.new_hidden_constant(config))
                config = b""
            task = PythonTask.__new__(PythonTask)
            inputs = LabeledList(objects) if objects else None
            declare(task, session, body, inputs, outputs, config, name=name, hidden=hidden)
            return task
        except (RainException, TypeError) as error:
            drop_own_frames(error)
            raise

    def _read_signature(self, scope: Mapping[str, Any]) -> None:
        try:
            self._signature = inspect.signature(self.function)
        except (TypeError, ValueError) as error:
            raise RainException(f"The signature of {self.function!r} cannot be found: {error}") from None
        parameters = list(self._signature.parameters.values())
        if not parameters or parameters[0].kind not in (*_POSITIONAL, inspect.Parameter.VAR_POSITIONAL):
            raise TypeError(f"{self._title} must take the context as its first positional parameter")
        self._inputs: dict[str, Input] = {}
        for parameter in parameters:
            item = self._annotation(parameter.annotation, scope)
            if isinstance(item, type) and issubclass(item, Input):
                item = item()
            if isinstance(item, Input):
                self._set_input(parameter.name, item)
        rest = parameters[1:] if parameters[0].kind in _POSITIONAL else parameters
        self._positional = [p.name for p in rest if p.kind in _POSITIONAL]
        kinds = {p.kind: p.name for p in rest}
        self._var_positional = kinds.get(inspect.Parameter.VAR_POSITIONAL)
        self._var_keyword = kinds.get(inspect.Parameter.VAR_KEYWORD)
        self._option_names = [name for name in _OPTIONS if name not in self._signature.parameters]
        # Calls with so many positional arguments and no others need no slower check.
        keyword_only = any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in rest)
        self._fewest = sum(p.kind in _POSITIONAL and p.default is p.empty for p in rest)
        self._most = len(self._positional) if self._var_positional is None else sys.maxsize
        if keyword_only:
            self._fewest = sys.maxsize

    def _annotation(self, annotation: Any, scope: Mapping[str, Any]) -> Any:
        """An annotation, evaluated as long as it is a string; whatever cannot be is none of ours."""
        try:
            while isinstance(annotation, str):
                before = annotation
                annotation = eval(annotation, getattr(self.function, "__globals__", {}), dict(scope))
                if annotation == before:
                    return inspect.Parameter.empty
        except Exception:  # names that exist only for type checkers, and anything else
            return inspect.Parameter.empty
        return annotation

    def _set_input(self, parameter: str, item: Any) -> None:
        if not isinstance(item, Input):
            raise RainException(f"{self._title}: inputs are Input or InputDir, not {item!r:.80}")
        if parameter not in self._signature.parameters:
            raise RainException(f"{self._title} has no parameter {parameter!r} for {item!r}")
        if item.dataobj is not None:
            raise RainException(f"{self._title}: {item!r} cannot have a data object; pass it in the call")
        for option in ("path", "write"):
            if getattr(item, option):
                warn(
                    f"{self._title}, parameter {parameter!r}: {option}= has no effect for a Python function; "
                    "it gets a DataInstance: write() makes a file of it"
                )
        self._inputs[parameter] = item

    def _check_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            self._signature.bind(None, *args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self._title} {error}; {self._usage()}") from None

    def _usage(self) -> str:
        context, *rest = self._signature.parameters.values()
        if context.kind not in _POSITIONAL:
            return f"it takes {self._signature} and gets the context by itself"
        if not rest:
            return f"it takes no arguments besides the context {context.name!r}, which it gets by itself"
        signature = inspect.Signature([item.replace(annotation=item.empty) for item in rest])
        return f"besides the context {context.name!r}, which it gets by itself, it takes {signature}"

    def _pack_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any], references: References) -> bytes:
        names = list(kwargs)

        def parameter_of(slot: int) -> str:
            if slot >= len(args):
                name = names[slot - len(args)]
                return name if name in self._signature.parameters else self._var_keyword or name
            return self._positional[slot] if slot < len(self._positional) else self._var_positional or ""

        def starting(slot: int) -> None:
            parameter = parameter_of(slot)
            references.start(parameter, self._inputs.get(parameter))

        try:
            config, sizes = encode_arguments(args, kwargs, references.refer, starting)
        except ArgumentFault as fault:
            if isinstance(fault.cause, RainException):
                raise fault.cause from None
            value = [*args, *kwargs.values()][fault.slot]
            raise RainException(
                f"{self._title}, parameter {parameter_of(fault.slot)!r}: a value of type "
                f"{type(value).__qualname__} cannot be pickled: {type(fault.cause).__name__}: {fault.cause}"
            ) from fault.cause
        if len(config) > WARN_ARGUMENT_BYTES:
            for slot, size in enumerate(sizes):
                if size > WARN_ARGUMENT_BYTES:
                    warn(
                        f"{self._title}, parameter {parameter_of(slot)!r}: the argument pickles to "
                        f"{format_size(size)}, which is sent with every call; make a data object of it with "
                        "blob() or pickled()"
                    )
        return config

    def _encoded(self, outputs: tuple[Output, ...]) -> tuple[Output, ...]:
        """The outputs with `auto_encode` where nothing else is said."""
        if self._auto_encode is None:
            return outputs
        encoded = []
        for output in outputs:
            if output.encode is None and output.content_type != "dir":
                output = Output(
                    output.label,
                    size_hint=output.size_hint,
                    content_type=output.content_type,
                    encode=self._auto_encode,
                    path=output.path,
                )
            encoded.append(output)
        return tuple(encoded)

    def __reduce__(self) -> Any:
        return plain_function, (self.function,)

    def __repr__(self) -> str:
        return f"<Remote {self._title}>"


@overload
def remote(
    function: Callable[..., Any],
    /,
    inputs: Any = (),
    auto_load: bool | None = None,
    auto_encode: str | None = None,
    name: str | None = None,
    cpus: int = 1,
    *,
    outputs: Any = None,
) -> Remote: ...
@overload
def remote(
    declared: Any = None,
    /,
    inputs: Any = (),
    auto_load: bool | None = None,
    auto_encode: str | None = None,
    name: str | None = None,
    cpus: int = 1,
    *,
    outputs: Any = None,
) -> Callable[[Callable[..., Any]], Remote]: ...
def remote(
    function: Any = None,
    /,
    inputs: Any = (),
    auto_load: bool | None = None,
    auto_encode: str | None = None,
    name: str | None = None,
    cpus: int = 1,
    *,
    outputs: Any = None,
) -> Remote | Callable[[Callable[..., Any]], Remote]:
    """Decorator: calling the function in a session makes a task, and the function runs in a subworker, with a
    `Context` as its first argument. Also without parentheses, and as `remote(function, ...)` with options.

    Data objects and tasks with one output anywhere in the arguments become inputs; the function gets
    `DataInstance`s.

    Args:
        function: the function itself, or what `outputs` may be.
        inputs: `Input`s by parameter, as a dictionary or labelled with the parameters; annotations work as
            well.
        auto_load: deliver loaded values instead of `DataInstance`s where an `Input` does not say otherwise.
        auto_encode: serialize results to this content type where an `Output` does not say otherwise.
        name: the tasks' name, by default the function's.
        cpus: cpus that a task needs.
        outputs: a count, labels, or `Output`s; by default what the return annotation says of these, else one.

    Raises:
        TypeError: the function does not take a context, or outputs are given twice.
        ValueError: an unknown content type, or one that does not agree with another.
        RainException: anything else that is wrong with an argument.
    """
    scope = sys._getframe(1).f_locals
    if callable(function) and not isinstance(function, type):
        return Remote(function, outputs, inputs, auto_load, auto_encode, name, cpus, scope=scope)
    if function is not None and outputs is not None:
        raise TypeError(f"remote() got the outputs twice: {function!r:.80} and outputs={outputs!r:.80}")
    declared = function if outputs is None else outputs

    def decorate(function: Callable[..., Any]) -> Remote:
        return Remote(function, declared, inputs, auto_load, auto_encode, name, cpus, scope=scope)

    return decorate


def _given_inputs(inputs: Any) -> Iterable[tuple[str, Any]]:
    """Pairs (parameter, Input) from what was given as `inputs`."""
    if isinstance(inputs, Mapping):
        return list(inputs.items())
    if inputs is None:
        return []
    if isinstance(inputs, Input):
        inputs = (inputs,)
    if isinstance(inputs, str) or not isinstance(inputs, Iterable):
        raise RainException(f"inputs is a dictionary from parameters to Inputs, not {inputs!r:.80}")
    pairs = []
    for item in inputs:
        if not isinstance(item, Input) or item.label is None:
            raise RainException(f"inputs holds Inputs that are labelled with a parameter, not {item!r:.80}")
        pairs.append((item.label, item))
    return pairs


def _annotated_outputs(annotation: Any) -> tuple[Output, ...] | None:
    """The outputs that a return annotation describes; None when it is about something else."""
    if annotation is None:
        return ()
    if isinstance(annotation, Output) or (isinstance(annotation, type) and issubclass(annotation, Output)):
        return make_outputs((annotation,))
    if type(annotation) is int:
        return make_outputs(annotation)
    if isinstance(annotation, (tuple, list)) and any(isinstance(item, Output) for item in annotation):
        return make_outputs(annotation)
    return None
