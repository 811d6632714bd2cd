"""The worker's end of one subworker: its process, its socket and its claims pipe."""

from __future__ import annotations

import os
import shlex
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rainzmq.common.ids import id_of
from rainzmq.protocol.codec import decode_bare
from rainzmq.protocol.messages.shared import TaskBody
from rainzmq.protocol.messages.subworker import (
    CONVERSATION,
    CancelTasks,
    Leaving,
    PackagesDiffer,
    RunTasks,
    SubworkerHello,
    SubworkerTask,
    TaskPrinted,
    TaskResult,
    UnmetInputs,
)
from rainzmq.protocol.schema import ProtocolError
from rainzmq.protocol.stream import (
    CLAIM,
    CLAIMS_VARIABLE,
    HELLO_TIMEOUT_S,
    KIND_VARIABLE,
    PIN_VARIABLE,
    RESULT_FRAME_LIMIT_BYTES,
    SOCKET_VARIABLE,
    TEMPORARY_VARIABLE,
    UNABLE_EXIT_CODE,
    FrameCutter,
    to_frame,
)
from rainzmq.protocol.version import SUBWORKER_PROTOCOL_VERSION
from rainzmq.transport.loop import Loop, Timer
from rainzmq.worker import processes
from rainzmq.worker.core.jobs import Job, Printed
from rainzmq.worker.output_files import OutputFiles

_READ_BYTES = 1 << 18
_READS_PER_TURN = 16

_ENDING_S = 1.0
"""How long a subworker that closed its connection has to end: what it ended with says more."""


SubworkerMessage = TaskResult | TaskPrinted | UnmetInputs | PackagesDiffer | Leaving | SubworkerHello
"""All that a subworker may say."""


@dataclass(slots=True)
class Callbacks:
    """Whom a link tells what happens. All are called from the loop."""

    on_hello: Callable[[SubworkerLink], None]
    on_messages: Callable[[SubworkerLink, list[SubworkerMessage]], None]
    on_broken: Callable[[SubworkerLink], None]
    on_exit: Callable[[SubworkerLink], None]
    rest_s: Callable[[SubworkerLink], float]


