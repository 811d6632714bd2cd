"""Modules in zip files (zipapps, eggs, wheels on the path) are the user's code and travel as any other."""

from __future__ import annotations

import os
import subprocess
import sys
import zipapp
from pathlib import Path

from rainzmq import LocalCluster

MAIN = """
import enum, sys
from shapes import area
from shapes.kinds import Kind
import single
from rainzmq import Client, Output, remote

@remote(outputs=[Output(encode="pickle")])
def use(ctx, kind):
    import lazily
    return [area(2), kind is Kind.SQUARE, Kind.ROUND, single.VALUE, single.text(), lazily.VALUE]

def get(task):
    task.keep_outputs()
    session.submit()
    return task.output.fetch().load()

with Client() as client, client.new_session() as session:
    found = get(use(Kind.SQUARE))
    assert found.pop(2) is Kind.ROUND
    print(found)
    print(get(single.inside()))
"""

FILES = {
    "shapes/__init__.py": """
import pkgutil
from .kinds import Kind
def area(x):
    return x * int(pkgutil.get_data(__package__, "data/factor.txt"))
""",
    "shapes/kinds.py": "import enum\nclass Kind(enum.Enum):\n    SQUARE = 1\n    ROUND = 2\n",
    "shapes/data/factor.txt": "21",
    "lazily.py": "VALUE = 'version 1'\n",
    "single.py": """
from rainzmq import Output, remote
VALUE = "version 1"
def text():
    return "of the zip"
@remote(outputs=[Output(encode="json")])
def inside(ctx):
    return VALUE
""",
}


def write_files(directory: Path, version: int) -> None:
    for name, text in {**FILES, "__main__.py": MAIN}.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text.replace("version 1", f"version {version}"))


def run(cluster: LocalCluster, *arguments: str, path: str = "") -> list[str]:
    """The lines that Python prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
        env={**os.environ, "RAINZMQ_SERVER": str(cluster.access_file), "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_zipapp_is_run_and_built_again(shared_cluster: LocalCluster, tmp_path: Path) -> None:
    for version in (1, 2):
        write_files(tmp_path / "app", version)
        zipapp.create_archive(tmp_path / "app", tmp_path / "app.pyz")
        said = f"version {version}"
        assert run(shared_cluster, str(tmp_path / "app.pyz")) == [
            str([42, True, said, "of the zip", said]),
            said,
        ]


def test_an_egg_is_on_the_path(shared_cluster: LocalCluster, tmp_path: Path) -> None:
    write_files(tmp_path / "app", 1)
    zipapp.create_archive(tmp_path / "app", tmp_path / "shapes-1.0-py3.egg")
    lines = run(shared_cluster, "-c", MAIN, path=str(tmp_path / "shapes-1.0-py3.egg"))
    assert lines == [str([42, True, "version 1", "of the zip", "version 1"]), "version 1"]
