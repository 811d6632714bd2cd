"""Of which of two sources the functions of a module are."""

from __future__ import annotations

from types import ModuleType

import pytest

from rainzmq.client.in_place import is_of_new_source

FIRST = b"def f(x=1):\n    return x\ndef g():\n    return 1\nclass K:\n    def m(self):\n        return 1\n"


def made_of(source: bytes) -> ModuleType:
    module = ModuleType("made_of_source")
    exec(compile(source, "/x/made_of_source.py", "exec"), vars(module))
    return module


@pytest.mark.parametrize(
    "second",
    [
        FIRST.replace(b"x=1", b"x=2"),
        FIRST.replace(b"return x", b"return -x"),
        FIRST.replace(b"        return 1", b"        return 2"),
        FIRST + b"def fresh():\n    return 1\n",
        FIRST + b"    def fresh(self):\n        return 1\n",
        FIRST.replace(b"def g", b"async def g"),
    ],
)
def test_either_source_is_told_from_what_differs(second: bytes) -> None:
    assert is_of_new_source(made_of(FIRST), FIRST, second) is False
    assert is_of_new_source(made_of(second), FIRST, second) is True
    assert is_of_new_source(made_of(second), None, second) is True


def test_what_is_of_neither_is_told() -> None:
    second, third = FIRST.replace(b"return x", b"return 2"), FIRST.replace(b"return x", b"return 3")
    assert is_of_new_source(made_of(second), FIRST, third) is None
    assert is_of_new_source(made_of(second), None, third) is None


def test_some_functions_are_of_one_and_some_of_the_other() -> None:
    second = FIRST.replace(b"return x", b"return 2").replace(b"    return 1\nclass", b"    return 2\nclass")
    module = made_of(FIRST)
    module.f.__code__ = made_of(second).f.__code__
    assert is_of_new_source(module, FIRST, second) is None


@pytest.mark.parametrize("second", [FIRST + b"# more\n", b"\n\n" + FIRST, FIRST + b"X = 1\n", b"def f(:\n"])
def test_without_another_function_the_source_stays(second: bytes) -> None:
    assert is_of_new_source(made_of(FIRST), FIRST, second) is False


def test_a_file_without_functions_makes_nothing_known() -> None:
    assert is_of_new_source(made_of(FIRST), None, b"def f(:\n") is None


def test_functions_that_were_patched_otherwise_do_not_count() -> None:
    module = made_of(FIRST)
    module.g = lambda: 5
    assert is_of_new_source(module, FIRST, FIRST.replace(b"return x", b"return 2")) is False
