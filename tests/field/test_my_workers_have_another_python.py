"""Client and workers with different versions of Python or of packages."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import numpy
import pytest

from rainzmq import LocalCluster, RainWarning, TaskException, remote, tasks
from rainzmq.common.versions import python_version

_WORKER = """
import sys
from rainzmq.worker import worker
worker.python_version = lambda: "3.99.1"
from rainzmq.cli.main import main
sys.exit(main(["worker", *sys.argv[1:]]))
"""


@contextmanager
def _worker_of_another_python(cluster: LocalCluster, directory: Path) -> Iterator[None]:
    """A worker that says it is of Python 3.99.1, while the block runs."""
    ready = directory / "ready"
    arguments = [
        "--cpus",
        "1",
        "--listen",
        "127.0.0.1:0",
        "--logdir",
        str(directory),
        "--ready-file",
        str(ready),
    ]
    command = [sys.executable, "-c", _WORKER, str(cluster.access_file), *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if "registered" in line:
                    break
            yield
        finally:
            process.terminate()
            process.communicate()


@contextmanager
def _warnings() -> Iterator[list[warnings.WarningMessage]]:
    """The `RainWarning`s of the block."""
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always", RainWarning)
        yield noted


@remote
def _who(ctx: Any) -> str:
    return str(os.getppid())


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One worker with two cpus, of this Python."""
    with LocalCluster(workers=[2], dashboard=False) as cluster:
        yield cluster


def test_functions_run_on_workers_of_the_same_python_and_the_others_are_named_once(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    with _worker_of_another_python(cluster, tmp_path), cluster.client() as client:
        pids = {worker["pid"]: worker for worker in client.get_server_info()["workers"]}
        assert len(pids) == 2
        with client.new_session("functions") as session, _warnings() as warned:
            made = [_who() for _ in range(12)]
            session.keep_all()
            session.submit()
            session.wait_all()
            more = _who()
            more.output.keep()
            session.submit()
            found = {task.output.fetch().get_str() for task in [*made, more]}
        assert len(found) == 1
        [text] = [str(item.message) for item in warned]
        assert "Python 3.99.1" in text
        assert f"Python {python_version()}" in text


def test_programs_run_on_workers_of_any_python(cluster: LocalCluster, tmp_path: Path) -> None:
    with (
        _worker_of_another_python(cluster, tmp_path),
        cluster.client() as client,
        client.new_session("programs") as session,
        _warnings() as warned,
    ):
        made = [tasks.Execute("sleep 0.2; echo $PPID", shell=True, stdout=True) for _ in range(6)]
        session.keep_all()
        session.submit()
        assert len({task.output.fetch().get_str() for task in made}) == 2
    assert warned == []


@pytest.mark.slow
def test_functions_that_no_worker_can_run_fail_with_both_versions_named(tmp_path: Path) -> None:
    with (
        LocalCluster(workers=[1], dashboard=False) as cluster,
        _worker_of_another_python(cluster, tmp_path),
        cluster.client() as client,
        client.new_session("nowhere") as session,
        _warnings(),
    ):
        cluster._workers[0].terminate()
        task = _who()
        session.submit()
        with pytest.raises(TaskException, match=r"3\.99\.1") as failed:
            session.wait([task])
        assert python_version() in str(failed.value)


@pytest.mark.parametrize("how", ["works", "fails"])
def test_another_version_of_a_package_is_named_once_whether_tasks_work_or_fail(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(numpy, "__version__", "0.9.1")
    version = version_of("numpy")

    @remote
    def use(ctx: Any, divisor: int) -> str:
        import numpy

        return f"{numpy.__version__} {4 // divisor}"

    with cluster.client() as client, client.new_session("numpy") as session, _warnings() as warned:
        first = use(2 if how == "works" else 0)
        first.output.keep()
        session.submit()
        if how == "works":
            assert first.output.fetch().get_str() == f"{version} 2"
            second = use(4)
            second.output.keep()
            session.submit()
            assert second.output.fetch().get_str() == f"{version} 1"
        else:
            with pytest.raises(TaskException, match="ZeroDivisionError"):
                session.wait([first])
    [text] = [str(item.message) for item in warned]
    assert f"numpy {version} (here 0.9.1)" in text


def test_the_same_versions_warn_of_nothing(cluster: LocalCluster) -> None:
    with cluster.client() as client, client.new_session("same") as session, _warnings() as warned:
        task = _who()
        task.output.keep()
        session.submit()
        assert task.output.fetch().get_str()
    assert warned == []
