"""Dask, on a `LocalCluster` of processes with one thread each."""

from __future__ import annotations

from typing import Any

from benchmarks.drivers import functions
from benchmarks.drivers.harness import Driver, Meter, main


class DaskDriver(Driver):
    """The scheduler runs in the client's process: that is how `LocalCluster` does it."""

    roles = (("worker", "spawn_main"), ("helper", "resource_tracker"))

    def start(self) -> None:
        """A cluster without dashboard."""
        from distributed import Client, LocalCluster

        self._cluster = LocalCluster(
            n_workers=self.workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=50,
        )
        self._client = Client(self._cluster)
        self._client.wait_for_workers(self.workers)

    def run_one(self) -> None:
        """One no-op."""
        self._client.submit(functions.noop, pure=False).result()

    def warm_up(self) -> None:
        """Some tasks on each worker."""
        self._client.gather(self._client.map(functions.noop, range(50), pure=False))

    def close(self) -> None:
        """Stop the cluster."""
        if hasattr(self, "_client"):
            self._client.close()
            self._cluster.close()

    def version(self) -> str:
        """Of distributed."""
        import distributed

        return str(distributed.__version__)

    def bag(self, meter: Meter, count: int) -> float:
        """Tasks per second."""
        with meter:
            self._client.gather(self._client.map(functions.noop, range(count), pure=False))
        return count / meter.seconds

    def tree(self, meter: Meter, count: int) -> float:
        """Tasks per second; the sums are submitted level by level without waiting."""
        submit = self._client.submit
        with meter:
            level = self._client.map(functions.one, range(count), pure=False)
            made = len(level)
            while len(level) > 1:
                pairs = zip(level[::2], level[1::2], strict=False)
                rest = level[-1:] if len(level) % 2 else []
                level = [submit(functions.add, a, b, pure=False) for a, b in pairs] + rest
                made += len(level) - len(rest)
            assert level[0].result() == count
        return made / meter.seconds

    def chain(self, meter: Meter, count: int) -> float:
        """Microseconds per task."""
        value: Any = 0
        with meter:
            for _ in range(count):
                value = self._client.submit(functions.step, value, pure=False)
            assert value.result() == count
        return meter.seconds / count * 1e6

    def fetch(self, meter: Meter, size: int) -> float:
        """Megabytes per second."""
        future = self._client.submit(functions.make, size, pure=False)
        future_done(future)
        with meter:
            functions.touch(memoryview(future.result()))
        return size / meter.seconds / 1e6

    def transfer(self, meter: Meter, count: int, size: int) -> float:
        """Megabytes per second, from the first worker to the second."""
        source, target = list(self._client.scheduler_info()["workers"])[:2]
        blobs = [
            self._client.submit(functions.make, size, index, pure=False, workers=[source])
            for index in range(count)
        ]
        for blob in blobs:
            future_done(blob)
        with meter:
            total = self._client.submit(functions.total_length, blobs, pure=False, workers=[target])
            assert total.result() == count * size
        return count * size / meter.seconds / 1e6

    def sleep(self, meter: Meter, count: int, duration_s: float) -> float:
        """Efficiency, percent."""
        return self._sleep(meter, [duration_s] * count)

    def skew(self, meter: Meter, count: int) -> float:
        """Efficiency, percent."""
        return self._sleep(meter, functions.skewed_durations(count))

    def _sleep(self, meter: Meter, durations: list[float]) -> float:
        with meter:
            self._client.gather(self._client.map(functions.sleep, durations, pure=False))
        return self.efficiency(meter, durations)


def future_done(future: Any) -> None:
    """Wait until a future's value is there, without getting it."""
    from distributed import wait

    wait([future])


if __name__ == "__main__":
    main(DaskDriver)
