"""What being watched costs: the web process with its event log, and pages that somebody looks at."""

from __future__ import annotations

import statistics
import threading
import time
import urllib.request
from typing import TYPE_CHECKING

from benchmarks.drivers.harness import Meter
from benchmarks.drivers.rainzmq_server import ServerWorkloads

if TYPE_CHECKING:
    from rainzmq import Client, LocalCluster

LOOK_EVERY_S = 0.5
"""How often a page asks for news."""


class WatchedWorkloads(ServerWorkloads):
    """Workloads that start clusters of their own."""

    unstarted: tuple[str, ...] = ("dashboard", "event_log", *ServerWorkloads.unstarted)

    def dashboard(self, meter: Meter, count: int, pairs: int, pages: int) -> float:
        """By how many percent a bag of no-ops takes longer with a dashboard: two clusters take turns, one
        without, one with it; `pages`: how many pages ask for news meanwhile. The median of `pairs` ratios.
        """
        from rainzmq import LocalCluster

        cpus = [1] * self.workers
        with (
            LocalCluster(cpus, dashboard=False) as plain,
            LocalCluster(cpus, http_port=0) as watched,
            plain.client() as without,
            watched.client() as with_it,
        ):
            ended = threading.Event()
            looking = [
                threading.Thread(target=_look, args=(watched, ended), daemon=True) for _ in range(pages)
            ]
            for thread in looking:
                thread.start()
            for client in (without, with_it):
                self._bag_seconds(client, count)
            with meter:
                ratios = []
                for pair in range(pairs):
                    order = (without, with_it) if pair % 2 else (with_it, without)
                    seconds = {client: self._bag_seconds(client, count) for client in order}
                    ratios.append(seconds[with_it] / seconds[without])
            ended.set()
            for thread in looking:
                thread.join()
        meter.details["least_percent"] = 100 * (min(ratios) - 1)
        meter.details["most_percent"] = 100 * (max(ratios) - 1)
        return 100 * (statistics.median(ratios) - 1)

    def event_log(self, meter: Meter, count: int) -> float:
        """Megabytes of event log per million events of tasks; each no-op has four: submitted, assigned,
        finished, output removed.
        """
        from rainzmq import LocalCluster

        with LocalCluster([1] * self.workers, http_port=0) as cluster, cluster.client() as client, meter:
            self._bag_seconds(client, count)
        size = (cluster.logdir / "server" / "events.db").stat().st_size
        meter.details["bytes_per_task"] = size / count
        return size / 1e6 / (4 * count / 1e6)

    @staticmethod
    def _bag_seconds(client: Client, count: int) -> float:
        from benchmarks.drivers import rainzmq_functions

        with client.new_session("bag") as session:
            start = time.perf_counter()
            for index in range(count):
                rainzmq_functions.noop(index)
            session.submit()
            session.wait_all()
            return time.perf_counter() - start


def _look(cluster: LocalCluster, ended: threading.Event) -> None:
    """Ask for what a page shows, as often as a page does."""
    from rainzmq.transport.access import read_access

    http = read_access(cluster.access_file).http
    assert http is not None, "it has a dashboard"
    while not ended.wait(LOOK_EVERY_S):
        for path in ("server", "workers", "sessions"):
            request = urllib.request.Request(
                f"{http.url}/api/v1/{path}", headers={"Authorization": f"Bearer {http.token}"}
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                answer.read()
