"""Processes that my tasks started are still there, hours later."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from rainzmq import Client, LocalCluster, Output, OutputDir, remote

one_output = remote(outputs=[Output(encode="pickle")])


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[LocalCluster]:
    """One worker with one cpu, so that a task runs where the last one ran."""
    with LocalCluster(workers=[1], dashboard=False) as cluster:
        yield cluster


def are_gone(pids: set[int], within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while any(psutil.pid_exists(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_pools_left_in_globals_end_with_the_session(client: Client) -> None:
    @one_output
    def leave(ctx: Any) -> list[int]:
        import json
        import multiprocessing
        import os

        pools = json.__dict__.setdefault("pools", [])
        pools.append(multiprocessing.get_context("fork").Pool(2))
        return [os.getpid(), *[process.pid for process in pools[-1]._pool]]

    @one_output
    def use(ctx: Any) -> list[int]:
        import json

        pool = json.__dict__["pools"][0]
        return pool.map(abs, [-1, -2])  # type: ignore[no-any-return]

    with client.new_session("pools") as session:
        calls = [leave() for _ in range(5)]
        used = use()
        session.keep_all()
        session.submit()
        found = [call.output.fetch().load() for call in calls]
        assert len({pid for pid, *_ in found}) == 1, "one process keeps all pools"
        assert used.output.fetch().load() == [1, 2], "a later task may use a pool"
        children = {pid for _, *pids in found for pid in pids}
        assert all(psutil.pid_exists(pid) for pid in children)
    assert are_gone(children)

    @one_output
    def count(ctx: Any) -> tuple[int, int]:
        import os

        import psutil

        return len(psutil.Process().children(recursive=True)), len(os.listdir("/proc/self/fd"))

    with client.new_session("next") as session:
        call = count()
        call.output.keep()
        session.submit()
        children_left, descriptors = call.output.fetch().load()
        assert children_left == 0
        assert descriptors < 30


def test_threads_end_with_the_session_and_other_sessions_go_on(client: Client) -> None:
    @one_output
    def leave(ctx: Any) -> int:
        import os
        import threading

        threading.Thread(target=threading.Event().wait, daemon=True).start()
        return os.getpid()

    @one_output
    def look(ctx: Any) -> int:
        import os

        return os.getpid()

    with client.new_session("other") as other:
        with client.new_session("threads") as session:
            call = leave()
            call.output.keep()
            session.submit()
            pid = call.output.fetch().load()
        looks = [look() for _ in range(20)]
        other.keep_all()
        other.submit()
        assert len([each.output.fetch().load() for each in looks]) == 20
    assert are_gone({pid})


def test_a_session_that_leaves_nothing_leaves_its_process_to_the_next(client: Client) -> None:
    @one_output
    def look(ctx: Any) -> int:
        import os
        import subprocess

        subprocess.run(["true"], check=True)
        return os.getpid()

    pids = set()
    for name in ("first", "second"):
        with client.new_session(name) as session:
            call = look()
            call.output.keep()
            session.submit()
            pids.add(call.output.fetch().load())
    assert len(pids) == 1


WRITE_ON = "import os, time\nwhile True:\n    os.write(1, b'more'); time.sleep(0.001)\n"


@pytest.mark.parametrize("kind", ["child", "thread", "file"])
def test_what_goes_on_writing_to_a_staged_file_does_not_change_the_object(client: Client, kind: str) -> None:
    @remote(outputs=[Output("out")])
    def write(ctx: Any) -> Any:
        import json
        import subprocess
        import sys
        import threading

        file = open("out", "wb", buffering=0)  # noqa: SIM115
        file.write(bytes(200_000))
        if kind == "child":
            subprocess.Popen([sys.executable, "-c", WRITE_ON], stdout=file, start_new_session=True)
        elif kind == "thread":

            def go_on() -> None:
                while True:
                    file.write(b"more")

            threading.Thread(target=go_on, daemon=True).start()
        else:
            json.left_open = file  # type: ignore[attr-defined]
        return ctx.stage_file("out")

    @remote(outputs=[Output("size", encode="pickle")])
    def later(ctx: Any, before: Any) -> Any:
        import json
        import time

        if hasattr(json, "left_open"):
            json.left_open.write(b"more")
        time.sleep(0.1)
        return None

    with client.new_session("writes on") as session:
        written = write()
        session.keep_all()
        session.submit()
        first = written.output.fetch().get_bytes()
        again = later(written)
        again.output.keep()
        session.submit()
        again.output.fetch()
        assert written.output.fetch().get_bytes() == first
        assert written.output.info.size == len(first) >= 200_000


def test_a_directory_that_a_child_works_in_does_not_change_as_an_object(client: Client) -> None:
    @remote(outputs=[OutputDir("tree")])
    def write(ctx: Any) -> Any:
        import os
        import subprocess
        import time

        os.mkdir("tree")
        command = "i=0; while true; do i=$((i+1)); echo x > f$((i%50)); done"
        subprocess.Popen(["sh", "-c", command], cwd="tree", start_new_session=True)
        while not os.listdir("tree"):
            time.sleep(0.001)
        return ctx.stage_directory("tree")

    with client.new_session("works on") as session:
        written = write()
        session.keep_all()
        session.submit()
        directory = written.output.fetch()
        assert directory.get_bytes() == written.output.fetch().get_bytes()
