"""Servers that have no file descriptor left."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress

from rainzmq.common.errors import RainException
from rainzmq.transport.access import Access
from rainzmq.transport.control import ControlClient
from rainzmq.transport.keys import KeyPair
from rainzmq.transport.sockets import new_context

SERVER = """
import os, resource, sys, time
from rainzmq.transport.control_server import ControlServer
from rainzmq.transport.keys import KeyPair
from rainzmq.transport.loop import Loop
from rainzmq.transport.sockets import new_context
from rainzmq.transport.zap import Authenticator
loop, context, keys = Loop(), new_context(), KeyPair(*[item.encode() for item in sys.argv[1:3]])
authenticator = Authenticator(context, loop)
authenticator.allow("control", sys.argv[3].encode(), "client")
server = ControlServer(context, loop, keys, "control", lambda peer, role, frames: server.send(peer, frames))
limit = len(os.listdir("/proc/self/fd")) + 8
port = server.bind("127.0.0.1", 0)
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
def asked():
    if not os.read(0, 1):
        loop.stop()
    print(time.process_time(), flush=True)
loop.add_reader(0, asked)
print(port, flush=True)
loop.run()
server.close()
authenticator.close()
context.term()
"""


def test_a_server_without_descriptors_rests_until_there_are_some_again() -> None:
    keys, mine = KeyPair.new(), KeyPair.new()
    words = [pair.decode() for pair in (keys.public, keys.secret, mine.public)]
    command = [sys.executable, "-c", SERVER, *words]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
        ExitStack() as opened,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        port = int(process.stdout.readline())

        def cpu_s() -> float:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("?")
            process.stdin.flush()
            return float(process.stdout.readline())

        for _ in range(50):
            with suppress(ConnectionError):  # it stops listening on the way
                opened.enter_context(socket.create_connection(("127.0.0.1", port)))
        time.sleep(0.5)
        before_s = cpu_s()
        time.sleep(1)  # what is measured: a second in which there is nothing it could do
        assert cpu_s() - before_s < 0.1
        opened.close()
        echo_from(Access("127.0.0.1", port, keys.public, {"client": mine}, 1, 1, 0.0))


def echo_from(access: Access) -> None:
    """Reach the server once it listens again."""
    context = new_context()
    deadline = time.monotonic() + 20
    while True:
        client = ControlClient(context, access, "client")
        try:
            client.connect(5)
            client.send([b"hello"])
            assert client.receive(5) == [[b"hello"]]
            break
        except RainException:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        finally:
            client.close()
    context.destroy(linger=0)
