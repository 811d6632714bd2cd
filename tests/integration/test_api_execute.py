"""`Execute` on real workers: how arguments, files and streams get to a program and back, and how it fails."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_calls import error_of, result_of, results_of

from rainzmq import (
    Client,
    Input,
    InputDir,
    Output,
    OutputDir,
    RainException,
    Session,
    blob,
    directory,
    pickled,
    tasks,
)
from rainzmq.client.tasks import Execute
from rainzmq.common import DataType

LARGE = os.urandom(300_000)
"""More than is kept in memory, so it is a file on workers."""

STRANGE = [
    "two words",
    "a'b\"c`d",
    "line\nbreak\ttab\\n",
    "-rf",
    "--help",
    "naïve ☃ 😀",
    "; $(touch pwned) `id` && $HOME | cat > x #",
    "*?[a-z]{1,2}~!",
    "%s %d {} {0}",
    " leading and trailing ",
    "\x01\x1b[31m",
]

SHOW = [sys.executable, "-c", "import sys; sys.stdout.write('\\0'.join(sys.argv[1:]))"]
"""A program that writes its arguments as they are."""


# Some tests only look at tasks, and leave their session without running them.
pytestmark = pytest.mark.filterwarnings("ignore:(Session|Leaving session) '")


@pytest.fixture
def session(client: Client) -> Iterator[Session]:
    with client.new_session("programs") as session:
        yield session


class TestArguments:
    def test_a_string_is_split_as_a_shell_does(self, session: Session) -> None:
        command = (
            f"""{sys.executable} -c 'import sys; print(sys.argv[1:])' a  "b c" 'd'"'"e\\ f '$HOME' '' *"""
        )
        result = result_of(session, Execute(command, stdout=True))
        assert result.get_str() == str(["a", "b c", "d'e f", "$HOME", "", "*"]) + "\n"

    def test_an_unclosed_quote_is_refused(self, session: Session) -> None:
        with pytest.raises(RainException, match="cannot be split into words: No closing quotation"):
            Execute("echo 'a", stdout=True)

    @pytest.mark.parametrize("args", ["", "   ", [], [""]])
    def test_no_program_is_refused(self, session: Session, args: Any) -> None:
        with pytest.raises(RainException, match="names no program"):
            Execute(args)

    def test_strange_strings_arrive_byte_for_byte(self, session: Session) -> None:
        result = result_of(session, Execute([*SHOW, *STRANGE, ""], stdout=True))
        assert result.get_bytes() == "\0".join([*STRANGE, ""]).encode()

    def test_numbers_and_the_like_are_refused(self, session: Session) -> None:
        with pytest.raises(RainException, match=r"argument 1 is 3 of type int.*use str"):
            Execute(["sleep", 3])
        with pytest.raises(RainException, match="NUL"):
            Execute(["echo", "a\0b"])
        with pytest.raises(RainException, match="not valid Unicode"):
            Execute(["echo", "\udcff"])

    def test_data_objects_tasks_and_inputs_become_files(self, session: Session) -> None:
        made = tasks.Concat([blob("c"), blob("d")])
        args = ["cat", blob("a"), blob(LARGE), made, Input("in", dataobj=blob("e")), "./p/q"]
        task = Execute(args, stdout=True, input_paths=[Input(path="p/q", dataobj=made)])
        assert result_of(session, task).get_bytes() == b"a" + LARGE + b"cde" + b"cd"

    def test_a_file_s_name_takes_the_place_of_its_argument(self, session: Session) -> None:
        x = blob("x")
        args = [*SHOW, x, Input("label", dataobj=x), Input("l", path="d/path", dataobj=x), Output("out")]
        task = Execute(["sh", "-c", 'touch out; exec "$@"', "-", *args], stdout=True)
        shown = results_of(session, task)[0].get_str().split("\0")
        assert shown[1:] == ["label", "d/path", "out"]
        assert "/" not in shown[0]

    def test_one_object_given_twice_is_one_file(self, session: Session) -> None:
        x = blob("x")
        task = Execute([*SHOW, x, x], stdout=True)
        one, two = result_of(session, task).get_str().split("\0")
        assert one == two
        assert len(task.inputs) == 1

    def test_a_data_object_can_be_the_program(self, session: Session) -> None:
        program = Input("run me", dataobj=blob("#!/bin/sh\necho ran $1\n"), write=True)
        task = Execute(["sh", "-c", 'chmod +x "$1"; exec "./$1" now', "-", program], stdout=True)
        assert result_of(session, task).get_str() == "ran now\n"

    def test_strange_names_of_files_are_kept_byte_for_byte(self, session: Session) -> None:
        inputs = [Input(name, path=f"in/{name}", dataobj=blob(name)) for name in STRANGE[:-1]]
        outputs = [Output(path=f"out/{name}") for name in STRANGE]
        task = Execute(
            ["sh", "-c", 'cd in; cp -- * ../out; cp -- ./-rf "../out/$1"', "-", STRANGE[-1]],
            input_paths=inputs,
            output_paths=outputs,
        )
        found = [result.get_str() for result in results_of(session, task)]
        assert found == [*STRANGE[:-1], "-rf"]

    def test_names_that_look_like_options_are_not_taken_for_any(self, session: Session) -> None:
        task = Execute(
            ["cat", Input("-n", dataobj=blob("a\n")), Input("--help", dataobj=blob("b"))], stdout=True
        )
        assert result_of(session, task).get_str() == "a\nb"

    def test_strange_names_in_a_shell_command_are_words(self, session: Session) -> None:
        objects = [Input(name, dataobj=blob(f"{index}")) for index, name in enumerate(STRANGE[:-1])]
        task = Execute(["cat --", *objects, "; ls -q | wc -l"], stdout=True, shell=True)
        count = str(len(objects))
        assert result_of(session, task).get_str().strip() == "0123456789" + count

    def test_a_label_twice_is_refused(self, session: Session) -> None:
        with pytest.raises(RainException, match="label 'x' is given to two inputs"):
            Execute(["cat", Input("x", path="1", dataobj=blob("")), Input("x", path="2", dataobj=blob(""))])
        with pytest.raises(RainException, match="label 'x' is given to two outputs"):
            Execute(["tee", Output("x", path="1"), Output("x", path="2")])

    @pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", "a\0b", "", "."])
    def test_a_path_outside_of_the_directory_is_refused(self, session: Session, path: str) -> None:
        for make in (Input, InputDir, Output, OutputDir):
            with pytest.raises(RainException, match="path"):
                make("x", path=path)
        with pytest.raises(RainException, match="output_paths: the path"):
            Execute("true", output_paths=[path])

    def test_two_files_at_one_path_are_refused(self, session: Session) -> None:
        x, y = Input("x", path="p", dataobj=blob("")), Input("y", path="p", dataobj=blob(""))
        with pytest.raises(RainException, match="Two files of the program have the path 'p'"):
            Execute(["cat", x, y])
        with pytest.raises(RainException, match="'p/q' is inside of 'p'"):
            Execute(["cat", x, Output("p/q")])

    def test_an_input_without_an_object_is_refused(self, session: Session) -> None:
        with pytest.raises(RainException, match=r"Input\('x'\) has no data object"):
            Execute(["cat", Input("x")])

    def test_the_content_type_of_an_input_is_checked(self, session: Session) -> None:
        with pytest.raises(RainException, match="does not fit Input"):
            Execute(["cat", Input("x", dataobj=pickled(1), content_type="json")])

    def test_thousands_of_files_are_named_quickly_or_refused(self, session: Session) -> None:
        begin = time.monotonic()
        task = Execute(["cat", *[blob("x") for _ in range(2000)]], stdout=True)
        with pytest.raises(RainException, match="pass them in a file, or the files in a directory"):
            Execute(["cat", *[blob("x") for _ in range(10_000)]])
        assert time.monotonic() - begin < 5
        assert result_of(session, task).size == 2000

    def test_hundreds_of_inputs_and_outputs(self, session: Session) -> None:
        count = 300
        inputs = [Input(path=f"i{index}", dataobj=blob(str(index)), write=True) for index in range(count)]
        task = Execute(
            "for i in $(seq 0 299); do mv i$i o$i; done",
            shell=True,
            input_paths=inputs,
            output_paths=[f"o{index}" for index in range(count)],
        )
        found = [result.get_str() for result in results_of(session, task)]
        assert found == [str(index) for index in range(count)]


class TestStreams:
    def test_stdout_becomes_an_output(self, session: Session) -> None:
        labelled = Execute("echo b", stdout="mine")
        typed = Execute("echo '[3]'", stdout=Output("o", content_type="json"))
        plain = Execute("echo a", stdout=True)
        session.keep_all()
        session.submit()
        assert plain.outputs["stdout"].fetch().get_bytes() == b"a\n"
        assert labelled.outputs["mine"].fetch().get_bytes() == b"b\n"
        assert typed.outputs["o"].fetch().load() == [3]

    @pytest.mark.parametrize("size", [0, 70_000, 5_000_000])
    def test_stdout_of_any_size(self, session: Session, size: int) -> None:
        result = result_of(session, Execute(["head", "-c", str(size), "/dev/zero"], stdout=True))
        assert result.get_bytes() == bytes(size)

    def test_without_stdout_there_is_no_output(self, session: Session) -> None:
        for stdout in (None, False):
            assert len(Execute("echo a", stdout=stdout).outputs) == 0
        results_of(session, Execute("echo a"))

    @pytest.mark.parametrize(
        "stdout", [1, b"x", OutputDir("x"), Output("x", path="y"), Output("x", encode="json")]
    )
    def test_what_stdout_can_not_be_is_refused(self, session: Session, stdout: Any) -> None:
        with pytest.raises(RainException, match=r"stdout|encode"):
            Execute("echo a", stdout=stdout)

    @pytest.mark.parametrize("content", [b"", b"small\0", LARGE], ids=["empty", "small", "large"])
    def test_stdin_is_a_data_object(self, session: Session, content: bytes) -> None:
        assert result_of(session, Execute("cat", stdin=blob(content), stdout=True)).get_bytes() == content

    def test_stdin_is_a_task_or_an_input(self, session: Session) -> None:
        made = tasks.Concat([blob("t")])
        by_task = Execute("cat", stdin=made, stdout=True)
        by_input = Execute("cat - ./also", stdin=Input("x", path="also", dataobj=made), stdout=True)
        session.keep_all()
        session.submit()
        assert by_task.output.fetch().get_bytes() == b"t"
        assert by_input.output.fetch().get_bytes() == b"tt"
        assert by_input.inputs.labels == ["x"]

    def test_without_stdin_there_is_nothing_to_read(self, session: Session) -> None:
        assert result_of(session, Execute("cat", stdout=True)).get_bytes() == b""

    def test_stdin_is_not_a_directory(self, session: Session, tmp_path: Path) -> None:
        with pytest.raises(RainException, match="stdin"):
            Execute("cat", stdin=InputDir("x", dataobj=directory(tmp_path)))
        assert "the standard input is a directory" in error_of(
            session, Execute("cat", stdin=directory(tmp_path))
        )

    def test_the_order_of_inputs_and_outputs(self, session: Session) -> None:
        a, b, c = (Input(label, dataobj=blob(label)) for label in "abc")
        task = Execute(["tee", b, Output("2")], stdout="1", stdin=a, input_paths=[c], output_paths=["3"])
        assert task.inputs.labels == ["a", "b", "c"]
        assert task.outputs.labels == ["1", "2", "3"]

    def test_a_shell_command(self, session: Session) -> None:
        task = Execute(
            "cat | tr a-z A-Z && echo $((1+1)) > out; [ -f out ]",
            shell=True,
            stdin=blob("x y"),
            stdout=True,
            output_paths=["out"],
        )
        assert [result.get_str() for result in results_of(session, task)] == ["X Y", "2\n"]


class TestFiles:
    def test_outputs_come_by_argument_and_by_path(self, session: Session) -> None:
        script = 'echo 1 > "$1"; echo 2 > "$2"; echo 3 > d/e/three; echo 4 > four; echo 5 > 5'
        task = Execute(
            ["sh", "-c", script, "-", Output("one"), Output("two", path="t/w/o")],
            output_paths=[Output("three", path="d/e/three"), "four", Output("5", content_type="json")],
        )
        results = results_of(session, task)
        assert [result.get_str() for result in results] == ["1\n", "2\n", "3\n", "4\n", "5\n"]
        assert task.outputs.labels == ["one", "two", "three", "four", "5"]
        assert results[4].load() == 5

    def test_a_nameless_output_gets_a_path(self, session: Session) -> None:
        assert result_of(session, Execute(["cp", blob("x"), Output()])).get_bytes() == b"x"

    @pytest.mark.parametrize("size", [0, 70_000, 5_000_000])
    def test_an_output_of_any_size(self, session: Session, size: int) -> None:
        task = Execute(f"head -c {size} /dev/zero > out", shell=True, output_paths=["out"])
        assert result_of(session, task).size == size

    def test_an_output_of_no_content_type_for_encoding_is_refused(self, session: Session) -> None:
        with pytest.raises(RainException, match="encode is for Python functions"):
            Execute(["tee", Output("x", encode="json")])

    def test_directories_in_and_out(self, session: Session, tmp_path: Path) -> None:
        source = tmp_path / "source"
        (source / "sub" / "empty").mkdir(parents=True)
        (source / "sub" / "large").write_bytes(LARGE)
        (source / "run").write_text("#!/bin/sh\necho ran\n")
        (source / "run").chmod(0o755)
        (source / "link").symlink_to("sub/large")
        task = Execute(
            "./given/run > log; cp -r given/. made; chmod -R u+w made; echo more > made/sub/more",
            shell=True,
            input_paths=[InputDir("given", dataobj=directory(source))],
            output_paths=["log", OutputDir("made")],
        )
        log, made = results_of(session, task)
        assert (log.get_str(), made.data_type) == ("ran\n", DataType.DIRECTORY)
        made.write(tmp_path / "made")
        assert (tmp_path / "made" / "sub" / "more").read_text() == "more\n"
        assert (tmp_path / "made" / "link").read_bytes() == LARGE
        assert (tmp_path / "made" / "sub" / "empty").is_dir()
        assert os.access(tmp_path / "made" / "run", os.X_OK)

    def test_a_directory_as_an_argument(self, session: Session, tmp_path: Path) -> None:
        (tmp_path / "x").write_text("in x")
        (tmp_path / "y").write_text("in y")
        given = directory(tmp_path)
        task = Execute(["cat d/x; ls", given, InputDir("d", dataobj=given)], stdout=True, shell=True)
        assert "in x" in (shown := result_of(session, task).get_str())
        assert shown.count("x\ny\n") == 2

    def test_a_blob_where_a_directory_is_due_is_refused(self, session: Session, tmp_path: Path) -> None:
        with pytest.raises(RainException, match="is a blob, but a directory is needed"):
            Execute(["ls", InputDir("d", dataobj=blob(""))])
        with pytest.raises(RainException, match=r"is a directory, but .* takes a blob; use InputDir"):
            Execute(["cat", Input("d", dataobj=directory(tmp_path))])

    def test_a_writable_input_is_a_copy(self, session: Session, tmp_path: Path) -> None:
        (tmp_path / "f").write_text("dir")
        small, large, tree = blob("small"), blob(LARGE), directory(tmp_path)
        script = "for f in s l t/f; do echo -n more >> $f; done; rm s; touch t/new; cat l t/f"
        writer = Execute(
            script,
            shell=True,
            stdout=True,
            input_paths=[
                Input("s", dataobj=small, write=True),
                Input("l", dataobj=large, write=True),
                InputDir("t", dataobj=tree, write=True),
            ],
        )
        readers = [tasks.Concat([small]), tasks.Concat([large]), tasks.SliceDirectory(tree, "f")]
        session.keep_all()
        session.submit()
        assert writer.output.fetch().get_bytes() == LARGE + b"moredirmore"
        session.wait(readers)
        assert [task.output.fetch().get_bytes() for task in readers] == [b"small", LARGE, b"dir"]

    def test_a_writable_input_can_become_an_output(self, session: Session) -> None:
        task = Execute(
            "echo b >> x",
            shell=True,
            input_paths=[Input("x", dataobj=blob("a\n"), write=True)],
            output_paths=["x"],
        )
        assert result_of(session, task).get_str() == "a\nb\n"

    def test_the_directory_is_fresh_and_gone_afterwards(self, session: Session) -> None:
        command = "pwd; ls -A; mkdir -p a/b; touch a/b/c .hidden; chmod 0 a/b/c; chmod 500 a/b"
        made = [Execute(command, shell=True, stdout=True) for _ in range(3)]
        session.keep_all()
        session.submit()
        places = [task.output.fetch().get_str().split("\n") for task in made]
        assert [rest for _, *rest in places] == [[""]] * 3
        _wait_until_gone([place for place, *_ in places])

    def test_the_directory_of_a_failed_program_is_gone_afterwards(
        self, client: Client, tmp_path: Path
    ) -> None:
        with client.new_session() as session:
            error_of(session, Execute(f"pwd > {tmp_path}/where; mkdir x; false", shell=True))
        _wait_until_gone([(tmp_path / "where").read_text().strip()])


class TestFailures:
    def test_an_exit_code_fails_the_task_with_the_end_of_stderr(self, session: Session) -> None:
        task = Execute("seq 1 20000 >&2; echo the last line >&2; exit 3", shell=True)
        error = error_of(session, task)
        assert "the command ended with exit code 3" in error
        assert error.index("Standard error (its end):") < error.index("19999\n20000\nthe last line")
        assert len(error) < 20_000

    def test_the_text_says_what_failed_and_where_it_was_made(self, session: Session) -> None:
        task = Execute(["false"], name="group/checked")
        error = error_of(session, task)
        assert error.startswith(
            f"Task 'group/checked' ({task.id}, builtin/execute) failed on worker 127.0.0.1:"
        )
        assert "the program 'false' ended with exit code 1\nIt wrote nothing to its standard error." in error
        assert f"The task was made at {__file__}:" in error

    def test_the_end_of_stdout_is_shown_when_stderr_is_empty(self, session: Session) -> None:
        error = error_of(session, Execute("echo only here; exit 1", shell=True))
        assert "Standard output:\nonly here" in error

    def test_stderr_may_be_no_text(self, session: Session) -> None:
        error = error_of(session, Execute(r"printf 'a\377\000b\n' >&2; exit 1", shell=True))
        assert "a\ufffd" in error

    @pytest.mark.parametrize(
        ("signal", "name"), [("TERM", "SIGTERM"), ("SEGV", "SIGSEGV"), ("ABRT", "SIGABRT")]
    )
    def test_a_signal_fails_the_task_with_its_name(self, session: Session, signal: str, name: str) -> None:
        error = error_of(session, Execute(f"echo oops >&2; kill -{signal} $$", shell=True))
        assert f"was killed by signal {name}" in error
        assert "oops" in error

    def test_a_killed_program_is_tried_three_times(self, session: Session, tmp_path: Path) -> None:
        error = error_of(session, Execute(f"echo x >> {tmp_path}/tries; kill -KILL $$", shell=True))
        assert (tmp_path / "tries").read_text() == "x\n" * 3
        assert "SIGKILL" in error
        assert "3" in error

    def test_a_missing_program_fails_the_task(self, session: Session) -> None:
        assert "there is no program 'no-such-program' on the worker's PATH" in error_of(
            session, Execute("no-such-program --help")
        )

    @pytest.mark.parametrize(
        ("program", "problem"),
        [
            ("/no/such/program", "there is no program '/no/such/program' on the worker's host"),
            ("/etc/passwd", "is not executable"),
            ("/tmp", "is not executable"),
        ],
    )
    def test_what_is_no_program_fails_the_task(self, session: Session, program: str, problem: str) -> None:
        assert problem in error_of(session, Execute([program]))

    def test_a_missing_interpreter_is_said(self, session: Session) -> None:
        script = Input("s", dataobj=blob("#!/no/such/shell\n"), write=True)
        error = error_of(session, Execute(["sh", "-c", "chmod +x s; exec ./s", "-", script]))
        assert "not found" in error or "no such" in error.lower()

    def test_a_missing_output_fails_the_task_and_tells_what_is_there(self, session: Session) -> None:
        task = Execute("touch other; echo hint >&2", shell=True, output_paths=["out", "made/too"])
        error = error_of(session, task)
        assert "the output 'out' is missing; the task's directory has 'made', 'other'" in error
        assert "hint" in error

    @pytest.mark.parametrize(
        ("command", "output", "problem"),
        [
            ("mkdir x", Output("x"), "'x' is declared as a blob, but the program made a directory"),
            ("touch x", OutputDir("x"), "'x' is declared as a directory, but the program made a file"),
            ("mkfifo x", Output("x"), "'x' is neither a file nor a directory"),
            ("ln -s /etc/passwd x", Output("x"), "'x' is a symlink that leaves the task's directory"),
            ("ln -s ../.. x", OutputDir("x"), "'x' is a symlink that leaves the task's directory"),
            ("ln -s i x", Output("x"), "'x' is a symlink that leaves the task's directory"),
            ("ln -s nothing x", Output("x"), "'x' is a symlink to nothing"),
            ("mkdir x; ln -s /etc x/y", OutputDir("x"), "the symlink 'y' points to the absolute path '/etc'"),
            ("mkdir x; mkfifo x/y", OutputDir("x"), "'y'"),
        ],
    )
    def test_what_is_no_output_fails_the_task(
        self, session: Session, command: str, output: Output, problem: str
    ) -> None:
        given = Input("i", dataobj=blob(LARGE))
        task = Execute(command, shell=True, input_paths=[given], output_paths=[output])
        assert problem in error_of(session, task)

    def test_a_link_inside_of_the_directory_is_an_output(self, session: Session) -> None:
        task = Execute("echo a > a; ln -s a b; ln b c", shell=True, output_paths=["b"])
        assert result_of(session, task).get_str() == "a\n"


def _wait_until_gone(paths: list[str]) -> None:
    deadline = time.monotonic() + 3
    while left := [path for path in paths if os.path.lexists(path)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


def test_programs_of_the_tests_are_there() -> None:
    assert all(shutil.which(name) for name in ("sh", "cat", "tee", "seq", "mkfifo", "head"))
