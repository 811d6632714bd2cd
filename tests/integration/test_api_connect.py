"""Connecting to a server: addresses, where access files are found, and what is told when it cannot be."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rainzmq
from rainzmq import Client, LocalCluster, RainException, blob, tasks
from rainzmq.transport.keys import KeyPair

_WITHIN_S = 10.0
"""Whatever is wrong, a client says so within this time."""


def until(condition: Callable[[], Any], within_s: float = 5.0) -> Any:
    """Wait for a condition that no call of the API waits for; its value."""
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)
    return value


def refusal(*args: Any, **kwargs: Any) -> str:
    """Why a client cannot connect."""
    started = time.monotonic()
    with pytest.raises(RainException) as caught:
        Client(*args, **kwargs)
    assert time.monotonic() - started < _WITHIN_S
    return str(caught.value)


def changed(cluster: LocalCluster, path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of the cluster's access file with a change."""
    access = json.loads(cluster.access_file.read_text())
    change(access)
    path.touch(0o600)
    path.write_text(json.dumps(access))
    return path


def host_and_port(cluster: LocalCluster) -> tuple[str, int]:
    host, _, port = cluster.address.rpartition(":")
    return host, int(port)


def server_pid(cluster: LocalCluster) -> int:
    return int(json.loads(cluster.access_file.read_text())["pid"])


def works(client: Client) -> bool:
    """A task runs and its result comes back."""
    with client, client.new_session() as session:
        task = tasks.Concat([blob("wor"), blob("ks")])
        task.output.keep()
        session.submit()
        return task.output.fetch().get_str() == "works"


# -- addresses


def test_address_is_host_and_port_together_or_apart(shared_cluster: LocalCluster) -> None:
    host, port = host_and_port(shared_cluster)
    assert works(Client(shared_cluster.address))
    assert works(Client(host, port))
    assert works(Client(port=port))
    assert works(Client("localhost", port))
    assert works(Client(socket.gethostname(), port))


def test_address_is_the_path_of_an_access_file(shared_cluster: LocalCluster, tmp_path: Path) -> None:
    path = tmp_path / "copied"
    shutil.copy(shared_cluster.access_file, path)
    assert works(Client(str(path)))
    assert works(Client(path))
    assert works(Client(access_file=path))
    assert works(Client(shared_cluster.address, access_file=str(path)))


