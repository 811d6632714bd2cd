"""What a client does besides connecting: `get_server_info`, threads, leaving, and servers that are lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import rainzmq
from rainzmq import Client, LocalCluster, RainException, SessionException, blob, tasks
from rainzmq.common import ID


def until(condition: Callable[[], Any], within_s: float = 5.0) -> Any:
    """Wait for a condition that no call of the API waits for; its value."""
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)
    return value


def server_pid(cluster: LocalCluster) -> int:
    return int(json.loads(cluster.access_file.read_text())["pid"])


def session_ids(client: Client) -> list[int]:
    return [item["session_id"] for item in client.get_server_info()["sessions"]]


def works(client: Client) -> bool:
    """A task runs and its result comes back."""
    with client, client.new_session() as session:
        task = tasks.Concat([blob("wor"), blob("ks")])
        task.output.keep()
        session.submit()
        return task.output.fetch().get_str() == "works"


# -- leaving


def test_leaving_ends_the_sessions_of_the_client_only(client: Client, shared_cluster: LocalCluster) -> None:
    with client.new_session() as mine:
        with shared_cluster.client() as other:
            theirs = other.new_session()
            with theirs.bind_only():
                kept = blob(b"k" * 100_000)
                kept.keep()
                running = tasks.Sleep(tasks.Concat([kept]), 60)
                theirs.submit()
                until(lambda: _with_task(client.get_server_info(), running.id))
            assert set(session_ids(client)) == {mine.session_id, theirs.session_id}
        assert not theirs.active
        until(lambda: session_ids(client) == [mine.session_id])
        until(lambda: not any(worker["tasks"] for worker in client.get_server_info()["workers"]))
        until(lambda: not any(worker["objects"] for worker in client.get_server_info()["workers"]))
        assert works(shared_cluster.client())


def test_client_that_is_killed_loses_its_sessions(client: Client, shared_cluster: LocalCluster) -> None:
    program = """
        import sys, time, rainzmq
        client = rainzmq.Client(sys.argv[1])
        with client.new_session() as session:
            rainzmq.tasks.Sleep(rainzmq.blob(b""), 60)
            session.submit()
            print(session.session_id, flush=True)
            time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(shared_cluster.access_file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        number = int(process.stdout.readline())
        assert session_ids(client) == [number]
        process.kill()
    until(lambda: session_ids(client) == [], 15)
    until(lambda: not any(worker["tasks"] for worker in client.get_server_info()["workers"]))


def test_program_that_closes_nothing_ends_at_once(client: Client, shared_cluster: LocalCluster) -> None:
    program = """
        import sys, rainzmq
        session = rainzmq.Client(sys.argv[1]).new_session(default=True)
        client = rainzmq.Client(sys.argv[1])
        other = client.new_session()
        rainzmq.tasks.Sleep(rainzmq.blob(b""), 60)
        session.submit()
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(shared_cluster.access_file)]
    assert subprocess.run(command, timeout=10, check=False).returncode == 0
    until(lambda: session_ids(client) == [])


@pytest.mark.parametrize("how", ["a name that is deleted", "a function that returns", "an error"])
def test_client_that_is_dropped_without_close_leaves_the_server(
    client: Client, shared_cluster: LocalCluster, how: str
) -> None:
    program = """
        import gc, sys, threading, time, rainzmq

        def use():
            mine = rainzmq.Client(sys.argv[1])
            mine.new_session(sys.argv[3])
            return mine.get_server_info()

        if sys.argv[2] == "a name that is deleted":
            mine = rainzmq.Client(sys.argv[1])
            mine.get_server_info()
            del mine
        try:
            use()
        except rainzmq.RainException as error:
            print(error)
        gc.collect()
        limit = time.monotonic() + 10
        while threading.active_count() > 1 and time.monotonic() < limit:
            time.sleep(0.01)
        assert threading.active_count() == 1
        other = rainzmq.Client(sys.argv[1])
        assert other.get_server_info()["sessions"] == []
        print("went on")
    """
    name = "" if how == "an error" else "a session"
    command = [sys.executable, "-c", textwrap.dedent(program), str(shared_cluster.access_file), how, name]
    done = subprocess.run(command, timeout=20, check=False, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.endswith("went on\n")


def test_closed_client_can_only_be_closed_again(shared_cluster: LocalCluster) -> None:
    with shared_cluster.client() as client:
        assert client.connected
        session = client.new_session()
    client.close()
    assert not client.connected
    assert "closed" in repr(client)
    for call in (client.new_session, client.get_server_info, session.wait_all, session.submit):
        with pytest.raises(SessionException, match="closed"):
            call()
    session.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_dead_server_is_told_to_all_that_wait_and_to_later_calls(
    cluster: LocalCluster, how: signal.Signals
) -> None:
    client = cluster.client()
    session = client.new_session()
    with session.bind_only():
        endless = tasks.Sleep(blob(b""), 60)
        endless.output.keep()
        session.submit()
    errors: list[str] = []

    def ask(call: Callable[[], Any]) -> None:
        with pytest.raises(SessionException) as caught:
            call()
        errors.append(str(caught.value))

    threads = [
        threading.Thread(target=ask, args=(call,)) for call in (session.wait_all, endless.output.fetch)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    started = time.monotonic()
    os.kill(server_pid(cluster), how)
    for thread in threads:
        thread.join(5)
    for call in (client.get_server_info, client.new_session, endless.update, session.submit):
        ask(call)
    assert len(errors) == 6
    assert all(f"connection to the server at {cluster.address} has ended" in text for text in errors)
    assert not session.active
    session.close()
    client.close()
    assert time.monotonic() - started < 3


# -- what is asked and told


def test_server_info_tells_what_runs_where(client: Client, shared_cluster: LocalCluster) -> None:
    with client.new_session("named") as session:
        kept = tasks.Concat([blob(b"k" * 100_000)])
        kept.output.keep()
        running = tasks.Sleep(kept, 60)
        session.submit()
        kept.wait()
        info = until(lambda: (found := client.get_server_info()) and _with_task(found, running.id) and found)
        assert info["version"] == rainzmq.__version__
        assert len(info["workers"]) == 2
        for worker in info["workers"]:
            host, _, port = worker["worker_id"].rpartition(":")
            assert host == "127.0.0.1"
            socket.create_connection((host, int(port)), timeout=5).close()
            assert worker["hostname"] == socket.gethostname()
            assert "rainzmq" in " ".join(psutil.Process(worker["pid"]).cmdline())
            assert worker["resources"] == {"cpus": 1}
            for name in ("tasks", "objects", "objects_to_delete"):
                assert all(type(item) is ID for item in worker[name])
        [there] = _with_task(info, running.id)
        assert there["tasks"] == [running.id]
        assert any(kept.output.id in worker["objects"] for worker in info["workers"])
        assert str(running.id) == f"{session.session_id}/{running.id.id}"
        running.update()
        assert running.info is not None
        assert running.info.worker == there["worker_id"]
        session.close()


def _with_task(info: dict[str, Any], task_id: ID) -> list[dict[str, Any]]:
    return [worker for worker in info["workers"] if task_id in worker["tasks"]]


def test_copies_that_are_still_there_are_listed_as_objects_to_delete(home: Path) -> None:
    with LocalCluster(cpus=1) as cluster, cluster.client() as client, client.new_session() as session:
        task = tasks.Concat([blob(b"k" * 100_000)])
        task.output.keep()
        session.submit()
        task.wait()
        [worker] = client.get_server_info()["workers"]
        assert task.output.id in worker["objects"]
        os.kill(worker["pid"], signal.SIGSTOP)
        try:
            task.output.unkeep()
            [stopped] = client.get_server_info()["workers"]
            assert task.output.id not in stopped["objects"]
            assert task.output.id in stopped["objects_to_delete"]
        finally:
            os.kill(worker["pid"], signal.SIGCONT)
        until(lambda: client.get_server_info()["workers"][0]["objects_to_delete"] == [])
        assert client.get_server_info()["workers"][0]["objects"] == []


def test_server_without_workers_has_none_to_tell_of(home: Path) -> None:
    with LocalCluster(cpus=1) as cluster, cluster.client() as client:
        [worker] = client.get_server_info()["workers"]
        os.kill(worker["pid"], signal.SIGTERM)
        until(lambda: client.get_server_info()["workers"] == [])


def test_wait_without_workers_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rainzmq.client.asking.QUIET_S", 0.1)
    with LocalCluster(cpus=1) as cluster, cluster.client() as client, client.new_session() as session:
        os.kill(client.get_server_info()["workers"][0]["pid"], signal.SIGTERM)
        until(lambda: client.get_server_info()["workers"] == [])
        task = tasks.Concat([blob(b"a")])
        session.submit()
        timer = threading.Timer(0.4, cluster.add_worker)
        timer.start()
        with pytest.warns(rainzmq.RainWarning, match="no worker is connected to the server; start one with"):
            task.wait()
        timer.join()


def test_threads_share_a_client(client: Client) -> None:
    results: list[str] = []

    def work(number: int) -> None:
        with client.new_session(f"thread {number}") as session:
            for step in range(5):
                task = tasks.Concat([blob(f"{number}."), blob(f"{step}", content_type=None)])
                task.output.keep()
                large = blob(bytes([number]) * 100_000)
                large.keep()
                session.submit()
                assert large.fetch().get_bytes() == bytes([number]) * 100_000
                results.append(task.output.fetch().get_str())
                client.get_server_info()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(results) == [f"{number}.{step}" for number in range(4) for step in range(5)]


def test_threads_share_a_session(client: Client) -> None:
    with client.new_session() as session:
        items = [tasks.Sleep(blob(str(number)), 0.02 * number) for number in range(8)]
        session.keep_all()
        session.submit()
        results: list[tuple[int, str]] = []

        def get(number: int) -> None:
            items[number].wait()
            results.append((number, items[number].output.fetch().get_str()))

        threads = [threading.Thread(target=get, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        session.wait_all()
        for thread in threads:
            thread.join(10)
    assert sorted(results) == [(number, str(number)) for number in range(8)]


def test_clients_do_not_see_each_others_sessions(client: Client, shared_cluster: LocalCluster) -> None:
    with shared_cluster.client() as other, other.new_session() as theirs, client.new_session() as mine:
        kept = blob("private", session=theirs)
        kept.keep()
        theirs.submit()
        assert mine.session_id != theirs.session_id
        with pytest.raises(RainException, match="session of another client"):
            client.update(kept)
        stolen = rainzmq.Session(client, theirs.session_id)
        with pytest.raises(SessionException, match=f"session {theirs.session_id} is closed or not yours"):
            stolen.wait_all()