class SubworkerLink:
    """One subworker.

    Attributes:
        number: its number within the pool.
        kind: its kind.
        directory: its private directory.
        temporary: where its temporary files go; short, for sockets in it have short names.
        methods: methods it knows; None: it takes any.
        outbox: jobs to be sent at the end of this turn.
        output: what it writes to its standard streams.
        fault: why it is killed, when it broke the protocol or did not start; None otherwise.
    """

    def __init__(
        self,
        loop: Loop,
        number: int,
        kind: str,
        command: Sequence[str],
        directory: Path,
        output: OutputFiles,
        callbacks: Callbacks,
    ) -> None:
        self.number = number
        self.kind = kind
        self.directory = str(directory)
        self.temporary = str(directory.with_name(f"tmp-{number}"))
        self.methods: frozenset[str] | None = None
        self.outbox: list[Job] = []
        self.fault: str | None = None
        self._loop = loop
        self._command = list(command)
        self.output = output
        self._told: TaskPrinted | None = None
        self._callbacks = callbacks
        self._ready = False
        self._process: processes.Process | None = None
        self._stream: socket.socket | None = None
        self._reader = FrameCutter(RESULT_FRAME_LIMIT_BYTES)
        self._unsent = bytearray()
        self._claims = (-1, -1)
        self._sent: dict[int, int] = {}
        self._count = 0
        self._resting: Timer | None = None
        self._timer = loop.call_later(HELLO_TIMEOUT_S, self._on_hello_timeout)

    def start(self, *, claims: bool, pin_cpus: bool, environment: Mapping[str, str]) -> None:
        """Start the process; OSError when that fails, and then `close` is left to do.

        Args:
            claims: it can be sent jobs ahead.
            pin_cpus: it may set the cpus of a task as its affinity.
            environment: what its environment holds besides our variables.
        """
        os.mkdir(self.directory, 0o700)
        os.mkdir(self.temporary, 0o700)
        stdout, stderr = self.output.open()
        ours, theirs = socket.socketpair()
        self._stream = ours
        ours.setblocking(False)
        variables = {
            SOCKET_VARIABLE: str(theirs.fileno()),
            KIND_VARIABLE: self.kind,
            PIN_VARIABLE: str(int(pin_cpus)),
            TEMPORARY_VARIABLE: self.temporary,
            "TMPDIR": self.temporary,
        }
        pass_fds = [theirs.fileno()]
        if claims:
            self._claims = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            variables[CLAIMS_VARIABLE] = str(self._claims[0])
            pass_fds.append(self._claims[0])
        try:
            self._process = processes.spawn(
                self._loop,
                self._command,
                cwd=os.getcwd(),
                env={**environment, **variables},
                on_exit=self._on_process_exit,
                stdout=stdout,
                stderr=stderr,
                pass_fds=pass_fds,
            )
        finally:
            theirs.close()
        self._loop.add_reader(ours.fileno(), self._on_readable)

    @property
    def process(self) -> processes.Process | None:
        """The process, None before it was started."""
        return self._process

    @property
    def was_unable(self) -> bool:
        """It ended because it could not use the directory it was given, which is no fault of its task."""
        process = self._process
        return self.fault is None and process is not None and process.returncode == UNABLE_EXIT_CODE

    def run(self, bodies: list[TaskBody], jobs: list[Job], tasks: list[SubworkerTask]) -> None:
        """Send tasks, which are those of `jobs`, and the bodies they need."""
        first = self._count
        self._count += len(jobs)
        for number, job in enumerate(jobs, first):
            self._sent[number] = job.uid
        if self._claims[1] >= 0:
            # Numbers first: a subworker with a number waits for the task; the other way round it would rest.
            os.write(self._claims[1], b"".join(map(CLAIM.pack, range(first, self._count))))
        else:
            self.output.mark()
        session_id = jobs[0].session_id
        self.send(RunTasks([(session_id, body.key, body.config) for body in bodies], tasks))

    def withdraw(self) -> list[int]:
        """Take back all jobs that have not begun and never will now; their uids."""
        withdrawn = []
        if self._claims[0] >= 0:
            with suppress(BlockingIOError):
                data = os.read(self._claims[0], 1 << 16)
                withdrawn = [self._sent.pop(number) for (number,) in CLAIM.iter_unpack(data)]
        if withdrawn and self._ready and self.fault is None:
            self.send(CancelTasks([id_of(uid) for uid in withdrawn]))
        withdrawn += [job.uid for job in self.outbox]
        self.outbox.clear()
        return withdrawn

    def forget(self, uid: int) -> None:
        """The result of the oldest job that was sent arrived."""
        number = next(iter(self._sent), None)
        if number is not None and self._sent[number] == uid:
            del self._sent[number]

    def note_printed(self, told: TaskPrinted) -> None:
        """The subworker says what a task wrote, whose result comes next."""
        self._told = told

    def take_printed(self, job: Job) -> Printed | None:
        """What a job that ended wrote to its standard streams, None for nothing."""
        told, self._told = self._told, None
        if told is not None and told.id == (job.uid >> 32, job.uid & 0xFFFFFFFF):
            return self.output.take_told(told)
        # One that is sent ahead tells what there is, as long as it lives.
        return self.output.take() if self._claims[0] < 0 else None

    def take_printed_by_crashed(self, job: Job) -> Printed | None:
        """The same of a job under which the subworker died, if it is the one that ran; None for others."""
        if next(iter(self._sent.values()), None) != job.uid:
            return None
        return self.take_printed(job) or self.output.take()

    def send(self, message: Any) -> None:
        """Send a message without ever waiting: what the socket does not take is sent later."""
        frame = to_frame(message)
        if self._unsent:
            self._unsent += frame
            return
        taken = self._write(frame)
        if taken < len(frame) and self._stream is not None:
            self._unsent += memoryview(frame)[taken:]
            self._loop.add_writer(self._stream.fileno(), self._on_writable)

    def read(self) -> list[SubworkerMessage]:
        """The messages that are there. A peer that is none of ours is `fault`ed, never raised."""
        messages: list[SubworkerMessage] = []
        if self._stream is None or self.fault is not None:
            return messages
        try:
            for _ in range(_READS_PER_TURN):
                data = self._stream.recv(_READ_BYTES)
                if not data:
                    self._on_end_of_stream()
                    break
                for payload in self._reader.feed(data):
                    messages.append(decode_bare(payload, CONVERSATION, "subworker"))
                if len(data) < _READ_BYTES:
                    break
        except BlockingIOError:
            return messages
        except ConnectionError:
            self._on_end_of_stream()
        except ProtocolError as error:
            self.fault = f"sent what is no message of the subworker protocol: {error}"
        return messages

    def kill(self) -> None:
        """Kill the process and all it started; `on_exit` follows."""
        if self._process is not None:
            processes.kill_tree(self._process)

    def close(self) -> None:
        """Free all descriptors; the process must be gone. Empty files of output are removed."""
        self._timer.cancel()
        if self._resting is not None:
            self._resting.cancel()
        if self._stream is not None:
            self._loop.remove_reader(self._stream.fileno())
            self._loop.remove_writer(self._stream.fileno())
            self._stream.close()
            self._stream = None
        for descriptor in self._claims:
            if descriptor >= 0:
                os.close(descriptor)
        self._claims = (-1, -1)
        self.output.close()

    def why_not_started(self, error: OSError | None = None) -> str:
        """Why it never said a valid hello, human-readable."""
        if error is not None:
            reason = f"could not be run: {error}"
        else:
            reason = self.fault or f"{self._how_it_ended()} before it said hello"
        return (
            f"Subworker {self.kind!r} could not be started: command `{shlex.join(self._command)}` {reason}"
            f"{self._tail(since_mark=False)}"
        )

    def why_crashed(self) -> str:
        """How it died under a task, human-readable."""
        pid = self._process.pid if self._process is not None else 0
        how = self.fault and f"was killed, because it {self.fault},"
        return (
            f"The subworker {self.kind!r} (pid {pid}) {how or self._how_it_ended()} while it ran this task"
            f"{self._tail(since_mark=True)}"
        )

    def why_unable(self) -> str:
        """The same of one that `was_unable`."""
        return f"The subworker {self.kind!r} could not begin the task{self._tail(since_mark=True)}"

    def _how_it_ended(self) -> str:
        code = self._process.returncode if self._process is not None else None
        if code is None:
            return "ended"
        if code >= 0:
            return f"ended with exit code {code}"
        try:
            name = f"signal {-code} ({signal.Signals(-code).name})"
        except ValueError:
            name = f"signal {-code}"
        hint = ", as when memory runs out" if -code == signal.SIGKILL else ""
        return f"was killed by {name}{hint}"

    def _tail(self, *, since_mark: bool) -> str:
        if self._process is None:
            return ""
        text = self.output.tail(since_mark=since_mark)
        return f". Its last output:\n{text}" if text else ". It left no output."

    def _write(self, data: bytes | bytearray | memoryview) -> int:
        if self._stream is None:
            return len(data)
        try:
            return self._stream.send(data)
        except BlockingIOError:
            return 0
        except OSError:  # it is gone; its exit is about to be noticed, and its jobs with it
            return len(data)

    def _on_writable(self) -> None:
        taken = self._write(self._unsent)
        del self._unsent[:taken]
        if not self._unsent and self._stream is not None:
            self._loop.remove_writer(self._stream.fileno())

    def _rest(self) -> None:
        """Let results gather where that is wanted."""
        if self._stream is None or self.fault is not None or not self._ready:
            return
        delay_s = self._callbacks.rest_s(self)
        if delay_s > 0.0:
            self._loop.remove_reader(self._stream.fileno())
            self._resting = self._loop.call_later(delay_s, self._wake_up)

    def _wake_up(self) -> None:
        self._resting = None
        if self._stream is not None:
            self._loop.add_reader(self._stream.fileno(), self._on_readable)
            self._on_readable()

    def _on_readable(self) -> None:
        messages = self.read()
        if not self._ready and messages:
            self._check_hello(messages.pop(0))
            if self._ready:
                self._timer.cancel()
                self._callbacks.on_hello(self)
        if self._ready and messages:
            self._callbacks.on_messages(self, messages)
        if self.fault is not None and self._stream is not None:
            self._loop.remove_reader(self._stream.fileno())
            self._callbacks.on_broken(self)
        self._rest()

    def _check_hello(self, message: SubworkerMessage) -> None:
        if not isinstance(message, SubworkerHello):
            self.fault = "sent something else before its hello"
        elif message.version != SUBWORKER_PROTOCOL_VERSION:
            self.fault = (
                f"speaks version {message.version} of the subworker protocol, "
                f"this worker speaks version {SUBWORKER_PROTOCOL_VERSION}"
            )
        elif message.name != self.kind:
            self.fault = f"says it is {message.name!r}, but was started as {self.kind!r}"
        else:
            self._ready = True
            self.output.mark()
            self.methods = None if message.methods is None else frozenset(message.methods)

    def _on_end_of_stream(self) -> None:
        """Nothing more comes. Its exit follows at once when it died; else it must go."""
        if self._stream is not None:
            self._loop.remove_reader(self._stream.fileno())
        self._loop.call_later(_ENDING_S, self._on_still_there)

    def _on_still_there(self) -> None:
        if self._stream is not None and self.fault is None:
            self.fault = "closed its connection"
            self._callbacks.on_broken(self)

    def _on_hello_timeout(self) -> None:
        self.fault = f"did not say hello within {HELLO_TIMEOUT_S:g} s"
        self._callbacks.on_broken(self)

    def _on_process_exit(self, _process: processes.Process) -> None:
        self._callbacks.on_exit(self)
