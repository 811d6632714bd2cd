"""The ends of files, as text."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from rainzmq.common.tails import as_left, read_tail


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


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("plain\ntext", "plain\ntext"),
        ("dos\r\nlines\r\n", "dos\nlines\n"),
        ("\r 10 %\r 50 %\r100 %\ndone", "100 %\ndone"),
        ("100 %\r", "100 %"),
        ("100 %\r\x1b[Kdone\n", "done\n"),
        ("\x1b[1;31mred\x1b[0m and \x1b]0;title\x07plain\x1b(B\x1b[", "red and plain"),
        ("a 1\nb 1\n\x1b[2Aa 2\nb 2\n", "a 2\nb 2\n"),
        ("a\n\nb\x1b[A\rc\n\n", "a\nc\nb\n"),
        ("bars\nof two lines\x1b[1A\x1b[2K\x1b[Jthe error", "the error"),
        ("\x1b[9Aup from the first line", "up from the first line"),
        ("\r\r\n\rx\r", "\nx"),
    ],
)
def test_what_was_drawn_over_is_left_out_as_on_a_terminal(text: str, left: str) -> None:
    assert as_left(text) == left


def test_any_text_can_be_shown_and_nothing_of_a_terminal_is_left() -> None:
    random = Random(1)
    signs = ["\x1b", "[", "A", "2", "K", "J", "\r", "\n", "]", "\x07", "\\", "x", "(", ";", "B"]
    for _ in range(5000):
        left = as_left("".join(random.choices(signs, k=random.randrange(30))))
        assert "\r" not in left
        assert "\x1b" not in left


def test_much_of_what_was_drawn_over_is_read_to_show_what_came_before_it(file: int) -> None:
    bars = "".join(f"\r{number:5d}" for number in range(5000))
    os.write(file, f"what it began with\n{bars}\nthe end".encode())
    size = os.fstat(file).st_size
    assert read_tail(file, 0, size) == "what it began with\n 4999\nthe end"
