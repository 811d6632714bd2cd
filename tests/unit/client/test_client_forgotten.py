"""What users forget: to submit, to wait, to keep, and that a session has failed."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tqdm.auto
from client_wire import Wire, failure

import rainzmq.client.asking
from rainzmq import RainException, RainWarning, SessionException, Task, TaskException, blob
from rainzmq.common.ids import make_uid
from rainzmq.protocol.messages.client import AskProgress, CloseSession, News, Progress, Unkeep, Wait


def task() -> Task:
    return Task((), 1, task_type="a/b")


def finished_of(wire: Wire, finished: int, total: int) -> None:
    """The server says that so many tasks of the session are finished; waits end."""

    def answer(message: Any) -> Any:
        if isinstance(message, AskProgress):
            return Progress(message.request, finished, 0, total, [], [])
        return News(message.request, False, [], []) if isinstance(message, Wait) else None

    wire.answer(answer)


def leave(wire: Wire, *steps: Callable[[], object]) -> None:
    """Do something in the block of the session."""
    with wire.session:
        for step in steps:
            step()


def test_tasks_that_were_never_submitted_are_told_when_the_session_is_left(wire: Wire) -> None:
    with (
        pytest.warns(RainWarning, match=r"'Unnamed Session': 2 tasks not submitted; call submit\(\)") as told,
        wire.session,
    ):
        task(), task()
    assert told[0].filename == __file__
    assert wire.control.of(CloseSession)
    assert not wire.session.active


def test_waiting_for_nothing_while_tasks_are_not_submitted_is_told(wire: Wire) -> None:
    finished_of(wire, 1, 1)
    task()
    with pytest.warns(RainWarning, match=r"1 task not submitted; call submit\(\)"):
        wire.session.wait_all()


def test_more_may_be_built_while_others_run(wire: Wire) -> None:
    finished_of(wire, 1, 1)
    task()
    wire.session.submit()
    task()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wire.session.wait_all()


def test_unfinished_tasks_are_told_when_the_session_is_left(wire: Wire) -> None:
    finished_of(wire, 1, 3)
    text = r"stops 2 unfinished tasks; call wait_all\(\) first"
    with pytest.warns(RainWarning, match=text) as told:
        leave(wire, task, wire.session.submit)
    assert len(told) == 1
    assert not wire.session.active


def test_session_that_an_error_leaves_is_left_in_silence(wire: Wire) -> None:
    finished_of(wire, 0, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ZeroDivisionError):
            leave(wire, task, wire.session.submit, task, lambda: 1 / 0)
    assert wire.control.of(AskProgress) == []


def test_session_that_is_closed_explicitly_is_left_in_silence(wire: Wire) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with wire.session:
            task()
            wire.session.close()
    assert wire.control.of(AskProgress) == []


def test_session_that_was_waited_for_is_left_without_a_question(wire: Wire) -> None:
    finished_of(wire, 1, 1)
    with wire.session:
        task()
        wire.session.submit()
        wire.session.wait_all()
    assert wire.control.of(AskProgress) == []


def test_leaving_never_raises_because_of_a_warning(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with wire.session:
            task()
    assert "1 task not submitted" in caplog.text
    assert not wire.session.active


def test_leaving_a_session_whose_server_is_gone_is_silent(wire: Wire) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with wire.session:
            task()
            wire.session.submit()
            wire.control.end()


def test_released_object_says_that_it_was_released(wire: Wire) -> None:
    made = task()
    made.output.keep()
    wire.session.submit()
    made.output.unkeep()
    assert wire.control.of(Unkeep)
    with pytest.raises(RainException, match=r"is not kept any more: unkeep\(\) released it"):
        made.output.fetch()


def test_later_calls_say_that_the_session_and_its_objects_are_gone(wire: Wire) -> None:
    made = task()
    made.output.keep()
    wire.session.submit()
    wire.control.push(failure(make_uid(1, 1)))
    with pytest.raises(TaskException) as first:
        wire.session.wait_all()
    assert "its objects are gone" not in str(first.value)
    for _ in range(2):
        with pytest.raises(TaskException, match="The session failed with it, and its objects are gone"):
            made.output.fetch()


def test_lost_connection_is_told_once(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rainzmq.client.asking, "QUIET_S", 0.01)
    task()
    wire.session.submit()

    def lose(message: Any) -> Any:
        if isinstance(message, AskProgress):
            wire.control.end()
        return None

    wire.answer(lose)
    with pytest.raises(SessionException, match="has ended") as caught:
        wire.session.wait_all()
    assert "During handling" not in "".join(traceback.format_exception(caught.value))


def test_fetch_into_a_directory_that_is_not_there_names_it(wire: Wire, tmp_path: Path) -> None:
    constant = blob("x")
    constant.keep()
    wire.session.submit()
    with pytest.raises(RainException, match=rf"to {tmp_path}/no/x: there is no directory {tmp_path}/no$"):
        constant.fetch(path=tmp_path / "no" / "x")


def test_progress_counts_from_what_was_finished_before(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[tuple[int, int]] = []

    class Meter(tqdm.auto.tqdm):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **options: Any) -> None:
            shown.append((options["initial"], options["total"]))
            super().__init__(*args, **options)

    monkeypatch.setattr(tqdm.auto, "tqdm", Meter)
    finished_of(wire, 5, 12)
    task()
    wire.session.submit()
    wire.session.wait_all(progress=True)
    assert shown == [(5, 12)]
    assert "at workers" in capsys.readouterr().err
