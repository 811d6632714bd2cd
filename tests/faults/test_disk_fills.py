"""The disk of a worker's directory is full: the task says what it needed, the worker lives on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "field"))
from namespaces import needs_namespaces, run_in_namespaces


@needs_namespaces
@pytest.mark.slow
def test_a_task_without_room_says_what_it_needed_and_passes_when_there_is_room(tmp_path: Path) -> None:
    workdir = tmp_path / "workdir"
    workdir.mkdir()
    done = run_in_namespaces(
        [f"mount -t tmpfs -o size=64M,mode=0700 tmpfs {workdir}"],
        [sys.executable, str(Path(__file__).with_name("disk_fills.py")), str(tmp_path), str(workdir)],
        timeout_s=100,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for kind in ("program", "function", "input"):
        assert "need " in found[kind], found[kind]
        assert ", have " in found[kind]
    assert found["again"] == [str(40 << 20)] * 2
    assert not found["worker ended"]
