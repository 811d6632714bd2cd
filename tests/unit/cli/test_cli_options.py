"""The command line says what is wrong with what was typed."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest

from rainzmq.cli import options
from rainzmq.cli.options import (
    check_file_place,
    cpu_count,
    cpu_list,
    listen_address,
    ready_place,
    too_many_cpus,
    writable_directory,
)
from rainzmq.common.errors import RainException


@pytest.fixture(autouse=True)
def _machine_with_eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "available_cpus", lambda: 8)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("7210", ("127.0.0.1", 7210)),
        ("0", ("127.0.0.1", 0)),
        ("node1:80", ("node1", 80)),
        ("[::1]:7210", ("::1", 7210)),
        ("0.0.0.0:65535", ("0.0.0.0", 65535)),
    ],
)
def test_listen_address_is_a_port_on_loopback_or_a_host_and_a_port(
    text: str, address: tuple[str, int]
) -> None:
    assert listen_address(text) == address


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("65536", "0 to 65535"),
        ("-1", "0 to 65535"),
        ("node1", "0 to 65535"),
        ("node1:", "0 to 65535"),
        (":7210", "no host"),
        ("::1:7210", "in brackets"),
        ("", "0 to 65535"),
    ],
)
def test_bad_listen_address_says_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(click.BadParameter, match=why):
        listen_address(text)


@pytest.mark.parametrize(("text", "count"), [("1", 1), ("16", 16), ("-1", 7), ("-7", 1), ("detect", 8)])
def test_cpus_are_a_number_or_all_but_some_or_detected(text: str, count: int) -> None:
    assert cpu_count(text) == count


@pytest.mark.parametrize(
    ("text", "why"),
    [("0", "at least 1"), ("-8", "leaves none"), ("two", "not a number"), ("1.5", "not a number")],
)
def test_bad_number_of_cpus_says_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(click.BadParameter, match=why):
        cpu_count(text)


def test_workers_are_a_list_of_cpus() -> None:
    assert cpu_list("2") == [2]
    assert cpu_list("2, 1,4") == [2, 1, 4]


@pytest.mark.parametrize(("text", "part"), [("2,x", "'x'"), ("2,0", "'0'"), ("2,,2", "''"), ("-1", "'-1'")])
def test_bad_list_of_workers_names_the_entry(text: str, part: str) -> None:
    with pytest.raises(click.BadParameter, match=part):
        cpu_list(text)


def test_missing_directory_is_made_for_its_owner_only(tmp_path: Path) -> None:
    made = writable_directory(tmp_path / "a" / "b", "--logdir")

    assert made == tmp_path / "a" / "b"
    assert made.stat().st_mode & 0o777 == 0o700
    assert list(made.iterdir()) == []


def test_directories_above_a_missing_one_are_for_the_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        writable_directory(tmp_path / "a" / "b" / "c", "--logdir")
    finally:
        os.umask(previous)

    for made in ("a", "a/b", "a/b/c"):
        assert (tmp_path / made).stat().st_mode & 0o777 == 0o700


def test_unwritable_directory_is_named_with_the_option(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(RainException, match=r"cannot write to .*file/sub: Not a directory; .* --workdir"):
        writable_directory(tmp_path / "file" / "sub", "--workdir")


def test_a_directory_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RainException, match=r"--ready-file: .* is a directory"):
        check_file_place(tmp_path, "--ready-file")
    assert check_file_place(tmp_path / "ready", "--ready-file") == tmp_path / "ready"
    assert check_file_place(None, "--ready-file") is None


def test_ready_file_is_there_only_while_its_process_says_so(tmp_path: Path) -> None:
    place = tmp_path / "ready"
    place.write_text("of an earlier process")

    with ready_place(place) as path:
        assert path == place
        assert not place.exists()
        place.write_text("ready")
    assert not place.exists()
    with ready_place(None) as path:
        assert path is None


def test_more_cpus_than_there_are_are_named() -> None:
    assert too_many_cpus(8) is None
    assert too_many_cpus(99) == (
        "99 cpus are offered, but there are 8 here: up to 99 tasks share them at a time"
    )
