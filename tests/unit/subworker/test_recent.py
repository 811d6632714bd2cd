"""What the last tasks made, for those that follow."""

from __future__ import annotations

from rainzmq.protocol.messages.subworker import (
    SubworkerInput,
    SubworkerOutput,
    SubworkerResult,
    SubworkerTask,
    TaskResult,
)
from rainzmq.subworker import recent
from rainzmq.subworker.recent import RecentOutputs


def task(number: int, inputs: tuple[int, ...] = (), session: int = 1) -> SubworkerTask:
    """A task whose output follows its number; its inputs are yet to be made."""
    return SubworkerTask(
        (session, number),
        0,
        "call",
        1,
        b"",
        [
            SubworkerInput("in", (session, item), False, None, -1, None, None, b"", b"", None)
            for item in inputs
        ],
        [SubworkerOutput("own", (session, number + 1), False, "text", None, None, b'{"spec": 1}')],
        "/nowhere",
        [0],
        None,
        "python/call",
        b"",
    )


def result(number: int, data: bytes | None, path: str | None = None, session: int = 1) -> TaskResult:
    outputs = [SubworkerResult(data, path, None, b'{"info": 2}')]
    return TaskResult((session, number), 0, True, "", outputs, b"", "", 1.0, 1)


def test_a_following_task_gets_the_whole_object() -> None:
    made = RecentOutputs()
    made.add(task(1), result(1, b"abc"))
    reader = task(5, (2,))
    assert made.fill(reader)
    assert reader.inputs == [
        SubworkerInput("in", (1, 2), False, "text", 3, b"abc", None, b'{"spec": 1}', b'{"info": 2}', "own")
    ]


def test_an_empty_object_is_one() -> None:
    made = RecentOutputs()
    made.add(task(1), result(1, b""))
    assert made.fill(task(5, (2,)))


def test_what_went_to_a_file_or_was_never_made_is_unmet() -> None:
    made = RecentOutputs()
    made.add(task(1), result(1, None, "/nowhere/result"))
    assert not made.fill(task(5, (2,)))
    assert not made.fill(task(5, (99,)))


def test_inputs_that_came_with_the_task_stay() -> None:
    reader = task(5, (2,))
    reader.inputs[0].data = b"sent"
    assert RecentOutputs().fill(reader)
    assert reader.inputs[0].data == b"sent"


def test_old_ones_make_room(monkeypatch) -> None:
    monkeypatch.setattr(recent, "MAX_OBJECTS", 2)
    monkeypatch.setattr(recent, "MAX_BYTES", 10)
    made = RecentOutputs()
    for number in (1, 3, 5):
        made.add(task(number), result(number, b"x"))
    assert [made.fill(task(9, (item,))) for item in (2, 4, 6)] == [False, True, True]
    made.add(task(7), result(7, b"x" * 10))
    assert [made.fill(task(9, (item,))) for item in (6, 8)] == [False, True]


def test_sessions_that_ended_are_forgotten() -> None:
    made = RecentOutputs()
    made.add(task(1), result(1, b"x"))
    made.add(task(1, session=2), result(1, b"x", session=2))
    made.forget([1])
    assert not made.fill(task(5, (2,)))
    assert made.fill(task(5, (2,), session=2))


def test_one_that_is_made_again_counts_once(monkeypatch) -> None:
    monkeypatch.setattr(recent, "MAX_BYTES", 10)
    made = RecentOutputs()
    made.add(task(1), result(1, b"x"))
    for _ in range(20):
        made.add(task(3), result(3, b"12345"))
    assert made.fill(task(9, (2,)))
