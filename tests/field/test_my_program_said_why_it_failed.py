"""What a program said last, and how it ended, is found wherever one looks for it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from rainzmq import Client, LocalCluster, TaskException
from rainzmq.client.tasks import Execute
from rainzmq.transport.access import read_access

BARS = r"""
i=0
while [ $i -le 3000 ]; do printf '\r\033[32m%4d/3000\033[0m |##########|' $i >&2; i=$((i + 1)); done
printf '\n\033[1mwhat counts\033[0m\n' >&2
exit 1
"""


@pytest.fixture(scope="module")
def watched() -> Iterator[tuple[LocalCluster, Client]]:
    with LocalCluster(workers=[1], http_port=0) as cluster, cluster.client() as client:
        yield cluster, client


def failed(cluster: LocalCluster, client: Client, command: str, *, captured: bool) -> tuple[str, str]:
    """Id and error of a task that fails."""
    with client.new_session("fails") as session:
        task = Execute(command, shell=True, stdout=captured, name="try/it")
        session.submit()
        with pytest.raises(TaskException) as caught:
            session.wait_all()
        _wait_until_told(cluster, str(task.id))
        return str(task.id), str(caught.value)


def _wait_until_told(cluster: LocalCluster, task: str) -> None:
    """The pages hear of what happened up to a quarter of a second later than the client."""
    http = read_access(cluster.access_file).http
    assert http is not None
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        page = urllib.request.Request(
            f"{http.url}/api/v1/tasks/{task}", headers={"Authorization": f"Bearer {http.token}"}
        )
        with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(page) as answer:
            if json.load(answer)["state"] == "failed":
                return
        time.sleep(0.05)
    pytest.fail(f"the pages have not heard of the failure of task {task}")


def rainzmq(cluster: LocalCluster, *arguments: str) -> str:
    command = [sys.executable, "-m", "rainzmq", *arguments, "--access-file", str(cluster.access_file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


def test_it_said_so_on_the_output_that_was_captured(watched: tuple[LocalCluster, Client]) -> None:
    cluster, client = watched
    task, error = failed(cluster, client, "echo 'no licence left'; exit 3", captured=True)
    assert "ended with exit code 3\nStandard output:\nno licence left\n" in error
    assert "no licence left" in rainzmq(cluster, "logs", task)
    assert "no licence left" in rainzmq(cluster, "task", task)
    session = task.split("/")[0]
    listed = json.loads(rainzmq(cluster, "tasks", "--session", session, "--json"))
    assert [item["reason"] for item in listed] == ["the command ended with exit code 3: no licence left"]
    assert "exit code 3: no licence left" in rainzmq(cluster, "tasks", "--failed", "--session", session)
    assert "exit code 3: no licence left" in rainzmq(cluster, "sessions")
    http = read_access(cluster.access_file).http
    assert http is not None
    page = urllib.request.Request(
        f"{http.url}/tasks?session={session}",
        headers={"Authorization": f"Bearer {http.token}"},
    )
    with urllib.request.urlopen(page) as answer:
        assert "exit code 3: no licence left" in answer.read().decode()


def test_it_said_so_below_a_progress_bar(watched: tuple[LocalCluster, Client]) -> None:
    cluster, client = watched
    task, error = failed(cluster, client, BARS, captured=False)
    shown = "3000/3000 |##########|\nwhat counts\n"
    assert f"Standard error (its end):\n{shown}" in error
    assert shown in rainzmq(cluster, "logs", task)
    assert "exit code 1: what counts" in rainzmq(cluster, "tasks", "--session", task.split("/")[0])
