"""External programs as tasks: `Execute`, and `Program` as a reusable pattern of it.

Both are compiled to the same thing. Data objects and files among the arguments get relative paths, and the
paths take their places, so that a worker sees nothing but strings. What all tasks of a program share is one
body, which travels once.
"""

from __future__ import annotations

import itertools
import os
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NoReturn

from rainzmq.client.checks import check_cpus, check_name, check_relative_path
from rainzmq.client.dataobj import DataObject
from rainzmq.client.graph_task import Task, as_object, declare, input_object
from rainzmq.client.inputs import Input
from rainzmq.client.nodes import Body
from rainzmq.client.outputs import Output, OutputDir, check_labels, refine_outputs
from rainzmq.client.owner import Owner, active_owner
from rainzmq.common.errors import RainException
from rainzmq.common.labeled_list import LabeledList
from rainzmq.common.limits import CONFIG_LIMIT_BYTES
from rainzmq.common.search_path import interpreter_directory
from rainzmq.common.states import DataType
from rainzmq.common.tracebacks import at_border
from rainzmq.protocol.codec import pack

TASK_TYPE = "builtin/execute"


@dataclass(slots=True)
class _Slot:
    """One input: a data object, an `Input` with one, or a hole."""

    source: DataObject | Task | Input
    path: str | None  # None: not mapped to a file

    @property
    def label(self) -> str | None:
        return self.source.label if isinstance(self.source, Input) else None

    @property
    def write(self) -> bool:
        return isinstance(self.source, Input) and self.source.write

    @property
    def is_directory(self) -> bool:
        """Whether it is known to be a directory."""
        source = self.source
        if isinstance(source, Task):
            return len(source.outputs) == 1 and source.output.data_type is DataType.DIRECTORY
        return source.data_type is DataType.DIRECTORY

    @property
    def is_hole(self) -> bool:
        return isinstance(self.source, Input) and self.source.dataobj is None


