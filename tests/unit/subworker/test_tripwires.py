"""Noticing changes where they are made."""

from __future__ import annotations

import importlib
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from rainzmq.subworker.tripwires import WatchedList, is_importing, watch_functions, watch_names


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    made: Any = types.ModuleType("watched_module")

    def work(value: int) -> int:
        """Works."""
        if value < 0:
            raise ValueError(value)
        return value + 1

    work.__module__, work.__qualname__ = made.__name__, "work"
    made.work = work
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


def test_a_watched_function_works_as_before_and_tells_of_its_calls(module: Any) -> None:
    calls: list[Any] = []
    watch_functions([module], "work", calls.append)
    assert (module.work(1), calls) == (2, [(1,)])
    assert (module.work.__name__, module.work.__doc__) == ("work", "Works.")


def test_a_call_that_fails_has_changed_nothing(module: Any) -> None:
    calls: list[Any] = []
    watch_functions([module], "work", calls.append)
    with pytest.raises(ValueError, match="-1"):
        module.work(-1)
    assert calls == []


def test_a_watched_function_is_still_pickled_by_its_name(module: Any) -> None:
    watch_functions([module], "work", lambda _: None)
    for dumps in (pickle.dumps, cloudpickle.dumps):
        assert pickle.loads(dumps(module.work)) is module.work
        assert len(dumps(module.work)) < 100


def test_what_a_module_does_not_have_is_not_watched(module: Any) -> None:
    watch_functions([module], "missing", lambda _: None)
    assert not hasattr(module, "missing")


def test_names_of_a_watched_module_are_noted_when_set_and_deleted(module: Any) -> None:
    names: list[str] = []
    watch_names(module, names.append)
    module.new = 1
    del module.new
    assert names == ["new", "new"]
    assert isinstance(module, types.ModuleType)


@pytest.mark.parametrize(
    "change",
    [
        lambda items: items.append(4),
        lambda items: items.insert(0, 4),
        lambda items: items.extend([4]),
        lambda items: items.remove(1),
        lambda items: items.pop(),
        lambda items: items.clear(),
        lambda items: items.sort(),
        lambda items: items.reverse(),
        lambda items: items.__setitem__(0, 4),
        lambda items: items.__setitem__(slice(0, 0), [4]),
        lambda items: items.__delitem__(0),
        lambda items: items.__iadd__([4]),
        lambda items: items.__imul__(2),
    ],
)
def test_every_change_of_a_watched_list_is_noted_with_what_it_was(change: Any) -> None:
    items = WatchedList([3, 1, 2])
    befores: list[list[int]] = []
    items.note = befores.append
    plain = [3, 1, 2]
    change(items)
    change(plain)
    assert (befores, list(items)) == ([[3, 1, 2]], plain)


def test_a_watched_list_travels_as_a_plain_one() -> None:
    assert type(pickle.loads(pickle.dumps(WatchedList([1])))) is list
    assert type(WatchedList([1]).copy()) is list


def test_an_import_is_known_from_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "asks_on_import.py").write_text(
        "from rainzmq.subworker.tripwires import is_importing\nasked = is_importing()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert importlib.import_module("asks_on_import").asked
    assert not is_importing()
