"""Workers that answer `finished` at once: `python -m benchmarks.drivers.fake_worker ACCESS_FILE COUNT`.

They speak the worker's side of the protocol with the engine's own link, and run nothing. What a graph then
costs is the server's and the client's work alone. Prints a line once all are registered.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import fields
from typing import Any

from rainzmq import __version__
from rainzmq.common.limits import MESSAGE_TARGET_BYTES
from rainzmq.protocol.messages import worker as m
from rainzmq.protocol.messages.shared import Endpoint
from rainzmq.transport.access import read_access
from rainzmq.transport.control import ControlClient
from rainzmq.transport.keys import KeyPair
from rainzmq.transport.loop import Loop
from rainzmq.transport.sockets import Context, new_context
from rainzmq.worker.link import ServerLink

TASKS_PER_REPORT = MESSAGE_TARGET_BYTES // 64
"""A report of more tasks is split, as a worker does it."""


class FakeWorker:
    """One worker without cpus, store or processes.

    Args:
        number: distinguishes the workers of one process; makes up a data endpoint that nobody may use.
        on_ready: called once the server knows it.
    """

    def __init__(self, context: Context, loop: Loop, access_file: str, number: int, on_ready: Any) -> None:
        self._outputs: dict[tuple[int, int], int] = {}
        self._number = number
        control = ControlClient(context, read_access(access_file), "worker")
        control.connect()
        self._link = ServerLink(
            loop,
            control,
            self._hello,
            dies_with_server=True,
            on_message=self._on_message,
            on_welcome=lambda _: on_ready(),
            on_lost=lambda _: self._outputs.clear(),
            on_end=lambda _: loop.stop(),
        )
        self._link.start()

    def _hello(self, previous_epoch: int) -> m.WorkerHello:
        endpoint = Endpoint("127.0.0.1", 1 + self._number, KeyPair.new().public)
        kinds = ["builtin", "python"]
        return m.WorkerHello(__version__, "fake", os.getpid(), 1, endpoint, kinds, previous_epoch)

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
            self._link.tell(reports(message, counts, fetched))
        elif isinstance(message, m.Remove):
            self._link.tell([_report(removed=message.uids)])
        elif isinstance(message, m.CancelFetch):
            self._link.tell([_report(unfetched=message.uids)])
        elif isinstance(message, m.EndSessions):
            self._link.tell([_report(ended_sessions=message.session_ids)])


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
