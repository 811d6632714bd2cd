"""Whatever way a module got into a process: the code that runs is the code the user has now."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rainzmq import LocalCluster

PROGRAM = """
import myhelp
from rainzmq import Client, remote
@remote()
def use(ctx):
    return f"{myhelp.value()} {myhelp.CONSTANT}"
with Client() as client, client.new_session() as session:
    task = use()
    task.keep_outputs()
    session.submit()
    print(task.output.fetch().get_str())
"""


def write_helper(directory: Path, version: int) -> None:
    """`myhelp.py`, of the same length whatever the version."""
    (directory / "myhelp.py").write_text(f"CONSTANT = {version}\n\ndef value():\n    return {version}\n")


def run(server: Any, script: Path | str, **more: Any) -> str:
    """What a program prints that uses the cluster; `server` is its access file."""
    arguments = [str(script)] if isinstance(script, Path) else ["-c", script]
    environment = {**os.environ, "RAINZMQ_SERVER": str(server), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= more.pop("env", {})
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, env=environment, **more
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(params=["in the directory of the program", "with PYTHONPATH"])
def server(request: pytest.FixtureRequest, tmp_path: Path, home: Path) -> Iterator[str]:
    """A cluster that was started where the program is, or that has its directory in PYTHONPATH."""
    (tmp_path / "src").mkdir()
    here = request.param == "in the directory of the program"
    with started(tmp_path / "src" if here else tmp_path, {} if here else {"PYTHONPATH": "src"}) as server:
        yield server


@contextmanager
def started(directory: Path, environment: dict[str, str]) -> Iterator[str]:
    """A cluster of one cpu that is started in `directory`, as the path of its access file."""
    command = [sys.executable, "-m", "rainzmq", "local", "--cpus", "1", "--port", "0"]
    with subprocess.Popen(
        [*command, "--", "sh", "-c", 'echo "$RAINZMQ_SERVER"; exec cat'],
        cwd=directory,
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()
        assert process.wait(20) == 0


def test_a_module_is_edited_between_runs(server: str, tmp_path: Path) -> None:
    (tmp_path / "src" / "main.py").write_text(PROGRAM)
    for version in (1, 2, 3):
        write_helper(tmp_path / "src", version)
        assert run(server, tmp_path / "src" / "main.py", cwd=tmp_path / "src") == f"{version} {version}\n"


@pytest.mark.parametrize("library", ["msgpack", "cloudpickle", "json"])
def test_a_file_where_the_cluster_starts_has_the_name_of_a_library(
    library: str, tmp_path: Path, home: Path
) -> None:
    (tmp_path / "src").mkdir()
    write_helper(tmp_path / "src", 1)
    with started(tmp_path, {}) as server:
        (tmp_path / f"{library}.py").write_text("raise SystemExit('not the one')\n")
        program = f"import sys; sys.path.append({str(tmp_path / 'src')!r})\n{PROGRAM}"
        assert run(server, program, cwd="/") == "1 1\n"


NOTEBOOK = """
import importlib, sys
from pathlib import Path
from rainzmq import LocalCluster, Output, remote
import myhelp

def write(version):
    Path("myhelp.py").write_text(f"CONSTANT = {version}\\n\\ndef value():\\n    return {version}\\n")

@remote(outputs=[Output(encode="json")])
def use(ctx):
    return [myhelp.value(), myhelp.CONSTANT]

def get(task):
    task.keep_outputs()
    session.submit()
    return task.output.fetch().load()

with LocalCluster(cpus=1, dashboard=False) as cluster, cluster.client() as client:
    with client.new_session() as session:
        print(get(use()))
        write(2)
        print(get(use()), "as imported")
        importlib.reload(myhelp)
        print(get(use()), "reloaded")
    write(3)
    importlib.reload(myhelp)
    with client.new_session() as session:
        print(get(use()), "in a new session")
        myhelp.CONSTANT = 4
        print(get(use()), "set from outside")
