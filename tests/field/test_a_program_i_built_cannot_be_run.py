"""A file that was executable when it was made is executable wherever it becomes a file again."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rainzmq import Client, DataObject, Input, Output, Task, blob, directory, remote
from rainzmq.client.tasks import Concat, Execute, Load, MakeDirectory, Sleep, SliceDirectory, Store

SMALL = "#!/bin/sh\necho small\n"
LARGE = "#!/bin/sh\necho large\nexit\n" + "#" * 300_000
"""More than is kept in memory, so it is a file on workers."""

SCRIPTS = pytest.mark.parametrize(
    ("script", "says"),
    [pytest.param(SMALL, "small\n", id="small"), pytest.param(LARGE, "large\n", id="large")],
)


def built(script: str) -> Task:
    """A task that makes a program, as a compiler does."""
    return Execute(
        "cp source tool; chmod +x tool",
        shell=True,
        input_paths=[Input("source", dataobj=blob(script))],
        output_paths=["tool"],
    )


def said(client: Client, program: Any) -> str:
    """What a program writes that is run as the first argument."""
    run = Execute([program], stdout=True)
    run.output.keep()
    session = run.output.session
    session.submit()
    return run.output.fetch().get_str()


@SCRIPTS
def test_a_program_that_a_task_made_is_run_by_another_one(client: Client, script: str, says: str) -> None:
    with client.new_session("build"):
        assert said(client, built(script)) == says


def test_it_runs_on_another_worker_than_the_one_that_made_it(client: Client) -> None:
    with client.new_session("moves") as session:
        tool = built(LARGE)
        # Both workers have one cpu, so these two run at once on both of them.
        runs = [
            Execute(["sh", "-c", "sleep 0.5; ./tool", Input("tool", dataobj=tool)], stdout=True)
            for _ in range(2)
        ]
        for run in runs:
            run.output.keep()
        session.submit()
        assert [run.output.fetch().get_str() for run in runs] == ["large\n"] * 2
        session.update(runs)
        assert len({run.info.worker for run in runs if run.info is not None}) == 2


def test_a_copy_to_write_to_and_one_under_another_name_can_be_run(client: Client) -> None:
    with client.new_session("mapped") as session:
        tool = built(SMALL)
        run = Execute(
            "./a; echo 'echo more' >> bin/b; bin/b",
            shell=True,
            stdout=True,
            input_paths=[Input("a", dataobj=tool), Input("b", path="bin/b", dataobj=tool, write=True)],
        )
        run.output.keep()
        session.submit()
        assert run.output.fetch().get_str() == "small\nsmall\nmore\n"


@SCRIPTS
def test_loading_slicing_packing_and_waiting_keep_it(
    client: Client, tmp_path: Path, script: str, says: str
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    program = tree / "tool"
    program.write_text(script)
    program.chmod(0o755)
    with client.new_session("ways"):
        assert said(client, Load(str(program))) == says
    with client.new_session("ways"):
        assert said(client, SliceDirectory(directory(tree), "tool")) == says
    with client.new_session("ways"):
        assert said(client, Sleep(Load(str(program)), 0.01)) == says
    with client.new_session("ways"):
        packed = MakeDirectory({"bin/tool": Load(str(program))})
        assert said(client, SliceDirectory(packed, "bin/tool")) == says


@SCRIPTS
def test_what_is_stored_and_fetched_to_a_path_can_be_run(
    client: Client, tmp_path: Path, script: str, says: str
) -> None:
    def run(name: str) -> str:
        return subprocess.run([tmp_path / name], capture_output=True, text=True, check=True).stdout

    with client.new_session("out") as session:
        tool = built(script)
        tool.output.keep()
        Store(tool, str(tmp_path / "stored"))
        session.submit()
        session.wait_all()
        assert run("stored") == says
        tool.output.fetch(tmp_path / "fetched")
        assert run("fetched") == says
        instance = tool.output.fetch()
        assert instance.info is not None
        assert instance.info.executable
        instance.write(tmp_path / "written")
        instance.link(tmp_path / "linked")
        assert run("written") == run("linked") == says
        assert os.access(tmp_path / "written", os.W_OK)


def test_its_info_says_so(client: Client) -> None:
    with client.new_session("info") as session:
        tool, plain = built(SMALL), Execute("echo", stdout=True)
        session.keep_all()
        session.submit()
        session.wait_all()
        session.update([tool.output, plain.output])
        assert tool.output.info is not None
        assert tool.output.info.executable
        assert plain.output.info is not None
        assert not plain.output.info.executable


@SCRIPTS
def test_a_function_gets_and_makes_programs(client: Client, script: str, says: str) -> None:
    @remote(outputs=1)
    def passes_on(ctx: Any, tool: Any, ways: str) -> Any:
        assert tool.info.executable
        tool.write("copy")
        tool.link("link")
        for name in ("copy", "link"):
            assert subprocess.run(["./" + name], capture_output=True, check=True).stdout.decode() == says
        if ways == "staged":
            return ctx.stage_file("copy")
        return tool

    for ways in ("staged", "returned"):
        with client.new_session(ways):
            assert said(client, passes_on(built(script), ways)) == says


def test_what_was_no_program_is_none(client: Client, tmp_path: Path) -> None:
    with client.new_session("plain") as session:
        outputs: list[DataObject] = [
            Concat([built(SMALL)]).output,
            Execute(["cat", built(SMALL)], stdout=True).output,
            Execute("echo > plain", shell=True, output_paths=[Output("plain")]).output,
        ]
        for output in outputs:
            output.keep()
        session.submit()
        session.wait_all()
        for number, output in enumerate(outputs):
            output.fetch(tmp_path / str(number))
            assert not stat.S_IMODE((tmp_path / str(number)).stat().st_mode) & 0o111
