"""The ends of files, as text."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rainzmq.common.tails import read_tail


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


def test_only_the_part_between_begin_and_end_is_read(file: int) -> None:
    os.write(file, b"before|text|after")
    assert read_tail(file, 7, 11) == "text"
    assert read_tail(file, 7, 7) == ""
    assert read_tail(file, 9, 2) == ""


def test_only_the_last_bytes_are_read_when_there_are_more_than_wanted(file: int) -> None:
    os.write(file, b"x" * 100 + b"the end")
    assert read_tail(file, 0, 107, limit_bytes=7) == "the end"


@pytest.mark.parametrize("limit", range(4, 8))
def test_a_character_that_is_cut_off_at_the_start_is_left_out(file: int, limit: int) -> None:
    os.write(file, "x\U0001f600end".encode())
    assert read_tail(file, 0, 8, limit_bytes=limit) in ("end", "\U0001f600end")


def test_bytes_that_are_no_utf_8_are_replaced_and_never_more_characters_than_bytes(file: int) -> None:
    os.write(file, b"\x80\x80\x80\x80\x80ok\xff\x00")
    assert read_tail(file, 0, 9) == "�" * 5 + "ok�\x00"
    assert len(read_tail(file, 0, 9, limit_bytes=5)) <= 5


def test_what_can_not_be_read_is_empty(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "other", os.O_WRONLY | os.O_CREAT)
    try:
        os.write(descriptor, b"text")
        assert read_tail(descriptor, 0, 4) == ""
    finally:
        os.close(descriptor)
