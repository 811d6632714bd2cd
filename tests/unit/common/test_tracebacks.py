"""Errors for users come without frames of this package."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from rainzmq import Input, Program, RainException, Session, blob, pickled
from rainzmq.client.tasks import Execute, Load, MakeDirectory
from rainzmq.common.tracebacks import at_border


def files_of(error: BaseException) -> list[str]:
    return [entry.filename for entry in traceback.extract_tb(error.__traceback__)]


@pytest.mark.parametrize(
    "mistake",
    [
        lambda session: blob(123),
        lambda session: pickled(lambda: (_ for _ in ())).fetch(),
        lambda session: session.submit(),
        lambda session: session.wait([blob("x")]),
        lambda session: session.fetch("x"),
        lambda session: Execute(["cat", 1]),
        lambda session: Program(["cat", Input()]),
        lambda session: Load("\0"),
        lambda session: MakeDirectory(1),
    ],
)
def test_only_frames_of_the_program_are_left(mistake: Any) -> None:
    with Session(None, 1).bind_only() as session, pytest.raises(RainException) as caught:
        mistake(session)
    assert set(files_of(caught.value)) == {__file__}


def test_frames_of_the_program_further_in_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def items() -> Iterator[Any]:
        raise RainException("of the program's own code")
        yield

    with Session(None, 1).bind_only() as session, pytest.raises(RainException, match="own code") as caught:
        session.wait(items())
    assert files_of(caught.value) == [__file__, __file__]
    assert traceback.extract_tb(caught.value.__traceback__)[1].name == "items"


def test_other_errors_keep_all_their_frames() -> None:
    @at_border
    def broken() -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError) as caught:
        broken()
    assert len(files_of(caught.value)) == 3
