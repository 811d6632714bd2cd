"""Results of Python tasks on real workers: each kind, each wrong kind, and how outputs are declared."""

from __future__ import annotations

import array
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from api_calls import error_of, result_of, results_of

from rainzmq import (
    Client,
    Input,
    Output,
    OutputDir,
    RainException,
    Session,
    Task,
    blob,
    directory,
    pickled,
    remote,
    tasks,
)
from rainzmq.common import DataType, LabeledList

LARGE = Random(1).randbytes(300_000)


@pytest.fixture
def session(client: Client) -> Iterator[Session]:
    with client.new_session("outputs") as session:
        yield session


class TestOneOutput:
    @pytest.mark.parametrize("size", [0, 1, 5_000, 70_000, 5_000_000])
    def test_bytes_of_any_size(self, session: Session, size: int) -> None:
        @remote()
        def make(ctx: Any) -> Any:
            return bytes(size)

        result = result_of(session, make())
        assert (result.get_bytes(), result.content_type) == (bytes(size), None)

    def test_what_is_like_bytes(self, session: Session) -> None:
        @remote(outputs=3)
        def make(ctx: Any) -> Any:
            return bytearray(b"a"), memoryview(b"xbx")[1:2], memoryview(array.array("i", [1, 2]))

        found = [result.get_bytes() for result in results_of(session, make())]
        assert found == [b"a", b"b", array.array("i", [1, 2]).tobytes()]

    def test_a_str_is_text(self, session: Session) -> None:
        @remote()
        def make(ctx: Any) -> Any:
            return "grün"

        result = result_of(session, make())
        assert (result.content_type, result.get_bytes(), result.load()) == ("text", "grün".encode(), "grün")

    def test_a_str_in_a_declared_encoding(self, session: Session) -> None:
        @remote(outputs=[Output(content_type="text-latin-1")])
        def make(ctx: Any) -> Any:
            return "grün"

        assert result_of(session, make()).get_bytes() == "grün".encode("latin-1")

    @pytest.mark.parametrize("encode", ["pickle", "cloudpickle", "json"])
    @pytest.mark.parametrize("value", [None, [1, 2], {"a": [None]}, "text", 3.5, True], ids=repr)
    def test_any_value_for_an_encoded_output(self, session: Session, encode: str, value: Any) -> None:
        @remote(outputs=[Output(encode=encode)])
        def make(ctx: Any) -> Any:
            return value

        result = result_of(session, make())
        assert (result.content_type, result.load()) == (encode, value)

    def test_a_class_of_the_program_can_be_a_value(self, session: Session) -> None:
        @remote(auto_encode="cloudpickle")
        def make(ctx: Any) -> Any:
            class Inner:
                x = 3

            return Inner

        assert result_of(session, make()).load().x == 3

    def test_auto_encode_is_for_outputs_that_say_nothing_else(self, session: Session) -> None:
        @remote(outputs=["a", Output("b", encode="pickle")], auto_encode="json")
        def make(ctx: Any) -> Any:
            return [1], (2,)

        a, b = results_of(session, make())
        assert (a.content_type, a.load(), b.content_type, b.load()) == ("json", [1], "pickle", (2,))

    def test_an_input_is_passed_on_as_it_is(self, session: Session, tmp_path: Path) -> None:
        (tmp_path / "f").write_text("f")

        @remote(outputs=[Output("small"), Output("large"), OutputDir("tree")])
        def same(ctx: Any, *given: Any) -> Any:
            return given

        task = same(pickled(5), blob(LARGE), directory(tmp_path))
        small, large, tree = results_of(session, task)
        assert (small.content_type, small.load(), large.get_bytes()) == ("pickle", 5, LARGE)
        tree.write(tmp_path / "out")
        assert (tmp_path / "out" / "f").read_text() == "f"

    def test_none_for_no_outputs(self, session: Session) -> None:
        @remote(outputs=0)
        def zero(ctx: Any) -> Any:
            return None

        @remote()
        def nothing(ctx: Any) -> None: ...

        @remote(outputs=())
        def empty(ctx: Any) -> Any: ...

        made = [zero(), nothing(), empty()]
        assert [len(task.outputs) for task in made] == [0, 0, 0]
        session.submit()
        session.wait_all()


