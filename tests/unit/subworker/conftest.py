"""A subworker's tasks in the test's own process."""

from __future__ import annotations

import _locale
import _posixsubprocess
import builtins
import faulthandler
import gc
import locale
import os
import posix
import random
import resource
import signal
import socket
import subprocess
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path

import cloudpickle
import pytest
from task_bench import Bench

from rainzmq.common import pickles

_PATCHED = (
    *(os, posix, signal, resource, sys, gc, socket, faulthandler, locale, _locale, random, warnings),
    *(subprocess, _posixsubprocess),
)


@pytest.fixture
def _unpatched() -> Iterator[None]:
    """What a subworker replaces in its process for good is as before after the test."""
    before = [dict(vars(module)) for module in _PATCHED]
    lists = {name: list(getattr(sys, name)) for name in ("path", "meta_path", "path_hooks")}
    yield
    for module, names in zip(_PATCHED, before, strict=True):
        for name, value in names.items():
            if vars(module).get(name) is not value:
                setattr(module, name, value)
    for name, items in lists.items():
        getattr(sys, name)[:] = items
    vars(random._inst).pop("seed", None)  # type: ignore[attr-defined]
    vars(random._inst).pop("setstate", None)  # type: ignore[attr-defined]
    builtins.__class__ = types.ModuleType  # type: ignore[assignment]


@pytest.fixture
def bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, _unpatched: None
) -> Iterator[Bench]:
    """A bench whose effects on the process (working directory, environment) are undone."""
    # A client that was used in this process has a rule for how modules travel.
    monkeypatch.setattr(pickles, "_travel", [pickles._all_installed])
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
