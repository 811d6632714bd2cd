"""Data planes for tests, in this thread (`Peer`), in another (`SecondLoop`), in a process (`Holder`)."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from pathlib import Path

import zmq

from rainzmq.protocol.messages.shared import Endpoint
from rainzmq.store import ObjectStore
from rainzmq.transport.data import DataPort
from rainzmq.transport.keys import KeyPair
from rainzmq.transport.loop import Loop
from rainzmq.transport.sockets import Context, new_context
from rainzmq.transport.zap import Authenticator

MIB = 1 << 20


class Peer:
    """A process's data plane: loop, store, port."""

    def __init__(self, root: Path, worker_keys: KeyPair, allowed: KeyPair | None = None) -> None:
        self.context: Context = new_context()
        self.loop = Loop()
        self.store = ObjectStore(root)
        self.authenticator = Authenticator(self.context, self.loop)
        self.authenticator.allow("data", (allowed or worker_keys).public, "worker")
        self.keys = KeyPair.new()
        self.port = DataPort(self.context, self.loop, self.store, self.keys, worker_keys, "data")
        self.number = self.port.bind("127.0.0.1")
        self.endpoint = Endpoint("127.0.0.1", self.number, self.keys.public)

    def fetch(
        self, uid: int, holders: list[Endpoint], is_directory: bool = False, limit_s: float = 30
    ) -> str | None:
        """Fetch and wait; why not, or None."""
        results: list[str | None] = []

        def done(error: str | None) -> None:
            results.append(error)
            self.loop.stop()

        self.port.fetch(uid, is_directory, holders, done)
        timer = self.loop.call_later(limit_s, self.loop.stop)
        self.loop.run()
        timer.cancel()
        assert results, "no answer in time"
        return results[0]

    def run_for(self, seconds: float) -> None:
        self.loop.call_later(seconds, self.loop.stop)
        self.loop.run()

    def close(self) -> None:
        self.port.close()
        self.authenticator.close()
        self.store.close()
        self.context.destroy(linger=0)
        self.loop.close()


def content_of(uid: int, size: int) -> bytes:
    """The same for the same uid in every process."""
    block = random.Random(uid).randbytes(MIB)
    return (block * (size // MIB + 1))[:size]


def serve(root: str, public: str, secret: str, objects: str) -> None:
    """The main function of a process that holds objects until its standard input ends."""
    peer = Peer(Path(root), KeyPair(public.encode(), secret.encode()))
    for uid, size in json.loads(objects):
        peer.store.put(uid, content_of(uid, size))
    print(peer.number, peer.keys.public.decode(), flush=True)
    peer.loop.add_reader(0, peer.loop.stop)
    peer.loop.run()
    peer.loop.remove_reader(0)
    print(peer.port.exchange.sent_bytes, flush=True)
    peer.close()


class Holder:
    """A `serve` process."""

    def __init__(self, root: Path, worker_keys: KeyPair, objects: dict[int, int]) -> None:
        arguments = [str(root), worker_keys.public.decode(), worker_keys.secret.decode()]
        self.process = subprocess.Popen(
            [sys.executable, __file__, *arguments, json.dumps(list(objects.items()))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        port, public = self.process.stdout.readline().split()
        self.endpoint = Endpoint("127.0.0.1", int(port), public.encode())

    def close(self) -> int:
        """End it; how many bytes of objects it sent, 0 when it was killed or closed before."""
        if self.process.stdin is None or self.process.stdin.closed:
            return 0
        output, _ = self.process.communicate(timeout=10)
        return int(output or 0)


class SecondLoop:
    """Runs a peer's loop in a thread; `close` ends it and the peer."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.thread = threading.Thread(target=peer.loop.run)
        self.thread.start()

    def close(self) -> None:
        self.peer.loop.stop()
        self.thread.join()
        self.peer.close()


def warm_up_zero_copy() -> None:
    """pyzmq's first send without a copy makes a thread and descriptors that stay until the process ends."""
    context = new_context()
    left, right = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    left.bind("inproc://warm-up")
    right.connect("inproc://warm-up")
    left.send(bytes(MIB), copy=False)
    right.recv()
    context.destroy(linger=0)


if __name__ == "__main__":
    serve(*sys.argv[1:])
