"""What a task wrote is told apart from what was written before and after it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from rainzmq.common.tails import OUTPUT_FILE_BYTES, TAIL_BYTES
from rainzmq.protocol.messages.subworker import TaskPrinted
from rainzmq.subworker.streams import Streams, line_buffered

ID = (3, 17)

Opened = Callable[[], AbstractContextManager["Files"]]


class Files:
    """Standard output and error of this process, as files in a directory."""

    def __init__(self, directory: Path) -> None:
        self.paths = [directory / "out", directory / "err"]
        self._saved = [os.dup(1), os.dup(2)]
        self._objects = (sys.stdout, sys.stderr)
        for number, path in enumerate(self.paths, 1):
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
            os.dup2(file, number)
            os.close(file)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115

    def close(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = self._objects
        for number, saved in enumerate(self._saved, 1):
            os.dup2(saved, number)
            os.close(saved)

    def sizes(self) -> list[int]:
        return [path.stat().st_size for path in self.paths]


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    """Opens `Files`. For the test to call: pytest captures again between fixtures and test."""

    @contextmanager
    def opened() -> Iterator[Files]:
        files = Files(tmp_path)
        try:
            yield files
        finally:
            files.close()

    return opened


def after_task(streams: Streams) -> TaskPrinted | None:
    """What is told when a task has just ended."""
    streams.restore()
    return streams.take(ID, 1) if streams.has_output else None


def test_a_task_that_writes_nothing_has_no_output(opened: Opened) -> None:
    with opened():
        print("before", flush=True)
        assert after_task(Streams()) is None


def test_each_task_has_only_its_own_output(opened: Opened) -> None:
    with opened():
        streams = Streams()
        print("one")
        assert after_task(streams) == TaskPrinted(ID, 1, "one\n", "", 4, 0, 4, 0)
        assert after_task(streams) is None
        print("two", file=sys.stderr)
        assert after_task(streams) == TaskPrinted(ID, 1, "", "two\n", 0, 4, 4, 4)


def test_only_the_end_of_long_output_is_told_and_all_of_it_counted(opened: Opened) -> None:
    with opened():
        streams = Streams()
        print("x" * 10_000)
        told = after_task(streams)
        assert told is not None
        assert (len(told.stdout), told.stdout_bytes) == (TAIL_BYTES, 10_001)
        assert told.stdout.endswith("x\n")


def test_output_of_child_processes_and_of_raw_writes_counts(opened: Opened) -> None:
    with opened():
        streams = Streams()
        os.write(2, b"raw \xff|")
        subprocess.run(["sh", "-c", "echo child; echo trouble >&2"], check=True)
        told = after_task(streams)
        assert told is not None
        assert (told.stdout, told.stderr) == ("child\n", "raw �|trouble\n")
        assert (told.stdout_bytes, told.stderr_bytes) == (6, 14)


def test_what_is_written_between_tasks_is_of_none(opened: Opened) -> None:
    with opened():
        streams = Streams()
        print("task", flush=True)
        assert after_task(streams) is not None
        os.write(1, b"of a thread that was left behind")
        streams.ignore()
        assert after_task(streams) is None


def test_what_a_task_left_in_a_stream_that_it_put_aside_is_its_own(opened: Opened) -> None:
    with opened():
        streams = Streams()
        print("aside")
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        told = after_task(streams)
        assert told is not None
        assert told.stdout == "aside\n"
        assert after_task(streams) is None


def test_what_goes_to_a_descriptor_that_a_task_put_elsewhere_is_not_counted(opened: Opened) -> None:
    with opened():
        streams = Streams()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
        os.write(1, b"lost")
        assert after_task(streams) is None
        os.write(1, b"kept")
        told = after_task(streams)
        assert told is not None
        assert told.stdout == "kept"


def test_a_file_that_has_become_large_is_emptied_after_its_end_was_told(opened: Opened) -> None:
    with opened() as files:
        streams = Streams()
        os.truncate(files.paths[0], OUTPUT_FILE_BYTES)
        os.write(1, b"the end")
        told = after_task(streams)
        assert told is not None
        assert told.stdout.endswith("the end")
        assert (told.stdout_bytes, told.stdout_end) == (OUTPUT_FILE_BYTES + 7, 0)
        assert files.sizes() == [0, 0]
        print("next")
        assert after_task(streams) == TaskPrinted(ID, 1, "next\n", "", 5, 0, 5, 0)


def test_a_file_that_a_task_emptied_itself_does_no_harm(opened: Opened) -> None:
    with opened() as files:
        streams = Streams()
        print("a long line")
        assert after_task(streams) is not None
        os.truncate(files.paths[0], 0)
        os.write(1, b"new")
        told = after_task(streams)
        assert told is not None
        assert (told.stdout, told.stdout_bytes, told.stdout_end) == ("new", 3, 3)


def test_lines_are_written_out_at_once(opened: Opened) -> None:
    with opened() as files:
        line_buffered()
        print("line")
        assert files.sizes() == [5, 0]