class TestSeveralOutputs:
    @pytest.mark.parametrize("kind", [tuple, list, LabeledList])
    def test_a_sequence_in_order(self, session: Session, kind: Any) -> None:
        @remote(outputs=2)
        def make(ctx: Any) -> Any:
            return kind([b"1", "2"])

        assert [result.get_bytes() for result in results_of(session, make())] == [b"1", b"2"]

    def test_a_dictionary_by_label(self, session: Session) -> None:
        @remote(outputs=("a", Output("b", encode="json")))
        def make(ctx: Any) -> Any:
            return {"b": 1, "a": "x"}

        task = make()
        task.keep_outputs()
        session.submit()
        assert (task.outputs["a"].fetch().load(), task.outputs["b"].fetch().load()) == ("x", 1)

    def test_hundreds(self, session: Session) -> None:
        @remote(outputs=500)
        def make(ctx: Any) -> Any:
            return [str(index) for index in range(500)]

        found = [result.get_str() for result in results_of(session, make())]
        assert found == [str(index) for index in range(500)]

    def test_thousands_that_do_not_fit_into_one_message(self, session: Session) -> None:
        @remote(outputs=1500)
        def make(ctx: Any) -> Any:
            return [b"%04d" % index * 500 for index in range(1500)]

        task = make()
        total = tasks.Concat(list(task.outputs))
        task.outputs[-1].keep()
        assert result_of(session, total).get_bytes()[-4:] == b"1499"
        assert task.outputs[-1].fetch().get_bytes() == b"1499" * 500

    def test_many_large_ones(self, session: Session) -> None:
        @remote(outputs=20)
        def make(ctx: Any) -> Any:
            return [bytes([index]) * 60_000 for index in range(20)]

        found = [result.get_bytes() for result in results_of(session, make())]
        assert found == [bytes([index]) * 60_000 for index in range(20)]

    def test_the_same_instance_for_two_outputs(self, session: Session) -> None:
        @remote(outputs=2)
        def make(ctx: Any) -> Any:
            Path("f").write_bytes(LARGE)
            staged = ctx.stage_file("f")
            return staged, staged

        assert [result.get_bytes() for result in results_of(session, make())] == [LARGE, LARGE]


class TestWrongResults:
    @pytest.mark.parametrize(
        ("value", "outputs", "problem"),
        [
            (
                3,
                1,
                "Output 0 of wrong() must be bytes, str or a DataInstance, not an int; to return any value",
            ),
            (None, 1, "Output 0 of wrong() must be bytes, str or a DataInstance, not None"),
            ({1}, ["x"], "Output 'x' of wrong() must be bytes, str or a DataInstance, not a set"),
            (b"x", 0, "wrong() returned a bytes, but it has no outputs"),
            (
                b"x",
                2,
                "wrong() returned a bytes, but it has 2 outputs; return a sequence, or a dict by label",
            ),
            (None, 2, "wrong() returned None, but it has 2 outputs"),
            ([b"x"], 2, "wrong() returned a list of 1 values for 2 outputs"),
            ([b"x"] * 3, 2, "wrong() returned a list of 3 values for 2 outputs"),
            ({"a": b""}, ["a", "b"], "wrong() returned a dict without 'b'; its outputs are 'a', 'b'"),
            ({"a": b"", "b": b"", "c": b""}, ["a", "b"], "with unknown 'c'"),
            ({"a": b"", "b": b""}, 2, "but not all its outputs have labels"),
            (lambda: 1, Output(encode="json"), "json"),
            (b"x", OutputDir(), "is a directory: return ctx.stage_directory(path), not a bytes"),
            (
                "text",
                Output(content_type="json"),
                "is declared as content type 'json', but 'text' was returned",
            ),
            ("\ud800", 1, "text"),
        ],
        ids=lambda value: repr(value)[:30],
    )
    def test_what_is_no_result_fails_the_task(
        self, session: Session, value: Any, outputs: Any, problem: str
    ) -> None:
        @remote(outputs=outputs)
        def wrong(ctx: Any) -> Any:
            return value

        error = _error_of(session, wrong())
        assert problem in error
        assert "Traceback" not in error.split("The task was made")[0] or "json" in problem

    def test_a_blob_of_another_type_than_declared(self, session: Session) -> None:
        @remote(outputs=[Output("o", content_type="json")])
        def wrong(ctx: Any) -> Any:
            return ctx.pickled(1)

        assert "Output 'o' of wrong() is declared as content type 'json', but 'pickle'" in _error_of(
            session, wrong()
        )

    def test_a_subtype_of_the_declared_type_is_fine(self, session: Session) -> None:
        @remote(outputs=[Output(content_type="cloudpickle")])
        def make(ctx: Any) -> Any:
            return ctx.pickled(1)

        assert result_of(session, make()).content_type == "pickle"

    def test_a_blob_for_a_directory_and_the_other_way_round(self, client: Client) -> None:
        @remote(outputs=[OutputDir("o")])
        def make_blob(ctx: Any) -> Any:
            return ctx.blob(b"")

        @remote(outputs=[Output("o")])
        def make_directory(ctx: Any) -> Any:
            return ctx.stage_directory(".")

        with client.new_session() as session:
            error = _error_of(session, make_blob())
            assert "Output 'o' of make_blob(): a blob was returned, but a directory is declared" in error
        with client.new_session() as session:
            error = _error_of(session, make_directory())
            assert "a directory was returned, but a blob is declared" in error


