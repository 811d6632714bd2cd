"""Threads where there may be none left."""

from __future__ import annotations

import errno
import threading

import pytest

from rainzmq.common.workforce import Workforce

WAIT_S = 10


@pytest.fixture
def no_more_threads(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    return monkeypatch


def test_work_is_done_in_another_thread() -> None:
    workforce = Workforce(1, "work")
    names: list[str] = []
    workforce.submit(lambda: names.append(threading.current_thread().name))
    workforce.shutdown()
    assert names == ["work_0"]


def test_without_any_thread_the_caller_is_told_and_the_work_never_done(
    no_more_threads: pytest.MonkeyPatch,
) -> None:
    workforce = Workforce(2, "work")
    done: list[int] = []
    with pytest.raises(OSError, match="limit on processes") as caught:
        workforce.submit(lambda: done.append(1))
    assert caught.value.errno == errno.EAGAIN
    no_more_threads.undo()
    workforce.submit(lambda: done.append(2))
    workforce.shutdown()
    assert done == [2]


def test_with_one_thread_the_work_waits_for_it() -> None:
    workforce = Workforce(2, "work")
    go_on = threading.Event()
    done: list[int] = []
    workforce.submit(lambda: go_on.wait(WAIT_S))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda _: (_ for _ in ()).throw(RuntimeError("no thread")))
        workforce.submit(lambda: done.append(1))
    go_on.set()
    workforce.shutdown()
    assert done == [1]


def test_what_has_not_begun_can_be_given_up() -> None:
    workforce = Workforce(1, "work")
    began, go_on = threading.Event(), threading.Event()
    done: list[int] = []

    def hold() -> None:
        began.set()
        go_on.wait(WAIT_S)

    workforce.submit(hold)
    workforce.submit(lambda: done.append(1))
    began.wait(WAIT_S)
    threading.Timer(0.05, go_on.set).start()
    workforce.shutdown(cancel=True)
    assert done == []
