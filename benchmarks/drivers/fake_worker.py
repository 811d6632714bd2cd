"""Workers that answer `finished` at once: `python -m benchmarks.drivers.fake_worker ACCESS_FILE COUNT`.

They speak the worker's side of the protocol, made of the declared messages, and run nothing. What a graph
then costs is the server's and the client's work alone. Prints a line once all are registered.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import fields
from typing import Any

from rainzmq._version import __version__
from rainzmq.common.limits import MESSAGE_TARGET_BYTES
from rainzmq.common.versions import python_version
from rainzmq.protocol.codec import Header, decode, encode
from rainzmq.protocol.messages import worker as m
from rainzmq.protocol.messages.shared import Endpoint
from rainzmq.protocol.version import PROTOCOL_VERSION
from rainzmq.transport.access import read_access
from rainzmq.transport.control import ControlClient
from rainzmq.transport.keys import KeyPair
from rainzmq.transport.loop import Loop
from rainzmq.transport.sockets import Context, new_context

TASKS_PER_REPORT = MESSAGE_TARGET_BYTES // 64
"""A report of more tasks is split, as a worker does it."""


MAX_WORKERS = 64
"""Fake workers of one process at most."""


class FakeWorker:
    """One worker without cpus, store or processes.

    Args:
        number: distinguishes the workers of one process; makes up a data endpoint that nobody may use.
        on_ready: called once the server knows it.
    """

    def __init__(self, context: Context, loop: Loop, access_file: str, number: int, on_ready: Any) -> None:
        self._outputs: dict[tuple[int, int], int] = {}
        self._loop = loop
        self._on_ready = on_ready
        self._header = Header()
        self._control = ControlClient(context, read_access(access_file), "worker")
        self._control.connect()
        self._control.attach(loop, self._on_frames, self._on_connection)
        # Of this process alone: the server may not have noticed yet that those of an earlier one are gone.
        port = 1 + (os.getpid() * MAX_WORKERS + number) % 65_535
        endpoint = Endpoint("127.0.0.1", port, KeyPair.new().public)
        kinds = ["builtin", "python", f"python {python_version()}"]
        self._tell([m.WorkerHello(__version__, "fake", os.getpid(), 1, endpoint, kinds, 0)])

    def _tell(self, messages: list[Any]) -> None:
        if not messages:
            return  # an assignment without tasks only told of objects
        self._control.send([encode(message, self._header) for message in messages])

    def _on_connection(self, connected: bool) -> None:
        if not connected:
            self._loop.stop()

    def _on_frames(self, frames: list[bytes]) -> None:
        for frame in frames:
            header, message = decode(frame, m.CONVERSATION, "server")
            if isinstance(message, m.WorkerWelcome):
                self._header = Header(PROTOCOL_VERSION, header.cluster_id, header.server_epoch, message.epoch)
                self._beat(message.heartbeat_interval_s)
                self._on_ready()
            else:
                self._on_message(message)

    def _beat(self, interval_s: float) -> None:
        self._tell([m.WorkerHeartbeat()])
        self._loop.call_later(interval_s, lambda: self._beat(interval_s))

    def _on_message(self, message: Any) -> None:
        if isinstance(message, m.Assign):
            for session_id, body in message.bodies:
                self._outputs[session_id, body.key] = len(body.outputs)
            counts = [
                self._outputs[uid >> 32, key]
                for uid, key in zip(message.uids, message.body_keys, strict=True)
            ]
            fetched = [
                meta.uid
                for meta, data in zip(message.objects, message.object_data, strict=True)
                if data is None
            ]
            self._tell(reports(message, counts, fetched))
        elif isinstance(message, m.Remove):
            self._tell([_report(removed=message.uids)])
        elif isinstance(message, m.CancelFetch):
            self._tell([_report(unfetched=message.uids)])
        elif isinstance(message, (m.WorkerBye, m.WorkerRefused, m.Fenced)):
            self._loop.stop()
        elif isinstance(message, m.EndSessions):
            self._tell([_report(ended_sessions=message.session_ids)])


def reports(assign: m.Assign, counts: list[int], fetched: list[int]) -> list[m.Report]:
    """The answer to an assignment: everything is finished, with outputs of no bytes.

    `counts` are the numbers of outputs of the tasks, `fetched` the objects that came without content.
    """
    now = time.time()
    wanted = set(assign.inline)
    result = [_report(fetched=fetched)] if fetched else []
    for start in range(0, len(assign.uids), TASKS_PER_REPORT):
        part = slice(start, start + TASKS_PER_REPORT)
        uids, part_counts = assign.uids[part], counts[part]
        inline: list[tuple[int, bytes]] = []
        if wanted:
            outputs = [
                uid + 1 + n for uid, count in zip(uids, part_counts, strict=True) for n in range(count)
            ]
            inline = [(output, b"") for output in outputs if output in wanted]
        result.append(
            _report(
                finished=uids,
                attempts=assign.attempts[part],
                start_times=[now] * len(uids),
                durations_us=[1] * len(uids),
                cpus=[0] * len(uids),
                output_counts=part_counts,
                sizes=[0] * sum(part_counts),
                inline=inline,
            )
        )
    return result


def _report(**columns: list[Any]) -> m.Report:
    return m.Report(*[columns.get(field.name, []) for field in fields(m.Report)])


def run(access_file: str, count: int) -> None:
    """Have so many fake workers until the server ends."""
    loop, context = Loop(), new_context()
    registered: list[int] = []

    def on_ready() -> None:
        registered.append(1)
        if len(registered) == count:
            sys.stdout.write("ready\n")
            sys.stdout.flush()

    workers = [FakeWorker(context, loop, access_file, number, on_ready) for number in range(count)]
    loop.run()
    assert workers, "they live as long as the loop"
    os._exit(0)


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]))
