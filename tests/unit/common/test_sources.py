"""Source lines travel with functions whose files a worker does not see."""

from __future__ import annotations

import linecache
import traceback
from pathlib import Path
from typing import Any

import pytest

from rainzmq.common import sources
from rainzmq.common.sources import show_sources, sources_of

CELL = """\
# a cell of a notebook
def outer(x):
    def inner():
        return x / 0

    return inner()

rate = lambda x: x / 0
"""


def run_cell(text: str, name: str) -> dict[str, Any]:
    """As a notebook does: the lines of a cell are in the cache only."""
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, name, "exec"), namespace)
    return namespace


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linecache, "cache", dict(linecache.cache))
    monkeypatch.setattr(sources, "_shown", {})


def lines_of(function: Any) -> list[str]:
    """The lines that a traceback of a call of the function shows."""
    try:
        function(1)
    except ZeroDivisionError as error:
        return [entry.line or "" for entry in traceback.extract_tb(error.__traceback__)][1:]
    raise AssertionError


def test_lines_of_a_cell_are_shown_where_the_cell_is_not_known() -> None:
    cell = run_cell(CELL, "<ipython-input-3>")
    found = sources_of([cell["outer"], cell["rate"], cell["outer"]])
    assert [(name, first) for name, first, _ in found] == [("<ipython-input-3>", 2), ("<ipython-input-3>", 8)]
    del linecache.cache["<ipython-input-3>"]
    assert lines_of(cell["outer"]) == ["", ""]

    show_sources(found)

    assert lines_of(cell["outer"]) == ["return inner()", "return x / 0"]
    assert lines_of(cell["rate"]) == ["rate = lambda x: x / 0"]


def test_lines_of_a_file_that_is_there_are_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text("def f(x):\n    return x / 0  # as it is on the disk\n")
    show_sources([(str(file), 1, "def f(x):\n    return x / 0\n")])
    assert str(file) not in linecache.cache


def test_so_much_source_goes_along_and_no_more() -> None:
    many = [
        run_cell(f"def f(x):\n    return '{'x' * 5000}'\n", f"<cell-{number}>")["f"] for number in range(5)
    ]
    assert len(sources_of(many)) == 3


def test_a_process_keeps_the_lines_of_so_many_files() -> None:
    show_sources([(f"<cell-{number}>", 1, "pass\n") for number in range(sources._MAX_FILES + 5)])
    assert "<cell-4>" not in linecache.cache
    assert linecache.getline("<cell-5>", 1) == "pass\n"
    show_sources([("<far>", 10**9, "x")])
    assert "<far>" not in linecache.cache