class Pattern:
    """A program's arguments, checked and compiled.

    Attributes:
        slots: the inputs, in order: stdin, those among the arguments, input_paths.
        outputs: the outputs, in order: stdout, those among the arguments, output_paths.
        config: what the worker is told.
        packed: the same as the configuration of a body.
    """

    def __init__(
        self, args: Any, stdout: Any, stdin: Any, input_paths: Any, output_paths: Any, shell: bool
    ) -> None:
        """RainException when something is wrong with an argument."""
        self.slots: list[_Slot] = []
        self.outputs: list[Output] = []
        self._mapped_paths: dict[Any, str] = {}
        self._counts = {"input": itertools.count(1), "output": itertools.count(1)}
        words = _split(args, shell)
        input_paths = _sequence(input_paths, "input_paths")
        output_paths = _sequence(output_paths, "output_paths")
        files = [item for item in (*words, *input_paths, *output_paths) if isinstance(item, (Input, Output))]
        self._explicit = {item.path or item.label for item in files}
        self._add_stdout(stdout)
        stdin_index = self._add_stdin(stdin)
        words = [self._word(word, position, shell) for position, word in enumerate(words)]
        self._add_paths(input_paths, output_paths)
        check_labels([slot.label for slot in self.slots], "inputs")
        check_labels([output.label for output in self.outputs], "outputs")
        self._check_paths()
        self.config: dict[str, Any] = {
            "args": [" ".join(words)] if shell else words,
            "stdin": stdin_index,
            "stdout": 0 if self.outputs and self.outputs[0].path is None else None,
            "shell": bool(shell),
            "inputs": [[slot.path, slot.write] for slot in self.slots],
            "outputs": [output.path for output in self.outputs],
            "interpreter": interpreter_directory(),
        }
        self.packed = _pack(self.config)

    def body(self, cpus: int, name: str | None) -> Body:
        """What all tasks of this pattern share."""
        outputs = tuple(output.template() for output in self.outputs)
        return Body(
            TASK_TYPE, check_cpus(cpus), None if name is None else check_name(name), self.packed, outputs
        )

    def inputs(self, session: Owner, fillings: Mapping[str, Any]) -> LabeledList[DataObject]:
        """The data objects of a task in `session`, holes filled; RainException for one that does not fit."""
        objects: LabeledList[DataObject] = LabeledList()
        for position, slot in enumerate(self.slots):
            source, label = slot.source, slot.label
            what = f"input {position if label is None else label!r}"
            if isinstance(source, Input):
                if source.dataobj is None and label is not None and label in fillings:
                    source = source.with_object(fillings[label])
                objects.append(input_object(source, session, what), label)
            else:
                objects.append(as_object(source, session, what))
        return objects

    def _add_stdout(self, stdout: Any) -> None:
        if stdout is None or stdout is False:
            return
        output = Output("stdout") if stdout is True else Output(stdout) if isinstance(stdout, str) else stdout
        if not isinstance(output, Output) or output.data_type is not DataType.BLOB:
            raise RainException(f"stdout is True, a label or an Output, not {stdout!r}")
        if output.path is not None:
            raise RainException("stdout is not written to a file, so its Output has no path")
        self.outputs.append(_plain_output(output))

    def _add_stdin(self, stdin: Any) -> int | None:
        if stdin is None:
            return None
        if isinstance(stdin, str):
            stdin = Input(stdin)
        _check_input(stdin, "stdin")
        if isinstance(stdin, Input) and (stdin.data_type is not DataType.BLOB or stdin.write):
            raise RainException(f"stdin is a blob that is read, not {stdin!r}")
        path = stdin.path if isinstance(stdin, Input) else None
        self.slots.append(_Slot(stdin, path))
        if path is not None:
            self._mapped_paths[_identity(stdin)] = path
        return 0

    def _word(self, word: Any, position: int, shell: bool) -> str:
        """What stands in an argument's place."""
        what = f"argument {position}"
        if isinstance(word, str):
            return _check_text(word, what)
        if isinstance(word, Output):
            path = word.path or word.label or self._free_name("output")
            word = _plain_output(word, check_relative_path(path, what))
            self.outputs.append(word)
            path = word.path or ""
        elif isinstance(word, (DataObject, Task, Input)):
            path = self._mapped(word, what)
        elif isinstance(word, os.PathLike):
            return _check_text(os.fspath(word), what)
        else:
            raise RainException(
                f"{what} is {word!r:.80} of type {type(word).__qualname__}; arguments are str, data objects, "
                "tasks, Input and Output; use str(...) for numbers"
            )
        if position == 0 or path.startswith("-"):
            path = f"./{path}"
        return shlex.quote(path) if shell else path

    def _mapped(self, source: DataObject | Task | Input, what: str) -> str:
        """The path that an input of this kind is mapped to; the same one when it was met before."""
        key = _identity(source)
        known = self._mapped_paths.get(key)
        if known is not None:
            return known
        _check_input(source, what)
        path = (source.path or source.label) if isinstance(source, Input) else None
        path = check_relative_path(path or self._free_name("input"), what)
        self.slots.append(_Slot(source, path))
        self._mapped_paths[key] = path
        return path

    def _add_paths(self, input_paths: list[Any], output_paths: list[Any]) -> None:
        for item in input_paths:
            if not isinstance(item, Input) or not (item.path or item.label):
                raise RainException(f"input_paths holds Inputs with a path or a label, not {item!r:.80}")
            self._mapped(item, f"input_paths, {item!r}")
        for item in output_paths:
            output = Output(check_relative_path(item, "output_paths")) if isinstance(item, str) else item
            if not isinstance(output, Output) or not (output.path or output.label):
                raise RainException(
                    f"output_paths holds paths and Outputs with a path or a label, not {item!r:.80}"
                )
            path = check_relative_path(output.path or output.label, f"output_paths, {output!r}")
            self.outputs.append(_plain_output(output, path))

    def _free_name(self, kind: str) -> str:
        names = (f"{kind}_{number}" for number in self._counts[kind])
        return next(name for name in names if name not in self._explicit)

    def _check_paths(self) -> None:
        """No two inputs at one path, no two outputs, and nothing inside of another file. An output may be an
        input or lie inside of an input directory: with write=True it is what became of that, else it is
        the same data.
        """
        inputs = {slot.path: slot for slot in self.slots if slot.path is not None}
        paths = [slot.path for slot in self.slots if slot.path is not None]
        outputs = [output.path for output in self.outputs if output.path is not None]
        for group in (paths, outputs):
            path, count = Counter(group).most_common(1)[0] if group else ("", 0)
            if count > 1:
                raise RainException(f"Two files of the program have the path {path!r}")
        everything = {*paths, *outputs}
        for path in outputs:
            self._check_passed_on(path, inputs.get(path))
        for path in (*paths, *outputs):
            parents = [str(parent) for parent in PurePosixPath(path).parents]
            slots = [inputs[parent] for parent in parents if parent in inputs]
            if path not in inputs and any(slot.is_directory and not slot.write for slot in slots):
                continue  # a part of what stays as it is
            for parent in parents:
                holds_outputs = parent in inputs and inputs[parent].write and parent not in outputs
                if parent in everything and (path in inputs or not holds_outputs):
                    raise RainException(
                        f"The path {path!r} is inside of {parent!r}, which is another file of the program"
                    )

    def _check_passed_on(self, path: str, slot: _Slot | None) -> None:
        """The output at the path of a read-only input is that input, so it is of the same kind."""
        if slot is None or slot.write:
            return
        is_directory = any(
            output.path == path and output.data_type is DataType.DIRECTORY for output in self.outputs
        )
        if is_directory != slot.is_directory:
            kinds = ("directory", "blob") if slot.is_directory else ("blob", "directory")
            raise RainException(
                f"The path {path!r} is a {kinds[0]} as an input and a {kinds[1]} as an output; "
                "an input without write=True stays what it is"
            )


