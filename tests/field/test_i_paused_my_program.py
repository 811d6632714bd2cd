"""Ctrl-Z and fg: everything started from a terminal stands still together, and goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import time
import rainzmq
from rainzmq import tasks

with rainzmq.Client() as client, client.new_session() as session:
    print("begun", flush=True)
    for number in range(100):
        done = tasks.Concat([rainzmq.blob(str(number))]).output
        done.keep()
        session.submit()
        assert done.fetch().get_str() == str(number)
        time.sleep(0.01)
    print("done", flush=True)
"""


@pytest.mark.slow
def test_ctrl_z_and_fg_on_rainzmq_local_with_a_program(tmp_path: Path, home: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [
        sys.executable,
        "-m",
        "rainzmq",
        "local",
        "--cpus",
        "1",
        "--pin",
        "none",
        "--",
        sys.executable,
        str(program),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "begun\n"
        # What the terminal does: the foreground's process group, which server and workers are not part of.
        os.killpg(run.pid, signal.SIGSTOP)
        time.sleep(17)
        os.killpg(run.pid, signal.SIGCONT)
        assert run.stdout.readline() == "done\n"
        assert run.wait(20) == 0
