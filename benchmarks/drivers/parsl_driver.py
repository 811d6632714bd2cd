"""Parsl, with its `HighThroughputExecutor` on this machine."""

from __future__ import annotations

import shutil
import tempfile
from typing import Any

from benchmarks.drivers import functions
from benchmarks.drivers.harness import Driver, Meter, main


class ParslDriver(Driver):
    """One block with one process per worker; programs are bash apps."""

    roles = (("server", "interchange"), ("worker", "process_worker_pool"), ("worker", "multiprocessing"))

    def start(self) -> None:
        """Load a configuration for this machine, without monitoring and usage reports."""
        import parsl
        from parsl.app.app import bash_app, python_app
        from parsl.config import Config
        from parsl.executors import HighThroughputExecutor
        from parsl.providers import LocalProvider

        self._parsl: Any = parsl
        self._run_dir = tempfile.mkdtemp(prefix="benchmark-parsl-")
        executor = HighThroughputExecutor(
            label="htex",
            address="127.0.0.1",
            loopback_address="127.0.0.1",
            max_workers_per_node=self.workers,
            cores_per_worker=1,
            provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
        )
        parsl.load(Config(executors=[executor], run_dir=self._run_dir, strategy="none", usage_tracking=0))
        self._app: Any = python_app
        self._noop, self._true = python_app(functions.noop), bash_app(functions.true_command)

    def run_one(self) -> None:
        """One no-op."""
        self._noop().result()

    def warm_up(self) -> None:
        """Sleeping tasks keep all workers busy at once."""
        pause = self._app(functions.sleep)
        for future in [pause(0.2) for _ in range(2 * self.workers)] + [self._true() for _ in range(4)]:
            future.result()

    def close(self) -> None:
        """Stop the executor."""
        if hasattr(self, "_parsl"):
            self._parsl.dfk().cleanup()
            shutil.rmtree(self._run_dir, ignore_errors=True)

    def version(self) -> str:
        """Of parsl."""
        return str(self._parsl.__version__)

    def bag(self, meter: Meter, count: int) -> float:
        """Tasks per second."""
        with meter:
            for future in [self._noop(index) for index in range(count)]:
                future.result()
        return count / meter.seconds

    def tree(self, meter: Meter, count: int) -> float:
        """Tasks per second."""
        one, add = self._app(functions.one), self._app(functions.add)
        with meter:
            level = [one(index) for index in range(count)]
            made = len(level)
            while len(level) > 1:
                rest = level[-1:] if len(level) % 2 else []
                level = [add(a, b) for a, b in zip(level[::2], level[1::2], strict=False)] + rest
                made += len(level) - len(rest)
            assert level[0].result() == count
        return made / meter.seconds

    def chain(self, meter: Meter, count: int) -> float:
        """Microseconds per task."""
        step = self._app(functions.step)
        value: Any = 0
        with meter:
            for _ in range(count):
                value = step(value)
            assert value.result() == count
        return meter.seconds / count * 1e6

    def programs(self, meter: Meter, count: int) -> float:
        """Programs per second."""
        with meter:
            for future in [self._true() for _ in range(count)]:
                future.result()
        return count / meter.seconds

    def program_chain(self, meter: Meter, count: int) -> float:
        """Microseconds per program."""
        with meter:
            last = self._true()
            for _ in range(count - 1):
                last = self._true(inputs=[last])
            last.result()
        return meter.seconds / count * 1e6

    def sleep(self, meter: Meter, count: int, duration_s: float) -> float:
        """Efficiency, percent."""
        return self._sleep(meter, [duration_s] * count)

    def skew(self, meter: Meter, count: int) -> float:
        """Efficiency, percent."""
        return self._sleep(meter, functions.skewed_durations(count))

    def _sleep(self, meter: Meter, durations: list[float]) -> float:
        pause = self._app(functions.sleep)
        with meter:
            for future in [pause(duration) for duration in durations]:
                future.result()
        return self.efficiency(meter, durations)


if __name__ == "__main__":
    main(ParslDriver)
