"""Each process of my pool is a client of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import output_of

PROGRAM = """
import multiprocessing
import sys

from rainzmq import Client, Output, remote


class Point:
    def __init__(self, x):
        self.x = x


def helper(x):
    return Point(x + 1)


@remote(outputs=[Output(encode="pickle")])
def moved(ctx, point):
    return helper(point.x)


def child(x):
    with Client() as client, client.new_session("child") as session:
        task = moved(Point(x))
        task.keep_outputs()
        session.submit()
        point = task.output.fetch().load()
    return type(point) is Point, point.x


if __name__ == "__main__":
    with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
        print(pool.map(child, [1, 2]))
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_functions_and_classes_of_the_script_travel_from_a_child_that_was_started_in_any_way(
    tmp_path: Path, home: Path, method: str
) -> None:
    told = output_of(PROGRAM, tmp_path, method)
    assert told == "[(True, 2), (True, 3)]\n"
