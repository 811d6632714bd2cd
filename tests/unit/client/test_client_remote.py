"""Remote functions, called offline."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rainzmq import (
    Client,
    DataObject,
    Input,
    InputDir,
    Output,
    OutputDir,
    RainException,
    RainWarning,
    Remote,
    Session,
    Task,
    blob,
    directory,
    remote,
    tasks,
)
from rainzmq.common import DataInstance, DataType
from rainzmq.common.pycall import Call, CallBody, Calls, decode_body


@pytest.fixture
def session() -> Iterator[Session]:
    with Session(None, 1) as session:
        yield session


def body(task: Task) -> CallBody:
    return decode_body(task.graph_node.body.config)


def arrived(task: Task) -> Call:
    """The call as a subworker makes it of what the client sends, of constants that are all blobs."""
    inputs = [*[obj.graph_node for obj in task.inputs], *task.graph_node.hidden]
    instances = [DataInstance(node.payload or b"", spec=node.spec) for node in inputs]  # type: ignore[arg-type]
    return Calls().prepare(1, body(task), task.graph_node.config, instances)


@remote
def bare(ctx: Any, x: Any, y: Any = 5) -> Any:
    """A docstring."""
    return x, y


def test_call_makes_a_task(session: Session) -> None:
    task = bare(1)
    assert isinstance(task, Task)
    assert (task.task_type, task.name, len(task.outputs), len(task.inputs)) == ("python/call", "bare", 1, 0)
    assert task.spec.resources == {"cpus": 1}
    call = arrived(task)
    assert call.function(None, *call.args, **call.kwargs) == (1, 5)


def test_call_needs_a_session() -> None:
    with pytest.raises(RainException, match="No active session"):
        bare(1)


def test_remote_keeps_what_the_function_is() -> None:
    assert isinstance(bare, Remote)
    assert (bare.__name__, bare.__doc__) == ("bare", "A docstring.")  # type: ignore[attr-defined]
    assert bare.function(None, 1) == (1, 5)
    assert repr(bare) == "<Remote bare()>"


def test_decorator_takes_options(session: Session) -> None:
    @remote(outputs=["a", "b"], name="group/f", cpus=2)
    def f(ctx: Any) -> Any:
        return {}

    task = f()
    assert (task.outputs.labels, task.name, task.spec.resources) == (["a", "b"], "group/f", {"cpus": 2})


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((), {}, r"bare\(\) missing a required argument: 'x'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1,), {"z": 1}, "unexpected keyword argument 'z'"),
        ((1,), {"x": 1}, "multiple values for argument 'x'"),
        ((1,), {"ctx": 1}, "multiple values for argument 'ctx'"),
        ((1, 2, 3), {}, r"besides the context 'ctx', which it gets by itself, it takes \(x.*\)$"),
    ],
)
def test_arguments_are_checked_at_the_call(session: Session, args: Any, kwargs: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        bare(*args, **kwargs)
    assert session.task_count == 0


def test_function_with_a_forgotten_context_says_what_became_of_its_first_parameter(session: Session) -> None:
    @remote
    def add(a: Any, b: Any = 1) -> Any:
        return a + b

    @remote
    def nothing(a: Any) -> Any:
        return a

    @remote
    def everything(*args: Any) -> Any:
        return args

    with pytest.raises(TypeError, match=r"besides the context 'a', .* it takes \(b=1\)$"):
        add(1, 2)
    with pytest.raises(TypeError, match="no arguments besides the context 'a', which it gets by itself"):
        nothing(1)
    with pytest.raises(TypeError, match=r"it takes .* and gets the context by itself"):
        everything(x=1)


def test_all_kinds_of_parameters(session: Session) -> None:
    @remote
    def f(ctx: Any, a: Any, /, b: Any, *rest: Any, key: Any, **more: Any) -> Any:
        return a, b, rest, key, more

    call = arrived(f(1, 2, 3, 4, key=5, other=6))
    assert call.function(None, *call.args, **call.kwargs) == (1, 2, (3, 4), 5, {"other": 6})
    with pytest.raises(TypeError, match="'key'"):
        f(1, 2)


def test_function_without_a_context_is_refused() -> None:
    for function in (lambda: None, lambda *, x: None):
        with pytest.raises(TypeError, match="context"):
            remote(function)


@pytest.mark.parametrize("thing", [5, "text", int])
def test_only_functions_can_be_remote(thing: Any) -> None:
    with pytest.raises(RainException, match="function"):
        Remote(thing)


def test_coroutine_functions_are_refused() -> None:
    async def f(ctx: Any) -> None: ...

    with pytest.raises(RainException, match="coroutine"):
        remote(f)


def test_data_objects_anywhere_become_inputs(session: Session) -> None:
    class Holder:
        def __init__(self, value: Any) -> None:
            self.value = value

    a, b = blob(b"a"), blob(b"b")
    task = bare([a, {"k": (b, a)}], y=Holder(a))
    assert task.inputs.data == [a, b]
    call = arrived(task)
    assert call.args[0][0].get_bytes() == b"a"
    assert call.args[0][1]["k"][0].get_bytes() == b"b"
    assert call.kwargs["y"].value is call.args[0][0]


def test_task_with_one_output_stands_for_it(session: Session) -> None:
    one = tasks.Concat([])
    assert bare(one).inputs.data == [one.output]
    with pytest.raises(RainException, match=r"bare\(\), parameter 'x'|has 2 outputs"):
        bare([Task([], 2, task_type="x/y")])


def test_data_objects_in_the_closure_become_inputs(session: Session) -> None:
    held = blob(b"held")

    @remote
    def f(ctx: Any, x: Any) -> Any:
        return held.get_bytes() + x.get_bytes()  # type: ignore[attr-defined]

    other = blob(b"other")
    task = f(other)
    assert task.inputs.data == [held, other]
    assert f(held).inputs.data == [held]
    call = arrived(task)
    assert call.function(None, *call.args) == b"heldother"


def test_object_of_another_session_is_refused_by_parameter(session: Session) -> None:
    foreign = blob(b"", session=Session(None, 2))
    with pytest.raises(RainException, match=r"bare\(\), parameter 'y'.*belongs to session 2"):
        bare(1, y=[foreign])

    @remote
    def f(ctx: Any) -> Any:
        return foreign

    with pytest.raises(RainException, match=r"'.*f'.*belongs to session 2"):
        f()


def test_unpicklable_argument_is_named(session: Session) -> None:
    with pytest.raises(RainException, match=r"bare\(\), parameter 'y': a value of type lock .*TypeError"):
        bare(1, y=threading.Lock())
    with pytest.raises(RainException, match=r"parameter 'x': a value of type list"):
        bare([threading.Lock()])
    assert session.task_count == 0


def test_unpicklable_closure_is_an_error(session: Session) -> None:
    lock = threading.Lock()

    @remote
    def f(ctx: Any) -> Any:
        return lock

    with pytest.raises(RainException, match=r"f' cannot be sent to workers.*lock"):
        f()


def test_client_in_the_closure_is_explained(session: Session) -> None:
    client = Client.__new__(Client)

    @remote
    def f(ctx: Any) -> Any:
        return client

    with pytest.raises(RainException, match="A Client cannot be pickled"):
        f()


def test_large_argument_warns_and_works(session: Session) -> None:
    large = b"x" * 300_000
    with pytest.warns(RainWarning, match=r"parameter 'y': .*293 KiB.*blob") as caught:
        task = bare(1, y=large)
    assert caught[0].filename == __file__
    assert arrived(task).kwargs["y"] == large
    assert len(task.inputs) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bare(b"x" * 200_000)


def test_large_arguments_travel_as_a_hidden_constant(session: Session) -> None:
    task = bare(b"x" * 70_000)
    assert task.graph_node.config == b""
    assert body(task).hidden == ("arguments",)
    assert session.dataobj_count == 1
    assert arrived(task).args == (b"x" * 70_000,)
    assert arrived(task).inputs == []


def test_function_is_pickled_once_per_session(session: Session) -> None:
    assert bare(1).graph_node.body is bare(2).graph_node.body
    with Session(None, 2):
        assert bare(1).graph_node.body is not bare(2, output="x").graph_node.body


def test_large_function_travels_as_a_hidden_constant(session: Session) -> None:
    table = b"x" * 70_000

    @remote
    def f(ctx: Any) -> Any:
        return len(table)

    one, two = f(), f(output="other")
    assert body(one).hidden == ("function",)
    assert one.graph_node.hidden == two.graph_node.hidden
    assert one.graph_node.hidden[0].keep
    assert arrived(one).function(None) == 70_000


def test_function_in_many_shapes_is_still_sent_only_a_few_times(session: Session) -> None:
    made = [bare(1, output=f"o{i}") for i in range(50)]
    assert sum(body(task).function is not None for task in made) == 8
    assert len({body(task).function_id for task in made}) == 1
    assert len({task.graph_node.hidden for task in made[8:]}) == 1


def test_a_function_may_be_given_with_all_options(session: Session) -> None:
    def made(ctx: Any) -> Any:
        return 1, 2

    assert [o.label for o in remote(made, outputs=["a", "b"])().outputs] == ["a", "b"]
    assert [o.label for o in remote(["a", "b"])(made)().outputs] == ["a", "b"]
    assert [o.label for o in remote(outputs=["a", "b"], cpus=2)(made)().outputs] == ["a", "b"]
    assert remote(made, outputs=1, name="once").name == "once"
    with pytest.raises(TypeError, match=r"outputs twice: 1 and outputs=2"):
        remote(1, outputs=2)


def test_calls_refine_outputs_name_and_cpus(session: Session) -> None:
    task = bare(1, output=Output("x", size_hint=3, encode="json"), name="n", cpus=2)
    assert (task.output.label, task.output.size_hint, task.output.content_type) == ("x", 3, "json")
    assert (task.name, task.spec.resources) == ("n", {"cpus": 2})
    assert bare(1, outputs=3).outputs.labels == [None, None, None]
    assert bare(1, outputs=["a", "b"]).outputs.labels == ["a", "b"]
    assert len(bare(1, outputs=0).outputs) == 0


def test_declared_outputs_are_refined_and_not_replaced(session: Session) -> None:
    @remote(outputs=[Output("a", encode="pickle"), OutputDir("d")])
    def f(ctx: Any) -> Any: ...

    task = f(outputs=[Output("x"), OutputDir(size_hint=9)])
    assert task.outputs.labels == ["x", "d"]
    assert (task.outputs["x"].content_type, task.outputs["d"].size_hint) == ("pickle", 9)
    with pytest.raises(RainException, match="declares 2 outputs, which 1 cannot refine"):
        f(output="x")
    with pytest.raises(RainException, match="incompatible"):
        f(outputs=[Output(content_type="json"), OutputDir()])
    with pytest.raises(RainException, match="one is a directory"):
        f(outputs=["x", "y"])
    with pytest.raises(RainException, match="two outputs"):
        f(outputs=[Output("d"), OutputDir()])


def test_output_and_outputs_exclude_each_other(session: Session) -> None:
    with pytest.raises(RainException, match="not both"):
        bare(1, output="a", outputs="b")
    with pytest.raises(RainException, match="output= is one output"):
        bare(1, output=2)


@pytest.mark.parametrize("options", [{"name": ""}, {"cpus": 0}, {"outputs": -1}])
def test_wrong_call_options_are_refused(session: Session, options: Any) -> None:
    with pytest.raises(RainException):
        bare(1, **options)


def test_parameters_come_before_call_options(session: Session) -> None:
    @remote
    def f(ctx: Any, name: str, cpus: int, output: str) -> Any:
        return name, cpus, output

    task = f(name="n", cpus=7, output="o")
    assert (task.name, task.spec.resources, task.outputs.labels) == ("f", {"cpus": 1}, [None])
    assert arrived(task).kwargs == {"name": "n", "cpus": 7, "output": "o"}


def json_blob() -> DataObject:
    return blob([1], encode="json")


def test_inputs_are_loaded_by_annotation(session: Session) -> None:
    @remote
    def f(ctx: Any, a: Input(load=True), b: Any, c: Input(load=True)) -> Any: ...  # type: ignore[valid-type]

    obj = json_blob()
    call = arrived(f([obj], obj, obj))
    assert call.args[0] == [[1]]
    assert isinstance(call.args[1], DataInstance)
    assert call.args[2] == [1]


def test_inputs_are_loaded_by_option(session: Session) -> None:
    for inputs in ({"x": Input(load=True)}, [Input("x", load=True)], Input("x", load=True)):
        call = arrived(remote(inputs=inputs)(lambda ctx, x, y: None)(json_blob(), y=json_blob()))
        assert call.args == ([1],)
        assert isinstance(call.kwargs["y"], DataInstance)


def test_star_parameters_may_have_inputs(session: Session) -> None:
    @remote
    def f(ctx: Any, *args: Input(load=True), **kwargs: Input(load=True)) -> Any: ...  # type: ignore[valid-type]

    call = arrived(f(json_blob(), json_blob(), z=json_blob()))
    assert (call.args, call.kwargs) == (([1], [1]), {"z": [1]})


def test_auto_load_can_be_overruled(session: Session) -> None:
    @remote(auto_load=True, inputs={"y": Input(load=False)})
    def f(ctx: Any, x: Any, y: Any) -> Any: ...

    call = arrived(f([json_blob()], json_blob()))
    assert call.args[0] == [[1]]
    assert isinstance(call.args[1], DataInstance)


def test_auto_load_leaves_directories_alone(session: Session, tmp_path: Path) -> None:
    task = remote(auto_load=True)(lambda ctx, x: None)(directory(tmp_path))
    instance = DataInstance(path=str(tmp_path))
    assert Calls().prepare(1, body(task), task.graph_node.config, [instance]).args == (instance,)


def test_inputs_check_types_at_the_call(session: Session, tmp_path: Path) -> None:
    @remote
    def f(ctx: Any, x: Input(content_type="json") = None, d: InputDir() = None) -> Any: ...  # type: ignore[valid-type]

    f(json_blob())
    f(d=directory(tmp_path))
    f(5)
    with pytest.raises(RainException, match=r"parameter 'x'.*'text' and 'json'"):
        f(blob("text"))
    with pytest.raises(RainException, match=r"parameter 'd'.*a directory is needed"):
        f(d=blob(b""))
    with pytest.raises(RainException, match=r"parameter 'x'.*InputDir"):
        f(directory(tmp_path))


def test_content_type_of_an_input_is_taken_over_by_an_object_without_one(session: Session) -> None:
    @remote
    def f(ctx: Any, x: Input(content_type="json", load=True)) -> Any: ...  # type: ignore[valid-type]

    assert arrived(f(blob(b"[2]"))).args == ([2],)


@pytest.mark.parametrize(
    "inputs",
    [{"nope": Input()}, {"x": 5}, [Input()], [5], "x", 5, {"x": Input(dataobj=object())}],  # type: ignore[arg-type]
)
def test_wrong_inputs_are_refused_at_the_definition(inputs: Any) -> None:
    with pytest.raises(RainException):
        remote(inputs=inputs)(lambda ctx, x: None)


def outputs_of(annotation: Any, **options: Any) -> Any:
    def f(ctx: Any) -> Any: ...

    f.__annotations__["return"] = annotation
    return remote(**options)(f)().outputs


def test_outputs_by_return_annotation(session: Session) -> None:
    assert outputs_of(Output("a", encode="json"))["a"].content_type == "json"
    assert outputs_of(OutputDir("d"))["d"].data_type is DataType.DIRECTORY
    assert outputs_of("Output('a')").labels == ["a"]
    assert outputs_of((Output("a"), "b", OutputDir("c"))).labels == ["a", "b", "c"]
    assert len(outputs_of(3)) == 3
    assert len(outputs_of(None)) == 0
    assert len(outputs_of(Output)) == 1


@pytest.mark.parametrize("annotation", [bytes, str, "int", "NoSuchName", list[int], dict, Any, "a b"])
def test_other_return_annotations_mean_one_output(session: Session, annotation: Any) -> None:
    assert len(outputs_of(annotation)) == 1


def test_outputs_option_comes_before_the_annotation(session: Session) -> None:
    assert outputs_of(Output("a"), outputs=2).labels == [None, None]


def test_local_names_in_string_annotations_are_found(session: Session) -> None:
    loaded = Input(load=True)

    @remote
    def f(ctx: Any, x: "loaded") -> Any: ...  # type: ignore[valid-type]  # noqa: UP037

    assert arrived(f(json_blob())).args == ([1],)


def test_auto_encode_is_for_outputs_that_say_nothing_else(session: Session) -> None:
    @remote(outputs=[Output("a"), Output("b", encode="json"), OutputDir("d")], auto_encode="pickle")
    def f(ctx: Any) -> Any: ...

    assert [obj.content_type for obj in f().outputs] == ["pickle", "json", "dir"]
    encodes = [template[3] for template in f().graph_node.body.outputs]
    assert encodes == ["pickle", "json", None]
    assert remote(auto_encode="json")(lambda ctx: 1)(output="x").output.content_type == "json"


def test_auto_encode_is_checked_at_the_definition() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        remote(auto_encode="nonsense")(lambda ctx: None)
    with pytest.raises(ValueError, match="do not agree"):
        remote(outputs=Output(content_type="json"), auto_encode="pickle")(lambda ctx: None)


@pytest.mark.parametrize("options", [{"cpus": 0}, {"name": ""}, {"outputs": -1}])
def test_wrong_options_are_refused_at_the_definition(options: Any) -> None:
    with pytest.raises(RainException):
        remote(**options)(lambda ctx: None)


def test_options_count_when_the_function_is_given_with_them(session: Session) -> None:
    made = remote(lambda ctx, x: x, auto_encode="pickle", cpus=7, name="x", inputs={"x": Input(load=True)})
    task = made(1)
    assert (task.name, task.spec.resources, task.output.content_type) == ("x", {"cpus": 7}, "pickle")
    with pytest.raises(RainException, match="cpus"):
        remote(lambda ctx: None, cpus=0)


def test_options_that_only_programs_have_are_named() -> None:
    def f(ctx: Any, x: Any) -> Any: ...

    with pytest.warns(RainWarning, match=r"f\(\), parameter 'x': write= has no effect"):
        remote(f, inputs={"x": Input(write=True)})
    with pytest.warns(RainWarning, match=r"f\(\): path= of Output\('x', path='y'\) has no effect"):
        remote(outputs=[Output("x", path="y")])(f)
