"""rainzmq itself, on a `LocalCluster`."""

from __future__ import annotations

import rainzmq
from benchmarks.systems.base import System
from rainzmq import LocalCluster, remote, tasks


@remote(outputs=0)
def noop(ctx: object) -> None:
    """The shortest task there is."""


class RainzmqSystem(System):
    """A server and `workers` workers with one cpu each; one session for everything."""

    version = rainzmq.__version__

    def __init__(self, workers: int) -> None:
        self._cluster = LocalCluster([1] * workers)
        self._client = self._cluster.client()
        self._session = self._client.new_session("benchmark", default=True)

    def run_noops(self, count: int) -> None:
        """Building the graph counts too: other systems do it while they submit."""
        for _ in range(count):
            noop()
        self._session.submit()
        self._session.wait_all()

    def run_programs(self, count: int) -> None:
        """Each `/bin/true` is an `Execute` task."""
        for _ in range(count):
            tasks.Execute(["/bin/true"])
        self._session.submit()
        self._session.wait_all()

    def close(self) -> None:
        """Stops the cluster."""
        self._client.close()
        self._cluster.close()
