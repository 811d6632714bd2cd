"""Somebody empties a worker's work directory, as systemd's RemoveIPC and cleaners of temporary files do."""

from __future__ import annotations

import os
import re
import shutil
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import rainzmq
from rainzmq import Client, Input, LocalCluster, Output, remote
from rainzmq.client.tasks import Execute

BIG = 200_000
"""Bytes of an object that lives in a file."""


def log_of(cluster: LocalCluster, worker: int) -> str:
    return (cluster.logdir / f"worker-{worker}" / "worker.log").read_text()


def workdir_of(cluster: LocalCluster, worker: int) -> Path:
    """Where a worker works now."""
    return Path(re.findall(r"working directory: (\S+)", log_of(cluster, worker))[-1])


def empty(directory: Path) -> None:
    for entry in directory.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink()


@pytest.fixture
def three_workers(home: Path) -> Iterator[LocalCluster]:
    with LocalCluster(workers=[1, 1, 1], dashboard=False) as cluster:
        yield cluster


def copies(client: Client, sessions: int) -> list[int]:
    """Sessions of programs that read a file and write one; the sizes of what they wrote."""
    sizes = []
    for number in range(sessions):
        with client.new_session(f"copies {number}") as session:
            data = rainzmq.blob(bytes(BIG))
            # They take a while, so that each worker gets one.
            command = "cp in out && sleep 0.05"
            made = [
                Execute(
                    command, shell=True, input_paths=[Input("in", dataobj=data)], output_paths=[Output("out")]
                )
                for _ in range(3)
            ]
            for task in made:
                task.output.keep()
            session.submit()
            session.wait_all()
            sizes += [len(task.output.fetch().get_bytes()) for task in made]
    return sizes


@pytest.mark.slow
def test_its_tasks_run_elsewhere_and_no_session_fails(three_workers: LocalCluster) -> None:
    with three_workers.client() as client:
        assert copies(client, 2) == [BIG] * 6
        empty(workdir_of(three_workers, 1))
        assert copies(client, 20) == [BIG] * 60
        log = log_of(three_workers, 1)
    said = [line for line in log.splitlines() if "was emptied" in line]
    assert len(said) == 1, said
    assert "its tasks are stopped" in said[0]
    assert "RemoveIPC" in said[0] or not str(workdir_of(three_workers, 1)).startswith("/dev/shm")


def test_it_goes_on_in_a_new_directory(cluster: LocalCluster) -> None:
    old = workdir_of(cluster, 1)
    shutil.rmtree(old, ignore_errors=True)
    with cluster.client() as client:
        deadline = time.monotonic() + 30
        while workdir_of(cluster, 1) == old:
            assert copies(client, 1) == [BIG] * 3
            assert time.monotonic() < deadline, log_of(cluster, 1)
        empty(workdir_of(cluster, 2))
        assert copies(client, 5) == [BIG] * 15
    assert workdir_of(cluster, 1).is_dir()


def test_what_only_it_held_is_made_again(home: Path) -> None:
    with LocalCluster(workers=[1], dashboard=False) as cluster, cluster.client() as client:

        @remote(outputs=1)
        def make(ctx):
            return os.urandom(8) + bytes(BIG)

        @remote(outputs=1)
        def count(ctx, data):
            return str(len(data.get_bytes()))

        with client.new_session("lineage") as session:
            made = make()
            made.output.keep()
            session.submit()
            session.wait_all()
            empty(workdir_of(cluster, 1))
            counted = count(made)
            counted.output.keep()
            session.submit()
            session.wait_all()
            assert counted.output.fetch().get_bytes() == str(BIG + 8).encode()


@pytest.mark.parametrize("reader", ["program", "python"])
def test_one_object_whose_file_is_gone_is_made_again(home: Path, reader: str) -> None:
    with LocalCluster(workers=[1], dashboard=False) as cluster, cluster.client() as client:

        @remote(outputs=1)
        def count(ctx, data):
            return str(len(data.get_bytes()))

        with client.new_session("gone") as session:
            made = Execute(["sh", "-c", f"head -c {BIG} /dev/zero"], stdout=True)
            made.output.keep()
            session.submit()
            session.wait_all()
            empty(workdir_of(cluster, 1) / "store" / "objects")
            if reader == "python":
                counted = count(made)
            else:
                counted = Execute(["wc", "-c", Input("in", dataobj=made.output)], stdout=True)
            counted.output.keep()
            session.submit()
            session.wait_all()
            assert counted.output.fetch().get_bytes().startswith(str(BIG).encode())
        assert "was emptied" not in log_of(cluster, 1)


def test_it_ends_with_the_reason_when_that_happens_again_and_again(cluster: LocalCluster) -> None:
    deadline = time.monotonic() + 60
    with cluster.client() as client, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        while not cluster.failures():
            empty(workdir_of(cluster, 1))
            copies(client, 1)
            assert time.monotonic() < deadline, log_of(cluster, 1)
        while not any("worker-1 ended" in str(item.message) for item in warned):
            assert copies(client, 1) == [BIG] * 3, "the other worker goes on"
            assert time.monotonic() < deadline, log_of(cluster, 1)
        (failure,) = cluster.failures()
    assert "exit code 1" in failure
    assert "was emptied" in failure
    assert "--workdir" in failure
