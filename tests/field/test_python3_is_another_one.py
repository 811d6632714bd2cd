"""A program that runs in a virtual environment that was not activated: `python3` in its tasks is the same."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from rainzmq import LocalCluster
from rainzmq.common.search_path import search_path

_PROGRAM = """
import subprocess, sys
from rainzmq import Client, remote, tasks

SHOW = ["python3", "-c", "import sys; print(sys.prefix)"]

@remote
def inside(ctx):
    return subprocess.run(SHOW, capture_output=True, text=True, check=True).stdout

with Client() as client, client.new_session("venv") as session:
    made = [tasks.Execute(SHOW, stdout=True), inside()]
    session.keep_all()
    session.submit()
    print(sys.prefix)
    for task in made:
        print(task.output.fetch().get_str(), end="")
"""


def test_programs_and_functions_find_the_python_of_their_client(tmp_path: Path) -> None:
    place = tmp_path / "env"
    venv.create(place, symlinks=True)
    # The packages of this environment, without installing anything.
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(place)}))
    here = [sysconfig.get_path("purelib"), str(Path(__file__).parents[2])]
    (packages / "these.pth").write_text("\n".join(here) + "\n")
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM)
    with LocalCluster(workers=[1], dashboard=False) as cluster:
        environment = {**os.environ, "RAINZMQ_SERVER": str(cluster.access_file)}
        done = subprocess.run(
            [place / "bin" / "python", program], capture_output=True, text=True, env=environment, check=False
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(place)] * 3


def _directory(path: Path, *programs: str) -> str:
    path.mkdir()
    for name in programs:
        (path / name).write_text("#!/bin/sh\n")
        (path / name).chmod(stat.S_IRWXU)
    return str(path)


def test_a_directory_that_is_not_here_gives_way_to_the_workers_interpreter(tmp_path: Path) -> None:
    own, tools = os.path.dirname(sys.executable), _directory(tmp_path / "tools", "tool")
    assert search_path("/no/such/env/bin", tools) == f"{own}:{tools}"
    assert search_path("", "") == own


def test_a_path_on_which_it_is_found_first_stays_as_it_is(tmp_path: Path) -> None:
    tools = _directory(tmp_path / "tools", "tool")
    first, second = _directory(tmp_path / "a", "python3"), _directory(tmp_path / "b", "python3")
    assert search_path(first, f"{tools}:{first}:{second}") == f"{tools}:{first}:{second}"
    assert search_path(second, f"{tools}:{first}:{second}") == f"{second}:{tools}:{first}:{second}"
