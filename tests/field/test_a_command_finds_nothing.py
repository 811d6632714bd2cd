"""I ask on the command line for what I know is there, and am told that there is nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from rainzmq import LocalCluster, blob, tasks


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[LocalCluster]:
    """One worker, and the pages, which commands ask."""
    with LocalCluster(workers=[1], http_port=0) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def names(shared_cluster: LocalCluster) -> dict[str, str]:
    """Ids by name of tasks that ended, and of the object `made`."""
    with shared_cluster.client() as client, client.new_session("demo") as session:
        made = [tasks.Concat([blob("x")], name=name) for name in ("train/one", "train/two", "training")]
        session.submit()
        session.wait_all()
        deadline = time.monotonic() + 20
        while len(listed(shared_cluster, "--state", "finished")) < 3:  # the pages hear of it a moment later
            assert time.monotonic() < deadline
        return {**{task.name: str(task.id) for task in made}, "made": str(made[0].output.id)}


def rainzmq(cluster: LocalCluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rainzmq", *arguments, "--access-file", str(cluster.access_file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def listed(cluster: LocalCluster, *arguments: str) -> list[str]:
    return [line.split()[0] for line in rainzmq(cluster, "tasks", *arguments).stdout.splitlines()[1:]]


def test_the_name_of_a_group_finds_its_tasks(shared_cluster: LocalCluster, names: dict[str, str]) -> None:
    assert listed(shared_cluster, "--name", "train") == [names["train/one"], names["train/two"]]
    assert listed(shared_cluster, "--name", "train/two") == [names["train/two"]]


def test_that_nothing_has_failed_is_good_news(shared_cluster: LocalCluster, names: dict[str, str]) -> None:
    found = rainzmq(shared_cluster, "tasks", "--failed")
    assert "has failed (of 3)" in found.stderr
    assert found.stdout == ""


def test_the_id_of_an_object_leads_to_the_task_that_made_it(
    shared_cluster: LocalCluster, names: dict[str, str]
) -> None:
    found = rainzmq(shared_cluster, "task", names["made"])
    assert found.returncode != 0
    assert f"it is a data object, made by task {names['train/one']}" in found.stderr
