"""Globals of a module that are not what its source says."""

from __future__ import annotations

import types

import pytest

from rainzmq.client.rebound import rebound_globals, states, watch_states


@pytest.mark.parametrize(
    ("source", "changes", "expected"),
    [
        ("A = 1\nB = 'x'", {}, []),
        ("A = 1\nB = 'x'", {"A": 2}, ["A"]),
        ("A = 1", {"A": True}, ["A"]),
        ("A: int = 1\nif A:\n    A = 2", {"A": 1}, []),
        ("try:\n    A = 1\nexcept ImportError:\n    A = 2", {"A": 3}, ["A"]),
        ("A = 1\nA += 1", {"A": 7}, []),
        ("A = []", {"A": [1]}, []),
        ("A = []\ndef f():\n    global A\n    A = [1]", {"A": [1]}, ["A"]),
        ("def f():\n    global A\n    A = 1", {"A": 1}, ["A"]),
        ("A = 1\nfrom os import *", {"A": 2}, []),
        ("A = float('nan')\nB = 1e999", {}, []),
        ("def A(): ...\nfor B in (1, 2): ...", {}, []),
    ],
)
def test_only_what_surely_differs_is_told(
    source: str, changes: dict[str, object], expected: list[str]
) -> None:
    module = types.ModuleType("m")
    exec(compile(source, "m", "exec", dont_inherit=True), vars(module))
    vars(module).update(changes)
    assert rebound_globals(module, source.encode()) == expected


def test_globals_that_functions_bind_are_watched() -> None:
    module = types.ModuleType("m")
    module.a = module.b = None  # type: ignore[attr-defined]
    try:
        watch_states([(module, b"a = b = None\ndef f():\n    global a\n")])
        assert states[0] is not None
        assert states[0]()
        module.b = 1  # type: ignore[attr-defined]
        assert states[0]()
        module.a = 1  # type: ignore[attr-defined]
        assert not states[0]()
        watch_states([(module, b"a = 1 # global\n")])
        assert states[0] is None
    finally:
        states[0] = None
