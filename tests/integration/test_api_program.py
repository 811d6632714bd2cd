"""`Program`: a pattern of a program with holes, filled in many times; and what programs see of their task."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_calls import error_of, result_of, results_of

from rainzmq import (
    Client,
    Input,
    InputDir,
    Output,
    OutputDir,
    Program,
    RainException,
    Session,
    blob,
    directory,
    pickled,
    tasks,
)
from rainzmq.client.tasks import Execute

# Some tests only look at tasks, and leave their session without running them.
pytestmark = pytest.mark.filterwarnings("ignore:(Session|Leaving session) '")


@pytest.fixture
def session(client: Client) -> Iterator[Session]:
    with client.new_session("programs") as session:
        yield session


class TestProgram:
    def test_holes_are_filled_in_each_call(self, session: Session) -> None:
        join = Program(["cat", Input("first"), Input("second")], stdout=True)
        ab, ba = join(first=blob("a"), second=blob("b")), join(second=blob("a"), first=blob("b"))
        nested = join(first=ab, second=ba.output)
        session.keep_all()
        session.submit()
        assert [task.output.fetch().get_str() for task in (ab, ba, nested)] == ["ab", "ba", "abba"]
        assert nested.inputs.labels == ["first", "second"]
        assert nested.outputs.labels == ["stdout"]

    def test_hundreds_of_calls(self, session: Session) -> None:
        upper = Program("tr a-z A-Z", stdin=Input("text"), stdout="upper")
        made = [upper(text=blob(f"line {index}")) for index in range(200)]
        session.keep_all()
        session.submit()
        found = [task.output.fetch().get_str() for task in made]
        assert found == [f"LINE {index}" for index in range(200)]

    def test_every_kind_of_hole_and_output(self, session: Session, tmp_path: Path) -> None:
        (tmp_path / "f").write_text("in dir\n")
        program = Program(
            ["cat", Input("arg"), "- p/q d/f | tee", Output("copy"), "; echo 1 > x/y; mkdir z"],
            stdout=Output("all", content_type="text"),
            stdin=Input("in"),
            input_paths=[Input("mapped", path="p/q", write=True), InputDir("d")],
            output_paths=[Output("y", path="x/y", content_type="json"), OutputDir("z")],
            shell=True,
            name="everything",
        )
        fillings = {"arg": blob("a\n"), "in": blob("b\n"), "mapped": blob("c\n"), "d": directory(tmp_path)}
        task = program(**fillings)
        results = results_of(session, task)
        assert results[0].load() == results[1].get_str() == "a\nb\nc\nin dir\n"
        assert results[2].load() == 1
        assert task.inputs.labels == ["in", "arg", "mapped", "d"]
        assert task.outputs.labels == ["all", "copy", "y", "z"]

    def test_a_fixed_object_can_stand_beside_holes(self, session: Session) -> None:
        header = blob("# header\n")
        program = Program(["cat", header, Input("body")], stdout=True)
        assert result_of(session, program(body=blob("b"))).get_str() == "# header\nb"

    def test_one_hole_can_stand_in_several_places(self, session: Session) -> None:
        program = Program(["cat", Input("x"), Input("x")], stdout=True)
        assert result_of(session, program(x=blob("a"))).get_str() == "aa"

    def test_it_is_used_in_several_sessions(self, client: Client) -> None:
        program = Program(["cat", Input("x")], stdout=True)
        for text in ("a", "b"):
            with client.new_session() as session:
                assert result_of(session, program(x=blob(text))).get_str() == text

    def test_without_holes_it_is_called_without_arguments(self, session: Session) -> None:
        assert result_of(session, Program("echo x", stdout=True)()).get_str() == "x\n"

    def test_a_missing_label_is_a_type_error(self, session: Session) -> None:
        program = Program(["cat", Input("a"), Input("b")], name="join")
        with pytest.raises(TypeError, match="The program 'join' is called without its input 'b'"):
            program(a=blob(""))

    def test_an_unknown_label_is_a_type_error(self, session: Session) -> None:
        program = Program(["cat", Input("a")], name="show")
        with pytest.raises(TypeError, match="The program 'show' has no input 'c'; its inputs: 'a'"):
            program(a=blob(""), c=blob(""))
        with pytest.raises(TypeError):
            program(blob(""))

    def test_what_is_no_object_or_the_wrong_one_is_refused(self, session: Session, tmp_path: Path) -> None:
        program = Program(["cat", Input("a", content_type="json")])
        with pytest.raises(
            RainException, match=r"input 'a': a str is no data object; make one .*blob\('x'\)"
        ):
            program(a="x")
        with pytest.raises(RainException, match="does not fit Input"):
            program(a=pickled(1))
        with pytest.raises(RainException, match="is a directory, but"):
            program(a=directory(tmp_path))

    def test_names_are_of_the_program_or_of_the_call(self, session: Session) -> None:
        program = Program("true", name="usual")
        assert (program().name, program(name="special").name) == ("usual", "special")
        assert Program("true")().name is None

    def test_a_hole_may_be_called_name(self, session: Session) -> None:
        program = Program(["cat", Input("name")], stdout=True)
        assert result_of(session, program(name=blob("n"))).get_str() == "n"

    def test_cpus_of_a_program(self, session: Session) -> None:
        assert Program("true", cpus=3)().spec.resources == {"cpus": 3}

    def test_a_hole_without_a_label_is_refused(self) -> None:
        with pytest.raises(RainException, match="has no label"):
            Program(["cat", Input()])

    def test_a_failure_tells_where_the_call_was_made(self, session: Session) -> None:
        program = Program("false", name="no")
        task = program()
        assert f"The task was made at {__file__}:" in error_of(session, task)


class TestEnvironment:
    def test_a_program_is_told_what_it_is(self, session: Session) -> None:
        names = ("TASK_ID", "ATTEMPT", "SESSION_ID", "CPUS")
        task = Execute("; ".join(f"echo $RAINZMQ_{name}" for name in names), shell=True, stdout=True)
        told = result_of(session, task).get_str().split()
        assert told[:3] == [str(task.id), "0", str(session.session_id)]
        assert told[3].isdigit()

    def test_the_attempt_counts(self, session: Session, tmp_path: Path) -> None:
        error_of(session, Execute(f"echo $RAINZMQ_ATTEMPT >> {tmp_path}/x; kill -9 $$", shell=True))
        assert (tmp_path / "x").read_text() == "0\n1\n2\n"

    def test_a_program_has_the_environment_of_its_worker(self, session: Session) -> None:
        result = result_of(session, Execute("echo $PATH:$HOME", shell=True, stdout=True))
        assert result.get_str() == f"{os.environ['PATH']}:{os.environ['HOME']}\n"

    def test_a_program_has_no_descriptors_but_its_streams(self, session: Session) -> None:
        result = result_of(session, Execute(["sh", "-c", "ls /proc/$$/fd"], stdout=True))
        assert result.get_str().split() == ["0", "1", "2"]

    def test_signals_are_not_blocked_and_not_ignored(self, session: Session) -> None:
        result = result_of(session, Execute("grep -E '^Sig(Blk|Ign)' /proc/self/status", stdout=True))
        assert [int(line.split()[1], 16) for line in result.get_str().splitlines()] == [0, 0]

    def test_a_program_is_not_told_of_the_cluster_s_keys(self, session: Session) -> None:
        result = result_of(session, Execute("env", stdout=True))
        names = {line.split("=")[0] for line in result.get_str().splitlines() if line.startswith("RAINZMQ")}
        assert names >= {"RAINZMQ_TASK_ID", "RAINZMQ_ATTEMPT", "RAINZMQ_SESSION_ID", "RAINZMQ_CPUS"}
        assert not any("KEY" in name or "LIFELINE" in name for name in names), names

    def test_programs_of_many_sizes_of_output_at_once(self, session: Session) -> None:
        made = [Execute(["head", "-c", str(4**power), "/dev/zero"], stdout=True) for power in range(11)]
        total = Execute(["wc", "-c", tasks.Concat(made)], stdout=True)
        size = result_of(session, total).get_str().split()[0]
        assert int(size) == sum(4**power for power in range(11))
