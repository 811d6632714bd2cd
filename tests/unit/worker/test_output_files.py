"""What a subworker wrote, as its worker sees it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rainzmq.common.tails import OUTPUT_FILE_BYTES, TAIL_BYTES
from rainzmq.protocol.messages.subworker import TaskPrinted
from rainzmq.worker.core.jobs import Printed
from rainzmq.worker.output_files import OutputFiles


class Bench:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files = OutputFiles(directory, "subworker-x-1-1")
        self.out, self.err = self.files.open()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.files.close()


def test_output_since_the_mark_is_taken_once(bench: Bench) -> None:
    os.write(bench.out, b"startup")
    bench.files.mark()
    assert bench.files.take() is None
    os.write(bench.out, b"one")
    os.write(bench.err, b"\xffoops")
    assert bench.files.take() == Printed("one", "�oops", 3, 5)
    assert bench.files.take() is None


def test_output_so_far_can_be_looked_at_while_it_grows(bench: Bench) -> None:
    os.write(bench.out, b"one")
    assert bench.files.peek() == Printed("one", "", 3, 0)
    os.write(bench.out, b" two")
    assert bench.files.peek() == bench.files.take() == Printed("one two", "", 7, 0)


def test_a_large_file_is_emptied_when_it_is_taken(bench: Bench) -> None:
    os.ftruncate(bench.out, OUTPUT_FILE_BYTES)
    os.write(bench.out, b"end")
    printed = bench.files.take()
    assert printed is not None
    assert (printed.stdout[-3:], printed.stdout_bytes) == ("end", OUTPUT_FILE_BYTES + 3)
    assert os.fstat(bench.out).st_size == 0
    os.write(bench.out, b"next")
    assert bench.files.take() == Printed("next", "", 4, 0)


def test_what_the_subworker_tells_moves_the_mark(bench: Bench) -> None:
    os.write(bench.out, b"first|second")
    told = TaskPrinted((3, 17), 0, "first|", "", 6, 0, 6, 0)
    assert bench.files.take_told(told) == Printed("first|", "", 6, 0)
    assert bench.files.tail(since_mark=True) == "second"
    assert bench.files.tail(since_mark=False) == "first|second"


def test_a_subworker_that_tells_nonsense_is_held_to_the_limits(bench: Bench) -> None:
    told = TaskPrinted((3, 17), 0, "x" * 10_000, "", 1 << 62, -5, -1, 1 << 62)
    printed = bench.files.take_told(told)
    assert printed == Printed("x" * TAIL_BYTES, "", (1 << 62) - 1, 0)
    assert bench.files.take_told(TaskPrinted((3, 17), 0, "x", "y", 0, -1, 0, 1 << 61)) is None
    os.write(bench.err, b"text")
    assert bench.files.take() == Printed("", "text", 0, 4), "a mark behind the end counts as none"


def test_the_tail_has_both_streams_and_is_empty_without_output(bench: Bench) -> None:
    assert bench.files.tail(since_mark=False) == ""
    os.write(bench.err, b"  error\n")
    os.write(bench.out, b"output\n")
    assert bench.files.tail(since_mark=False) == "output\nerror"


def test_the_end_of_what_was_written_is_kept_and_nothing_of_nothing(bench: Bench) -> None:
    os.write(bench.err, b"text")
    bench.files.close()
    assert [path.name for path in bench.directory.iterdir()] == ["subworker-x-1-1.err.log"]
    assert (bench.directory / "subworker-x-1-1.err.log").read_text() == "text"
    assert bench.files.peek() is None
    assert bench.files.tail(since_mark=True) == ""


def test_a_log_directory_that_is_gone_or_full_disturbs_nobody(bench: Bench) -> None:
    bench.directory.rmdir()
    os.write(bench.err, b"text")
    assert bench.files.take() == Printed("", "text", 0, 4)
    bench.files.close()
