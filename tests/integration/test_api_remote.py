"""Python tasks on real workers: how arguments and data objects get to a function."""

from __future__ import annotations

import os
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from api_calls import error_of, result_of

from rainzmq import (
    Client,
    Input,
    InputDir,
    Output,
    RainException,
    RainWarning,
    Session,
    blob,
    directory,
    pickled,
    remote,
    tasks,
)
from rainzmq.common import DataInstance

LARGE = os.urandom(300_000)


@pytest.fixture
def session(client: Client) -> Iterator[Session]:
    with client.new_session("remote") as session:
        yield session


@dataclass
class Thing:
    """A class of the client's module."""

    value: Any
    more: dict[str, Any] = field(default_factory=dict)


@remote(outputs=[Output(encode="pickle")])
def show(ctx: Any, *args: Any, **kwargs: Any) -> Any:
    """The arguments as they arrived, with data instances replaced by their content."""
    return _shown([args, kwargs])


def _shown(value: Any) -> Any:
    if isinstance(value, DataInstance):
        return ("instance", value.get_bytes())
    if isinstance(value, Thing):
        return ("thing", _shown(value.value), _shown(value.more))
    if isinstance(value, dict):
        return {key: _shown(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_shown(item) for item in value)
    return value


class TestArguments:
    @pytest.mark.parametrize(
        "value",
        [
            None,
            3,
            -(1 << 100),
            1.5,
            float("inf"),
            2 - 1j,
            "ü\n\0",
            b"\xff",
            bytearray(b"x"),
            (1, [2, {3: {4}}]),
            frozenset([1]),
            range(3),
            slice(1, 2),
            Ellipsis,
            ValueError("x", 1).args,
            os.path.join,
            Path("/a"),
        ],
        ids=lambda value: getattr(value, "__name__", repr(value)),
    )
    def test_any_picklable_value(self, session: Session, value: Any) -> None:
        assert result_of(session, show(value, key=value)).load() == [(value,), {"key": value}]

    def test_functions_and_classes_of_the_client_s_program(self, session: Session) -> None:
        class Local:
            def double(self, x: int) -> int:
                return 2 * x

        factor = 10

        @remote(outputs=[Output(encode="json")])
        def call(ctx: Any, function: Any, thing: Any, cls: Any) -> Any:
            return [function(2), thing.double(3), cls(1).value]

        task = call(lambda x: x * factor, Local(), Thing)
        assert result_of(session, task).load() == [20, 6, 1]

    def test_data_objects_anywhere_become_dependencies(self, session: Session) -> None:
        a, b = blob("a"), tasks.Concat([blob("b")])
        nested = [a, (b,), {"k": {"l": b.output}}, Thing(a, {"m": [b]}), {"set": frozenset(["x"])}]
        task = show(nested, key=b)
        found = result_of(session, task).load()
        shown_a, shown_b = ("instance", b"a"), ("instance", b"b")
        expected = [
            shown_a,
            (shown_b,),
            {"k": {"l": shown_b}},
            ("thing", shown_a, {"m": [shown_b]}),
            {"set": frozenset(["x"])},
        ]
        assert found == [(expected,), {"key": shown_b}]
        assert list(task.inputs) == [a, b.output]

    def test_data_objects_in_a_closure_and_in_globals_become_dependencies(self, session: Session) -> None:
        inner = tasks.Concat([blob("closed "), blob("over")])

        @remote()
        def use(ctx: Any, suffix: str) -> bytes:
            return inner.get_bytes() + suffix.encode()  # type: ignore[attr-defined,no-any-return]

        made = [use(str(index)) for index in range(3)]
        session.keep_all()
        session.submit()
        assert [task.output.fetch().get_str() for task in made] == [f"closed over{i}" for i in range(3)]

    def test_data_objects_in_attributes_of_simple_namespaces_and_in_defaults(self, session: Session) -> None:
        given = blob("given")

        @remote()
        def use(ctx: Any, space: Any, default: Any = given) -> bytes:
            return space.x.get_bytes() + default.get_bytes()  # type: ignore[no-any-return]

        assert result_of(session, use(types.SimpleNamespace(x=given))).get_str() == "givengiven"

    def test_the_same_object_twice_is_the_same_instance(self, session: Session) -> None:
        @remote()
        def same(ctx: Any, one: Any, other: Any, nested: Any) -> str:
            return str(one is other is nested[0])

        x = blob("x")
        task = same(x, x, [x])
        assert result_of(session, task).get_str() == "True"
        assert len(task.inputs) == 1

    def test_a_fetched_instance_is_a_value(self, session: Session) -> None:
        fetched = result_of(session, tasks.Concat([blob("fetched")]))
        assert result_of(session, show([fetched])).load() == [([("instance", b"fetched")],), {}]

    def test_arguments_share_what_they_share(self, session: Session) -> None:
        @remote()
        def same(ctx: Any, one: Any, other: Any) -> str:
            return str(one is other[0])

        shared = [1]
        assert result_of(session, same(shared, [shared])).get_str() == "True"

    def test_defaults_keywords_and_variadic_arguments(self, session: Session) -> None:
        @remote(outputs=[Output(encode="json")])
        def call(ctx: Any, a: int, /, b: int = 2, *args: int, c: int = 3, **kwargs: int) -> Any:
            return [a, b, args, c, kwargs]

        made = [call(1), call(1, b=5), call(1, 2, 3, 4, c=6, d=7, a=8)]
        session.keep_all()
        session.submit()
        found = [task.output.fetch().load() for task in made]
        assert found == [
            [1, 2, [], 3, {}],
            [1, 5, [], 3, {}],
            [1, 2, [3, 4], 6, {"d": 7, "a": 8}],
        ]

    @pytest.mark.parametrize(
        ("args", "kwargs", "problem"),
        [
            ((), {}, "missing a required argument: 'a'"),
            ((1, 2, 3), {}, "too many positional arguments"),
            ((1,), {"c": 1}, "got an unexpected keyword argument 'c'"),
            ((1,), {"a": 1}, "multiple values for argument 'a'"),
        ],
    )
    def test_arguments_that_do_not_fit_are_a_type_error(
        self, session: Session, args: Any, kwargs: Any, problem: str
    ) -> None:
        @remote()
        def call(ctx: Any, a: int, b: int = 0) -> None: ...

        with pytest.raises(TypeError, match=rf"call\(\) {problem}"):
            call(*args, **kwargs)
        assert session.task_count == 0

    def test_a_function_without_a_context_is_a_type_error(self) -> None:
        with pytest.raises(TypeError, match="must take the context"):

            @remote()
            def call() -> None: ...

    def test_a_call_without_a_session_is_refused(self) -> None:
        with pytest.raises(RainException, match="No active session"):
            show(1)

    def test_an_argument_that_can_not_be_pickled_is_named(self, session: Session) -> None:
        @remote()
        def call(ctx: Any, fine: int, bad: Any, *args: Any, **kwargs: Any) -> None: ...

        for make, parameter in (
            (lambda: call(1, _generator()), "bad"),
            (lambda: call(1, bad=[_generator()]), "bad"),
            (lambda: call(1, 2, 3, _generator()), "args"),
            (lambda: call(1, 2, other=_generator()), "kwargs"),
        ):
            with pytest.raises(RainException, match=rf"call\(\), parameter '{parameter}'.*cannot be pickled"):
                make()  # type: ignore[no-untyped-call]
        assert session.task_count == 0

    def test_a_closure_that_can_not_be_pickled_is_named(self, session: Session) -> None:
        generator = _generator()

        @remote()
        def call(ctx: Any) -> None:
            list(generator)

        with pytest.raises(RainException, match=r"Function '.*call' cannot be sent to workers.*generator"):
            call()

    def test_an_argument_that_can_not_be_loaded_is_named(self, session: Session) -> None:
        class Loads:
            def __reduce__(self) -> Any:
                return int, ("x",)

        error = error_of(session, show(1, Loads()))
        assert (
            "show(): positional argument 2 cannot be loaded by the worker: ValueError: invalid lit" in error
        )

    def test_an_object_of_another_session_is_refused(self, client: Client, session: Session) -> None:
        with client.new_session() as other:
            foreign = blob("x")
        with pytest.raises(RainException, match=rf"parameter 'args'.*belongs to session {other.session_id}"):
            show([foreign])


class TestLargeArguments:
    def test_a_large_argument_works_with_a_warning_at_the_call(self, session: Session) -> None:
        with pytest.warns(RainWarning, match=r"show\(\), parameter 'args'.*4\.77 MiB.*blob\(\)") as record:
            task = show(1, bytes(5_000_000))
        assert record[0].filename == __file__
        assert result_of(session, task).load() == [(1, bytes(5_000_000)), {}]

    def test_an_argument_below_the_limit_gives_no_warning(self, session: Session) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            task = show(bytes(250_000), other=bytes(250_000))
        assert result_of(session, task).load() == [(bytes(250_000),), {"other": bytes(250_000)}]

    def test_a_large_data_object_gives_no_warning(self, session: Session) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            task = show(blob(bytes(5_000_000)))
        assert result_of(session, task).load() == [(("instance", bytes(5_000_000)),), {}]

    def test_a_large_closure_is_sent_once(self, session: Session) -> None:
        table = os.urandom(3_000_000)

        @remote()
        def look(ctx: Any, index: int) -> bytes:
            return table[index : index + 1]

        made = [look(index) for index in range(300)]
        session.keep_all()
        session.submit()
        assert b"".join(task.output.fetch().get_bytes() for task in made) == table[:300]

    def test_thousands_of_objects_that_do_not_fit_into_one_message(self, session: Session) -> None:
        @remote(auto_load=True)
        def total(ctx: Any, parts: Any) -> str:
            return str(sum(len(part) for part in parts))

        parts = [blob("x" * 4000) for _ in range(1000)]
        assert result_of(session, total(parts)).get_str() == "4000000"

    def test_many_large_arguments_at_once(self, session: Session) -> None:
        @remote()
        def size(ctx: Any, data: bytes) -> str:
            return str(len(data))

        made = [size(bytes(100_000 + index)) for index in range(60)]
        session.keep_all()
        session.submit()
        assert [int(task.output.fetch().get_str()) - 100_000 for task in made] == list(range(60))


class TestInputs:
    def test_load_delivers_the_value_by_dictionary_annotation_and_auto_load(self, session: Session) -> None:
        @remote(inputs={"x": Input(load=True)}, outputs=[Output(encode="json")])
        def by_dictionary(ctx: Any, x: Any, y: Any) -> Any:
            return [x, y.load()]

        @remote(outputs=[Output(encode="json")])
        def by_annotation(ctx: Any, x: Input(load=True), y: Any) -> Any:  # type: ignore[valid-type]
            return [x, y.load()]

        @remote(auto_load=True, outputs=[Output(encode="json")])
        def by_default(ctx: Any, x: Any, y: Input(load=False)) -> Any:  # type: ignore[valid-type]
            return [x, y.load()]

        made = [call(pickled(1), pickled(2)) for call in (by_dictionary, by_annotation, by_default)]
        session.keep_all()
        session.submit()
        assert [task.output.fetch().load() for task in made] == [[1, 2]] * 3

    def test_load_reaches_into_nested_and_variadic_arguments(self, session: Session) -> None:
        @remote(outputs=[Output(encode="json")])
        def call(
            ctx: Any,
            nested: Input(load=True),  # type: ignore[valid-type]
            *args: Input(load=True),  # type: ignore[valid-type]
            **kwargs: Input(load=True),  # type: ignore[valid-type]
        ) -> Any:
            return [nested, args, kwargs]

        x, y = pickled([1]), blob("text")
        task = call({"a": [x, 5]}, x, [y], k=y, plain=0)
        assert result_of(session, task).load() == [
            {"a": [[1], 5]},
            [[1], ["text"]],
            {"k": "text", "plain": 0},
        ]

    def test_inputs_by_label(self, session: Session) -> None:
        @remote(inputs=[Input("x", load=True)], outputs=[Output(encode="json")])
        def call(ctx: Any, x: Any) -> Any:
            return x

        assert result_of(session, call(blob("t"))).load() == "t"

    @pytest.mark.parametrize(
        ("value", "encode"),
        [({"a": [1]}, "json"), ({1: (2,)}, "pickle"), (lambda: 1, "cloudpickle"), ("ü", "text-latin-1")],
    )
    def test_values_of_each_content_type_are_loaded(self, session: Session, value: Any, encode: str) -> None:
        @remote(auto_load=True, outputs=[Output(encode="pickle")])
        def call(ctx: Any, x: Any) -> Any:
            return x() if callable(x) else x

        expected = value() if callable(value) else value
        assert result_of(session, call(blob(value, encode=encode))).load() == expected

    def test_a_value_of_no_content_type_can_not_be_loaded(self, session: Session) -> None:
        @remote(auto_load=True)
        def call(ctx: Any, x: Any) -> Any: ...

        error = error_of(session, call(blob(b"x", "raw")))
        assert "call(): Parameter 'x': Data object 'raw'" in error
        assert "content type" in error

    def test_a_malformed_value_is_named(self, session: Session) -> None:
        @remote(auto_load=True)
        def call(ctx: Any, x: Any) -> Any: ...

        error = error_of(session, call(blob(b"{", "broken", content_type="json")))
        assert "call(): Parameter 'x': Data object 'broken'" in error

    def test_a_content_type_is_checked_when_the_call_is_made(self, session: Session) -> None:
        @remote(inputs={"x": Input(content_type="json")})
        def call(ctx: Any, x: Any) -> Any: ...

        with pytest.raises(RainException, match=r"parameter 'x'.*does not fit Input"):
            call(pickled(1))

    def test_a_content_type_is_checked_when_it_becomes_known(self, session: Session) -> None:
        @remote()
        def make(ctx: Any) -> Any:
            return ctx.pickled(1)

        @remote(inputs={"x": Input(content_type="json")})
        def call(ctx: Any, x: Any) -> Any: ...

        error = error_of(session, call(make()))
        assert "call(): Parameter 'x' takes content type 'json', but its data object is 'pickle'" in error

    def test_a_content_type_can_say_what_unknown_data_is(self, session: Session) -> None:
        @remote(inputs={"x": Input(content_type="json", load=True)}, outputs=[Output(encode="json")])
        def call(ctx: Any, x: Any) -> Any:
            return x

        assert result_of(session, call(blob(b"[1]"))).load() == [1]

    def test_directories_arrive_as_paths(self, session: Session, tmp_path: Path) -> None:
        (tmp_path / "d").mkdir()
        (tmp_path / "d" / "f").write_text("content")

        @remote(inputs={"tree": InputDir()})
        def read(ctx: Any, tree: Any, loaded: Any) -> bytes:
            loaded.write("copy")
            assert os.listdir("copy") == ["d"]
            return Path(tree.path, "d", "f").read_bytes()

        given = directory(tmp_path)
        assert result_of(session, read(given, given)).get_str() == "content"
        with pytest.raises(RainException, match="is a blob, but a directory is needed"):
            read(blob(""), given)

    def test_an_instance_says_what_it_is(self, session: Session) -> None:
        @remote(outputs=[Output(encode="pickle")])
        def look(ctx: Any, x: Any) -> Any:
            return [x.spec.id, x.spec.label, x.spec.user, x.info.size, x.size, x.content_type, x.get_str()]

        x = blob("text", "label")
        x.spec.user["k"] = [1]
        found = result_of(session, look(x)).load()
        assert found == [x.id, "label", {"k": [1]}, 4, 4, "text", "text"]

    def test_a_large_blob_is_mapped_and_not_copied(self, session: Session) -> None:
        @remote()
        def look(ctx: Any, x: Any) -> str:
            view = x.memoryview()
            maps = Path("/proc/self/maps").read_text()
            return f"{len(view)} {x.path in maps}"

        assert result_of(session, look(blob(LARGE))).get_str() == f"{len(LARGE)} True"

    def test_unknown_parameters_and_wrong_inputs_are_refused(self) -> None:
        def call(ctx: Any, x: Any) -> Any: ...

        with pytest.raises(RainException, match="has no parameter 'y'"):
            remote(inputs={"y": Input()})(call)
        with pytest.raises(RainException, match="inputs are Input or InputDir"):
            remote(inputs={"x": 3})(call)


def test_the_results_of_calls_are_arguments_of_others(session: Session) -> None:
    @remote(outputs=[Output(encode="pickle")], auto_load=True)
    def add(ctx: Any, *numbers: Any) -> int:
        return sum(numbers)

    level = [add(index) for index in range(64)]
    while len(level) > 1:
        level = [add(*level[index : index + 4]) for index in range(0, len(level), 4)]
    assert result_of(session, level[0]).load() == sum(range(64))


def _generator() -> Iterator[int]:
    """Something that cannot be pickled."""
    yield 1
