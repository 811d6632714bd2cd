"""Names for what a child cannot import."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import pytest

from rainzmq.common.pickles import dumps_by_value
from rainzmq.subworker import children

SOURCE = """
class Point:
    pass

limit = 1

def set_limit(value):
    global limit
    limit = value

def get_limit(_=None):
    return limit

def make():
    return Point(), set_limit, get_limit
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The globals of a program's functions, as they are where a task of it runs."""
    monkeypatch.setattr(children, "_namespaces", type(children._namespaces)())
    monkeypatch.setattr(children, "_keys", {})
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(SOURCE, names)
    children.install()
    loaded = pickle.loads(dumps_by_value(names["make"]))
    loaded.__globals__["make"] = loaded
    children.use(loaded, str(tmp_path))
    yield loaded.__globals__
    del ForkingPickler.reducer_override


def dumps(value: Any) -> bytes:
    buffer = io.BytesIO()
    ForkingPickler(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


def test_what_has_a_name_in_the_program_is_the_same_object_again(program: dict[str, Any]) -> None:
    for name in ("make", "Point", "set_limit"):
        assert pickle.loads(dumps(program[name])) is program[name]
    assert type(pickle.loads(dumps(program["Point"]()))) is program["Point"]


def test_what_has_none_goes_by_value(program: dict[str, Any]) -> None:
    assert pickle.loads(dumps(lambda x: x + 1))(1) == 2


def test_what_can_be_imported_goes_by_its_name(program: dict[str, Any]) -> None:
    data = dumps([json.dumps, json.JSONDecoder])
    assert b"rainzmq" not in data
    assert pickle.loads(data) == [json.dumps, json.JSONDecoder]


def test_functions_share_their_globals_in_a_process_that_reads_the_file(program: dict[str, Any]) -> None:
    data = dumps((program["set_limit"], program["get_limit"]))
    program_of_child = (
        "import pickle, sys; set_limit, get_limit = pickle.load(sys.stdin.buffer); "
        "set_limit(7); print(get_limit())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program_of_child], input=data, capture_output=True, check=False, timeout=30
    )
    assert (done.stdout, done.stderr) == (b"7\n", b"")


def test_one_function_that_cannot_be_sent_does_not_hinder_the_others(program: dict[str, Any]) -> None:
    generator = (item for item in ())
    exec("def holds(x=None): return held", program)
    program["holds"].__globals__["held"] = generator
    assert pickle.loads(dumps(program["get_limit"]))() == 1
    with pytest.raises(TypeError, match="generator"):
        dumps(program["holds"])


def test_programs_of_arguments_are_known_for_one_task(program: dict[str, Any], tmp_path: Path) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(SOURCE, names)
    children.use_arguments([names["set_limit"], names["get_limit"], program["make"]], str(tmp_path))
    assert len(children._namespaces) == len(children._keys) == 2
    assert pickle.loads(dumps(names["get_limit"])) is names["get_limit"]
    children.forget_arguments()
    assert [space.names for space in children._namespaces.values()] == [program]
    assert len(children._keys) == 1


def test_only_so_many_programs_are_remembered(program: dict[str, Any], tmp_path: Path) -> None:
    for _ in range(2 * children._MAX_NAMESPACES):
        names: dict[str, Any] = {"__name__": "__main__"}
        exec("def f(): pass", names)
        children.use(names["f"], str(tmp_path))
    assert len(children._namespaces) == len(children._keys) == children._MAX_NAMESPACES