class Execute(Task):
    """A task that runs a program in a fresh directory."""

    TASK_TYPE = TASK_TYPE

    __slots__ = ()

    @at_border
    def __init__(
        self,
        args: Any,
        stdout: Any = None,
        stdin: Any = None,
        input_paths: Any = (),
        output_paths: Any = (),
        shell: bool = False,
        cpus: int = 1,
        *,
        name: str | None = None,
        session: Owner | None = None,
    ) -> None:
        """`args` is a string, split as a shell does, or a sequence of str, data objects, tasks, `Input`s
        (mapped to a file, whose path takes its place) and `Output`s (that file becomes an output). `stdout`
        is True (label "stdout"), a label, or an `Output`; `stdin` an object, an `Input` or its label (which
        only a `Program` can fill). `input_paths` and
        `output_paths` map more files. With `shell` the arguments, joined by spaces, are a command of
        `/bin/sh`.

        Inputs are in the order stdin, arguments, input_paths; outputs in the order stdout, arguments,
        output_paths.

        Raises:
            RainException: something is wrong with an argument; no active session.
        """
        pattern = Pattern(args, stdout, stdin, input_paths, output_paths, shell)
        for slot in pattern.slots:
            if slot.is_hole:
                hint = ", or make one of a text with blob()" if isinstance(stdin, str) else ""
                raise RainException(f"{slot.source!r} has no data object; give it one with dataobj={hint}")
        session = active_owner() if session is None else session
        body = pattern.body(cpus, name)
        declare(
            self,
            session,
            body,
            pattern.inputs(session, {}),
            tuple(pattern.outputs),
            spec_config=pattern.config,
        )


class Program:
    """A reusable pattern of `Execute` with `Input("label")` holes; called with them filled it makes a task.

    Attributes:
        name: the default name of its tasks, None for none.
    """

    @at_border
    def __init__(
        self,
        args: Any,
        stdout: Any = None,
        stdin: Any = None,
        input_paths: Any = (),
        output_paths: Any = (),
        shell: bool = False,
        name: str | None = None,
        cpus: int = 1,
    ) -> None:
        """The arguments mean what they mean for `Execute`, but `Input`s without a data object are holes.

        Raises:
            RainException: something is wrong with an argument; a hole without a label.
        """
        self._pattern = Pattern(args, stdout, stdin, input_paths, output_paths, shell)
        self._holes: dict[str, None] = {}
        for slot in self._pattern.slots:
            if slot.is_hole:
                if slot.label is None:
                    raise RainException(f"The hole {slot.source!r} has no label")
                self._holes[slot.label] = None
        self._body = self._pattern.body(cpus, name)
        self.name = name

    @at_border
    def __call__(self, *args: Any, **fillings: Any) -> Task:
        """A task of the active session. Keywords are the labels of the holes, values data objects or tasks.
        Unless they are holes, `name` is the task's name, and `output` and `outputs` refine the outputs: their
        labels, content types and size hints.

        Raises:
            TypeError: a hole is not filled, or a keyword is no hole.
            RainException: an object does not fit, or an output; no active session.
        """
        name, output, several = (
            None if option in self._holes else fillings.pop(option, None)
            for option in ("name", "output", "outputs")
        )
        if args or fillings.keys() != self._holes.keys():
            self._refuse(args, fillings)
        session = active_owner()
        body, outputs = self._body, tuple(self._pattern.outputs)
        if output is not None or several is not None:
            outputs = self._refined(refine_outputs(outputs, output, several, self._title()))
            body = body._replace(outputs=tuple([item.template() for item in outputs]))
        objects = self._pattern.inputs(session, fillings)
        task = Execute.__new__(Execute)
        declare(
            task,
            session,
            body,
            objects,
            outputs,
            name=None if name is None else check_name(name),
            spec_config=self._pattern.config,
        )
        return task

    def _refined(self, outputs: tuple[Output, ...]) -> tuple[Output, ...]:
        """Outputs of a call, each of the file that the pattern names; RainException for one of another."""
        for declared, output in zip(self._pattern.outputs, outputs, strict=True):
            if output.path != declared.path:
                where = "its standard output" if declared.path is None else repr(declared.path)
                raise RainException(
                    f"{self._title()} makes {output.label or 'an output'!r} of {where}; a call cannot change "
                    f"that to the path {output.path!r}"
                )
        return tuple([_plain_output(output, output.path) for output in outputs])

    def _refuse(self, args: tuple[Any, ...], fillings: Mapping[str, Any]) -> NoReturn:
        faults = []
        if args:
            names = ", ".join(f"{label}=..." for label in self._holes) or "it has none"
            faults.append(f"takes its inputs by name ({names}), not by position")
        missing = [label for label in self._holes if label not in fillings]
        if missing and not args:
            faults.append(f"is called without its input {', '.join(map(repr, missing))}")
        unknown = [label for label in fillings if label not in self._holes]
        if unknown:
            has = ", ".join(map(repr, self._holes)) or "none"
            faults.append(f"has no input {', '.join(map(repr, unknown))}; its inputs: {has}")
        raise TypeError(f"{self._title()} {', and '.join(faults)}")

    def _title(self) -> str:
        return "The program" if self.name is None else f"The program {self.name!r}"

    def __repr__(self) -> str:
        name = "" if self.name is None else f" {self.name!r}"
        return f"<Program{name} {self._pattern.config['args']!r:.80}, inputs: {list(self._holes)}>"


