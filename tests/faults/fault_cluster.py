"""A server with short limits and workers that a test starts, kills, stops and cuts off as it likes."""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

import rainzmq
from rainzmq.deploy.process import ChildProcess
from rainzmq.store import default_workdir, release_workdir

T = 2.0
"""The dead limit of these servers, seconds: who is silent for so long is dead."""

_START_S = 30.0


class Child(ChildProcess):
    """A `ChildProcess` that can be struck."""

    def signal(self, number: int) -> None:
        """Send a signal; no error when it is gone."""
        self._popen.send_signal(number)

    def kill(self) -> None:
        """As `kill -9` does: this process alone, at once."""
        self.signal(signal.SIGKILL)
        self._popen.wait()


class _FastServer(Child):
    program = (str(Path(__file__).with_name("fast_server.py")),)


class FaultCluster:
    """Start it in a `with` block; whatever is left at its end is ended, and what was killed is tidied up."""

    def __init__(
        self,
        directory: Path,
        dead_after_s: float = T,
        host: str = "127.0.0.1",
        options: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.dead_after_s = dead_after_s
        self.host = host
        self.access_file = directory / "access.json"
        self.workers: list[Child] = []
        self._numbers = itertools.count(1)
        self.server = _FastServer(
            "the server", [str(self.access_file), str(dead_after_s), host, *options], directory / "server"
        )
        self.server.wait_ready(_START_S)

    def start_worker(
        self,
        cpus: int = 1,
        options: Sequence[str] = (),
        access: Path | None = None,
        kind: type[Child] = Child,
    ) -> Child:
        """Start a worker without waiting for it; `kind` may be one that runs another program."""
        name = f"worker-{next(self._numbers)}"
        arguments = ["worker", str(access or self.access_file), "--cpus", str(cpus)]
        arguments += () if "--pin" in options else ("--pin", "none")
        arguments += [*(() if "--listen" in options else ("--listen", f"{self.host}:0")), *options]
        worker = kind(name, arguments, self.directory / name)
        self.workers.append(worker)
        return worker

    def add_worker(self, cpus: int = 1, options: Sequence[str] = (), access: Path | None = None) -> Child:
        """Start a worker and wait until the server knows it."""
        worker = self.start_worker(cpus, options, access)
        worker.wait_ready(_START_S)
        return worker

    def kill(self, worker: Child) -> None:
        """SIGKILL to one worker."""
        worker.kill()
        worker.abandon()
        self.workers.remove(worker)

    def client(self) -> rainzmq.Client:
        """A new client."""
        return rainzmq.Client(str(self.access_file))

    def server_log(self) -> str:
        """What the server has logged."""
        return (self.directory / "server" / "server.log").read_text()

    def close(self) -> None:
        """End all of it."""
        deadline = time.monotonic() + 3
        for worker in self.workers:
            worker.signal(signal.SIGCONT)
            worker.terminate()
        for worker in self.workers:
            worker.stop(deadline)
        self.server.stop(time.monotonic() + 2)
        release_workdir(default_workdir())  # as the next worker does that starts here

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def alive(pids: Iterable[int]) -> list[int]:
    """Those of some processes that run; zombies do not."""
    found = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


def wait_until(condition: Callable[[], object], limit_s: float) -> None:
    """Wait for a condition; AssertionError when it takes longer."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s} s"
        time.sleep(0.01)


def seeded(default: int) -> random.Random:
    """A random generator whose seed is printed; RAINZMQ_FAULT_SEED in the environment names another."""
    seed = int(os.environ.get("RAINZMQ_FAULT_SEED", default))
    print(f"seed {seed}", file=sys.stderr)
    return random.Random(seed)
