"""rainzmq, on a `LocalCluster`; the workloads without real workers are in `rainzmq_server`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.drivers import functions
from benchmarks.drivers.harness import Meter, main
from benchmarks.drivers.rainzmq_watched import WatchedWorkloads
from benchmarks.processes import Roles

if TYPE_CHECKING:
    from rainzmq.client import Session


class RainzmqDriver(WatchedWorkloads):
    """A server and as many workers with one cpu each; a session for each workload."""

    roles: Roles = (
        ("server", "-m rainzmq server"),
        ("web", "-m rainzmq web"),
        ("worker", "-m rainzmq worker"),
        ("subworker", "rainzmq.subworker"),
        ("fake worker", "fake_worker"),
        ("pinger", "drivers.pinger"),
    )
    unstarted: tuple[str, ...] = ("startup", "startup_command", "transfer", *WatchedWorkloads.unstarted)

    def start(self) -> None:
        """The cluster, a client, a session, and the remote functions."""
        self._start([1] * self.workers)

    def _start(self, cpus: Sequence[int]) -> None:
        from benchmarks.drivers import rainzmq_functions
        from rainzmq import LocalCluster

        self._functions = rainzmq_functions
        self._cluster = LocalCluster(list(cpus))
        self._client = self._cluster.client()

    def session(self) -> Session:
        """A new session, to be used in a `with` statement."""
        return self._client.new_session("benchmark")

    def run_one(self) -> None:
        """One no-op, until the client knows that it is done."""
        if not hasattr(self, "_open"):
            self._open = self.session()
        with self._open.bind_only():
            task = self._functions.noop()
            self._open.submit()
            task.wait()

    def warm_up(self) -> None:
        """Python tasks and programs on each worker."""
        from rainzmq import tasks

        with self.session() as session:
            for _ in range(2 * self.workers):
                self._functions.sleep(0.05)
            for _ in range(50):
                self._functions.noop()
                tasks.Execute(["/bin/true"])
            session.submit()
            session.wait_all()

    def close(self) -> None:
        """Stop the cluster, and the server without workers."""
        super().close()
        if hasattr(self, "_client"):
            self._client.close()
        if hasattr(self, "_cluster"):
            self._cluster.close()

    def version(self) -> str:
        """Of rainzmq."""
        import rainzmq

        return rainzmq.__version__

    def _timed(self, meter: Meter, build: Callable[[], Any]) -> Any:
        """Build, submit and wait for a graph, measured; what `build` returned."""
        with self.session() as session:
            before = self._messages()
            with meter:
                built = build()
                session.submit()
                session.wait_all()
            # The last request for the counters and its answer are counted neither before nor after.
            meter.details["messages"] = self._messages() - before - 2
            return built

    def _messages(self) -> int:
        """Messages that the server got and sent so far."""
        counters = self._client.get_server_info()["counters"]
        return int(counters["messages_received"] + counters["messages_sent"])

    def bag(self, meter: Meter, count: int) -> float:
        """Tasks per second. Building counts too: other systems do it while they submit."""
        noop = self._functions.noop
        self._timed(meter, lambda: [noop(index) for index in range(count)])
        meter.details["messages_per_task"] = meter.details.pop("messages") / count
        return count / meter.seconds

    def tree(self, meter: Meter, count: int) -> float:
        """Tasks per second, until the client has the sum."""
        one, add = self._functions.one, self._functions.add
        with self.session() as session, meter:
            level = [one(index) for index in range(count)]
            made = len(level)
            while len(level) > 1:
                rest = level[-1:] if len(level) % 2 else []
                level = [add(a, b) for a, b in zip(level[::2], level[1::2], strict=False)] + rest
                made += len(level) - len(rest)
            level[0].output.keep()
            session.submit()
            assert level[0].output.fetch().load() == count
        return made / meter.seconds

    def chain(self, meter: Meter, count: int) -> float:
        """Microseconds per task, until the client has the last value."""
        with self.session() as session, meter:
            value = self._chain(count)
            value.output.keep()
            session.submit()
            assert value.output.fetch().load() == count
        return meter.seconds / count * 1e6

    def chains(self, meter: Meter, count: int, chains: int) -> float:
        """Microseconds per task of all chains."""
        self._timed(meter, lambda: [self._chain(count) for _ in range(chains)])
        return meter.seconds / count / chains * 1e6

    def _chain(self, count: int) -> Any:
        value: Any = 0
        for _ in range(count):
            value = self._functions.step(value)
        return value

    def programs(self, meter: Meter, count: int) -> float:
        """Programs per second."""
        from rainzmq import tasks

        self._timed(meter, lambda: [tasks.Execute(["/bin/true"]) for _ in range(count)])
        return count / meter.seconds

    def program_chain(self, meter: Meter, count: int) -> float:
        """Microseconds per program; each gets the standard output of the one before."""
        from rainzmq import tasks

        def build() -> None:
            last = tasks.Execute(["/bin/true"], stdout=True)
            for _ in range(count - 1):
                last = tasks.Execute(["/bin/true"], stdin=last.output, stdout=True)

        self._timed(meter, build)
        return meter.seconds / count * 1e6

    def concat(self, meter: Meter, count: int) -> float:
        """Built-in tasks per second."""
        from rainzmq import tasks

        self._timed(meter, lambda: [tasks.Concat([]) for _ in range(count)])
        return count / meter.seconds

    def fetch(self, meter: Meter, size: int) -> float:
        """Megabytes per second, until every page was read."""
        with self.session() as session:
            task = self._functions.make(size)
            task.output.keep()
            session.submit()
            task.wait()
            with meter:
                functions.touch(task.output.fetch().memoryview())
        return size / meter.seconds / 1e6

    def transfer(self, meter: Meter, count: int, size: int) -> float:
        """Megabytes per second: all is made on the only worker, then needed on a second one with two cpus."""
        self._start([1])
        with self.session() as session:
            blobs = [self._functions.make(size, index) for index in range(count)]
            for blob in blobs:
                blob.output.keep()
            session.submit()
            session.wait_all()
            self._cluster.add_worker(2)
            self._functions.two_cpus()
            session.submit()
            session.wait_all()
            with meter:
                total = self._functions.total_length(blobs)
                total.output.keep()
                session.submit()
                assert total.output.fetch().load() == count * size
        return count * size / meter.seconds / 1e6

    def sleep(self, meter: Meter, count: int, duration_s: float) -> float:
        """Efficiency, percent."""
        return self._sleep(meter, [duration_s] * count)

    def skew(self, meter: Meter, count: int) -> float:
        """Efficiency, percent."""
        return self._sleep(meter, functions.skewed_durations(count))

    def _sleep(self, meter: Meter, durations: list[float]) -> float:
        self._timed(meter, lambda: [self._functions.sleep(duration) for duration in durations])
        return self.efficiency(meter, durations)

    def shuffle(self, meter: Meter, partitions: int, piece: int) -> float:
        """Seconds: P sources, P groups that each make P pieces, P concats of those, P merges, one sum."""
        from rainzmq import tasks

        remote = self._functions
        with self.session() as session, meter:
            groups = [
                remote.group(remote.make(partitions * piece, index), partitions, outputs=partitions)
                for index in range(partitions)
            ]
            columns = [
                tasks.Concat([remote.cut(group.outputs[index]) for group in groups])
                for index in range(partitions)
            ]
            total = remote.total([remote.length(column) for column in columns])
            total.output.keep()
            session.submit()
            assert total.output.fetch().load() == partitions * partitions * piece
        return meter.seconds

    def startup_command(self, meter: Meter) -> float:
        """Seconds of the whole command, until a client has run one task and all has ended."""
        program = (
            "from rainzmq import Client; from benchmarks.drivers.rainzmq_functions import noop\n"
            "with Client() as client, client.new_session() as session:\n"
            "    noop(); session.submit(); session.wait_all()\n"
        )
        workers = ",".join(["1"] * self.workers)
        command = [sys.executable, "-m", "rainzmq", "local", "--workers", workers, "--port", "0", "--"]
        with tempfile.TemporaryDirectory() as home, meter:
            environment = os.environ | {"RAINZMQ_HOME": home}
            subprocess.run([*command, sys.executable, "-c", program], check=True, env=environment)
        return meter.seconds


if __name__ == "__main__":
    main(RainzmqDriver)
