"""What a program puts into its modules from outside (functions, constants, attributes of classes) runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rainzmq import LocalCluster

MODULE = """
from rainzmq import Output, remote
import patched_deep
X = 1
def helper():
    return X
def top():
    return [helper(), patched_deep.LIMIT]
class Kind:
    A = 1
    def get(self):
        return self.A
@remote(outputs=[Output(encode="json")])
def inside(ctx):
    return [X, top(), Kind().get(), Kind.A]
"""

PROGRAM = """
import patched, patched_deep
from rainzmq import Client, Output, remote

def plain(x=1):
    return x
def around():
    return plain()
@remote(outputs=[Output(encode="json")])
def use(ctx):
    return [around(), patched.X, patched.top(), patched.Kind().get(), patched.Kind.A]
@remote(outputs=[Output(encode="json")])
def late(ctx):
    from patched import X
    return X

def want():
    return [
        [around(), patched.X, patched.top(), patched.Kind().get(), patched.Kind.A],
        [patched.X, patched.top(), patched.Kind().get(), patched.Kind.A],
        patched.X,
    ]
def calls():
    tasks = [use(), patched.inside(), late()]
    for task in tasks:
        task.keep_outputs()
    return tasks
def check(name, change, old_calls_stay=False):
    wanted, old = want(), calls()
    change()
    new = calls()
    session.submit()
    found = [task.output.fetch().load() for task in new]
    assert found == want(), f"{name}: {found}, not {want()}"
    assert found != wanted, name
    if old_calls_stay:
        found = [task.output.fetch().load() for task in old]
        assert found == wanted, f"{name}, calls before it: {found}, not {wanted}"

def code():
    plain.__code__ = (lambda x=1: x + 100).__code__
def defaults():
    plain.__defaults__ = (5,)
def constant():
    patched.X = 3
def deep():
    patched_deep.LIMIT = 4
def function():
    before = patched.helper
    patched.helper = lambda: 70 + before()
def code_in_module():
    patched.top.__code__ = (lambda: [1, 2]).__code__
def attribute():
    patched.Kind.A = 5
def method():
    patched.Kind.get = lambda self: 6
with Client() as client, client.new_session() as session:
    check("code of a helper", code, True)
    check("defaults of a helper", defaults, True)
    check("constant of a module", constant, True)
    check("constant of a module that only a module uses", deep)
    check("function of a module", function)
    check("attribute of a class", attribute)
    check("method of a class", method)
    check("code of a function of a module", code_in_module)
print("all seen")
"""


def test_everything_that_is_patched_is_seen(shared_cluster: LocalCluster, tmp_path: Path) -> None:
    (tmp_path / "patched.py").write_text(MODULE)
    (tmp_path / "patched_deep.py").write_text("LIMIT = 1\n")
    (tmp_path / "main.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "main.py")],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "RAINZMQ_SERVER": str(shared_cluster.access_file)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "all seen\n"
