"""Pickles of users' values."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from rainzmq.common.pickles import dumps, dumps_by_value, named


def test_function_sent_by_value_keeps_its_file_for_tracebacks() -> None:
    def outer() -> Any:
        return lambda: 1

    copy = pickle.loads(dumps_by_value(outer))
    assert copy.__code__.co_filename == __file__
    assert copy().__code__.co_filename == __file__


def test_references_are_taken_out_by_either_pickler() -> None:
    class Marked:
        """Cannot be imported."""

    mark = Marked()
    for value in ([mark, len], [mark, lambda: 1]):
        data = dumps(value, lambda obj: 7 if obj is mark else None)
        loader = _Loader(data)
        assert loader.load()[0] == ("reference", 7)


@pytest.mark.parametrize("dump", [dumps, dumps_by_value])
def test_no_reference_is_looked_for_in_each_number_of_a_long_list(dump: Any) -> None:
    class Item:
        """Cannot be imported."""

    item, asked = Item(), []
    dump([{"a": (1, 2.5, "x", b"y", None, True)}, list(range(1000)), item], asked.append)
    assert asked
    assert all(obj is item or type(obj) not in (int, str, list, dict) for obj in asked)
    assert len(asked) < 100


class _Loader(pickle.Unpickler):
    def __init__(self, data: bytes) -> None:
        import io

        super().__init__(io.BytesIO(data))

    def persistent_load(self, pid: Any) -> Any:
        return "reference", pid


def test_functions_are_loaded_without_rainzmq() -> None:
    """What a user stores or fetches as `cloudpickle` may be read by other programs."""
    import pickletools

    ops = list(pickletools.genops(dumps_by_value(lambda x: [y + 1 for y in x])))
    texts = [str(argument) for _, argument, _ in ops if argument is not None]
    assert [text for text in texts if "rainzmq.common" in text] == []


def test_what_a_function_imports_when_it_runs_is_named() -> None:
    scope: dict[str, Any] = {"__name__": "__main__"}
    text = "def outer():\n import no_such_a.b\n def inner():\n  from no_such_c import d\n return inner\n"
    exec(text, scope)
    dumps_by_value(scope["outer"])
    assert {"no_such_a", "no_such_c"} <= named
    named.difference_update({"no_such_a", "no_such_c"})
