"""A subworker's tasks in the test's own process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import cloudpickle
import pytest
from task_bench import Bench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """A bench whose effects on the process (working directory, environment) are undone."""
    before = os.getcwd()
    environment = dict(os.environ)
    # Functions of test modules travel by value, as those of a user's program do.
    cloudpickle.register_pickle_by_value(sys.modules[request.module.__name__])
    directory = tmp_path / "task"
    directory.mkdir()
    yield Bench(directory)
    cloudpickle.unregister_pickle_by_value(sys.modules[request.module.__name__])
    os.chdir(before)
    os.environ.clear()
    os.environ.update(environment)
