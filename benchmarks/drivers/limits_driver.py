"""What this machine can do at best: the limits that no task system here can beat."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import pickle
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.drivers import functions
from benchmarks.drivers.harness import Driver, Meter, main

BATCH = 100
FRAME_BYTES = 1_000_000
_TRUE = "/bin/true"
_FORK = multiprocessing.get_context("fork")


class LimitsDriver(Driver):
    """Not a system: each method is a bare loop. Other processes are forked before ZeroMQ starts threads."""

    roles = (("other side", "limits_driver"),)

    def start(self) -> None:
        """Nothing to start."""

    def run_one(self) -> None:
        """Nothing to run."""

    def close(self) -> None:
        """Nothing to stop; the harness ends what was forked."""

    def version(self) -> str:
        """Of the kernel."""
        return os.uname().release

    def pipe(self, meter: Meter, count: int) -> float:
        """Microseconds per round trip."""
        there_out, there_in = os.pipe()
        back_out, back_in = os.pipe()
        _fork(_echo_pipe, there_out, back_in, count)
        with meter:
            for _ in range(count):
                os.write(there_in, b"x")
                os.read(back_out, 1)
        return meter.seconds / count * 1e6

    def zmq(self, meter: Meter, count: int) -> float:
        """Microseconds per round trip of a small message over TCP, DEALER to DEALER."""
        port = _fork(_echo_zmq, count).recv()
        import zmq

        socket: Any = zmq.Context().socket(zmq.DEALER)
        socket.connect(f"tcp://127.0.0.1:{port}")
        socket.send(b"hello")
        socket.recv()
        with meter:
            for _ in range(count):
                socket.send(b"x")
                socket.recv()
        return meter.seconds / count * 1e6

    def spawn(self, meter: Meter, count: int) -> float:
        """Microseconds per program."""
        with meter:
            _spawn_trues(count)
        return meter.seconds / count * 1e6

    def spawns(self, meter: Meter, count: int) -> float:
        """Programs per second of as many processes as there are workers."""
        with meter:
            sides = [_fork(_spawn_and_say, count) for _ in range(self.workers)]
            for side in sides:
                side.recv()
        return self.workers * count / meter.seconds

    def loop(self, meter: Meter, count: int) -> float:
        """Calls per second, each pickled by itself: what batching leaves of a task's cost."""
        ports = [_fork(_work_in_batches).recv() for _ in range(self.workers)]
        import zmq

        context: Any = zmq.Context()
        results = context.socket(zmq.PULL)
        back = results.bind_to_random_port("tcp://127.0.0.1")
        work = context.socket(zmq.PUSH)
        for port in ports:
            work.connect(f"tcp://127.0.0.1:{port}")
        for _ in ports:
            work.send(pickle.dumps((back, [])))
            results.recv()
        with meter:
            for start in range(0, count, BATCH):
                numbers = range(start, min(start + BATCH, count))
                calls = [pickle.dumps((functions.noop, (index,))) for index in numbers]
                work.send(pickle.dumps((back, calls)))
            got = 0
            while got < count:
                got += len([pickle.loads(result) for result in pickle.loads(results.recv())])
        return count / meter.seconds

    def memcpy(self, meter: Meter, size: int) -> float:
        """Megabytes per second from one warm buffer to another."""
        source, target = bytearray(b"x") * size, bytearray(b"y") * size
        view = memoryview(target)
        with meter:
            for _ in range(4):
                view[:] = source
        return 4 * size / meter.seconds / 1e6

    def fill(self, meter: Meter, size: int) -> float:
        """Megabytes per second into memory that was never touched before."""
        piece = b"x" * (1 << 20)
        with mmap.mmap(-1, size) as fresh, meter:
            for offset in range(0, size - len(piece) + 1, len(piece)):
                fresh[offset : offset + len(piece)] = piece
        return size / meter.seconds / 1e6

    def push(self, meter: Meter, count: int) -> float:
        """Megabytes per second of 1 MB frames from one buffer."""
        return self._push(meter, count, curve=False)

    def push_curve(self, meter: Meter, count: int) -> float:
        """The same, encrypted and authenticated."""
        return self._push(meter, count, curve=True)

    def _push(self, meter: Meter, count: int, curve: bool) -> float:
        other = _fork(_pull_frames, count, curve)
        port, key = other.recv()
        import zmq

        socket: Any = zmq.Context().socket(zmq.PUSH)
        if curve:
            socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
            socket.curve_serverkey = key
        socket.hwm = 8
        socket.connect(f"tcp://127.0.0.1:{port}")
        frame = bytes(FRAME_BYTES)
        socket.send(frame)
        other.recv()
        with meter:
            for _ in range(count):
                socket.send(frame, copy=False)
            other.recv()
        return count * FRAME_BYTES / meter.seconds / 1e6


def _fork(target: Callable[..., None], *arguments: Any) -> Connection:
    """Run `target(connection, *arguments)` in another process; our end of the connection."""
    ours, theirs = _FORK.Pipe()
    _FORK.Process(target=target, args=(theirs, *arguments), daemon=True).start()
    theirs.close()
    return ours


def _echo_pipe(_connection: Connection, source: int, target: int, count: int) -> None:
    for _ in range(count):
        os.read(source, 1)
        os.write(target, b"x")


def _echo_zmq(connection: Connection, count: int) -> None:
    import zmq

    socket: Any = zmq.Context().socket(zmq.DEALER)
    connection.send(socket.bind_to_random_port("tcp://127.0.0.1"))
    for _ in range(count + 1):
        socket.send(socket.recv())
    time.sleep(0.2)


def _spawn_trues(count: int) -> None:
    for _ in range(count):
        os.waitpid(os.posix_spawn(_TRUE, [_TRUE], {}), 0)


def _spawn_and_say(connection: Connection, count: int) -> None:
    _spawn_trues(count)
    connection.send(True)


def _work_in_batches(connection: Connection) -> None:
    import zmq

    context: Any = zmq.Context()
    work = context.socket(zmq.PULL)
    connection.send(work.bind_to_random_port("tcp://127.0.0.1"))
    results: Any = None
    while True:
        back, calls = pickle.loads(work.recv())
        if results is None:
            results = context.socket(zmq.PUSH)
            results.connect(f"tcp://127.0.0.1:{back}")
        results.send(pickle.dumps([_call(call) for call in calls]))


def _call(call: bytes) -> bytes:
    function, arguments = pickle.loads(call)
    return pickle.dumps(function(*arguments))


def _pull_frames(connection: Connection, count: int, curve: bool) -> None:
    import zmq

    socket: Any = zmq.Context().socket(zmq.PULL)
    key = b""
    if curve:
        key, socket.curve_secretkey = zmq.curve_keypair()
        socket.curve_publickey = key
        socket.curve_server = True
    socket.hwm = 8
    connection.send((socket.bind_to_random_port("tcp://127.0.0.1"), key))
    socket.recv()
    connection.send(True)
    for _ in range(count):
        socket.recv(copy=False)
    connection.send(True)


if __name__ == "__main__":
    main(LimitsDriver)
