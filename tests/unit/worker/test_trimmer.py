"""The space of what running tasks write is given back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rainzmq.common.tails import OUTPUT_FILE_BYTES, read_tail
from rainzmq.worker import trimmer
from rainzmq.worker.trimmer import INTERVAL_S, KEPT_BYTES, Trimmer, trim

LARGE = OUTPUT_FILE_BYTES + (1 << 20)


class Loop:
    """Timers that are run by hand."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Any:
        assert delay_s == INTERVAL_S
        self.due.append(callback)
        return self

    def cancel(self) -> None:
        self.due.clear()

    def fire(self) -> None:
        (callback,) = self.due
        self.due.clear()
        callback()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    yield descriptor
    os.close(descriptor)


def fill(file: int, size: int) -> None:
    for _ in range(size >> 20):
        os.write(file, b"x" * (1 << 20))
    os.write(file, b"end")


def allocated(file: int) -> int:
    return os.fstat(file).st_blocks * 512


def test_a_large_file_keeps_its_size_and_its_end_and_little_of_the_disk(file: int) -> None:
    fill(file, LARGE)
    trim(file)
    assert os.fstat(file).st_size == LARGE + 3
    assert read_tail(file, 0, LARGE + 3) == "x" * 4093 + "end"
    assert allocated(file) <= KEPT_BYTES + 8192


def test_a_small_file_stays_whole(file: int) -> None:
    fill(file, 1 << 20)
    trim(file)
    assert os.pread(file, 4, 0) == b"xxxx"


def test_files_are_looked_at_until_there_are_none(file: int) -> None:
    loop, files = Loop(), [file]
    trims = Trimmer(loop, lambda: files)
    trims.wake()
    trims.wake()
    loop.fire()
    loop.fire()
    files.clear()
    loop.fire()
    assert loop.due == []
    trims.wake()
    trims.close()
    assert loop.due == []


def test_only_large_files_are_cut_also_when_their_owner_closes_them(
    file: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = os.open(tmp_path / "small", os.O_RDWR | os.O_CREAT)
    fill(small, 1 << 20)
    fill(file, LARGE)
    cut: list[int] = []
    monkeypatch.setattr(trimmer, "trim", lambda descriptor: cut.append(os.fstat(descriptor).st_ino))
    loop = Loop()
    trims = Trimmer(loop, lambda: [small, file])
    trims.wake()
    loop.fire()
    os.close(small)
    trims.close()
    assert cut == [os.fstat(file).st_ino]
