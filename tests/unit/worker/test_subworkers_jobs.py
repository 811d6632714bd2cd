"""Jobs as messages, and what is made of what a subworker answers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from rainzmq.common.ids import make_uid
from rainzmq.common.limits import INFO_LIMIT_BYTES
from rainzmq.protocol.codec import decode_bare, encode_bare
from rainzmq.protocol.messages.shared import ObjectMeta, OutputTemplate, TaskBody
from rainzmq.protocol.messages.subworker import CONVERSATION, RunTasks, SubworkerResult, TaskResult
from rainzmq.store.objects import ObjectStore
from rainzmq.worker.core.jobs import FAILED, FINISHED, Job, Outcome, Produced
from rainzmq.worker.subworker_jobs import to_outcome, to_task

INPUT = make_uid(3, 5)
LARGE_INPUT = make_uid(3, 6)
TASK = make_uid(3, 17)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    store = ObjectStore(tmp_path / "store")
    store.put(INPUT, b"small")
    store.put(LARGE_INPUT, b"L" * 200_000)
    return store


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "task"
    path.mkdir()
    return path


def make_job(*outputs: OutputTemplate) -> Job:
    body = TaskBody(9, "kind/method", 2, None, b"shared", ["a", None], list(outputs))
    inputs = [
        ObjectMeta(INPUT, "own", False, "text", 5, b"", b'{"n":1}'),
        ObjectMeta(LARGE_INPUT, None, False, None, 200_000, b'{"s":1}', b""),
    ]
    return Job(TASK, 2, 3, body, b"own", inputs, (4, 5), "a name", b'{"u":1}', {TASK + 1: b'{"o":1}'})


def blob(content_type: str | None = None, label: str | None = "out") -> OutputTemplate:
    return OutputTemplate(label, False, content_type, None, None, None)


TREE = OutputTemplate("tree", True, None, None, None, None)


def finish(
    job: Job, store: ObjectStore, directory: Path, *results: SubworkerResult, **fields: Any
) -> Outcome:
    result = TaskResult((3, 17), 2, True, "", list(results), b"", "", 100.5, 1500)
    for name, value in fields.items():
        setattr(result, name, value)
    return to_outcome(job, result, store, str(directory))


def made(
    data: bytes | None = None,
    path: Path | str | None = None,
    content_type: str | None = None,
    user: bytes = b"",
) -> SubworkerResult:
    return SubworkerResult(data, None if path is None else str(path), content_type, user)


def test_message_holds_all_that_is_known(store: ObjectStore) -> None:
    task = to_task(make_job(blob()), store, "/a/directory")
    frame = encode_bare(RunTasks([(3, 9, b"shared")], [task]))
    (sent,) = decode_bare(frame, CONVERSATION, "worker").tasks
    assert (sent.id, sent.attempt, sent.method, sent.body, sent.config) == ((3, 17), 2, "method", 9, b"own")
    assert (sent.directory, sent.cpus, sent.name, sent.task_type) == (
        "/a/directory",
        [4, 5],
        "a name",
        "kind/method",
    )
    assert sent.user == b'{"u":1}'
    assert (sent.outputs[0].id, sent.outputs[0].label, sent.outputs[0].user) == ((3, 18), "out", b'{"o":1}')
    small, large = sent.inputs
    assert (small.label, small.own_label, small.id, small.content_type) == ("a", "own", (3, 5), "text")
    assert (small.data, small.path, small.info_user) == (b"small", None, b'{"n":1}')
    assert (large.label, large.data, large.path) == (None, None, store.path(LARGE_INPUT))


def test_missing_input_is_named(store: ObjectStore) -> None:
    store.remove(INPUT)
    with pytest.raises(KeyError) as raised:
        to_task(make_job(), store, "/d")
    assert raised.value.args == (INPUT,)


def test_data_becomes_an_output(store: ObjectStore, directory: Path) -> None:
    outcome = finish(make_job(blob()), store, directory, made(b"abc", content_type="text", user=b"{}"))
    assert outcome == Outcome(
        TASK,
        2,
        FINISHED,
        outputs=[Produced(b"abc", None, None, "text", b"{}")],
        start_time=100.5,
        duration_us=1500,
    )


def test_file_and_directory_become_outputs(store: ObjectStore, directory: Path) -> None:
    (directory / "sub").mkdir()
    (directory / "sub" / "file").write_text("x")
    results = made(path=directory / "sub" / "file"), made(path=directory / "sub")
    outcome = finish(make_job(blob(), TREE), store, directory, *results)
    assert [item.path for item in outcome.outputs] == [
        str(directory / "sub" / "file"),
        str(directory / "sub"),
    ]


def test_path_of_an_input_is_passed_on(store: ObjectStore, directory: Path) -> None:
    outcome = finish(make_job(blob()), store, directory, made(path=store.path(LARGE_INPUT)))
    assert outcome.outputs == [Produced(alias=LARGE_INPUT)]
    outcome = finish(make_job(TREE), store, directory, made(path=store.path(LARGE_INPUT)))
    assert "wrong kind" in outcome.error


def test_failure_keeps_its_text(store: ObjectStore, directory: Path) -> None:
    outcome = finish(make_job(), store, directory, ok=False, error="because", debug="line", user=b'{"a":1}')
    assert (outcome.kind, outcome.error, outcome.debug, outcome.user) == (
        FAILED,
        "because",
        "line",
        b'{"a":1}',
    )
    assert finish(make_job(), store, directory, ok=False).error == "the subworker gave no reason"


def test_endless_texts_are_cut(store: ObjectStore, directory: Path) -> None:
    text = "head" + "é" * INFO_LIMIT_BYTES + "tail"
    error = finish(make_job(), store, directory, ok=False, error=text).error
    assert len(error.encode()) <= INFO_LIMIT_BYTES
    assert error.startswith("head")
    assert error.endswith("tail")


def test_negative_duration_is_none(store: ObjectStore, directory: Path) -> None:
    assert finish(make_job(), store, directory, duration_us=-5).duration_us == 0


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (made(), "not as either data or a path"),
        (made(b"", "/x"), "not as either data or a path"),
        (made(b"", content_type="nonsense"), "Unknown content type 'nonsense'"),
        (made(b"", content_type="user/" + "x" * 200), "at most 200 characters"),
        (made(b"", content_type="json"), "declared as content type 'text', but the subworker made 'json'"),
        (made(b"", user=b"[]"), "no JSON object"),
        (made(b"", user=b"\xff"), "no JSON object"),
        (made(b"", user=b'{"a":' * 500 + b"1" + b"}" * 500), "more than 400 levels deep"),
        (made(b"", user=b" " * (INFO_LIMIT_BYTES + 1)), "are allowed"),
        (made(path="relative"), "gave 'relative'"),
        (made(path=""), "gave ''"),
        (made(path="a\0b"), "null"),
    ],
)
def test_bad_result_fails_the_task(
    store: ObjectStore, directory: Path, result: SubworkerResult, text: str
) -> None:
    outcome = finish(make_job(blob("text")), store, directory, result)
    assert (outcome.kind, outcome.outputs) == (FAILED, [])
    assert text in outcome.error
    assert "'out'" in outcome.error


def test_users_of_all_outputs_together_have_a_limit(store: ObjectStore, directory: Path) -> None:
    user = b'{"k":"' + b"x" * (INFO_LIMIT_BYTES // 2) + b'"}'
    job = make_job(blob("a"), blob("b"))
    outcome = finish(job, store, directory, made(b"", user=user), made(b"", user=user))
    assert (outcome.kind, outcome.outputs) == (FAILED, [])
    assert "`user` of all outputs together is" in outcome.error


@pytest.mark.parametrize(
    "name", ["../secret", "link/secret", "to_secret", "fifo", ".", "..", "sub", "sub/../../secret"]
)
def test_path_outside_or_of_another_kind_fails_the_task(
    store: ObjectStore, directory: Path, name: str
) -> None:
    (directory.parent / "secret").write_text("s")
    (directory / "link").symlink_to("..")
    (directory / "to_secret").symlink_to("../secret")
    (directory / "sub").mkdir()
    os.mkfifo(directory / "fifo")
    outcome = finish(make_job(blob()), store, directory, made(path=f"{directory}/{name}"))
    assert (outcome.kind, outcome.outputs) == (FAILED, [])


def test_relative_path_is_not_taken_even_if_it_exists(
    store: ObjectStore, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "file").write_text("x")
    monkeypatch.chdir(directory)
    assert finish(make_job(blob()), store, directory, made(path="file")).kind == FAILED


def test_invalid_user_of_the_task_fails_it(store: ObjectStore, directory: Path) -> None:
    assert "`user` of the task is no JSON object" in finish(make_job(), store, directory, user=b"5").error
