"""Tasks, inputs and outputs, built offline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

from rainzmq import (
    Input,
    InputDir,
    Output,
    OutputDir,
    RainException,
    Session,
    Task,
    blob,
    directory,
    remote,
    tasks,
)
from rainzmq.client.submit import Submission
from rainzmq.common import ID, DataType, LabeledList


@pytest.fixture
def session() -> Iterator[Session]:
    with Session(None, 1) as session:
        yield session


def task(inputs: Any = (), outputs: Any = 1, **options: Any) -> Task:
    return Task(inputs, outputs, task_type="foreign/method", **options)


def test_task_has_ids_inputs_and_outputs(session: Session) -> None:
    made = task([blob(b"")], 2)
    assert made.id == ID(1, 2)
    assert [obj.id for obj in made.outputs] == [ID(1, 3), ID(1, 4)]
    assert [obj.id for obj in made.inputs] == [ID(1, 1)]
    assert blob(b"").id == ID(1, 5)


def test_task_type_is_needed(session: Session) -> None:
    with pytest.raises(ValueError, match="TASK_TYPE"):
        Task([], 1)
    for wrong in ("method", "/method", "kind/", 5, "a/b\n"):
        with pytest.raises(ValueError, match="subworker/method"):
            Task([], 1, task_type=wrong)  # type: ignore[arg-type]


def test_subclass_sets_the_type(session: Session) -> None:
    class MyTask(Task):
        TASK_TYPE = "foreign/other"

    assert MyTask([], 1).task_type == "foreign/other"
    assert MyTask([], 1, task_type="a/b").task_type == "a/b"


@pytest.mark.parametrize(
    ("outputs", "labels"),
    [
        (None, []),
        (0, []),
        (2, [None, None]),
        ("a", ["a"]),
        (["a", Output("b"), OutputDir("c")], ["a", "b", "c"]),
        (Output("x"), ["x"]),
        (OutputDir(), [None]),
        ([], []),
        (Output, None),
    ],
)
def test_outputs_are_a_count_labels_or_outputs(session: Session, outputs: Any, labels: Any) -> None:
    if labels is None:
        with pytest.raises(RainException, match="Outputs are"):
            task([], outputs)
    else:
        assert task([], outputs).outputs.labels == labels


@pytest.mark.parametrize("outputs", [-1, True, 1.5, b"x", {"a": 1}, [1], [None], [b"x"], object()])
def test_other_outputs_are_refused(session: Session, outputs: Any) -> None:
    with pytest.raises(RainException, match=r"[Oo]utput"):
        task([], outputs)


def test_labels_are_given_once(session: Session) -> None:
    with pytest.raises(RainException, match="'a' is given to two outputs"):
        task([], ["a", "a"])
    with pytest.raises(RainException, match="'a' is given to two inputs"):
        task([("a", blob(b"")), ("a", blob(b""))])


def test_outputs_carry_what_was_declared(session: Session) -> None:
    made = task([], [Output("a", content_type="json", size_hint=7), OutputDir("d")])
    assert (made.outputs["a"].content_type, made.outputs["a"].spec.size_hint) == ("json", 7)
    assert (made.outputs["d"].data_type, made.outputs["d"].content_type) == (DataType.DIRECTORY, "dir")


def test_inputs_are_objects_tasks_or_labelled(session: Session) -> None:
    a, b = blob(b""), task()
    made = task([a, b, ("x", a), ("y", b), Input("z", dataobj=a)])
    assert made.inputs == LabeledList([a, b.output, a, b.output, a], [None, None, "x", "y", "z"])
    assert task(LabeledList([a], ["l"])).inputs == LabeledList([a], ["l"])
    assert task(a).inputs.data == [a]


@pytest.mark.parametrize("wrong", ["text", b"bytes", ["text"], [b"bytes"], [("label", "text")]])
def test_bare_text_hints_at_blob(session: Session, wrong: Any) -> None:
    with pytest.raises(RainException, match=r"blob\("):
        task(wrong)


@pytest.mark.parametrize("wrong", [5, None, [5], [None], [Input("hole")], [(5, 6)]])
def test_other_inputs_are_refused(session: Session, wrong: Any) -> None:
    with pytest.raises(RainException):
        task(wrong)


def test_input_error_says_which(session: Session) -> None:
    with pytest.raises(RainException, match="input 1: 5 of type int"):
        task([blob(b""), 5])
    with pytest.raises(RainException, match="input 'x'"):
        task([("x", 5)])


def test_task_with_other_than_one_output_is_no_input(session: Session) -> None:
    for count in (0, 2):
        with pytest.raises(RainException, match=f"has {count} outputs, not exactly one"):
            task([task([], count)])


def test_object_of_another_session_is_refused(session: Session) -> None:
    other = Session(None, 2)
    with pytest.raises(RainException, match="belongs to session 2, not to session 1"):
        task([blob(b"", session=other)])
    assert task([blob(b"", session=other)], session=other).session is other


def test_output_is_the_only_one(session: Session) -> None:
    assert task().output is not None
    for count in (0, 2):
        with pytest.raises(RainException, match="not exactly one"):
            task([], count).output  # noqa: B018


@pytest.mark.parametrize("cpus", [0, -1, 1.0, True, "2", None])
def test_cpus_are_a_positive_int(session: Session, cpus: Any) -> None:
    with pytest.raises(RainException, match="cpus must be a positive int"):
        task(cpus=cpus)


@pytest.mark.parametrize("name", ["", 5, "a\nb", "a\0", "\ud800", "x" * 1001])
def test_bad_names_are_refused(session: Session, name: Any) -> None:
    with pytest.raises(RainException, match="name"):
        task(name=name)
    assert session.task_count == 0


def test_names_may_be_grouped_and_in_any_language(session: Session) -> None:
    for name in ("group/sub/name", "déjà vu", "<script>", "\U0001f600", "a\u00a0b"):
        assert task(name=name).name == name
    assert task().name is None


def test_config_holds_plain_values(session: Session) -> None:
    config = {"a": [1, 2.5, None, True, "x", b"y"], "b": {"c": []}}
    made = task(config=config)
    assert msgpack.unpackb(made.graph_node.config) == config
    assert made.spec.config == config
    assert task().graph_node.config == b""


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"a": [1, object()]}, r"config\['a'\]\[1\] is of type object"),
        ({1: 2}, "key 1 of type int"),
        (1 << 64, "64 bits"),
        ("\ud800", "Unicode"),
        (b"x" * 70_000, "limit is 65536"),
        ({1, 2}, "type set"),
    ],
)
def test_config_that_can_not_be_sent_names_what(session: Session, config: Any, text: str) -> None:
    with pytest.raises(RainException, match=text):
        task(config=config)


def test_endless_config_is_an_error(session: Session) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(RainException, match="cannot be sent"):
        task(config=endless)


def test_spec_says_what_was_declared(session: Session) -> None:
    spec = task([("x", blob(b""))], 1, cpus=3, name="n", config=[1]).spec
    assert (spec.id, spec.task_type, spec.config, spec.name) == (ID(1, 2), "foreign/method", [1], "n")
    assert (spec.inputs, spec.outputs) == (((ID(1, 1), "x"),), (ID(1, 3),))
    assert (spec.resources, spec.user) == ({"cpus": 3}, {})


def test_nothing_is_known_before_submit(session: Session) -> None:
    made = task()
    assert made.state is None
    assert made.info is None
    for ask in (made.wait, made.update):
        with pytest.raises(RainException, match="was not submitted"):
            ask()


def test_keeping_all_outputs(session: Session) -> None:
    made = task([], 2)
    made.keep_outputs()
    assert all(obj.is_kept() for obj in made.outputs)
    made.unkeep_outputs()
    assert not any(obj.is_kept() for obj in made.outputs)
    with pytest.raises(RainException, match="is not kept"):
        made.unkeep_outputs()


def test_repr_says_what_it_is(session: Session) -> None:
    assert repr(task(name="n")) == "<Task 1/1 'n' foreign/method unsubmitted>"


def test_output_encoding_and_content_type_agree() -> None:
    assert Output(encode="json").content_type == "json"
    assert Output(encode="pickle", content_type="cloudpickle").content_type == "pickle"
    with pytest.raises(ValueError, match="do not agree"):
        Output(encode="pickle", content_type="json")
    with pytest.raises(ValueError, match="OutputDir"):
        Output(content_type="dir")
    with pytest.raises(ValueError, match="nonsense"):
        Output(content_type="nonsense")
    with pytest.raises(ValueError, match="protobuf"):
        Output(encode="protobuf")


@pytest.mark.parametrize("size_hint", [-1, 1.5, "1", True])
def test_size_hint_is_a_number_of_bytes(size_hint: Any) -> None:
    with pytest.raises(RainException, match="size_hint"):
        Output(size_hint=size_hint)


@pytest.mark.parametrize("path", ["/abs", "../up", "a/../../b", "", "a\0b", ".", 5, "\ud800"])
def test_paths_of_inputs_and_outputs_stay_inside(path: Any) -> None:
    for kind in (Input, InputDir, Output, OutputDir):
        with pytest.raises(RainException, match="path"):
            kind("x", path=path)


def test_paths_are_in_their_shortest_form() -> None:
    assert Input(path="./a//b/").path == "a/b"


def test_input_and_input_dir_check_their_content_type() -> None:
    assert InputDir().content_type == "dir"
    with pytest.raises(RainException, match="InputDir"):
        Input(content_type="dir")
    with pytest.raises(RainException, match="no content type 'text'"):
        InputDir(content_type="text")
    with pytest.raises(RainException, match="load"):
        InputDir(load=True)
    with pytest.raises(ValueError, match="nonsense"):
        Input(content_type="nonsense")


def test_input_checks_its_object(session: Session, tmp_path: Any) -> None:
    folder, text = directory(tmp_path), blob("x")
    with pytest.raises(RainException, match="InputDir"):
        task([Input("x", dataobj=folder)])
    with pytest.raises(RainException, match="is a blob, but a directory is needed"):
        task([InputDir("x", dataobj=text)])
    with pytest.raises(RainException, match="'text' and 'json' are incompatible"):
        task([Input("x", dataobj=text, content_type="json")])
    assert task([InputDir("d", dataobj=folder), Input("t", dataobj=text, content_type="text")])


def test_reprs_can_be_read_back() -> None:
    for text in ("Input('a', path='b', load=True, write=True)", "InputDir('a')", "OutputDir('x', path='y')"):
        assert repr(eval(text)) == text
    assert repr(Output("a", encode="json", size_hint=3)) == "Output('a', size_hint=3, encode='json')"


# Lists of inputs and outputs.


class Named(Task):
    """A class of a user's own that names what it makes."""

    TASK_TYPE = "x/y"
    outputs = ("a", "b")  # type: ignore[assignment]
    inputs = ()  # type: ignore[assignment]

    def __init__(self, value: Any) -> None:
        super().__init__((value,), self.outputs)


