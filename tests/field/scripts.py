"""Programs of users, as scripts that `rainzmq local` runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def output_of(program: str, directory: Path, *arguments: str) -> str:
    """What a script prints that runs with a cluster of one cpu of its own; it must succeed."""
    path = directory / "program.py"
    path.write_text(program)
    command = [sys.executable, "-m", "rainzmq", "local", "--cpus", "1", "--no-dashboard", "--"]
    done = subprocess.run(
        [*command, sys.executable, str(path), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=directory,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