"""


def test_a_notebook_reloads_a_module(tmp_path: Path, home: Path) -> None:
    write_helper(tmp_path, 1)
    shown = run("", NOTEBOOK, cwd=tmp_path)
    assert shown.splitlines() == [
        "[1, 1]",
        "[1, 1] as imported",
        "[2, 2] reloaded",
        "[3, 3] in a new session",
        "[3, 4] set from outside",
    ]


BY_PATH = """
import importlib.util, sys
from rainzmq import Client, Output, remote
spec = importlib.util.spec_from_file_location("tool_by_path", {file!r})
module = importlib.util.module_from_spec(spec)
sys.modules["tool_by_path"] = module
spec.loader.exec_module(module)

@remote(outputs=[Output(encode="json")])
def use(ctx, kind):
    return [module.NAME, kind.__module__, kind.name]

with Client() as client, client.new_session() as session:
    task = use(module.Kind.A)
    task.keep_outputs()
    session.submit()
    print(task.output.fetch().load())
"""


def test_a_module_is_loaded_by_its_path(shared_cluster: LocalCluster, tmp_path: Path) -> None:
    for version in "ab":
        (tmp_path / "some-file.py").write_text(
            f"import enum\nNAME = {version!r}\nclass Kind(enum.Enum):\n    A = 1\n"
        )
        program = BY_PATH.format(file=str(tmp_path / "some-file.py"))
        assert run(shared_cluster.access_file, program) == f"['{version}', 'tool_by_path', 'A']\n"


SIZED = """
import sized
from rainzmq import Client, remote
with Client() as client, client.new_session() as session:
    calls = [remote(function)() for name, function in vars(sized).items() if name.startswith("look")]
    session.keep_all()
    session.submit()
    print([call.output.fetch().get_str() for call in calls])
"""

LOOK = """
def look{number}(ctx):
    table = Path(__file__).with_name('table.bin').read_bytes()
    return f'{version} {{len(table)}} {{len(ctx.spec.inputs)}}'
"""


def write_sized(directory: Path, version: int, functions: int, size_bytes: int) -> None:
    """A package with a file that cannot be compressed."""
    package = directory / "sized"
    package.mkdir(exist_ok=True)
    (package / "table.bin").write_bytes(os.urandom(size_bytes))
    looks = [LOOK.format(number=number, version=version) for number in range(functions)]
    (package / "__init__.py").write_text("from pathlib import Path\n" + "".join(looks))


@pytest.mark.parametrize(("size_bytes", "inputs"), [(0, 0), (200 << 10, 0), (900 << 10, 1)])
def test_a_package_of_any_size_runs_as_it_is_now_and_costs_a_task_no_input_unless_it_is_very_large(
    shared_cluster: LocalCluster, tmp_path: Path, size_bytes: int, inputs: int
) -> None:
    (tmp_path / "main.py").write_text(SIZED)
    for version in (1, 2):
        write_sized(tmp_path, version, 1, size_bytes)
        told = run(shared_cluster.access_file, tmp_path / "main.py")
        assert told == f"['{version} {size_bytes} {inputs}']\n"


def test_a_session_with_many_functions_is_not_sent_a_large_package_with_each(
    shared_cluster: LocalCluster, tmp_path: Path
) -> None:
    (tmp_path / "main.py").write_text(SIZED)
    write_sized(tmp_path, 1, 40, 200 << 10)
    told = run(shared_cluster.access_file, tmp_path / "main.py")
    inputs = [int(each.strip("[]'\n").split()[2]) for each in told.split(",")]
    assert inputs == [0] * 21 + [1] * 19, "4 MiB"


APPEARS = """
from pathlib import Path
from rainzmq import Client, remote
@remote()
def look(ctx):
    try:
        import appears
    except ImportError:
        return "none"
    return appears.VALUE
with Client() as client, client.new_session() as session:
    for number in range(4):
        task = look()
        task.keep_outputs()
        session.submit()
        print(task.output.fetch().get_str(), end=" ")
        if number == 1:
            Path(__file__).with_name("appears.py").write_text("VALUE = 'there'")
        elif number == 2:
            Path(__file__).with_name("appears.py").write_text("VALUE = 'edited'")
"""


def test_a_module_that_only_tasks_import_is_written_between_submits(
    shared_cluster: LocalCluster, tmp_path: Path
) -> None:
    (tmp_path / "main.py").write_text(APPEARS)
    assert run(shared_cluster.access_file, tmp_path / "main.py") == "none none there edited "
