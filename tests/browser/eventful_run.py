"""A real run in which everything happens: failures, cancels, retries of processes, a killed worker.

Sessions, in order: a pipeline that is over; two that failed of the same error; one whose processes were
killed; one that was cancelled; one that is still open, with tasks that run and wait.
"""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from rainzmq import Client, LocalCluster, RainException, Session, remote, tasks
from rainzmq.transport.access import HttpAccess, read_access

PATIENCE_S = 40


@remote(outputs=1)
def load(ctx: Any, number: int) -> bytes:
    time.sleep(0.004 * (1 + number % 5))
    print(f"part {number}")
    return b"x" * 20_000 * (1 + number % 4)


@remote(outputs=1)
def fit(ctx: Any, rate: float, label: str, *parts: Any) -> bytes:
    time.sleep(0.03)
    return b"y" * 60_000


@remote(outputs=1)
def refuse(ctx: Any, number: int) -> bytes:
    time.sleep(0.02)
    if number == 7:
        raise ValueError("sample 7 has no label")
    return b"fine"


@remote(outputs=1)
def crash_once(ctx: Any, mark: str) -> bytes:
    if not os.path.exists(mark):
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return b"made good"


@remote(outputs=1)
def hold(ctx: Any, path: str, *inputs: Any) -> bytes:
    """Runs until a file is gone."""
    while os.path.exists(path):
        time.sleep(0.02)
    return b"z" * 1000


@remote(outputs=1, cpus=64)
def greedy(ctx: Any) -> bytes:
    return b""


class EventfulRun:
    """The cluster of the run, and the address of its pages."""

    def __init__(self, cluster: LocalCluster, client: Client, directory: Path) -> None:
        self.cluster, self.client, self.directory = cluster, client, directory
        http = read_access(cluster.access_file).http
        assert http is not None
        self.http: HttpAccess = http
        self.url, self.port, self.token = http.url, http.port, http.token
        self.tabs: list[Any] = []
        self.holding = directory / "holding"
        self.looked_at = 0.0
        """A time at which tasks of the open session ran and waited, s since the epoch."""
        self._session: Session | None = None

    @property
    def log(self) -> Path:
        """The event log."""
        return self.cluster.logdir / "server" / "events.db"

    def happen(self) -> None:
        """All that happens before it is looked at."""
        self._pipeline()
        for name in ("broken", "broken again"):
            self._broken(name)
        self._killed()
        self._cancelled()
        self._session = self._open()
        # One more sample of each worker, so that there are two since all is as it is.
        seen = {worker["worker_id"]: worker["sampled"] for worker in self.workers()}
        until(
            lambda: all(w["state"] == "gone" or w["sampled"] > seen[w["worker_id"]] for w in self.workers())
        )
        self.looked_at = self.rest("/server")["now"]

    def end(self) -> None:
        """Close the session that is still open; what runs is cancelled."""
        session, self._session = self._session, None
        if session is not None:
            with suppress(RainException):
                session.close()
            until(lambda: not any(view["state"] == "open" for view in self.rest("/sessions")["items"]))
            self.holding.unlink(missing_ok=True)

    def _pipeline(self) -> None:
        with self.client.new_session("pipeline <b>1</b>") as session:
            parts = [load(number, name=f"load/part-{number % 3}") for number in range(36)]
            folds = [fit(0.5, "fold", *parts[at : at + 3], name=f"prep/fold {at}") for at in range(32)]
            fit(0.1, "all", *folds, name="fit").output.keep()
            tasks.Execute(["sh", "-c", "cat; echo done >&2"], stdin=parts[0], stdout=True).output.keep()
            session.submit()
            session.wait_all()

    def _broken(self, name: str) -> None:
        with self.client.new_session(name) as session:
            made = [refuse(number, name="check") for number in range(12)]
            fit(0.2, "never", *made, name="after").output.keep()
            session.submit()
            with suppress(RainException):
                session.wait_all()

    def _killed(self) -> None:
        """A subworker is killed once and its task made good; a worker is killed with what it runs and has."""
        with self.client.new_session("crashes") as session:
            crash_once(str(self.directory / "crashed"), name="crash once").output.keep()
            session.submit()
            session.wait_all()
            self.holding.touch()
            held = [hold(str(self.holding), name="held") for _ in range(4)]
            for task in held:
                task.output.keep()
            session.submit()
            until(lambda: self.count(session, "running") == 4)
            victim = next(worker for worker in self.workers() if worker["cpus"] == 1)
            os.kill(victim["pid"], signal.SIGKILL)
            until(lambda: [worker for worker in self.workers() if worker["state"] == "gone"])
            self.holding.unlink()
            session.wait_all()

    def _cancelled(self) -> None:
        self.holding.touch()
        with self.client.new_session("cancelled") as session:
            for _ in range(5):
                hold(str(self.holding), name="held").output.keep()
            session.submit()
            until(lambda: self.count(session, "running") == 3)
            self.rest(f"/sessions/{session.session_id}/cancel", {"reason": "enough of it"})
            with suppress(RainException):
                session.wait_all()
        self.holding.unlink()

    def _open(self) -> Session:
        session = self.client.new_session("still open")
        with session.bind_only():
            first = [load(number, name="load/part-1") for number in range(8)]
            for task in first:
                task.output.keep()
            session.submit()
            session.wait_all()
            self.holding.touch()
            held = [hold(str(self.holding), *first, name="held") for _ in range(2)]
            fit(0.3, "waits", *held, name="fit").output.keep()
            greedy(name="greedy").output.keep()
            session.submit()
            until(lambda: self.count(session, "running") == 2)
            until(lambda: self.rest(f"/sessions/{session.session_id}")["reasons"])
        return session

    # Looking at it.

    def rest(self, path: str, body: Any = None, **query: Any) -> Any:
        """What REST says."""
        text = f"?{urlencode(query)}" if query else ""
        request = urllib.request.Request(f"{self.http.url}/api/v1{path}{text}")
        request.add_header("Authorization", f"Bearer {self.http.token}")
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def count(self, session: Session, state: str) -> int:
        """Tasks of a session in a state."""
        views = self.rest("/sessions")["items"]
        return sum(view["counts"][state] for view in views if view["session_id"] == session.session_id)

    def workers(self) -> list[dict[str, Any]]:
        """All workers."""
        found: list[dict[str, Any]] = self.rest("/workers")["items"]
        return found


def until(holds: Callable[[], Any]) -> None:
    """Wait for something that the server says."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


@contextmanager
def eventful_run(directory: Path) -> Iterator[EventfulRun]:
    """The run on a cluster of its own; its last session is open until the end."""
    with LocalCluster(workers=[2, 1, 1], http_port=0, pin="none") as cluster, cluster.client() as client:
        run = EventfulRun(cluster, client, directory)
        run.happen()
        try:
            yield run
        finally:
            run.end()
