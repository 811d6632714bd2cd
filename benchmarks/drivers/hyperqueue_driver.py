"""HyperQueue, with the engine that its Python package carries: server and workers are threads."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from typing import Any

from benchmarks.drivers.harness import Driver, Meter, main

POLL_S = 0.001


class HyperqueueDriver(Driver):
    """`LocalCluster` with one-core workers. Everything counts as the client's CPU."""

    def start(self) -> None:
        """Server and workers."""
        from hyperqueue import LocalCluster
        from hyperqueue.cluster import WorkerConfig

        self._dir = tempfile.mkdtemp(prefix="benchmark-hq-")
        os.chdir(self._dir)
        self._cluster: Any = LocalCluster(f"{self._dir}/server")
        for _ in range(self.workers):
            self._cluster.start_worker(WorkerConfig(cores=1))
        self._client: Any = self._cluster.client()

    def run_one(self) -> None:
        """One program."""
        self._run(1, chained=False)

    def close(self) -> None:
        """Stop it and remove its files."""
        if hasattr(self, "_cluster"):
            self._cluster.stop()
            os.chdir("/")
            shutil.rmtree(self._dir, ignore_errors=True)

    def version(self) -> str:
        """Of hyperqueue."""
        from importlib.metadata import version

        return version("hyperqueue")

    def programs(self, meter: Meter, count: int) -> float:
        """Programs per second."""
        with meter:
            self._run(count, chained=False)
        return count / meter.seconds

    def program_chain(self, meter: Meter, count: int) -> float:
        """Microseconds per program."""
        with meter:
            self._run(count, chained=True)
        return meter.seconds / count * 1e6

    def _run(self, count: int, chained: bool) -> None:
        from hyperqueue import Job

        job: Any = Job()
        made: list[Any] = []
        for _ in range(count):
            deps = made[-1:] if chained else []
            made.append(job.program(["/bin/true"], stdout=None, stderr=None, deps=deps))
        # `wait_for_jobs` looks once a second; a last program that leaves a file tells the time better.
        mark = f"{self._dir}/done"
        deps = made[-1:] if chained else made
        job.program(["/bin/touch", mark], stdout=None, stderr=None, deps=deps)
        self._client.submit(job)
        while not os.path.exists(mark):
            time.sleep(POLL_S)
        os.unlink(mark)


if __name__ == "__main__":
    main(HyperqueueDriver)
