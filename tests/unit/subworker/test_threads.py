"""Numerical libraries are told how many cpus a task has."""

from __future__ import annotations

import os
import sys
from types import ModuleType

import pytest
import threadpoolctl

from rainzmq.common.threads import thread_variables
from rainzmq.subworker.threads import Threads


class _Library:
    count = 0

    def set_num_threads(self, count: int) -> None:
        self.count = count


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> _Library:
    """The one library that is loaded; the environment says nothing of threads."""
    library = _Library()
    for name in thread_variables({}):
        monkeypatch.setenv(name, "0")  # so that it is put back
        monkeypatch.delenv(name)
    found = type("Controller", (), {"lib_controllers": [library]})
    monkeypatch.setattr(threadpoolctl, "ThreadpoolController", found)
    return library


def _import_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "something_more", ModuleType("something_more"))


def test_what_the_environment_says_stays() -> None:
    assert "MKL_NUM_THREADS" not in thread_variables({"MKL_NUM_THREADS": "2"})
    assert "OMP_NUM_THREADS" in thread_variables({"MKL_NUM_THREADS": "2"})
    assert thread_variables({"OMP_NUM_THREADS": "2"}) == ()


def test_the_first_number_is_in_the_environment_only(
    library: _Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = Threads()
    _import_something(monkeypatch)
    threads.follow(3)
    assert os.environ["OMP_NUM_THREADS"] == os.environ["OPENBLAS_NUM_THREADS"] == "3"
    assert library.count == 0


def test_what_was_loaded_since_is_told_a_new_number(
    library: _Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = Threads()
    threads.follow(1)
    _import_something(monkeypatch)
    threads.follow(2)
    assert os.environ["OMP_NUM_THREADS"] == "2"
    assert (library.count, threads.count) == (2, 2)


def test_nothing_is_searched_when_nothing_was_imported(library: _Library) -> None:
    threads = Threads()
    threads.follow(1)
    threads.follow(2)
    assert library.count == 0


def test_nothing_is_changed_where_the_environment_has_a_number(
    library: _Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    threads = Threads()
    threads.follow(1)
    _import_something(monkeypatch)
    threads.follow(2)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ
    assert library.count == 0
