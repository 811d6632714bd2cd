"""From graphs to submit messages."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rainzmq import Input, Output, Program, RainException, Session, Task, blob, directory, remote, tasks
from rainzmq.client.submit import FIRST_MESSAGE_BYTES, MAX_INPUTS, Submission
from rainzmq.common.limits import MESSAGE_TARGET_BYTES
from rainzmq.protocol.codec import Header, decode, encode
from rainzmq.protocol.messages.client import CONVERSATION, Submit


@pytest.fixture
def session() -> Iterator[Session]:
    with Session(None, 1) as session:
        yield session


class Built:
    """A submission and all its messages."""

    def __init__(self, submission: Submission) -> None:
        self.messages = list(submission.messages())
        self.uploads, self.bodies = submission.uploads, submission.bodies


def build(session: Session, known: Any = None) -> Built:
    constants = [*session.draft.constants, *session.draft.hidden]
    return Built(Submission(session, session.draft.tasks, constants, {} if known is None else known))


def one(session: Session) -> Submit:
    (message,) = build(session).messages
    return message


def task(*inputs: Any, outputs: Any = 1, **options: Any) -> Task:
    return Task(inputs, outputs, task_type="a/b", **options)


def test_tasks_travel_in_columns(session: Session) -> None:
    a = blob(b"a")
    first = task(a, config=1)
    task(a, first, outputs=2)
    message = one(session)
    assert message.task_ids == [2, 4]
    assert message.task_configs == [b"\x01", b""]
    assert message.task_input_counts == [1, 2]
    assert message.task_inputs == [1, 1, 3]
    assert message.last


def test_bodies_are_shared(session: Session) -> None:
    for _ in range(3):
        task(outputs="x", cpus=2)
    task()
    task(("label", blob(b"")))
    message = one(session)
    assert message.task_bodies == [1, 1, 1, 2, 3]
    assert [(body.key, body.task_type, body.cpus) for body in message.bodies] == [
        (1, "a/b", 2),
        (2, "a/b", 1),
        (3, "a/b", 1),
    ]
    assert [body.input_labels for body in message.bodies] == [[], [], ["label"]]
    assert message.bodies[0].outputs[0].label == "x"


def test_bodies_are_sent_once_per_session(session: Session) -> None:
    task()
    first = build(session)
    assert build(session, first.bodies).messages[0].bodies == []
    task(cpus=2)
    assert [body.key for body in build(session, first.bodies).messages[0].bodies] == [2]


def test_instances_of_a_program_and_calls_of_a_function_share_a_body(session: Session) -> None:
    program = Program(["cat", Input("x")], stdout=True)
    function = remote(lambda ctx, x: x)
    a = blob(b"")
    for index in range(5):
        program(x=a)
        function(index)
    assert len(one(session).bodies) == 2


def test_own_names_travel_with_the_task(session: Session) -> None:
    program = Program(["true"], name="usual")
    program()
    program(name="special")
    task(name="n")
    message = one(session)
    assert message.task_names == [(2, "special")]
    assert [body.name for body in message.bodies] == ["usual", "n"]


def test_constants_are_inline_when_small(session: Session) -> None:
    blob("é", label="small")
    large = blob(b"x" * 5000)
    submission = build(session)
    (message,) = submission.messages
    assert message.const_data == ["é".encode(), None]
    meta = message.const_objects[0]
    assert (meta.uid, meta.label, meta.content_type, meta.size) == (1 << 32 | 1, "small", "text", 2)
    assert message.const_objects[1].size == 5000
    assert submission.uploads == [large.graph_node]


def test_directories_are_always_uploaded(session: Session, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    obj = directory(tmp_path)
    submission = build(session)
    meta = submission.messages[0].const_objects[0]
    assert (meta.is_directory, meta.size, meta.content_type) == (True, 3, None)
    assert submission.messages[0].const_data == [None]
    assert submission.uploads == [obj.graph_node]


def test_kept_objects_are_listed(session: Session) -> None:
    blob(b"").keep()
    task(outputs=2).outputs[1].keep()
    assert one(session).keep == [1, 4]


def test_user_data_travels(session: Session) -> None:
    made, constant = task(), blob(b"")
    made.spec.user["a"] = 1
    made.output.spec.user["b"] = [None]
    constant.spec.user["c"] = "é"
    task()
    message = one(session)
    assert message.users == [(1, b'{"a": 1}'), (2, b'{"b": [null]}')]
    assert message.const_objects[0].spec_user == b'{"c": "\\u00e9"}'


@pytest.mark.parametrize(
    ("user", "text"),
    [({"a": object()}, "JSON"), ({"a": "x" * 70_000}, "limit"), ([1], "is a dict, not a list")],
)
def test_wrong_user_data_is_refused(session: Session, user: Any, text: str) -> None:
    task().spec.user = user
    with pytest.raises(RainException, match=rf"Task \(1/1, a/b\).*{text}"):
        build(session)


def test_hidden_constants_are_last_inputs(session: Session) -> None:
    remote(lambda ctx, x, y: None)(b"x" * 70_000, blob(b""))
    message = one(session)
    assert message.task_inputs == [1, 2]
    assert message.const_objects[1].size > 70_000
    assert session.dataobj_count == 2


def test_hidden_inputs_have_no_labels(session: Session) -> None:
    made = remote(lambda ctx, x, y: None)(b"x" * 70_000, blob(b""))
    made.inputs.set_label(0, "named")
    assert one(session).bodies[0].input_labels == ["named", None]


def test_messages_are_made_when_they_are_asked_for_and_the_first_is_small(session: Session) -> None:
    made = [task(config=b"x" * 100) for _ in range(5000)]
    messages = Submission(session, session.draft.tasks, [], {}).messages()
    sizes = [len(encode(next(messages), Header())) for _ in range(3)]
    assert sizes[0] <= FIRST_MESSAGE_BYTES
    assert sizes[0] < sizes[1] < sizes[2]
    rest = list(messages)
    assert rest[-1].task_ids[-1] == made[-1].id.id
    assert all(len(encode(message, Header())) <= MESSAGE_TARGET_BYTES for message in rest)


def test_what_is_wrong_is_found_before_the_first_message(session: Session) -> None:
    for _ in range(1000):
        task(config=b"x" * 100)
    task().spec.user["x"] = object()
    with pytest.raises(RainException, match="not JSON-able"):
        Submission(session, session.draft.tasks, [], {})


def test_large_graphs_take_several_messages(session: Session) -> None:
    for index in range(3000):
        task(config="x" * 200 + str(index))
    messages = build(session).messages
    assert len(messages) > 2
    assert [message.last for message in messages] == [False] * (len(messages) - 1) + [True]
    assert sum(len(message.task_ids) for message in messages) == 3000
    assert [len(message.bodies) for message in messages] == [1] + [0] * (len(messages) - 1)
    for message in messages:
        frame = encode(message, Header())
        assert len(frame) < 1.2 * MESSAGE_TARGET_BYTES
        assert decode(frame, CONVERSATION, "client")[1] == message


def test_inputs_stand_before_their_consumers(session: Session) -> None:
    made = [task()]
    for _ in range(20):
        made.append(task(made[-1]))
    made[0].inputs.append(blob(b""))
    seen: set[int] = set()
    message = one(session)
    constants = {meta.uid & 0xFFFFFFFF for meta in message.const_objects}
    inputs = iter(message.task_inputs)
    for num, count in zip(message.task_ids, message.task_input_counts, strict=True):
        assert all(next(inputs) in seen | constants for _ in range(count))
        seen.add(num + 1)


def test_cycle_is_named(session: Session) -> None:
    first = task(name="first")
    second = task(first, name="second")
    third = task(second, name="third")
    first.inputs.append(third.output)
    with pytest.raises(
        RainException, match=r"cycle.*'second'.*'third'.*'first'|cycle.*'first'.*'third'.*'second'"
    ):
        build(session)


def test_task_that_needs_itself_is_a_cycle(session: Session) -> None:
    made = task()
    made.inputs.append(made.output)
    with pytest.raises(RainException, match=r"cycle.*1/1.* -> .*1/1"):
        build(session)


def test_long_chains_built_backwards_are_sorted_without_recursion(session: Session) -> None:
    made = [task() for _ in range(5000)]
    for later, earlier in pairwise(made):
        later.inputs.append(earlier.output)
    ids = [item for message in build(session).messages for item in message.task_ids]
    assert ids == [item.id.id for item in reversed(made)]


def test_inputs_that_were_added_later_are_checked(session: Session) -> None:
    made = task()
    made.inputs.append(task())  # type: ignore[arg-type]
    assert one(session).task_input_counts == [1, 0] or one(session).task_ids == [3, 1]
    for wrong, text in (("text", r"blob\("), (blob(b"", session=Session(None, 2)), "session 2")):
        made.inputs[0] = wrong  # type: ignore[assignment]
        with pytest.raises(RainException, match=rf"Task \(1/1, a/b\), input 0: .*{text}"):
            build(session)


def test_too_many_inputs_are_refused(session: Session) -> None:
    a = blob(b"")
    tasks.Concat([a] * MAX_INPUTS)
    build(session)
    tasks.Concat([a] * (MAX_INPUTS + 1))
    with pytest.raises(RainException, match=f"the limit is {MAX_INPUTS}"):
        build(session)


def test_outputs_are_described(session: Session) -> None:
    task(outputs=[Output("a", content_type="json", size_hint=5)])
    (output,) = one(session).bodies[0].outputs
    assert (output.label, output.is_directory, output.content_type, output.size_hint) == (
        "a",
        False,
        "json",
        5,
    )


@pytest.mark.parametrize("label", ["\ud800", ("a", 1), "", "nul\0"])
def test_labels_that_were_set_later_are_checked_before_anything_is_sent(session: Session, label: Any) -> None:
    for _ in range(1000):
        task(config=b"x" * 100)
    made = task(blob(b""))
    made.inputs.set_label(0, label)
    with pytest.raises(RainException, match="label"):
        build(session)
    made.inputs.set_label(0, "good")
    build(session)


def test_a_task_that_fits_into_no_message_is_refused_with_its_name(session: Session) -> None:
    made = task(outputs=30, name="huge")
    for output in made.outputs:
        output.spec.user["x"] = "y" * 60_000
    with pytest.raises(RainException, match=r"Task 'huge' .* takes about 18\d{5} bytes .*spec.user"):
        build(session)
    made.outputs[0].spec.user.clear()
    for output in made.outputs:
        output.spec.user.clear()
    build(session)
