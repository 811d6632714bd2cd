"""Fixtures of all tests: private homes, clusters, and a check that integration tests leave nothing behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

import rainzmq
from rainzmq.common import pickles
from rainzmq.store import default_workdir, release_workdir
from rainzmq.worker.descendants import newest_pid

if TYPE_CHECKING:
    from rainzmq import Client, LocalCluster

_MARK = "RAINZMQ_TEST_RUN"
"""In the environment of every process that comes from this test run, orphans included."""

_PATIENCE_S = 5.0
_WAITING = (
    "tests/browser/",
    "tests/faults/",
    "tests/field/test_i_paused_my_program.py",
    "tests/field/test_somebody_holds_the_dashboards_connections.py",
)
"""Tests that wait for a browser or a time limit for most of their time."""

_TESTS = Path(__file__).parent
_WITH_PROCESSES = tuple(_TESTS / name for name in ("integration", "field", "faults"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Two lanes for `pytest -n 2`, each in one process and in order: tests that wait, and the rest.

    Workers of those that wait claim no cpus, since tests of the other lane look at which are free.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Lanes(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "waiting" if nodeid.startswith(_WAITING) else "working"

    return Lanes(config, log)


@pytest.fixture(scope="session", autouse=True)
def _session_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test ever sees or changes the user's own servers."""
    patch = pytest.MonkeyPatch()
    patch.setenv(_MARK, uuid.uuid4().hex)
    patch.setenv("RAINZMQ_CHECK", "1")  # servers check their invariants after every turn
    patch.setenv("RAINZMQ_HOME", str(tmp_path_factory.mktemp("home")))
    patch.delenv("RAINZMQ_SERVER", raising=False)
    patch.delenv("RAINZMQ_ACCESS", raising=False)
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def _no_code_of_other_tests() -> Iterator[None]:
    """Modules that other tests in this process have sent do not travel with this one's calls."""
    before = set(pickles.named)
    pickles.named.clear()
    pickles.changes[0] += 1
    yield
    pickles.named.update(before)
    pickles.changes[0] += 1


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A RAINZMQ_HOME of the test's own."""
    path = tmp_path / "rainzmq-home"
    path.mkdir(mode=0o700)
    monkeypatch.setenv("RAINZMQ_HOME", str(path))
    return path


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[LocalCluster]:
    """Two workers with one cpu each, shared by the tests of a module: for tests that break nothing."""
    with rainzmq.LocalCluster(workers=[1, 1], dashboard=False) as cluster:
        yield cluster


@pytest.fixture
def client(shared_cluster: LocalCluster) -> Iterator[Client]:
    """A client of the module's cluster."""
    with shared_cluster.client() as client:
        yield client


@pytest.fixture
def cluster(home: Path) -> Iterator[LocalCluster]:
    """Two workers with one cpu each, for one test alone."""
    with rainzmq.LocalCluster(workers=[1, 1], dashboard=False) as cluster:
        yield cluster


@pytest.fixture
def kills_processes() -> None:
    """For tests that kill servers or workers of no `LocalCluster`: what those leave is removed.

    A process that is killed cannot remove its working directory; the next server or worker to start does.
    """


@pytest.fixture(autouse=True)
def _nothing_left_behind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """After an integration test: no new process, no new working directory, no new file descriptor."""
    if not any(map(request.path.is_relative_to, _WITH_PROCESSES)):
        yield
        return
    if "client" in request.fixturenames or "shared_cluster" in request.fixturenames:
        request.getfixturevalue("shared_cluster")  # of the module, so it is not this test's
    _warm_up_zmq()
    newest_pid()  # it keeps a descriptor for good
    files, descriptors, before = _abandoned_workdirs(), _descriptors(), _processes()
    logs = tmp_path_factory.getbasetemp()
    yield
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        processes = {p.pid: _command_line(p) for p in _processes() - _with_descendants(before)}
        if not processes and "kills_processes" in request.fixturenames:
            release_workdir(default_workdir())
        new_files = {path for path in _abandoned_workdirs() - files if _is_of_this_run(path, logs)}
        new_descriptors = {fd: to for fd, to in _descriptors().items() if fd not in descriptors}
        if not (processes or new_files or new_descriptors):
            return
        if time.monotonic() > deadline:
            pytest.fail(f"left: processes {processes}, files {new_files}, descriptors {new_descriptors}")
        time.sleep(0.02)


def _warm_up_zmq() -> None:
    """The process-wide context opens descriptors at its first socket and keeps them."""
    import zmq

    zmq.Context.instance().socket(zmq.PUSH).close()


def _processes() -> set[psutil.Process]:
    """All live processes that this test run started, but for this one."""
    mark = f"{_MARK}={os.environ[_MARK]}".encode()
    found = set()
    for process in psutil.process_iter():
        try:
            environment = Path(f"/proc/{process.pid}/environ").read_bytes()
        except OSError:
            continue  # it ended, or is another user's
        if process.pid != os.getpid() and mark in environment.split(b"\0"):
            found.add(process)
    return found


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()[:6])
    except psutil.NoSuchProcess:
        return "(just ended)"


def _with_descendants(processes: set[psutil.Process]) -> set[psutil.Process]:
    """The processes of a shared cluster may start and end others at any time."""
    found = set(processes)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            found.update(process.children(recursive=True))
    return found


def _is_of_this_run(workdir: str, logs: Path) -> bool:
    """Whether a process of this test run made it, which its log says; others test on this machine, too."""
    line = f"working directory: {workdir}\n".encode()
    return any(line in log.read_bytes() for log in logs.rglob("*.log") if log.is_file())


def _abandoned_workdirs() -> set[str]:
    """Working directories without a live process."""
    found = set()
    for base in ("/dev/shm", tempfile.gettempdir()):
        for lock in Path(base).glob("rainzmq-*/*/lock"):
            with contextlib.suppress(FileNotFoundError), open(lock) as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                found.add(str(lock.parent))
    return found


def _descriptors() -> dict[int, str]:
    found = {}
    for entry in os.listdir("/proc/self/fd"):
        try:
            found[int(entry)] = os.readlink(f"/proc/self/fd/{entry}")
        except FileNotFoundError:
            continue
    return found
