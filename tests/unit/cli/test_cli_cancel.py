"""`rainzmq cancel` ends the session that is meant, after a question where there is somebody to answer it."""

from __future__ import annotations

import sys

import pytest
from cli_helpers import run

from rainzmq.common.states import SessionState
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.shared import Failure
from rainzmq.testing.events import demo_hub


@pytest.fixture
def told(rest):
    """(id, reason) of the sessions that were cancelled; session 1 is open, and ends when it is cancelled."""
    rest.hub = hub = demo_hub(end=False)
    hub.is_replay, hub.is_connected = False, True
    seen: list[tuple[int, str]] = []

    def cancel(number: int, reason: str) -> None:
        seen.append((number, reason))
        failure = Failure(0, None, None, 0, None, reason, "")
        hub.show([e.SessionEnded(9999, hub.model.now, number, SessionState.CANCELLED, failure)])

    hub.canceller = cancel
    return seen


@pytest.mark.parametrize("session", ["1", "demo"])
def test_session_is_cancelled_by_number_or_name_with_a_reason(told, capsys, session):
    out, err = run(capsys, "cancel", session, "--reason", "wrong inputs")

    assert told == [(1, "wrong inputs")]
    assert out == "session 1 'demo' is cancelled\n"
    assert err == ""


@pytest.mark.parametrize(
    ("session", "why"),
    [
        ("7", "there is no session '7' on 127.0.0.1:7210 (there are: 1 'demo', 2 'broken <script>')"),
        ("nope", "there is no session 'nope'"),
        ("2", "session 2 'broken <script>' is over: it is failed already"),
    ],
)
def test_session_that_is_not_there_or_over_is_an_error(told, capsys, session, why):
    assert why in run(capsys, "cancel", session, code=1)[1]
    assert told == []


def test_open_session_goes_before_those_of_its_name_that_are_over(told, rest, capsys):
    rest.hub.model.sessions[2].name = "demo"

    run(capsys, "cancel", "demo")

    assert [number for number, _ in told] == [1]


@pytest.mark.parametrize(("answer", "code", "count"), [("y", 0, 1), ("n", 1, 0), ("", 1, 0)])
def test_who_sits_at_a_terminal_is_asked(told, capsys, monkeypatch, answer, code, count):
    asked = []

    def confirm(text: str, **_: object) -> bool:
        asked.append(text)
        return answer == "y"

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("click.confirm", confirm)

    run(capsys, "cancel", "1", code=code)

    assert len(told) == count
    assert asked == ["Cancel session 1 'demo' of node (pid 99) on 127.0.0.1:7210? 0 tasks of 41 are not done"]
    if answer != "y":
        run(capsys, "cancel", "1", "--yes")
        assert len(told) == 1


def test_session_that_ends_while_the_question_is_answered_is_an_error(told, rest, capsys, monkeypatch):
    def late(number: int, reason: str) -> None:
        raise AssertionError("not reached")

    def confirm(*_: object, **__: object) -> bool:
        rest.hub.show([e.SessionEnded(9999, rest.hub.model.now, 1, SessionState.CLOSED, None)])
        return True

    rest.hub.canceller = late
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("click.confirm", confirm)

    assert "session 1 is closed already" in run(capsys, "cancel", "1", code=1)[1]


def test_server_that_ends_with_the_session_is_no_error(rest, told, capsys, monkeypatch):
    monkeypatch.setattr("rainzmq.cli.rest_client.RETRY_S", 0.0)

    def gone(number: int, reason: str) -> None:
        rest.answer = lambda path: (503, b"")

    rest.hub.canceller = gone

    assert run(capsys, "cancel", "1")[0] == "session 1 'demo' is being cancelled\n"


def test_session_that_takes_its_time_is_said_to_be_ending(rest, told, capsys, monkeypatch):
    monkeypatch.setattr("rainzmq.cli.cancel._END_S", 0.0)
    rest.hub.canceller = lambda number, reason: None

    assert run(capsys, "cancel", "1")[0] == "session 1 'demo' is being cancelled\n"
