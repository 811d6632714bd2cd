"""Ray, on one node."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from benchmarks.drivers import functions
from benchmarks.drivers.harness import Driver, Meter, main


class RayDriver(Driver):
    """`num_cpus` is the number of workers; Ray starts one process for each running task."""

    roles = (
        ("worker", "ray::"),
        ("server", "gcs_server"),
        ("server", "raylet"),
        ("helper", "ray"),
    )

    def start(self) -> None:
        """A node without dashboard."""
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        import ray

        self._ray: Any = ray
        ray.init(
            num_cpus=self.workers,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            _temp_dir=f"{tempfile.gettempdir()}/ray",
        )
        self._noop = ray.remote(functions.noop)

    def run_one(self) -> None:
        """One no-op."""
        self._ray.get(self._noop.remote())

    def warm_up(self) -> None:
        """Sleeping tasks keep all workers busy at once, so each is started."""
        pause = self._ray.remote(functions.sleep)
        self._ray.get([pause.remote(0.2) for _ in range(2 * self.workers)])
        self._ray.get([self._noop.remote() for _ in range(50)])

    def close(self) -> None:
        """Stop the node."""
        if hasattr(self, "_ray"):
            self._ray.shutdown()

    def version(self) -> str:
        """Of ray."""
        return str(self._ray.__version__)

    def bag(self, meter: Meter, count: int) -> float:
        """Tasks per second."""
        with meter:
            self._ray.get([self._noop.remote(index) for index in range(count)])
        return count / meter.seconds

    def tree(self, meter: Meter, count: int) -> float:
        """Tasks per second."""
        one, add = self._ray.remote(functions.one), self._ray.remote(functions.add)
        with meter:
            level = [one.remote(index) for index in range(count)]
            made = len(level)
            while len(level) > 1:
                rest = level[-1:] if len(level) % 2 else []
                level = [add.remote(a, b) for a, b in zip(level[::2], level[1::2], strict=False)] + rest
                made += len(level) - len(rest)
            assert self._ray.get(level[0]) == count
        return made / meter.seconds

    def chain(self, meter: Meter, count: int) -> float:
        """Microseconds per task."""
        step = self._ray.remote(functions.step)
        value: Any = 0
        with meter:
            for _ in range(count):
                value = step.remote(value)
            assert self._ray.get(value) == count
        return meter.seconds / count * 1e6

    def fetch(self, meter: Meter, size: int) -> float:
        """Megabytes per second."""
        ref = self._ray.remote(functions.make).remote(size)
        self._ray.wait([ref], fetch_local=False)
        with meter:
            functions.touch(memoryview(self._ray.get(ref)))
        return size / meter.seconds / 1e6

    def transfer(self, meter: Meter, count: int, size: int) -> float:
        """Megabytes per second until another process has them, over the node's shared memory."""
        make, total = self._ray.remote(functions.make), self._ray.remote(_total_of_refs)
        refs = [make.remote(size, index) for index in range(count)]
        self._ray.wait(refs, num_returns=count, fetch_local=False)
        with meter:
            assert self._ray.get(total.remote(refs)) == count * size
        return count * size / meter.seconds / 1e6

    def sleep(self, meter: Meter, count: int, duration_s: float) -> float:
        """Efficiency, percent."""
        return self._sleep(meter, [duration_s] * count)

    def skew(self, meter: Meter, count: int) -> float:
        """Efficiency, percent."""
        return self._sleep(meter, functions.skewed_durations(count))

    def _sleep(self, meter: Meter, durations: list[float]) -> float:
        pause = self._ray.remote(functions.sleep)
        with meter:
            self._ray.get([pause.remote(duration) for duration in durations])
        return self.efficiency(meter, durations)


def _total_of_refs(refs: list[Any]) -> int:
    import ray

    return functions.total_length(ray.get(refs))


if __name__ == "__main__":
    main(RayDriver)
