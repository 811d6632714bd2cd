"""Runs remote functions as a subworker would, in the test's own process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rainzmq.common.pickles import dumps_by_value
from rainzmq.common.pycall import CallBody, encode_arguments, encode_body
from rainzmq.protocol.messages.subworker import SubworkerInput, SubworkerOutput, SubworkerTask, TaskResult
from rainzmq.subworker.tasks import Tasks


def output(label: str | None = None, number: int = 18, **fields: Any) -> SubworkerOutput:
    """A declared blob output."""
    declared = SubworkerOutput(label, (3, number), False, None, None, None, b"")
    for name, value in fields.items():
        setattr(declared, name, value)
    return declared


def blob_input(data: bytes | None = None, path: Path | None = None, **fields: Any) -> SubworkerInput:
    """An input with its content in memory or in a file."""
    size = path.stat().st_size if data is None and path is not None else len(data or b"")
    text = None if path is None else str(path)
    item = SubworkerInput(None, (3, 5), False, None, size, data, text, b"", b"", None)
    for name, value in fields.items():
        setattr(item, name, value)
    return item


class Bench:
    """One subworker's `Tasks` and the directory that the worker gives it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tasks = Tasks(pin=False)
        self._bodies = 0

    def run(
        self,
        function: Callable[..., Any],
        outputs: list[SubworkerOutput] | None = None,
        *,
        inputs: list[SubworkerInput] | None = None,
        args: tuple[Any, ...] = (),
        refer: Callable[[Any], Any] | None = None,
        **fields: Any,
    ) -> TaskResult:
        """The result of calling `function` as task 3/17."""
        self._bodies += 1
        config = encode_body(CallBody(function.__name__, self._bodies, dumps_by_value(function)))
        self.tasks.add_body(3, self._bodies, config)
        task = SubworkerTask(
            id=(3, 17),
            attempt=0,
            method="call",
            body=self._bodies,
            config=encode_arguments(args, {}, refer)[0],
            inputs=inputs or [],
            outputs=outputs if outputs is not None else [output()],
            directory=str(self.directory),
            cpus=[0, 2],
            name="a name",
            task_type="python/call",
            user=b"",
        )
        for name, value in fields.items():
            setattr(task, name, value)
        return self.tasks.run(task)

    def data(
        self, function: Callable[..., Any], outputs: list[SubworkerOutput] | None = None, **more: Any
    ) -> bytes:
        """The content of the only output of a call that must succeed."""
        result = self.run(function, outputs, **more)
        assert result.ok, result.error
        (item,) = result.outputs
        return item.data if item.data is not None else Path(item.path or "").read_bytes()

    def error(
        self, function: Callable[..., Any], outputs: list[SubworkerOutput] | None = None, **more: Any
    ) -> str:
        """The error of a call that must fail."""
        result = self.run(function, outputs, **more)
        assert not result.ok
        assert result.outputs == []
        return result.error
