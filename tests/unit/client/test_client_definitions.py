"""Which functions, classes and methods are not those of the source."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from rainzmq.client.definitions import replaced

SOURCE = b"""
import abc, dataclasses, enum, functools, typing
def helper(): return 1
@functools.cache
def cached(): return 1
def twice(): return 1
twice = functools.partial(twice)
if True:
    def there(): return 1
else:
    def there(): return 2
class Plain(abc.ABC):
    LIMIT = 1
    NAN = float("nan")
    __hidden = 2
    def __new__(cls): return super().__new__(cls)
    def __init_subclass__(cls): pass
    def method(self): return lambda: 1
    @property
    def size(self): return 1
class Heir(Plain):
    LIMIT = 2
class Color(enum.Enum):
    RED = 1
    def shade(self): return 1
@dataclasses.dataclass
class Point:
    x: int = 1
class Pair(typing.NamedTuple):
    x: int = 1
    def both(self): return 1
"""


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = ModuleType("def_module")
    monkeypatch.setitem(sys.modules, "def_module", module)
    exec(compile(SOURCE, "/x/def_module.py", "exec", dont_inherit=True), vars(module))
    return module


def found(module: Any) -> list[str]:
    return list(replaced(module, SOURCE))


def test_nothing_is_replaced_in_a_module_as_it_was_imported(module: Any) -> None:
    assert found(module) == []


def test_what_was_set_from_outside_is_told(module: Any) -> None:
    module.helper = lambda: 2
    module.Plain.LIMIT = 3
    module.Plain.method = lambda self: 4
    module.Color = int
    assert found(module) == ["Plain.LIMIT", "Color", "helper", "Plain.method"]


def test_other_code_of_the_same_function_is_told_apart(module: Any) -> None:
    module.helper.__code__ = (lambda: 2).__code__
    module.Plain.method.__code__ = (lambda self: 2).__code__
    assert found(module) == ["helper.__code__", "Plain.method.__code__"]


def test_nothing_is_told_of_a_source_that_cannot_be_compiled(module: Any) -> None:
    assert list(replaced(module, b"def helper(:")) == []