class TestDeclarations:
    def test_by_return_annotation(self, session: Session) -> None:
        @remote()
        def one(ctx: Any) -> Output(encode="json"):  # type: ignore[valid-type]
            return [1]

        @remote()
        def two(ctx: Any) -> (Output("a"), Output("b", encode="pickle")):  # type: ignore[syntax]
            return {"a": b"a", "b": 2}

        @remote()
        def number(ctx: Any) -> 2:  # type: ignore[valid-type]
            return b"1", b"2"

        @remote()
        def tree(ctx: Any) -> OutputDir("t"):  # type: ignore[valid-type]
            return ctx.stage_directory(".")

        made = [one(), two(), number(), tree()]
        session.keep_all()
        session.submit()
        assert made[0].output.fetch().load() == [1]
        assert made[1].outputs["b"].fetch().load() == 2
        assert len(made[2].outputs) == 2
        assert made[3].outputs["t"].fetch().data_type is DataType.DIRECTORY

    def test_annotations_without_the_future_import_mean_the_same(self, session: Session) -> None:
        """This module has it."""
        source = (
            "@remote()\n"
            "def call(ctx, x: Input(load=True), *rest: Input(load=True)) -> (\n"
            "    Output('s', encode='json'), 'n'\n"
            "):\n"
            "    return [x, *rest], b'n'\n"
        )
        space: dict[str, Any] = {"remote": remote, "Input": Input, "Output": Output, "__name__": "__main__"}
        exec(compile(source, "<script>", "exec", dont_inherit=True), space)
        task = space["call"](pickled(1), pickled(2))
        assert results_of(session, task)[0].load() == [1, 2]
        assert task.outputs.labels == ["s", "n"]

    def test_explicit_outputs_stand_above_the_annotation(self, session: Session) -> None:
        @remote(outputs=[Output("mine", encode="json")])
        def call(ctx: Any) -> None:
            return 5  # type: ignore[return-value]

        task = call()
        assert result_of(session, task).load() == 5
        assert task.outputs.labels == ["mine"]

    def test_a_call_refines_one_output(self, session: Session) -> None:
        @remote(outputs=[Output("o", content_type="cloudpickle")])
        def call(ctx: Any) -> Any:
            return 5

        task = call(output=Output("renamed", encode="pickle"))
        result = result_of(session, task)
        assert (task.outputs.labels, result.content_type, result.load()) == (["renamed"], "pickle", 5)

    def test_a_call_refines_several_outputs(self, session: Session) -> None:
        @remote(outputs=2)
        def call(ctx: Any) -> Any:
            return "x", [1]

        task = call(outputs=["a", Output("b", encode="json")])
        results_of(session, task)
        assert task.outputs["b"].fetch().load() == [1]

    def test_a_call_says_how_many_where_nothing_is_declared(self, session: Session) -> None:
        @remote()
        def call(ctx: Any, count: int) -> Any:
            return [b"x"] * count

        made = [call(count, outputs=count) for count in (2, 3)]
        session.keep_all()
        session.submit()
        assert [len(task.fetch_outputs()) for task in made] == [2, 3]

    def test_refinements_that_do_not_fit_are_refused(self, session: Session) -> None:
        @remote(outputs=[Output("o", content_type="json")])
        def call(ctx: Any) -> Any: ...

        with pytest.raises(RainException, match="declares 1 outputs, which 2 cannot refine"):
            call(outputs=2)
        with pytest.raises(RainException, match="give output or outputs, not both"):
            call(output="a", outputs=["a"])
        with pytest.raises(RainException, match=r"json.*pickle|pickle.*json"):
            call(output=Output(content_type="pickle"))
        with pytest.raises(RainException, match="one is a directory, the other a blob"):
            call(output=OutputDir())
        with pytest.raises(ValueError, match="do not agree"):
            Output(encode="json", content_type="pickle")

    def test_parameters_called_like_options_belong_to_the_function(self, session: Session) -> None:
        @remote(outputs=[Output(encode="json")])
        def call(ctx: Any, name: str, output: int, cpus: int) -> Any:
            return [name, output, cpus]

        task = call(name="n", output=1, cpus=99)
        assert result_of(session, task).load() == ["n", 1, 99]
        assert (task.name, task.spec.resources) == ("call", {"cpus": 1})

    def test_outputs_that_are_none_are_refused(self) -> None:
        for outputs in (-1, 1.5, {"a": 1}, ["a", "a"], [3]):
            with pytest.raises(RainException):
                remote(outputs=outputs)(lambda ctx: None)

    def test_what_the_client_attached_to_an_output_is_there_for_readers(self, session: Session) -> None:
        @remote()
        def look(ctx: Any, x: Any) -> str:
            return str(x.spec.user)

        made = tasks.Concat([blob("x")])
        made.output.spec.user["k"] = 1
        assert result_of(session, look(made)).get_str() == "{'k': 1}"


def _error_of(session: Session, task: Task) -> str:
    """The error, with the plain name of a function that stands in another one."""
    return re.sub(r"\S+\.<locals>\.", "", error_of(session, task))
