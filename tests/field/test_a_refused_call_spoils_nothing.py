"""After a call that cannot be sent, as a module of it cannot travel, other calls of the program go on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rainzmq import LocalCluster

PROGRAM = """
import sys
import helper, middle, fine
with open(helper.__file__, "w") as file:
    file.write("def value():\\n    return 'edited'\\n")
import rainzmq
from rainzmq import Client, Output, RainException, remote
sys.modules.pop("token", None)
sys.path.insert(0, "clash")
import token as clash

@remote(outputs=[Output(encode="json")])
def good(ctx):
    return fine.value()
@remote(outputs=[Output(encode="json")])
def plain(ctx):
    return "plain"
@remote(outputs=[Output(encode="json")])
def by_name(ctx):
    return clash.value()
@remote(outputs=[Output(encode="json")])
def by_edited(ctx):
    return middle.value()
@remote(outputs=[Output(encode="json")])
def by_argument(ctx, value):
    return 1

def call(function, *args):
    try:
        tasks = [function(*args)]
    except RainException as error:
        return str(error).partition(" (")[0]
    tasks[0].keep_outputs()
    session.submit()
    return tasks[0].output.fetch().load()

with Client() as client:
    for turn in range(2):
        with client.new_session() as session:
            for function, *args in [
                (good,), (by_name,), (good,), (by_name,), (by_edited,), (plain,), (by_edited,),
                (by_argument, clash.value), (good,), (by_argument, middle.value), (plain,), (good,),
            ]:
                print(function.name, call(function, *args))
"""

NAME, EDITED = "Module 'token' of this program", "Module 'helper'"


def test_calls_after_a_refused_one_run(shared_cluster: LocalCluster, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("def value():\n    return 1\n")
    (tmp_path / "middle.py").write_text("from helper import value as inner\ndef value(): return inner()\n")
    (tmp_path / "fine.py").write_text("def value():\n    return 'fine'\n")
    (tmp_path / "clash").mkdir()
    (tmp_path / "clash" / "token.py").write_text("def value():\n    return 'mine'\n")
    (tmp_path / "main.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "main.py"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "RAINZMQ_SERVER": str(shared_cluster.access_file), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    turn = [
        "good fine",
        f"by_name {NAME}",
        "good fine",
        f"by_name {NAME}",
        f"by_edited {EDITED}",
        "plain plain",
        f"by_edited {EDITED}",
        f"by_argument {NAME}",
        "good fine",
        f"by_argument {EDITED}",
        "plain plain",
        "good fine",
    ]
    assert done.stdout.splitlines() == 2 * turn