def _split(args: Any, shell: bool) -> Sequence[Any]:
    if isinstance(args, str):
        _check_text(args, "args")
        if shell:
            words: Sequence[Any] = [args] if args.strip() else []
        else:
            try:
                words = shlex.split(args)
            except ValueError as error:
                raise RainException(f"args {args!r:.80} cannot be split into words: {error}") from None
    else:
        words = _sequence(args, "args")
    if not words or words[0] == "":
        raise RainException("args names no program")
    if isinstance(words[0], Output):
        raise RainException(f"args begins with {words[0]!r}, which is no program")
    return words


def _sequence(items: Any, what: str) -> list[Any]:
    if isinstance(items, (str, bytes, Mapping, DataObject, Task)) or not isinstance(items, Iterable):
        raise RainException(f"{what} is a sequence, not {items!r:.80} of type {type(items).__qualname__}")
    return list(items)


def _check_input(source: Any, what: str) -> None:
    if not isinstance(source, (DataObject, Task, Input)):
        hint = "; make one of it with blob()" if isinstance(source, (str, bytes)) else ""
        raise RainException(f"{what} is a data object, a task or an Input, not {source!r:.80}{hint}")
    if isinstance(source, Input) and source.load:
        raise RainException(f"{what}: {source!r}: load=True is for Python functions, a program gets a file")


def _check_text(text: str, what: str) -> str:
    if "\0" in text:
        raise RainException(f"{what} holds a NUL character, which no program can be given: {text!r:.80}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RainException(f"{what} is not valid Unicode: {text!r:.80}") from None
    return text


def _plain_output(output: Output, path: str | None = None) -> Output:
    """The output at its final path; RainException when it cannot be one of a program."""
    if output.encode is not None:
        raise RainException(
            f"{output!r}: encode is for Python functions; what a program writes is taken as it is"
        )
    if output.data_type is DataType.DIRECTORY:
        return OutputDir(output.label, size_hint=output.size_hint, path=path)
    return Output(output.label, size_hint=output.size_hint, content_type=output.content_type, path=path)


def _identity(source: DataObject | Task | Input) -> Any:
    """Equal for what is one input: the same object, or `Input`s of one label that say the same."""
    if not isinstance(source, Input) or source.label is None:
        return id(source)
    return (
        type(source),
        source.label,
        source.path,
        id(source.dataobj),
        source.content_type,
        source.write,
    )


def _pack(config: dict[str, Any]) -> bytes:
    packed = pack(config)
    if len(packed) > CONFIG_LIMIT_BYTES:
        raise RainException(
            f"The arguments and paths of a program take {len(packed)} bytes, the limit is "
            f"{CONFIG_LIMIT_BYTES}; pass them in a file, or the files in a directory"
        )
    return packed
