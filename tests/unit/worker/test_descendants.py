"""Which processes another one may have left."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from rainzmq.worker import descendants
from rainzmq.worker.descendants import left_by, newest_pid


@pytest.fixture
def child() -> Iterator[int]:
    process = subprocess.Popen(["sleep", "60"])
    yield process.pid
    process.kill()
    process.wait()


def test_the_newest_process_id_is_known(child: int) -> None:
    assert newest_pid() >= child or newest_pid() < os.getpid()


def is_alive(pid: int) -> bool:
    return True


@pytest.mark.parametrize("most", [10**7, -1])
def test_younger_processes_are_found_and_asked_for(
    child: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descendants, "_MAX_PROBED", most)
    assert left_by(child - 1, (), lambda pid: pid == child, is_alive) == [child]
    assert left_by(child - 1, {child}, lambda pid: pid == child, is_alive) == []
    assert left_by(child - 1, (), lambda pid: False, is_alive) == []
    assert left_by(child - 1, (), lambda pid: pid == child, lambda pid: False) == []


def test_older_ones_are_found_when_the_ids_began_again(child: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descendants, "newest_pid", lambda: child)
    assert left_by(child + 1000, (), lambda pid: pid == child, is_alive) == [child]


def test_the_next_are_looked_for_while_younger_ones_were_there(monkeypatch: pytest.MonkeyPatch) -> None:
    newest = iter([102, 104, 105])
    monkeypatch.setattr(descendants, "newest_pid", lambda: next(newest))
    monkeypatch.setattr(descendants, "_exists", lambda pid: True)
    assert left_by(100, (), lambda pid: True, lambda pid: pid == 105) == [105]


def test_this_process_is_never_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descendants, "newest_pid", lambda: 0)
    assert os.getpid() not in left_by(1, (), lambda pid: True, is_alive)
