"""Access files: modes, lookup, errors."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from rainzmq.common.errors import RainException
from rainzmq.transport.access import (
    Access,
    find_access,
    home,
    process_started,
    read_access,
    remove_access,
    write_access,
)
from rainzmq.transport.keys import KeyPair, is_key


@pytest.fixture(autouse=True)
def _private_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAINZMQ_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RAINZMQ_SERVER", raising=False)
    monkeypatch.delenv("RAINZMQ_ACCESS", raising=False)


def access_of(address: str = "127.0.0.1", port: int = 7210, **changes: object) -> Access:
    values: dict[str, object] = {
        "address": address,
        "port": port,
        "server_public": KeyPair.new().public,
        "keys": {role: KeyPair.new() for role in ("client", "worker")},
        "cluster_id": 17,
        "pid": os.getpid(),
        "started": process_started(),
    }
    return Access(**{**values, **changes})  # type: ignore[arg-type]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_written_file_reads_back_equal() -> None:
    access = access_of()
    path = write_access(access)
    assert access.path == path
    assert read_access(path) == access


def test_key_pair_does_not_show_its_secret() -> None:
    pair = KeyPair.new()
    assert pair.secret.decode() not in repr(pair)
    assert is_key(pair.public)
    assert not is_key(b"x" * 39)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_file_is_private_whatever_the_umask(umask: int) -> None:
    previous = os.umask(umask)
    try:
        path = write_access(access_of())
    finally:
        os.umask(previous)
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    assert mode(home()) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_file_that_others_can_read_is_refused_and_the_error_says_which_chmod() -> None:
    path = write_access(access_of())
    path.chmod(0o640)
    with pytest.raises(RainException, match=rf"mode 640.*chmod 600 {path}"):
        read_access(path)


def test_home_that_others_can_write_is_refused() -> None:
    home().chmod(0o777)
    with pytest.raises(RainException, match="chmod 700"):
        home()


@pytest.mark.parametrize("text", ["relative/home", "~/home", "."])
def test_home_that_depends_on_the_current_directory_is_refused(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAINZMQ_HOME", text)
    with pytest.raises(RainException, match=r"RAINZMQ_HOME is .* not an absolute path; .* such as /"):
        find_access()
    assert list(tmp_path.iterdir()) == []


def test_unknown_address_lists_the_servers_that_are_known() -> None:
    with pytest.raises(RainException, match="none is known elsewhere"):
        find_access("127.0.0.1:7399")
    write_access(access_of(port=7300))
    with pytest.raises(RainException, match=r"\(known: 127\.0\.0\.1:7300\)"):
        find_access("127.0.0.1:7399")


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:7300", "http://127.0.0.1:7300"])
def test_address_with_a_scheme_is_told_to_go_without(address: str) -> None:
    scheme = address.partition(":")[0]
    with pytest.raises(RainException, match=rf"write it without {scheme}://, as '127\.0\.0\.1:7300'"):
        find_access(address)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"rainzmq": 1}', b"\xff", b'{"rainzmq": 2}', b"[" * 9999]
)
def test_malformed_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(RainException, match=r"bad\.json is not an access file"):
        read_access(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RainException, match=r"no access file .*absent\.json"):
        read_access(tmp_path / "absent.json")


@pytest.mark.parametrize(
    "address", ["localhost:7300", "127.0.0.1:7300", f"{socket.gethostname()}:7300", "[::1]:7300"]
)
def test_names_of_this_machine_find_the_same_server(address: str) -> None:
    access = access_of(port=7300)
    write_access(access)
    assert find_access(address) == access


def test_host_without_port_means_the_default_port() -> None:
    access = access_of()
    write_access(access)
    assert find_access("localhost") == access
    with pytest.raises(RainException, match="no access file for a server at localhost:7211"):
        find_access("localhost", 7211)


def test_port_alone_means_this_machine() -> None:
    access = access_of(port=7300)
    write_access(access)
    assert find_access(port=7300) == access


def test_contradicting_ports_are_refused() -> None:
    with pytest.raises(RainException, match="contradict"):
        find_access("localhost:1", 2)


@pytest.mark.parametrize("address", ["", "a b", "host:", "host:x", "host:99999", "[::1", ":1"])
def test_bad_address_is_refused(address: str) -> None:
    with pytest.raises(RainException, match="is not an address"):
        find_access(address)


def test_path_as_address_is_read(tmp_path: Path) -> None:
    access = access_of()
    path = write_access(access, tmp_path / "elsewhere" / "a.json")
    assert find_access(str(path)) == access
    assert mode(path.parent) == 0o700


def test_explicit_file_is_used_for_the_given_host(tmp_path: Path) -> None:
    path = write_access(access_of("0.0.0.0"), tmp_path / "a.json")
    found = find_access("192.0.2.7:7210", access_file=str(path))
    assert (found.address, found.port) == ("192.0.2.7", 7210)


def test_environment_names_server_or_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, elsewhere = access_of(port=7300), access_of("192.0.2.7", 7400)
    write_access(here)
    monkeypatch.setenv("RAINZMQ_ACCESS", str(write_access(elsewhere, tmp_path / "a.json")))
    assert find_access() == elsewhere
    assert find_access("localhost:7300") == here
    monkeypatch.setenv("RAINZMQ_SERVER", "localhost:7300")
    assert find_access() == here


def test_newest_living_server_of_this_machine_is_the_default() -> None:
    write_access(access_of("192.0.2.7", 7401, hostname="elsewhere"))
    dead = write_access(access_of(port=7402, started=1.0))
    mine = access_of(port=7403)
    write_access(mine)
    assert find_access() == mine
    assert not dead.exists(), "the file of a dead server of this machine is removed"


def test_loopback_server_of_another_machine_is_not_taken_for_one_of_this() -> None:
    path = write_access(access_of(hostname="elsewhere"))
    with pytest.raises(RainException, match="no access file for a server at localhost:7210"):
        find_access("localhost")
    assert path.exists()


def test_no_server_says_what_to_do_and_what_was_skipped() -> None:
    path = write_access(access_of())
    path.chmod(0o644)
    with pytest.raises(RainException, match=r"rainzmq local.*Skipped: .*chmod 600"):
        find_access()


def test_server_removes_only_its_own_file() -> None:
    first = access_of()
    second = access_of(cluster_id=18)
    write_access(first)
    write_access(second)
    remove_access(first)
    assert find_access() == second
    remove_access(second)
    assert second.path is not None
    assert not second.path.exists()


def test_role_without_a_key_is_named() -> None:
    with pytest.raises(RainException, match="no key for the role 'viewer'"):
        access_of().key("viewer")
