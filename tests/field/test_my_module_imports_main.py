"""`import __main__` in a module of the user's: what a worker has under that name is not the script."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HELPER = """
def setting():
    import __main__
    return getattr(__main__, "LIMIT", "no limit")


def double(x):
    return 2 * x
"""

SCRIPT = """
import os, sys
import helper
from rainzmq import Client, Output, remote

with open("started", "a") as file:
    file.write("x")
LIMIT = 7


@remote(outputs=[Output(encode="pickle")])
def task(ctx, x):
    return helper.double(x), helper.setting()


def main():
    with Client() as client, client.new_session() as session:
        made = task(4)
        made.output.keep()
        session.submit()
        print(made.output.fetch().load(), helper.setting())


{start}
"""


@pytest.mark.parametrize("start", ['if __name__ == "__main__":\n    main()', "main()"])
def test_a_script_does_not_run_in_workers(tmp_path: Path, home: Path, start: str) -> None:
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "script.py").write_text(SCRIPT.replace("{start}", start))
    local = [sys.executable, "-m", "rainzmq", "local", "--cpus", "1", "--no-dashboard"]
    done = subprocess.run(
        [*local, "--", sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == "(8, 'no limit') 7", done.stderr
    assert (tmp_path / "started").read_text() == "x"
