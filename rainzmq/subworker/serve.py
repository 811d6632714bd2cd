"""The loop of a Python subworker: wait for a claim, run that task, answer.

The process never outlives its worker: the kernel kills it when the worker dies (also in the middle of a
task), and the end of the connection ends it between tasks.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn, assert_never

from rainzmq.protocol.messages.subworker import (
    Bye,
    CancelTasks,
    DropSessions,
    Leaving,
    RunTasks,
    SubworkerHello,
    UnmetInputs,
)
from rainzmq.protocol.messages.subworker import SubworkerTask as Task
from rainzmq.protocol.stream import KIND_VARIABLE, PIN_VARIABLE, TEMPORARY_VARIABLE, UNABLE_EXIT_CODE
from rainzmq.protocol.version import SUBWORKER_PROTOCOL_VERSION
from rainzmq.subworker.connection import FromWorker, WorkerConnection
from rainzmq.subworker.recent import RecentOutputs
from rainzmq.subworker.streams import line_buffered
from rainzmq.subworker.tasks import METHODS, Tasks, Unable

_PR_SET_PDEATHSIG = 1
_SIGKILL = 9


class TaskServer:
    """Tasks by number, and what to do with each message."""

    def __init__(self, connection: WorkerConnection, tasks: Tasks) -> None:
        self._connection = connection
        self._tasks = tasks
        self._recent = RecentOutputs()
        self._sent: dict[int, Task] = {}
        self._next_number = 0
        self._ended = False

    def serve(self) -> None:
        """Run tasks until the worker says bye or is gone."""
        while not self._ended:
            number = self._connection.claim()
            waits = number is None or number not in self._sent
            # A number may arrive before the message with its task.
            while not self._ended and (number is None or number not in self._sent):
                if number is None and self._tasks.spoiled is not None:
                    self._leave(None)
                    return
                self._receive()
                number = self._connection.claim() if number is None else number
            if number is not None and not self._ended:
                if waits:
                    self._tasks.ignore_output()
                self._run(self._sent.pop(number))

    def _run(self, task: Task) -> None:
        """Run a task and answer."""
        if not self._recent.fill(task):
            self._connection.send(UnmetInputs(task.id, task.attempt))
            return
        result = self._tasks.run(task)
        if result is None:
            self._leave(task)
            return
        if result.outputs:
            self._recent.add(task, result)
        differing = self._tasks.other_packages(task, failed=not result.ok)
        if differing is not None:
            self._connection.send(differing)
        printed = self._tasks.take_output(task)
        if printed is None:
            self._connection.send(result)
        else:
            self._connection.send_both(printed, result)
        if self._tasks.spoiled is not None:
            self._leave(None)

    def _leave(self, not_run: Task | None) -> None:
        self._connection.send(Leaving(self._tasks.spoiled or "", None if not_run is None else not_run.id))
        self._ended = True

    def _receive(self) -> None:
        messages = self._connection.receive()
        if messages is None:
            self._ended = True
            return
        for message in messages:
            self._handle(message)

    def _handle(self, message: FromWorker) -> None:
        match message:
            case RunTasks():
                for session_id, key, config in message.bodies:
                    self._tasks.add_body(session_id, key, config)
                for task in message.tasks:
                    self._sent[self._next_number] = task
                    self._next_number += 1
            case CancelTasks():
                ids = set(message.ids)
                self._sent = {number: task for number, task in self._sent.items() if task.id not in ids}
            case DropSessions():
                self._tasks.forget(message.session_ids)
                self._recent.forget(message.session_ids)
            case Bye():
                self._ended = True
            case _:
                assert_never(message)


def main() -> int:
    """Serve the worker that started this process; 2 when there is none. Ends the process otherwise."""
    try:
        connection = WorkerConnection.from_environment(os.environ)
    except ValueError as error:
        sys.stderr.write(f"A subworker is started by a worker, not by hand: {error}\n")
        return 2
    kind = os.environ[KIND_VARIABLE]
    # So that a crash in native code leaves a traceback where the worker finds it.
    faulthandler.enable()
    line_buffered()
    connection.send(SubworkerHello(SUBWORKER_PROTOCOL_VERSION, kind, os.getpid(), METHODS))
    _die_with_parent()
    tasks = Tasks(os.environ.get(PIN_VARIABLE) == "1", os.environ.get(TEMPORARY_VARIABLE))
    gc.freeze()
    try:
        TaskServer(connection, tasks).serve()
    except ConnectionError:
        return _end(1)
    except Unable as error:
        sys.stderr.write(f"{error}\n")
        return _end(UNABLE_EXIT_CODE)
    return _end(0)


def _die_with_parent() -> None:
    """Ask for SIGKILL at the worker's death. If it is dead already, the connection is at its end, and so
    are we.
    """
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)


def _end(code: int) -> NoReturn:
    """End at once: threads that tasks left behind must not hold the process."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed or replaced by a task
            stream.flush()
    os._exit(code)
