"""Execute and Program, built offline."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from rainzmq import (
    DataObject,
    Input,
    InputDir,
    Output,
    OutputDir,
    Program,
    RainException,
    Session,
    Task,
    blob,
    directory,
)
from rainzmq.client.tasks import Execute
from rainzmq.common import DataType


@pytest.fixture
def session() -> Iterator[Session]:
    with Session(None, 1) as session:
        yield session


@pytest.fixture
def a(session: Session) -> DataObject:
    return blob(b"a", label="a")


@pytest.fixture
def folder(session: Session, tmp_path: Path) -> DataObject:
    return directory(tmp_path)


def config(task: Task) -> Any:
    return msgpack.unpackb(task.graph_node.body.config)


def test_string_is_split_like_a_shell_does(session: Session) -> None:
    task = Execute("printf '%s' \"a b\"")
    assert config(task) == {
        "args": ["printf", "%s", "a b"],
        "stdin": None,
        "stdout": None,
        "shell": False,
        "inputs": [],
        "outputs": [],
        "interpreter": os.path.dirname(sys.executable),
    }
    assert task.task_type == "builtin/execute"
    assert task.graph_node.config == b""


def test_arguments_are_mapped_to_files(session: Session, a: DataObject) -> None:
    concat = Task([], 1, task_type="x/y")
    task = Execute(["cmd", a, Input("in", dataobj=a), Input(path="sub/f", dataobj=concat), Path("/p")])
    assert config(task)["args"] == ["cmd", "input_1", "in", "sub/f", "/p"]
    assert config(task)["inputs"] == [["input_1", False], ["in", False], ["sub/f", False]]
    assert task.inputs.labels == [None, "in", None]
    assert task.inputs.data == [a, a, concat.output]


def test_object_used_twice_is_mapped_once(session: Session, a: DataObject) -> None:
    task = Execute(["diff", a, a])
    assert config(task)["args"] == ["diff", "input_1", "input_1"]
    assert len(task.inputs) == 1


def test_names_that_are_made_up_avoid_those_that_are_given(session: Session, a: DataObject) -> None:
    task = Execute(["cmd", a, Input("input_1", dataobj=a)])
    assert config(task)["args"] == ["cmd", "input_2", "input_1"]


def test_outputs_among_arguments(session: Session) -> None:
    task = Execute(["cmd", Output("o"), OutputDir(path="d/e"), Output()])
    assert config(task)["args"] == ["cmd", "o", "d/e", "output_1"]
    assert config(task)["outputs"] == ["o", "d/e", "output_1"]
    assert task.outputs.labels == ["o", None, None]
    assert task.outputs[1].data_type is DataType.DIRECTORY


@pytest.mark.parametrize(
    ("stdout", "label"),
    [(True, "stdout"), ("x", "x"), (Output("y", content_type="text"), "y"), (Output(), None)],
)
def test_stdout_is_true_a_label_or_an_output(session: Session, stdout: Any, label: Any) -> None:
    task = Execute(["cmd", Output("o")], stdout=stdout)
    assert task.outputs.labels == [label, "o"]
    assert (config(task)["stdout"], config(task)["outputs"]) == (0, [None, "o"])


@pytest.mark.parametrize("stdout", [None, False])
def test_no_stdout(session: Session, stdout: Any) -> None:
    assert config(Execute("cmd", stdout=stdout))["stdout"] is None


@pytest.mark.parametrize("stdout", [5, OutputDir("x"), Output("x", path="y"), Output("x", encode="json")])
def test_other_stdout_is_refused(session: Session, stdout: Any) -> None:
    with pytest.raises(RainException):
        Execute("cmd", stdout=stdout)


def test_stdin_is_an_object_or_an_input(session: Session, a: DataObject) -> None:
    task = Execute(["cmd", a], stdin=a)
    assert (config(task)["stdin"], config(task)["inputs"]) == (0, [[None, False], ["input_1", False]])
    assert Execute("cmd", stdin=Input("x", dataobj=a)).inputs.labels == ["x"]


def test_stdin_is_no_text_and_no_directory(session: Session, folder: DataObject) -> None:
    with pytest.raises(RainException, match=r"blob\("):
        Execute("cmd", stdin="text")
    with pytest.raises(RainException, match="stdin"):
        Execute("cmd", stdin=InputDir("x", dataobj=folder))


def test_more_files_are_mapped_by_input_and_output_paths(session: Session, a: DataObject) -> None:
    task = Execute(
        "make",
        input_paths=[Input("Makefile", dataobj=a), Input("s", path="src/s.c", dataobj=a, write=True)],
        output_paths=["a.out", Output("log", path="logs/log"), OutputDir("doc")],
    )
    assert config(task)["inputs"] == [["Makefile", False], ["src/s.c", True]]
    assert config(task)["outputs"] == ["a.out", "logs/log", "doc"]
    assert task.outputs.labels == ["a.out", "log", "doc"]


def test_shell_joins_and_quotes_paths(session: Session, a: DataObject) -> None:
    task = Execute(["cat", Input("x", path="a b", dataobj=a), "|", "wc"], shell=True, stdout=True)
    assert config(task)["args"] == ["cat 'a b' | wc"]
    assert config(task)["shell"] is True
    assert config(Execute("echo $HOME > x; ls", shell=True))["args"] == ["echo $HOME > x; ls"]


def test_arguments_stay_byte_exact(session: Session) -> None:
    words = ["cmd", "; $(x)", "a\nb", "-leading", "<script>", "é", ""]
    assert config(Execute(words))["args"] == words


def test_path_that_looks_like_an_option_or_is_the_program_is_made_explicit(
    session: Session, a: DataObject
) -> None:
    task = Execute([Input("prog", dataobj=a), Input("x", path="-rf", dataobj=a)])
    assert config(task)["args"] == ["./prog", "./-rf"]


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ("", "no program"),
        ([], "no program"),
        ([""], "no program"),
        ("'open", "cannot be split"),
        (["cmd", 5], r"argument 1 is 5 of type int.*str\("),
        (["cmd", b"x"], "type bytes"),
        (["cmd", "a\0b"], "NUL"),
        (["cmd", "\ud800"], "Unicode"),
        (5, "args is a sequence"),
        ([Output("x")], "no program"),
        (["cmd", Input("hole")], "has no data object"),
        (["cmd", Output(encode="json")], "encode is for Python"),
        (["cmd", Input("/abs")], "absolute"),
        (["cmd", Output("../up")], r"'\.\.'"),
    ],
)
def test_wrong_arguments_are_explained(session: Session, args: Any, text: str) -> None:
    with pytest.raises(RainException, match=text):
        Execute(args)


def test_load_is_for_python_functions(a: DataObject) -> None:
    with pytest.raises(RainException, match="a program gets a file"):
        Execute(["cmd", Input("x", dataobj=a, load=True)])


@pytest.mark.parametrize("paths", ["ab", 5, [5], [Input(load=None)]])
def test_wrong_input_and_output_paths_are_refused(session: Session, paths: Any) -> None:
    with pytest.raises(RainException, match="paths"):
        Execute("cmd", input_paths=paths)
    with pytest.raises(RainException, match="paths"):
        Execute("cmd", output_paths=paths)


def test_paths_are_used_once(session: Session, a: DataObject) -> None:
    with pytest.raises(RainException, match="path 'x'"):
        Execute("cmd", input_paths=[Input("x", dataobj=a), Input("y", path="x", dataobj=a)])
    with pytest.raises(RainException, match="path 'x'"):
        Execute("cmd", output_paths=["x", Output("y", path="x")])
    for write in (False, True):
        given = Input("x", dataobj=a, write=write)
        assert Execute("cmd", input_paths=[given], output_paths=[Output("y", path="x")])


def test_no_path_is_inside_of_another_file(session: Session, a: DataObject, folder: DataObject) -> None:
    for inner in ("x/y", "x/y/z"):
        with pytest.raises(RainException, match=f"'{inner}' is inside of 'x'"):
            Execute("cmd", input_paths=[Input("x", dataobj=a)], output_paths=[inner])
    with pytest.raises(RainException, match="inside of"):
        Execute("cmd", output_paths=[OutputDir("x"), "x/y"])
    with pytest.raises(RainException, match="inside of"):
        Execute("cmd", input_paths=[InputDir("x", dataobj=folder), Input("y", path="x/y", dataobj=a)])
    for write in (False, True):
        given = InputDir("x", dataobj=folder, write=write)
        assert Execute("cmd", input_paths=[given], output_paths=["x/y"])
    with pytest.raises(RainException, match="inside of"):
        Execute("cmd", input_paths=[given], output_paths=[OutputDir("x"), "x/y"])


def test_labels_are_used_once(session: Session, a: DataObject) -> None:
    with pytest.raises(RainException, match="two inputs"):
        Execute(["cmd", Input("x", path="p", dataobj=a), Input("x", path="q", dataobj=a)])
    with pytest.raises(RainException, match="two outputs"):
        Execute(["cmd", Output("stdout")], stdout=True)


def test_inputs_check_their_objects(session: Session, a: DataObject, folder: DataObject) -> None:
    with pytest.raises(RainException, match="InputDir"):
        Execute(["cmd", Input("x", dataobj=folder)])
    assert Execute(["ls", InputDir("x", dataobj=folder), folder])
    with pytest.raises(RainException, match="'text' and 'json'"):
        Execute(["cmd", Input("x", dataobj=blob("t"), content_type="json")])


def test_cpus_and_name(session: Session) -> None:
    task = Execute("cmd", cpus=2, name="n")
    assert (task.spec.resources, task.name) == ({"cpus": 2}, "n")
    with pytest.raises(RainException, match="cpus"):
        Execute("cmd", cpus=0)


def test_too_long_arguments_are_refused(session: Session) -> None:
    with pytest.raises(RainException, match="limit is 65536"):
        Execute(["cmd", "x" * 70_000])


def test_program_fills_its_holes(session: Session, a: DataObject) -> None:
    program = Program(["grep", "x", Input("data")], stdin=Input("other"), stdout=True, name="search", cpus=2)
    one, two = program(data=a, other=a), program(other=a, data=Task([], 1, task_type="x/y"), name="special")
    assert one.graph_node.body is two.graph_node.body
    assert one.inputs.labels == ["other", "data"]
    assert (one.name, two.name) == ("search", "special")
    assert one.spec.resources == {"cpus": 2}
    assert one.output.label == "stdout"
    assert one.task_type == "builtin/execute"


def test_program_is_made_without_a_session_and_used_in_several() -> None:
    program = Program(["cat", Input("x")], stdout=True)
    for number in (1, 2):
        with Session(None, number):
            assert program(x=blob(b"")).id.session_id == number


def test_program_wants_its_holes_filled(a: DataObject) -> None:
    program = Program(["cat", Input("x"), Input("y")], name="both")
    with pytest.raises(TypeError, match="'both' is called without its input 'y'"):
        program(x=a)
    with pytest.raises(TypeError, match="has no input 'z'; its inputs: 'x', 'y'"):
        program(x=a, y=a, z=a)
    with pytest.raises(TypeError, match="without its input 'y', and has no input 'z'"):
        program(x=a, z=a)
    with pytest.raises(TypeError, match=r"'both' takes its inputs by name \(x=\.\.\., y=\.\.\.\)"):
        program(a)
    with pytest.raises(TypeError, match=r"inputs by name \(it has none\)"):
        Program("true")(a)


def test_hole_needs_a_label_and_may_be_used_twice(a: DataObject) -> None:
    with pytest.raises(RainException, match="no label"):
        Program(["cat", Input(path="x")])
    task = Program(["diff", Input("x"), Input("x")])(x=a)
    assert config(task)["args"] == ["diff", "x", "x"]
    assert len(task.inputs) == 1


def test_hole_may_be_called_name(a: DataObject) -> None:
    task = Program(["cat", Input("name")])(name=a)
    assert (task.inputs.labels, task.name) == (["name"], None)


def test_program_checks_what_fills_its_holes(session: Session, folder: DataObject) -> None:
    program = Program(["cat", Input("x", content_type="text")])
    with pytest.raises(RainException, match=r"'x'.*blob"):
        program(x="text")
    with pytest.raises(RainException, match="InputDir"):
        program(x=folder)
    with pytest.raises(RainException, match="incompatible"):
        program(x=blob([], encode="json"))


def test_program_may_have_fixed_inputs(session: Session, a: DataObject) -> None:
    task = Program(["cmp", a, Input("x")])(x=a)
    assert task.inputs.labels == [None, "x"]
