"""A pool inside my task cannot find the functions of my script."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import output_of

PROGRAM = """
import dataclasses
import functools
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

from rainzmq import Client, Output, remote

offset = 0


@dataclasses.dataclass
class Point:
    x: int

    def moved(self):
        return Point(self.x + offset)


class Fault(Exception):
    pass


def set_offset(value):
    global offset
    offset = value


def helper(x):
    return x + offset


def shift(x):
    return helper(x)


def move(point):
    return point.moved()


def add(a, b):
    return a + b


def fail(x):
    raise Fault(x)


def put(queue, point):
    queue.put(point.moved())


@remote(outputs=[Output(encode="pickle")])
def in_pool(ctx, method):
    context = multiprocessing.get_context(method)
    with context.Pool(2, set_offset, (10,)) as pool:
        points = pool.map(move, [Point(1), Point(2)])
        try:
            pool.map(fail, [1])
        except Fault as error:
            failed = str(error)
        return (
            pool.map(shift, [1, 2, 3]),
            all(type(point) is Point for point in points) and [point.x for point in points],
            pool.map(functools.partial(add, 5), [1, 2]),
            pool.map(lambda x: x * 2, [1, 2]),
            failed,
        )


@remote(outputs=[Output(encode="pickle")])
def in_executor(ctx, method):
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, context, set_offset, (10,)) as pool:
        points = list(pool.map(move, [Point(1), Point(2)]))
        return list(pool.map(shift, [1, 2, 3])), [point.x for point in points], points[0] == Point(11)


@remote(outputs=[Output(encode="pickle")])
def in_process(ctx, method):
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=put, args=(queue, Point(3)))
    process.start()
    point = queue.get()
    process.join()
    return point == Point(3), process.exitcode


@remote(outputs=[Output(encode="pickle")])
def by_default(ctx, method):
    multiprocessing.set_start_method(method)
    with multiprocessing.Pool(1) as pool:
        return pool.map(shift, [1])


def through_pool(context):
    with context.Pool(1, set_offset, (20,)) as pool:
        return pool.map(shift, [1])


class Mapper:
    def run(self, context):
        return through_pool(context)


@remote(outputs=[Output(encode="pickle")])
def given(ctx, method, functions, mapper):
    context = multiprocessing.get_context(method)
    return [function(context) for function in functions], mapper.run(context)


def main():
    method = sys.argv[1]
    with Client() as client, client.new_session("pools") as session:
        calls = [function(method) for function in (in_pool, in_executor, in_process, by_default, by_default)]
        calls.append(given(method, [through_pool], Mapper()))
        session.keep_all()
        session.submit()
        for call in calls:
            print(call.output.fetch().load())


if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_functions_and_classes_of_a_script_work_in_pools_inside_a_task(
    tmp_path: Path, home: Path, method: str
) -> None:
    told = output_of(PROGRAM, tmp_path, method)
    assert told.splitlines() == [
        "([11, 12, 13], [11, 12], [6, 7], [2, 4], '1')",
        "([11, 12, 13], [11, 12], True)",
        "(True, 0)",
        "[1]",
        "[1]",
        "([[21]], [21])",
    ]
