"""What cannot travel is refused where the call is made, naming both files; everything else travels."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

from rainzmq import LocalCluster

HEAD = """
from rainzmq import Client, Output, RainException, remote

def get(task):
    task.keep_outputs()
    session.submit()
    return task.output.fetch().load()

session = Client().new_session()
"""


def run(cluster: LocalCluster, place: Path, body: str, before: str = "") -> list[str]:
    """The lines that a program prints whose modules are in `place`; `body` runs in its session, `before`
    before rainzmq is imported.
    """
    text = f"import importlib, sys\nsys.path.insert(0, {str(place)!r})\n{before}{HEAD}with session:\n"
    text += textwrap.indent(body, "    ")
    done = subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
        env={**os.environ, "RAINZMQ_SERVER": str(cluster.access_file), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


REFUSED = """
@remote(outputs=[Output(encode="json")])
def use(ctx):
    return uses.value()

import uses
try:
    use()
except RainException as error:
    print(error)
"""


def test_a_module_is_called_as_one_that_the_worker_needs(
    shared_cluster: LocalCluster, tmp_path: Path
) -> None:
    (tmp_path / "multiprocessing.py").write_text("def value():\n    return 'mine'\n")
    (tmp_path / "uses.py").write_text("from multiprocessing import value\n")
    [line] = run(shared_cluster, tmp_path, REFUSED)
    assert re.fullmatch(
        rf"Module 'multiprocessing' of this program \({tmp_path}/multiprocessing\.py\) has the name of a "
        r"module that the worker's own process uses \(/.*/multiprocessing/__init__\.py\), so tasks cannot "
        r"import it\. Give it another name",
        line,
    )


OTHERS = """
import code, test, statistics
@remote(outputs=[Output(encode="json")])
def use(ctx):
    return [code.value(), test.value(), statistics.value()]
print(*get(use()))
"""


def test_modules_are_called_as_others_of_python(shared_cluster: LocalCluster, tmp_path: Path) -> None:
    for name in ("code", "test", "statistics"):
        (tmp_path / f"{name}.py").write_text(f"def value():\n    return 'my {name}'\n")
    assert run(shared_cluster, tmp_path, OTHERS) == ["my code my test my statistics"]


EDIT = """
from pathlib import Path
import base_edited, uses_edited
Path(base_edited.__file__).write_text("def value():\\n    return 'new'\\n")
"""

EDITED = """
@remote(outputs=[Output(encode="json")])
def direct(ctx):
    return base_edited.value()

@remote(outputs=[Output(encode="json")])
def through(ctx):
    return uses_edited.value()

print(get(direct()))
try:
    through()
except RainException as error:
    print(error)
importlib.reload(base_edited)
importlib.reload(uses_edited)
print(get(through()), get(direct()))
"""


def test_an_edited_module_is_used_by_another_module(shared_cluster: LocalCluster, tmp_path: Path) -> None:
    (tmp_path / "base_edited.py").write_text("def value():\n    return 'old'\n")
    (tmp_path / "uses_edited.py").write_text("from base_edited import value\n")
    first, error, last = run(shared_cluster, tmp_path, EDITED, EDIT)
    assert first == "old"
    assert error == (
        f"Module 'base_edited' ({tmp_path}/base_edited.py) was edited after this program imported it, and "
        f"'uses_edited' ({tmp_path}/uses_edited.py), which travels as a file, uses it. Workers would import "
        "the edited one: call importlib.reload() on both, or start again"
    )
    assert last == "new new"