def test_classes_may_have_attributes_called_inputs_and_outputs() -> None:
    with Session(None, 1):
        made = Named(blob(b"x"))
        assert (len(made.inputs), made.outputs.labels) == (1, ["a", "b"])
        assert made.outputs is made.outputs
        assert Named.outputs == ("a", "b")  # type: ignore[comparison-overlap]
        made.inputs = [blob(b"y"), blob(b"z")]  # type: ignore[assignment]
        assert len(made.graph_node.inputs or ()) == 2


def test_classes_may_assign_inputs_and_outputs_before_they_are_made() -> None:
    class Assigned(Task):
        def __init__(self, value: Any) -> None:
            self.inputs = (value,)  # type: ignore[assignment]
            self.outputs = ["a"]  # type: ignore[assignment]
            super().__init__(self.inputs, self.outputs, task_type="x/y")

    with Session(None, 1):
        made = Assigned(blob(b"x"))
        assert (made.inputs.data[0].label, made.outputs.labels) == ("const", ["a"])


def test_remote_tasks_have_lists_that_can_be_changed_though_they_are_made_late() -> None:
    @remote(outputs=0)
    def nothing(ctx: Any) -> None: ...

    with Session(None, 1):
        made = nothing()
        assert (len(made.inputs), len(made.outputs)) == (0, 0)
        assert made.inputs is made.inputs
        made.inputs.append(blob(b"x"))
        assert len(made.inputs) == 1


@pytest.mark.parametrize("kind", [list, tuple])
def test_other_sequences_that_are_assigned_as_inputs_are_taken_when_it_is_submitted(kind: Any) -> None:
    with Session(None, 1) as session:
        made = tasks.Concat([blob(b"a")])
        given = [blob(b"b"), blob(b"c")]
        made.inputs = kind(given)
        (message,) = Submission(session, session.draft.tasks, session.draft.constants, {}).messages()
        assert message.task_inputs == [obj.id.id for obj in given]
        made.inputs = kind(["text"])
        with pytest.raises(RainException, match=r"blob\("):
            Submission(session, session.draft.tasks, session.draft.constants, {})
