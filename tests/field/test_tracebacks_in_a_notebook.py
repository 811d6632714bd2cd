"""In a notebook, an error shows the cell that led to it and the line that failed, and nothing of ours."""

from __future__ import annotations

import itertools
import linecache
import traceback
from typing import Any

import pytest

from rainzmq import Client, TaskException

HELPERS = """
from rainzmq import remote

def share(total, parts):
    return total / parts  # the line that counts
"""

TASK = """
@remote
def work(ctx, parts):
    print("so far")
    return str(share(1, parts))
"""

RUN = """
with client.new_session("notebook") as session:
    work(0)
    session.submit()
    session.wait_all()
"""


class Notebook:
    """Runs cells as a notebook does: their lines are in no file, but where tracebacks look for them."""

    def __init__(self, client: Client) -> None:
        self._names = (f"<ipython-input-{number}-{id(self):x}>" for number in itertools.count(1))
        self._globals: dict[str, Any] = {"__name__": "__main__", "client": client}

    def run(self, cell: str) -> str:
        """The name of the cell; it was run."""
        name = next(self._names)
        linecache.cache[name] = (len(cell), None, cell.splitlines(keepends=True), name)
        exec(compile(cell, name, "exec"), self._globals)
        return name


def test_a_failed_task_shows_lines_of_cells_here_and_there(client: Client) -> None:
    notebook = Notebook(client)
    helpers, work = notebook.run(HELPERS), notebook.run(TASK)
    with pytest.raises(TaskException) as caught:
        notebook.run(RUN)
    said = str(caught.value)
    assert f'File "{work}", line 5, in work\n    return str(share(1, parts))\n' in said
    assert f'File "{helpers}", line 5, in share\n    return total / parts  # the line that counts\n' in said
    frames = [entry for entry in traceback.extract_tb(caught.value.__traceback__) if entry.line is not None]
    assert frames[-1].line == "session.wait_all()"
    assert "rainzmq/client" not in "".join(traceback.format_list(frames))


@pytest.mark.parametrize("call", ["work(1, 2, 3)", "work(parts=(n for n in ()))", "work()"])
def test_a_wrong_call_shows_the_call(client: Client, call: str) -> None:
    notebook = Notebook(client)
    notebook.run(HELPERS + TASK)
    with pytest.raises(Exception, match=r"work\(\)") as caught:
        notebook.run(f"with client.new_session('wrong') as session:\n    {call}\n")
    assert [entry.line for entry in traceback.extract_tb(caught.value.__traceback__)][-1] == call
    assert caught.value.__cause__ is None or "rainzmq/client" not in "".join(
        traceback.format_tb(caught.value.__cause__.__traceback__)
    )
