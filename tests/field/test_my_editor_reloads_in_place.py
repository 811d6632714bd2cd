"""Tools such as `%autoreload 2` give functions of an edited module their new code without importing it again:
tasks run what the program runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rainzmq import LocalCluster

FIRST = '''
import functools
def twice(function):
    @functools.wraps(function)
    def call(*args):
        return 2 * function(*args)
    return call
@twice
def decorated():
    """Two

    lines."""
    return 1
def given(x=1):
    return x
class Kind:
    def get(self, x=(1, 2)):
        """Two

        lines."""
        return [self.name, x]
    @property
    def name(self):
        return "first"
    @staticmethod
    def fixed():
        return 1
def total():
    return [decorated(), given(), Kind().get(), Kind.fixed()]
'''

SECOND = (
    FIRST.replace("return 1\n", "return 10\n")
    .replace("x=1", "x=30")
    .replace('"first"', 'self.more() + "second"')
    .replace("    @property", "    def more(self):\n        return 'more'\n    @property")
    .replace("import functools", "import functools\n\ndef fresh():\n    return 'fresh'\n")
    .replace("Kind.fixed()]", "Kind.fixed(), fresh()]")
)

THIRD = SECOND.replace("10", "100")

PROGRAM = """
import ast, functools, sys
import edited, uses_it
from rainzmq import Client, Output, remote

@remote(outputs=[Output(encode="json")])
def use(ctx):
    return [edited.total(), uses_it.total()]
def wanted():
    return [edited.total(), uses_it.total()]
def get():
    task = use()
    task.keep_outputs()
    session.submit()
    return task.output.fetch().load()
def check():
    found, expected = get(), eval(repr(wanted()).replace("(1, 2)", "[1, 2]"))
    assert found == expected, f"{found}, not {expected}"
    print(found[0])

def innermost(value):
    value = getattr(value, "fget", getattr(value, "__func__", value))
    return getattr(value, "__wrapped__", value)
def patch(place, name, node, one_by_one, prefix=()):
    if one_by_one:
        node = ast.parse(ast.unparse(node)).body[0]
    for outer in prefix:
        outer.body = [node]
        node = outer
    space = dict(vars(edited))
    exec(compile(ast.Module([node], []), edited.__file__, "exec", dont_inherit=True), space)
    new = vars(space[prefix[0].name])[name] if prefix else space[name]
    if name not in vars(place):
        if not prefix:
            exec(compile(ast.Module([node], []), "<string>", "exec"), vars(edited))
        else:
            setattr(place, name, new)
        return
    old, new = innermost(vars(place)[name]), innermost(new)
    old.__code__, old.__defaults__ = new.__code__, new.__defaults__
def in_place(one_by_one):
    for node in ast.parse(open(edited.__file__).read()).body:
        if isinstance(node, ast.FunctionDef):
            patch(edited, node.name, node, one_by_one)
        elif isinstance(node, ast.ClassDef):
            for item in list(node.body):
                patch(edited.Kind, item.name, item, one_by_one, [node])
def write(text):
    open(edited.__file__, "w").write(text)

first, second, third, one_by_one = sys.argv[1:]
with Client() as client:
    with client.new_session() as session:
        check()
        write(second)
        check()
        in_place(one_by_one == "1")
        check()
    with client.new_session() as session:
        check()
        write(third)
        check()
        in_place(one_by_one == "1")
        check()
"""


@pytest.mark.parametrize("one_by_one", ["0", "1"], ids=["the whole file", "function by function"])
def test_edited_functions_are_put_in_place(
    shared_cluster: LocalCluster, tmp_path: Path, one_by_one: str
) -> None:
    (tmp_path / "edited.py").write_text(FIRST)
    (tmp_path / "uses_it.py").write_text("from edited import total\n")
    (tmp_path / "main.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "main.py", FIRST, SECOND, THIRD, one_by_one],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "RAINZMQ_SERVER": str(shared_cluster.access_file), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    first = "[2, 1, ['first', [1, 2]], 1]"
    second = "[20, 30, ['moresecond', [1, 2]], 10, 'fresh']"
    third = "[200, 30, ['moresecond', [1, 2]], 100, 'fresh']"
    assert done.stdout.splitlines() == [first, first, second, second, second, third]