def test_default_port_is_7210(shared_cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rainzmq.transport.access.DEFAULT_PORT == 7210
    host, port = host_and_port(shared_cluster)
    monkeypatch.setattr("rainzmq.transport.access.DEFAULT_PORT", port)
    assert works(Client(host))


@pytest.mark.parametrize("form", ["address", "path"])
def test_environment_names_the_server(
    shared_cluster: LocalCluster, home: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    if form == "address":
        (home / "servers").mkdir(0o700)
        shutil.copy(shared_cluster.access_file, home / "servers")
    wanted = shared_cluster.address if form == "address" else str(shared_cluster.access_file)
    monkeypatch.setenv("RAINZMQ_SERVER", wanted)
    assert works(Client())


def test_environment_names_the_access_file(
    shared_cluster: LocalCluster, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no running server" in refusal()
    assert "no access file" in refusal(shared_cluster.address)
    monkeypatch.setenv("RAINZMQ_ACCESS", str(shared_cluster.access_file))
    assert works(Client())
    assert works(Client(shared_cluster.address))
    monkeypatch.setenv("RAINZMQ_SERVER", shared_cluster.address)
    assert works(Client())


def test_newest_server_that_lives_is_the_default(home: Path) -> None:
    with LocalCluster(cpus=1) as older, LocalCluster(cpus=1) as newer:
        with Client() as client:
            assert newer.address in repr(client)
        os.kill(server_pid(newer), signal.SIGKILL)
        until(lambda: not newer.is_usable())
        assert newer.access_file.exists()
        with Client() as client:
            assert older.address in repr(client)
    assert "no running server of this user found on this machine" in refusal()


# -- errors


def test_server_that_is_gone_is_told(home: Path, tmp_path: Path) -> None:
    with LocalCluster(cpus=1) as cluster:
        path = changed(cluster, tmp_path / "copy.json", lambda access: None)
    text = refusal(path)
    assert "nothing listens there" in text
    assert cluster.address in text
    assert "rainzmq server" in text


def test_name_that_does_not_resolve_is_told(shared_cluster: LocalCluster) -> None:
    for options in ({}, {"access_file": shared_cluster.access_file}):
        text = refusal("no-such-host.invalid", 7210, **options)
        assert "the host name 'no-such-host.invalid' does not resolve" in text


def test_no_key_is_told(shared_cluster: LocalCluster, home: Path, tmp_path: Path) -> None:
    text = refusal(shared_cluster.address)
    assert f"no access file for a server at {shared_cluster.address}" in text
    assert "RAINZMQ_ACCESS" in text

    def without_key(access: dict[str, Any]) -> None:
        del access["keys"]["client"]

    path = changed(shared_cluster, tmp_path / "worker-only.json", without_key)
    assert refusal(path) == f"the access file {path} has no key for the role 'client'"


def test_wrong_key_is_told(shared_cluster: LocalCluster, tmp_path: Path) -> None:
    pair = KeyPair.new()

    def other_key(access: dict[str, Any]) -> None:
        access["keys"]["client"] = {"public": pair.public.decode(), "secret": pair.secret.decode()}

    path = changed(shared_cluster, tmp_path / "wrong.json", other_key)
    text = refusal(path)
    assert "refused this key" in text
    assert str(path) in text


def test_key_for_another_role_is_refused(shared_cluster: LocalCluster, tmp_path: Path) -> None:
    def workers_key(access: dict[str, Any]) -> None:
        access["keys"]["client"] = access["keys"]["worker"]

    path = changed(shared_cluster, tmp_path / "role.json", workers_key)
    assert "its key is for the role 'worker', but a client's is due" in refusal(path)


def test_another_servers_key_is_told(shared_cluster: LocalCluster, tmp_path: Path) -> None:
    def other_server(access: dict[str, Any]) -> None:
        access["server_public"] = KeyPair.new().public.decode()

    path = changed(shared_cluster, tmp_path / "other.json", other_server)
    assert "is not the rainzmq server that the access file" in refusal(path)


@pytest.fixture
def talker() -> Iterator[int]:
    """The port of a program that answers every connection with a line and closes it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def talk() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"220 mail.example.org ESMTP ready\r\n")

    thread = threading.Thread(target=talk)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_something_else_that_listens_is_told(shared_cluster: LocalCluster, talker: int) -> None:
    text = refusal("127.0.0.1", talker, access_file=shared_cluster.access_file)
    assert f"what listens at 127.0.0.1:{talker} is not the rainzmq server" in text


def test_something_silent_that_listens_is_told_in_time(
    shared_cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rainzmq.client.client.CONNECT_TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        text = refusal("127.0.0.1", port, access_file=shared_cluster.access_file)
    assert f"what listens at 127.0.0.1:{port} did not answer within 1 s" in text
    assert "stopped or overloaded, or it is not a rainzmq server" in text


def test_stopped_server_is_told_in_time_and_reached_later(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = server_pid(cluster)
    os.kill(pid, signal.SIGSTOP)
    try:
        with monkeypatch.context() as patch:
            patch.setattr("rainzmq.client.client.CONNECT_TIMEOUT_S", 1.0)
            assert "the server is stopped or overloaded" in refusal(cluster.access_file)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert works(cluster.client())


@pytest.mark.parametrize(
    ("address", "port", "text"),
    [
        ("localhost:http", None, "'http' is not a port"),
        ("localhost:1:2 ", None, "is not an address"),
        ("", None, "is not an address"),
        ("localhost:1", 2, "contradict each other"),
        ("localhost", 0, "port=0 is not a port"),
        ("localhost", "7210", "port='7210' is not a port"),
        (7210, None, "neither a str nor a path"),
        (b"localhost", None, "neither a str nor a path"),
        ("/no/such/file", None, "there is no access file /no/such/file"),
        ("/etc/passwd", None, "/etc/passwd is not an access file"),
    ],
)
def test_what_is_no_address_is_told(home: Path, address: Any, port: Any, text: str) -> None:
    assert text in refusal(address, port)
