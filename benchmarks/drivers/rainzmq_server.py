"""Workloads of rainzmq's server and client alone: with fake workers, or with none."""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.drivers.harness import Driver, Meter

READY_TIMEOUT_S = 30.0
_POLL_S = 0.01
MERGE_INPUTS = 10_000
"""Inputs of one merging task; more are merged in two levels, as a message cannot hold a million ids."""


class ServerWorkloads(Driver):
    """Starts a server by its command, and what each workload needs beside it."""

    unstarted: tuple[str, ...] = ("merge", "submit", "hold")

    def start_server(self) -> None:
        """A server without workers, and a client of it."""
        from benchmarks.drivers import rainzmq_functions
        from rainzmq import Client

        self._functions = rainzmq_functions
        self._home = Path(tempfile.mkdtemp(prefix="benchmark-rainzmq-"))
        self._access, ready = self._home / "access.json", self._home / "ready"
        command = [sys.executable, "-m", "rainzmq", "server", "--listen", "127.0.0.1:0"]
        command += ["--access-file", str(self._access), "--ready-file", str(ready)]
        command += ["--logdir", str(self._home)]
        self._server = psutil.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not ready.exists():
            if time.monotonic() > deadline or self._server.poll() is not None:
                raise RuntimeError("the server did not start")
            time.sleep(_POLL_S)
        self._client = Client(str(self._access))

    def close(self) -> None:
        """Stop the server and remove its files."""
        if hasattr(self, "_server"):
            self._client.close()
            self._server.terminate()
            self._server.wait(5)
            shutil.rmtree(self._home, ignore_errors=True)

    def _helper(self, module: str, *arguments: str) -> subprocess.Popen[str]:
        """A process of ours that is ready."""
        command = [sys.executable, "-m", f"benchmarks.drivers.{module}", str(self._access), *arguments]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{module} did not start")
        threading.Thread(target=self._watch, args=(process,), daemon=True).start()
        return process

    def _watch(self, helper: subprocess.Popen[str]) -> None:
        """A helper that fails ends the server, so that the client gets an error instead of waiting."""
        if helper.wait() != 0:
            self._server.terminate()

    def _server_cpu_s(self) -> float:
        times = self._server.cpu_times()
        return float(times.user + times.system)

    def _server_bytes(self) -> int:
        return int(self._server.memory_info().rss)

    def merge(self, meter: Meter, count: int, fake_workers: int) -> float:
        """Microseconds of server CPU per task; fake workers answer at once."""
        self.start_server()
        self._helper("fake_worker", str(fake_workers))
        with self._client.new_session("benchmark") as session:
            before, memory = self._server_cpu_s(), self._server_bytes()
            with meter:
                made = _build_merge(self._functions.empty, count)
                session.submit()
                session.wait_all()
            spent = self._server_cpu_s() - before
            meter.details["server_bytes_per_task"] = (self._server_bytes() - memory) / made
            meter.details["tasks_per_s"] = made / meter.seconds
        return spent / made * 1e6

    def submit(self, meter: Meter, count: int) -> float:
        """Microseconds of the client per task, with a server that has no workers."""
        self.start_server()
        noop = self._functions.noop
        own = psutil.Process()
        with self._client.new_session("benchmark") as session:
            noop()
            session.submit()
            gc.collect()
            before = own.memory_info().rss
            with meter:
                made = [noop(index) for index in range(count)]
                session.submit()
            meter.details["client_bytes_per_task"] = (own.memory_info().rss - before) / len(made)
        return meter.seconds / count * 1e6

    def hold(self, meter: Meter, count: int) -> float:
        """Bytes of the server per task; the longest stall while it takes and holds them is a detail."""
        self.start_server()
        noop = self._functions.noop
        pinger = self._helper("pinger")
        with self._client.new_session("benchmark") as session:
            before = self._server_bytes()
            with meter:
                for index in range(count):
                    noop(index)
                session.submit()
                self._wait_for(count)
            held = self._server_bytes() - before
            time.sleep(2.0)
            answer: dict[str, Any] = json.loads(pinger.communicate("", timeout=60)[0])
            meter.details["longest_stall_ms"] = answer["longest_ms"]
            meter.details["median_ping_ms"] = answer["median_ms"]
        return held / count

    def _wait_for(self, count: int) -> None:
        """Until the server has taken all tasks: a submit has no answer."""
        while self._client.get_server_info()["sessions"][0]["tasks"] < count:
            time.sleep(_POLL_S)


def _build_merge(empty: Any, count: int) -> int:
    """`count` no-ops into one; the number of tasks in all."""
    from rainzmq import tasks

    made = count
    level = [empty() for _ in range(count)]
    while len(level) > 1:
        level = [
            tasks.Concat(level[start : start + MERGE_INPUTS]) for start in range(0, len(level), MERGE_INPUTS)
        ]
        made += len(level)
    return made
