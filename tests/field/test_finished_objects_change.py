"""The same object has another size each time I fetch it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rainzmq import Client, Output, OutputDir, tasks

# A child that leaves the group of its program, has no environment to be known by, and forks on and on.
WRITER = """
import os, sys, time
open("out", "wb").write(bytes(100_000))
os.mkdir("tree")
sys.stdout.write("x" * 100_000)
sys.stdout.flush()
ready, go = os.pipe()
if os.fork() == 0:
    os.setsid()
    {between}
    out = open("out", "ab", buffering=0)
    os.chdir("tree")
    os.write(go, b"x")
    while True:
        out.write(b"more")
        open("%d" % time.monotonic_ns(), "w").close()
        os.write(1, b"more")
        {again}
os.read(ready, 1)
"""
KINDS = {
    "setsid": ("", "time.sleep(0.0005)"),
    "double fork": ("if os.fork(): os._exit(0)\n    os.setsid()", "time.sleep(0.0005)"),
    "forks on": ("", "if os.fork(): os._exit(0)"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_a_program_lives_when_its_outputs_are_taken(client: Client, kind: str) -> None:
    between, again = KINDS[kind]
    program = WRITER.format(between=between, again=again)
    with client.new_session("writes on") as session:
        task = tasks.Execute(
            ["python3", "-c", program],
            output_paths=[Output("out"), OutputDir("tree")],
            stdout=Output("stdout"),
        )
        session.keep_all()
        session.submit()
        outputs = {label: task.outputs[label] for label in ("out", "tree", "stdout")}
        first = {label: output.fetch().get_bytes() for label, output in outputs.items()}
        time.sleep(0.05)
        for label, output in outputs.items():
            assert output.fetch().get_bytes() == first[label]
        for label in ("out", "stdout"):
            assert outputs[label].info.size == len(first[label])
        again_run = tasks.Execute("true", shell=True)  # the worker is well
        session.submit()
        again_run.wait()


def test_a_program_that_clears_its_environment_is_known_as_well(client: Client) -> None:
    program = (
        "import os, time\n"
        "open('out', 'wb').write(bytes(100_000))\n"
        "r, w = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    os.set_inheritable(w, True)\n"
        "    script = f'echo >&{w}; exec >> out; while :; do echo more; done'\n"
        "    os.execve('/bin/sh', ['sh', '-c', script], {})\n"
        "os.read(r, 1)\n"
    )
    with client.new_session("writes on") as session:
        task = tasks.Execute(["python3", "-c", program], output_paths=[Output("out")])
        session.keep_all()
        session.submit()
        first = task.output.fetch().get_bytes()
        assert task.output.fetch().get_bytes() == first
        assert task.output.info.size == len(first)


@pytest.mark.filterwarnings("ignore:Leaving session")
def test_a_killed_program_takes_the_children_that_left_it_with_it(client: Client, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with client.new_session("killed") as session:
        tasks.Execute(f"setsid sh -c 'echo $$ > {pid_file}; exec sleep 600' & sleep 600", shell=True)
        session.submit()
        while not pid_file.exists() or not pid_file.read_text().strip():
            time.sleep(0.005)
    process = Path("/proc") / pid_file.read_text().strip()
    deadline = time.monotonic() + 2
    while process.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not process.exists()
