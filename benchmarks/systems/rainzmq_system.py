"""rainzmq itself, on a `LocalCluster`."""

from __future__ import annotations

import rainzmq
from benchmarks.systems.base import System
from rainzmq import LocalCluster, remote, tasks


@remote(outputs=0)
def noop(ctx: object) -> None:
    """The shortest task there is."""


class RainzmqSystem(System):
    """A server and `workers` workers with one cpu each."""

    version = rainzmq.__version__

    def __init__(self, workers: int) -> None:
        self._cluster = LocalCluster([1] * workers)
        self._client = self._cluster.client()

    def run_noops(self, count: int) -> None:
        """Building the graph counts too: other systems do it while they submit."""
        with self._client.new_session("noops") as session:
            for _ in range(count):
                noop()
            session.submit()
            session.wait_all()

    def run_programs(self, count: int) -> None:
        """Each `/bin/true` is an `Execute` task."""
        with self._client.new_session("programs") as session:
            for _ in range(count):
                tasks.Execute(["/bin/true"])
            session.submit()
            session.wait_all()

    def close(self) -> None:
        """Stops the cluster."""
        self._client.close()
        self._cluster.close()
