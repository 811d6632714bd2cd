"""The RAM disk stays full after my cluster ended."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from rainzmq import Client, LocalCluster, Output, OutputDir, TaskException, remote, tasks

DEEP = (
    "import os\n"
    "for _ in range(60):\n"
    "    os.mkdir('x' * 100); os.chdir('x' * 100); open('file', 'w').close()\n"
    "os.chmod('.', 0)\n"
)


def test_directories_deeper_than_any_path_go_with_their_task(home: Path) -> None:
    @remote(outputs=[Output(encode="json")])
    def deep(ctx: Any) -> str:
        start = os.getcwd()
        exec(DEEP)
        return start

    with LocalCluster(workers=[1], dashboard=False) as cluster:
        with cluster.client() as client, client.new_session("deep") as session:
            program = tasks.Execute(f'pwd; python3 -c "{DEEP}"', shell=True, stdout=Output("where"))
            called = deep()
            session.keep_all()
            session.submit()
            session.wait_all()
            inside = called.output.fetch().load(), program.output.fetch().get_str().strip()
        workdir = Path(os.path.commonpath(inside)).parent
        assert (workdir / "lock").exists()
    assert not workdir.exists()


def test_they_are_refused_as_an_output_by_a_short_error(client: Client) -> None:
    @remote(outputs=[OutputDir("tree")])
    def deep(ctx: Any) -> Any:
        os.mkdir("tree")
        start = os.getcwd()
        os.chdir("tree")
        exec(DEEP)
        os.chdir(start)
        return ctx.stage_directory("tree")

    program = "import os; os.mkdir('tree'); os.chdir('tree')\n" + DEEP
    for make in (deep, lambda: tasks.Execute(["python3", "-c", program], output_paths=[OutputDir("tree")])):
        with client.new_session("deep") as session:
            made = make()
            session.submit()
            with pytest.raises(TaskException, match="too deep: paths in it are longer than the 4096 bytes"):
                made.wait()
