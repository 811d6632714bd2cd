"""A path of a program, or an object of a function, that is an input and an output."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from rainzmq import (
    Client,
    Input,
    InputDir,
    Output,
    OutputDir,
    Program,
    RainException,
    Session,
    Task,
    TaskException,
    blob,
    directory,
    remote,
)
from rainzmq.client.tasks import Execute, MakeDirectory
from rainzmq.common import DataInstance

LARGE = os.urandom(300_000)
"""More than is kept in memory, so it is a file on workers."""

SIZES = pytest.mark.parametrize("content", [b"small", LARGE], ids=["small", "large"])


def result_of(session: Session, task: Task) -> DataInstance:
    task.output.keep()
    session.submit()
    return task.output.fetch()


def error_of(session: Session, task: Task) -> str:
    session.submit()
    with pytest.raises(TaskException) as caught:
        session.wait([task])
    return str(caught.value)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "a" / "deep").mkdir(parents=True)
    (root / "a" / "large").write_bytes(LARGE)
    (root / "a" / "deep" / "private").write_bytes(b"p")
    (root / "a" / "deep" / "private").chmod(0o600)
    (root / "a" / "up").symlink_to("deep/private")
    (root / "a" / "out").symlink_to("../tool")
    (root / "b").mkdir()
    (root / "b" / "small").write_bytes(b"small")
    (root / "tool").write_text("#!/bin/sh\necho tool\n")
    (root / "tool").chmod(0o755)
    return root


@SIZES
def test_a_file_that_is_only_read_is_the_same_data_under_another_id(client: Client, content: bytes) -> None:
    with client.new_session("same") as session:
        given = blob(content, content_type="mime/x")
        count = Execute(
            ["wc", "-c", Input("p", dataobj=given)], stdout=True, output_paths=[Output("again", path="p")]
        )
        read = Execute(["cat", count.outputs["again"]], stdout=True)
        for output in (*count.outputs, read.output):
            output.keep()
        session.submit()
        assert count.outputs["stdout"].fetch().get_str().split()[0] == str(len(content))
        again = count.outputs["again"].fetch()
        assert (again.get_bytes(), again.content_type) == (content, "mime/x")
        assert read.output.fetch().get_bytes() == content


def test_a_file_to_write_to_is_what_became_of_it(client: Client) -> None:
    with client.new_session("sorted") as session:
        given = Input("lines", dataobj=blob("c\nb\na\n"), write=True)
        task = Execute(["sort", "-o", "lines", given], output_paths=[Output("sorted", path="lines")])
        assert result_of(session, task).get_str() == "a\nb\nc\n"


def test_changing_what_is_only_read_is_an_error_that_tells_the_way(client: Client) -> None:
    with client.new_session("changed") as session:
        given = Input("lines", dataobj=blob("c\nb\na\n"))
        task = Execute(["sort", "-o", "lines", given], output_paths=["lines"])
        assert "map it with write=True" in error_of(session, task)


def test_parts_of_an_input_directory_are_outputs(client: Client, tree: Path, tmp_path: Path) -> None:
    with client.new_session("parts") as session:
        given = InputDir("d", dataobj=MakeDirectory({".": directory(tree)}))
        task = Execute(
            ["ls", given],
            output_paths=[
                OutputDir("deep", path="d/a/deep"),
                Output("large", path="d/a/large"),
                Output("small", path="d/b/small"),
                Output("linked", path="d/a/up"),
                Output("tool", path="d/tool"),
            ],
        )
        whole = Execute(["ls", given], output_paths=[OutputDir("d")])
        # The directory itself is not needed any more when these run, its parts are.
        listed = Execute("ls -R deep; cat deep/private", shell=True, stdout=True,
                         input_paths=[InputDir("deep", dataobj=task.outputs["deep"])])  # fmt: skip
        said = Execute([task.outputs["tool"]], stdout=True)
        further = Execute(
            ["ls", InputDir("x", dataobj=task.outputs["deep"])],
            output_paths=[Output("y", path="x/private"), OutputDir("z", path="x")],
        )
        session.keep_all()
        session.submit()
        assert listed.output.fetch().get_str() == "deep:\nprivate\np"
        assert said.output.fetch().get_str() == "tool\n"
        assert task.outputs["large"].fetch().get_bytes() == LARGE
        assert task.outputs["small"].fetch().get_bytes() == b"small"
        assert task.outputs["linked"].fetch().get_bytes() == b"p"
        assert further.outputs["y"].fetch().get_bytes() == b"p"
        task.outputs["deep"].fetch(tmp_path / "deep")
        assert (tmp_path / "deep" / "private").stat().st_mode & 0o777 == 0o600
        whole.output.fetch(tmp_path / "all")
        assert os.readlink(tmp_path / "all" / "a" / "out") == "../tool"


def test_a_part_that_is_missing_or_of_another_kind_fails(client: Client, tree: Path) -> None:
    for path, make, says in (
        ("d/none", Output, "'d/none' is missing"),
        ("d/a", Output, "declared as a blob, but it is a directory"),
        ("d/tool", OutputDir, "declared as a directory, but it is a file"),
        ("d/a", OutputDir, "symlink 'out' -> '../tool' leaves the tree"),
    ):
        with client.new_session("wrong") as session:
            given = InputDir("d", dataobj=directory(tree))
            task = Execute(["true", given], output_paths=[make("x", path=path)])
            assert says in error_of(session, task)


def test_kinds_that_differ_and_files_with_something_inside_are_refused(client: Client) -> None:
    with client.new_session("refused", default=False) as session:
        given = Input("p", dataobj=blob("x"))
        with pytest.raises(RainException, match="'p' is a blob as an input and a directory as an output"):
            Execute(["cat", given, OutputDir("p")])
        with pytest.raises(RainException, match="'p/q' is inside of 'p'"):
            Execute(["cat", given, Output("p/q")])
        session.close()


def test_a_program_reads_an_input_by_its_label_and_its_outputs_are_refined(client: Client) -> None:
    count = Program(["wc", "-l"], stdin="lines", stdout="count", output_paths=["log"], name="count")
    with client.new_session("program") as session:
        plain = Program(["wc", "-l"], stdin="lines", stdout=True)
        task = plain(lines=blob("a\nb\n"), output=Output("n", content_type="text", size_hint=2))
        assert task.outputs.labels == ["n"]
        assert result_of(session, task).get_str() == "2\n"
        assert task.output.content_type == "text"
    with client.new_session("refused") as session:
        for wrong, says in (
            ({"output": "x"}, "declares 2 outputs, which 1 can"),
            ({"outputs": ["x", "y"], "output": "x"}, "output or outputs, not both"),
            ({"outputs": ["x", Output("y", path="other")]}, "a call cannot change that to the path 'other'"),
            ({"outputs": ["x", Output("y", encode="json")]}, "encode is for Python functions"),
        ):
            with pytest.raises(RainException, match=says):
                count(lines=blob(""), **wrong)
        with pytest.raises(RainException, match=r"Input\('lines'\) has no data object"):
            Execute("cat", stdin="lines")
        session.close()


@SIZES
def test_what_a_function_notes_at_an_input_that_it_returns_travels_with_it(
    client: Client, content: bytes
) -> None:
    @remote
    def note(ctx: Any, data: Any, key: str) -> Any:
        data.info.user[key] = len(data.info.user)
        return data

    def noted(session: Session) -> dict[str, Any]:
        last = note(note(blob(content), "first"), "second")
        instance = result_of(session, last)
        assert instance.get_bytes() == content
        assert instance.info is not None
        return instance.info.user

    with client.new_session("notes") as session:
        assert noted(session) == {"first": 0, "second": 1}
