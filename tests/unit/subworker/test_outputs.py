"""What a function may return."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from task_bench import Bench, output

from rainzmq.common.labeled_list import LabeledList
from rainzmq.common.limits import MEMORY_OBJECT_BYTES
from rainzmq.subworker.outputs import MESSAGE_DATA_BYTES

Context = Any
LARGE = MEMORY_OBJECT_BYTES + 1


def returning(value: Any) -> Any:
    def function(ctx: Context) -> Any:
        return value

    return function


@pytest.mark.parametrize("value", [b"ab", bytearray(b"ab"), memoryview(b"ab").tobytes()])
def test_bytes_are_taken_as_they_are(bench: Bench, value: Any) -> None:
    result = bench.run(returning(value))
    assert (result.outputs[0].data, result.outputs[0].content_type) == (b"ab", None)


def test_str_becomes_text(bench: Bench) -> None:
    result = bench.run(returning("für"))
    assert (result.outputs[0].data, result.outputs[0].content_type) == ("für".encode(), "text")


def test_str_is_encoded_as_the_output_declares(bench: Bench) -> None:
    result = bench.run(returning("für"), [output(content_type="text-latin-1")])
    assert (result.outputs[0].data, result.outputs[0].content_type) == (b"f\xfcr", None)


def test_str_for_another_content_type_is_an_error(bench: Bench) -> None:
    error = bench.error(returning("{}"), [output("x", content_type="json")])
    assert error == (
        "Output 'x' of function() is declared as content type 'json', "
        "but 'text' was returned, which is no subtype of it"
    )


def test_encoded_output_takes_any_value(bench: Bench) -> None:
    result = bench.run(returning([1, {"a": None}]), [output(encode="json", content_type="json")])
    assert json.loads(result.outputs[0].data or b"") == [1, {"a": None}]
    assert result.outputs[0].content_type is None
    result = bench.run(returning({1, 2}), [output(encode="pickle")])
    assert pickle.loads(result.outputs[0].data or b"") == {1, 2}
    assert result.outputs[0].content_type == "pickle"


def test_value_that_can_not_be_encoded_is_named(bench: Bench) -> None:
    assert "'json'" in bench.error(returning({1, 2}), [output(encode="json")])


@pytest.mark.parametrize(("value", "kind"), [(None, "None"), (5, "an int"), ({1}, "a set")])
def test_other_values_are_errors_that_say_what_to_do(bench: Bench, value: Any, kind: str) -> None:
    error = bench.error(returning(value), [output("x")])
    assert error.startswith(f"Output 'x' of function() must be bytes, str or a DataInstance, not {kind}; ")
    assert "encode=" in error


def test_none_for_no_outputs(bench: Bench) -> None:
    assert bench.run(returning(None), []).outputs == []
    assert "returned a bytes, but it has no outputs" in bench.error(returning(b""), [])


def two() -> list[Any]:
    return [output("a"), output("b", 19)]


@pytest.mark.parametrize(
    "value", [(b"1", b"2"), [b"1", "2"], {"b": b"2", "a": b"1"}, LabeledList([b"1", b"2"], labels=["x", "y"])]
)
def test_several_outputs_come_from_a_sequence_or_a_dict(bench: Bench, value: Any) -> None:
    assert [item.data for item in bench.run(returning(value), two()).outputs] == [b"1", b"2"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((b"1",), "returned a tuple of 1 values for 2 outputs"),
        ({"a": b"1"}, "returned a dict without 'b'; its outputs are 'a', 'b'"),
        ({"a": b"1", "b": b"", "c": b""}, "with unknown 'c'"),
        (b"12", "returned a bytes, but it has 2 outputs"),
        (None, "returned None, but it has 2 outputs"),
    ],
)
def test_wrong_number_of_values_is_an_error(bench: Bench, value: Any, text: str) -> None:
    assert text in bench.error(returning(value), two())


def test_dict_needs_labels(bench: Bench) -> None:
    assert "not all its outputs have labels" in bench.error(returning({}), [output(), output("b", 19)])


def test_single_output_may_come_by_label_or_in_a_list(bench: Bench) -> None:
    assert bench.data(returning({"x": b"1"}), [output("x")]) == b"1"
    assert bench.data(returning([b"1"]), [output()]) == b"1"


def test_large_result_is_a_file(bench: Bench) -> None:
    result = bench.run(returning(b"z" * LARGE))
    path = Path(result.outputs[0].path or "")
    assert path.parent == bench.directory
    assert path.read_bytes() == b"z" * LARGE


def test_many_results_do_not_make_a_huge_message(bench: Bench) -> None:
    count = MESSAGE_DATA_BYTES // MEMORY_OBJECT_BYTES + 5
    declared = [output(None, 18 + index) for index in range(count)]
    result = bench.run(returning([b"z" * MEMORY_OBJECT_BYTES] * count), declared)
    assert sum(len(item.data or b"") for item in result.outputs) == MESSAGE_DATA_BYTES
    assert all(Path(item.path).stat().st_size == MEMORY_OBJECT_BYTES for item in result.outputs if item.path)


def test_blob_of_the_context_brings_its_content_type_and_user_info(bench: Bench) -> None:
    def make(ctx: Context) -> Any:
        blob = ctx.blob([1], encode="json")
        blob.info.user["rows"] = 1
        return blob

    (item,) = bench.run(make).outputs
    assert (item.data, item.content_type, json.loads(item.user)) == (b"[1]", "json", {"rows": 1})


def test_pickled_of_the_context(bench: Bench) -> None:
    def make(ctx: Context) -> Any:
        return ctx.pickled({1: 2})

    assert pickle.loads(bench.data(make)) == {1: 2}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"value": 5}, "encode="),
        ({"value": "a", "content_type": "json"}, "'json'"),
        ({"value": 1, "content_type": "json", "encode": "json"}, "either content_type"),
        ({"value": b"", "encode": "nonsense"}, "nonsense"),
    ],
)
def test_blob_of_the_context_refuses_what_it_can_not_make(
    bench: Bench, arguments: dict[str, Any], text: str
) -> None:
    def make(ctx: Context) -> Any:
        return ctx.blob(**arguments)

    assert text in bench.error(make)


def test_instance_must_be_of_the_declared_type(bench: Bench) -> None:
    def make(ctx: Context) -> Any:
        return ctx.blob(b"", "mime/a")

    assert "'mime/a'" in bench.error(make, [output(content_type="json")])
    assert "a blob was returned, but a directory is declared" in bench.error(
        make, [output(is_directory=True)]
    )
    assert "return ctx.stage_directory" in bench.error(returning(b""), [output(is_directory=True)])


def test_staged_file_is_a_result(bench: Bench) -> None:
    def make(ctx: Context) -> Any:
        Path("out.txt").write_text("hello")
        staged = ctx.stage_file("out.txt", "text")
        assert not Path("out.txt").exists()
        assert staged.get_str() == "hello"
        return staged

    (item,) = bench.run(make).outputs
    assert Path(item.path or "").read_text() == "hello"
    assert item.content_type == "text"


def test_staged_directory_is_a_result(bench: Bench) -> None:
    def make(ctx: Context) -> Any:
        Path("d/e").mkdir(parents=True)
        Path("d/e/f").write_text("x")
        Path("d/link").symlink_to("e/f")
        return ctx.stage_directory("d")

    (item,) = bench.run(make, [output(is_directory=True, content_type="dir")]).outputs
    assert (Path(item.path or "") / "link").read_text() == "x"


def test_whole_working_directory_can_be_staged(bench: Bench) -> None:
    def make(ctx: Context) -> Any:
        Path("f").write_text("x")
        return ctx.stage_directory(".")

    (item,) = bench.run(make, [output(is_directory=True)]).outputs
    assert (Path(item.path or "") / "f").read_text() == "x"


def test_same_staged_file_can_be_two_results(bench: Bench) -> None:
    def make(ctx: Context) -> Any:
        Path("f").write_text("x")
        staged = ctx.stage_file("f")
        return [staged, staged]

    first, second = bench.run(make, two()).outputs
    assert first.path != second.path
    assert Path(first.path or "").read_text() == Path(second.path or "").read_text() == "x"


def test_staged_file_that_is_not_returned_is_removed(bench: Bench) -> None:
    def make(ctx: Context) -> Any:
        Path("f").write_text("x")
        ctx.stage_file("f")
        return b""

    bench.run(make)
    assert not list(bench.directory.glob("result-*"))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etc/passwd", "absolute path"),
        ("../other", "leads out of"),
        ("nothing", "the task made no such file"),
        ("dir", "use stage_directory()"),
        ("out_link", "leads out of"),
        ("dir_link/secret", "leads out of"),
        ("fifo", "not a regular file"),
        (".", "use stage_directory()"),
        ("a\0b", "cannot be staged"),
    ],
)
def test_only_files_of_the_working_directory_can_be_staged(
    bench: Bench, tmp_path: Path, path: str, text: str
) -> None:
    (tmp_path / "secret").write_text("s")
    (bench.directory / "other").write_text("o")

    def make(ctx: Context) -> Any:
        import os

        os.mkdir("dir")
        os.symlink(tmp_path / "secret", "out_link")
        os.symlink(tmp_path, "dir_link")
        os.mkfifo("fifo")
        return ctx.stage_file(path)

    assert text in bench.error(make)
    assert (tmp_path / "secret").read_text() == "s"


def test_tree_with_a_link_that_leaves_it_can_not_be_staged(bench: Bench) -> None:
    def make(ctx: Context) -> Any:
        Path("d").mkdir()
        Path("d/l").symlink_to("../../x")
        return ctx.stage_directory("d")

    assert "'d' cannot be staged" in bench.error(make, [output(is_directory=True)])


def test_stage_directory_refuses_a_file(bench: Bench) -> None:
    def make(ctx: Context) -> Any:
        Path("f").write_text("x")
        return ctx.stage_directory("f")

    assert "use stage_file()" in bench.error(make)


def test_link_to_a_file_of_the_task_stages_that_file(bench: Bench) -> None:
    def make(ctx: Context) -> Any:
        Path("f").write_text("x")
        Path("l").symlink_to("f")
        return ctx.stage_file("l")

    (item,) = bench.run(make).outputs
    path = Path(item.path or "")
    assert not path.is_symlink()
    assert path.read_text() == "x"


def test_failed_task_leaves_no_results(bench: Bench) -> None:
    assert bench.error(returning([b"z" * LARGE, None]), two())
    assert not list(bench.directory.glob("result-*"))
