"""What the user sees is what runs: everything that a remote function refers to may be rebound."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rainzmq import Client, LocalCluster, Output, RainWarning, Session, blob, remote

HEAD = """
from rainzmq import Client, Output, blob, pickled, remote
def get(task):
    task.keep_outputs()
    session.submit()
    return task.output.fetch().load()
shown = []
session = Client().new_session()
with session:
"""


def run(cluster: LocalCluster, tmp_path: Path, body: str, **files: str) -> list[Any]:
    """What a script shows that has `body` within a session."""
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
    script = tmp_path / "script.py"
    script.write_text(HEAD + textwrap.indent(textwrap.dedent(body), "    ") + "\nprint(repr(shown))\n")
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "RAINZMQ_SERVER": str(cluster.access_file), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return list(eval(done.stdout))


def test_a_helper_and_a_global_are_redefined(shared_cluster: LocalCluster, tmp_path: Path) -> None:
    shown = run(
        shared_cluster,
        tmp_path,
        """
        scale = 1
        def inner(x): return ("a", x)
        def helper(x): return inner(x)
        class Kind:
            def get(self): return scale
        @remote(outputs=[Output(encode="json")])
        def f(ctx):
            return [helper(scale), Kind().get(), later() if "later" in globals() else None]
        shown.append(get(f()))
        scale = 2
        shown.append(get(f()))
        scale = 2.0
        shown.append(get(f()))
        def inner(x): return ("b", x)
        shown.append(get(f()))
        class Kind:
            def get(self): return -scale
        shown.append(get(f()))
        unrelated = 1
        shown.append(get(f()))
        def later(): return 7
        shown.append(get(f()))
        inner.__code__ = (lambda x: ("c", x)).__code__
        shown.append(get(f()))
        """,
    )
    assert shown == [
        [["a", 1], 1, None],
        [["a", 2], 2, None],
        [["a", 2.0], 2.0, None],
        [["b", 2.0], 2.0, None],
        [["b", 2.0], -2.0, None],
        [["b", 2.0], -2.0, None],
        [["b", 2.0], -2.0, 7],
        [["c", 2.0], -2.0, 7],
    ]
    assert type(shown[2][1]) is float


def test_every_call_has_the_values_of_its_time(shared_cluster: LocalCluster, tmp_path: Path) -> None:
    shown = run(
        shared_cluster,
        tmp_path,
        """
        @remote(outputs=[Output(encode="json")])
        def f(ctx): return scale
        made = []
        for scale in range(5):
            made.append(f())
            made[-1].keep_outputs()
        session.submit()
        shown += [task.output.fetch().load() for task in made]
        """,
    )
    assert shown == [0, 1, 2, 3, 4]


def test_a_list_is_changed_in_place(shared_cluster: LocalCluster, tmp_path: Path) -> None:
    shown = run(
        shared_cluster,
        tmp_path,
        """
        found = [1]
        class Settings:
            limit = 1
        @remote(outputs=[Output(encode="json")])
        def f(ctx): return [found, Settings.limit]
        first = f()
        found.append(2)
        shown.append(get(first))
        found.append(3)
        Settings.limit = 2
        shown.append(get(f()))
        """,
    )
    assert shown == [[[1, 2], 1], [[1, 2, 3], 2]]


def test_a_global_of_a_module_is_set_when_the_program_starts(
    shared_cluster: LocalCluster, tmp_path: Path
) -> None:
    shown = run(
        shared_cluster,
        tmp_path,
        """
        import jobs
        jobs.main(3)
        shown.append(get(jobs.work()))
        jobs.main(4)
        shown.append(get(jobs.work()))
        made = []
        for value in range(3):
            jobs.main(value)
            made.append(jobs.work())
            made[-1].keep_outputs()
        session.submit()
        shown += [task.output.fetch().load()[1] for task in made]
        """,
        jobs="""
        from rainzmq import Output, remote
        config = None
        def main(value):
            global config
            config = {"x": value}
        def read(): return config["x"]
        @remote(outputs=[Output(encode="json")])
        def work(ctx): return [config, read()]
        """,
    )
    assert shown == [[{"x": 3}, 3], [{"x": 4}, 4], 0, 1, 2]


def test_the_state_of_a_module_is_one(shared_cluster: LocalCluster, tmp_path: Path) -> None:
    shown = run(
        shared_cluster,
        tmp_path,
        """
        import counts
        makers = [counts.count, counts.look, counts.local()]
        shown += [get(make(cpus=1)) for make in makers for _ in range(1)]
        """,
        counts="""
        import enum
        from rainzmq import Output, remote
        class Color(enum.Enum):
            RED = 1
        state = []
        def plain(): return len(state)
        @remote(outputs=[Output(encode="json")])
        def count(ctx):
            state.append(1)
            return plain() == len(state)
        @remote(outputs=[Output(encode="json")])
        def look(ctx, color=Color.RED):
            return color is Color.RED and __name__ == "counts" and plain() == len(state)
        def local():
            @remote(outputs=[Output(encode="json")])
            def inner(ctx): return plain() == len(state)
            return inner
        """,
    )
    assert shown == [True, True, True]


def test_instances_of_the_scripts_classes_come_back(shared_cluster: LocalCluster, tmp_path: Path) -> None:
    shown = run(
        shared_cluster,
        tmp_path,
        """
        import enum
        from dataclasses import dataclass
        class Color(enum.Enum):
            RED = 1
        @dataclass
        class Point:
            x: int
            color: Color = Color.RED
            def double(self): return 2 * self.x
        @remote(outputs=[Output(encode="pickle")])
        def move(ctx, point):
            assert isinstance(point, Point) and point.color is Color.RED
            return Point(point.x + 1)
        before = Point.double
        for _ in range(3):
            point = get(move(Point(1)))
            shown.append([type(point) is Point, point.color is Color.RED, point.double()])
        shown.append(Point.double is before)
        """,
    )
    assert shown == [[True, True, 4]] * 3 + [True]


@pytest.fixture
def session(client: Client) -> Iterator[Session]:
    with client.new_session() as session:
        yield session


def load(session: Session, task: Any) -> Any:
    task.keep_outputs()
    session.submit()
    return task.output.fetch().load()


def test_defaults_and_closures_are_bound_anew(session: Session) -> None:
    value: Any = 1

    def function(ctx: Any, x: int = 1, *, y: int = 1) -> Any:
        return [value, x, y]

    f = remote(outputs=[Output(encode="json")])(function)
    assert load(session, f()) == [1, 1, 1]
    value = 2
    assert load(session, f()) == [2, 1, 1]
    function.__defaults__ = (3,)
    assert load(session, f()) == [2, 3, 1]
    function.__kwdefaults__ = {"y": 4}
    assert load(session, f()) == [2, 3, 4]
    value = blob(b"5", content_type="json")
    first = remote(outputs=[Output(encode="json")])(lambda ctx: value.load())
    assert load(session, first()) == 5


def test_much_data_that_could_change_gives_a_warning(session: Session) -> None:
    small, large = [1], [bytes(2 << 20)]

    @remote(outputs=[Output(encode="json")])
    def f(ctx: Any) -> Any:
        return len(small) + len(large)

    with pytest.warns(RainWarning, match=r"2 MiB, most of it in 'large'"):
        task = f()
    assert load(session, task) == 2
    large = [b""] * 5
    assert load(session, f()) == 6


def test_settings_reach_modules_that_are_imported_by_made_up_names(
    shared_cluster: LocalCluster, tmp_path: Path
) -> None:
    shown = run(
        shared_cluster,
        tmp_path,
        """
        from importlib import import_module
        import settings
        settings.LIMIT = 96
        @remote(outputs=[Output(encode="json")])
        def f(ctx, name):
            return import_module("plug" + "in_" + name).LIMIT, import_module("set" + "tings").LIMIT
        shown.append(get(f("a")))
        settings.LIMIT = 97
        shown.append(get(f("a")))
        """,
        settings="LIMIT = 1\n",
        plugin_a="import settings\nLIMIT = settings.LIMIT\n",
    )
    assert shown == [[96, 96], [97, 97]]
