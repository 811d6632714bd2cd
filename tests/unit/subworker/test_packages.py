"""Packages that a client has in other versions."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from rainzmq.common import versions
from rainzmq.common.versions import imported_versions, minor_of, other_versions, python_version
from rainzmq.subworker.packages import PackageCheck


@pytest.fixture(autouse=True)
def _imported(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("shapes_lib")
    module.__version__ = "2.0"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shapes_lib", module)


def test_what_is_imported_is_told_with_its_version_and_nothing_of_the_standard_library() -> None:
    told = imported_versions()
    assert told["shapes_lib"] == "2.0"
    assert told["Python"] == python_version()
    assert "json" not in told
    assert "msgpack" not in told


def test_only_what_matters_most_is_told_where_very_much_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(200):
        module = ModuleType(f"a{number}")
        module.__version__ = "1"  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
    import numpy

    told = imported_versions()
    assert told["numpy"] == numpy.__version__
    assert len(told) == versions._MAX_NAMED + 1


def test_a_module_that_computes_its_version_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} was asked for")

    module = ModuleType("lazy_lib")
    module.__getattr__ = refuse  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "lazy_lib", module)
    assert "lazy_lib" not in imported_versions()


def test_the_same_versions_are_no_difference() -> None:
    assert other_versions(imported_versions()) == []


def test_another_micro_version_of_python_is_one() -> None:
    assert other_versions({"Python": "3.11.99"}) == [("Python", "3.11.99", python_version())]
    assert minor_of("3.11.99") == "3.11"


def test_what_is_not_imported_here_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pytest_timeout", raising=False)
    assert other_versions({"pytest_timeout": "0.1", "no_such_lib": "1"}) == []


def test_a_function_is_looked_at_once_and_a_difference_told_once_a_session() -> None:
    check = PackageCheck()
    theirs = {"shapes_lib": "1.0"}
    first = check.look((1, 1), theirs)
    assert first is not None
    assert (first.session_id, first.rows) == (1, [("shapes_lib", "1.0", "2.0")])
    assert check.look((1, 1), theirs) is None
    assert check.look((1, 2), theirs) is None
    assert check.look((2, 1), theirs) is not None
    check.forget([1])
    assert check.look((1, 1), theirs) is not None
