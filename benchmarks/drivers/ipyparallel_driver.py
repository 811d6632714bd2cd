"""ipyparallel, through a load-balanced view."""

from __future__ import annotations

from typing import Any

from benchmarks.drivers import functions
from benchmarks.drivers.harness import Driver, Meter, main


class IpyparallelDriver(Driver):
    """One engine per worker."""

    roles = (("server", "controller"), ("worker", "engine"))

    def start(self) -> None:
        """Controller and engines."""
        import ipyparallel

        self._cluster: Any = ipyparallel.Cluster(n=self.workers, log_level=40)
        self._client: Any = self._cluster.start_and_connect_sync(activate=False)
        self._view: Any = self._client.load_balanced_view()

    def run_one(self) -> None:
        """One no-op."""
        self._view.apply_sync(functions.noop)

    def warm_up(self) -> None:
        """Some tasks on each engine."""
        self._client[:].apply_sync(functions.noop)
        self._view.map_sync(functions.noop, range(20), chunksize=1)

    def close(self) -> None:
        """Stop all."""
        if hasattr(self, "_cluster"):
            self._client.close()
            self._cluster.stop_cluster_sync()

    def version(self) -> str:
        """Of ipyparallel."""
        import ipyparallel

        return str(ipyparallel.__version__)

    def bag(self, meter: Meter, count: int) -> float:
        """Tasks per second."""
        with meter:
            self._view.map_sync(functions.noop, range(count), chunksize=1)
        return count / meter.seconds


if __name__ == "__main__":
    main(IpyparallelDriver)
