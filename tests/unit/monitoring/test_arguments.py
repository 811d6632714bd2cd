"""Arguments are read from pickles that are never run."""

from __future__ import annotations

import os
import pickle
import random
from decimal import Decimal
from pathlib import PurePosixPath

import pytest

from rainzmq.common.pycall import encode_arguments
from rainzmq.monitoring.arguments import argument_texts


class Evil:
    """Its pickle makes a directory when it is loaded."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


class Plain:
    def __init__(self) -> None:
        self.value = 3


def texts(*args, **kwargs):
    config, _ = encode_arguments(args, kwargs)
    return argument_texts(config, [])


def test_plain_values_are_written_as_python_writes_them():
    values = [0, -7, 2**40, 1.5, True, None, "naïve", b"\x00x", (1, 2), [], [1, [2, "x"]], {"a": 1, "b": ()}]
    values += [{3}, frozenset({4}), (), (1,), (1, 2, 3, 4)]
    assert texts(*values) == [repr(value) for value in values]
    assert [texts(value) for value in values] == [[repr(value)] for value in values]


def test_keyword_arguments_have_their_names():
    assert texts(1, rate=0.5, label="x") == ["1", "rate=0.5", "label='x'"]
    assert texts() == []


def test_values_that_are_not_plain_have_the_name_of_what_makes_them(tmp_path):
    assert texts(Decimal("1.5")) == ["<decimal.Decimal>"]
    assert texts(PurePosixPath("a/b")) == ["<pathlib.PurePosixPath>"]
    assert texts([Plain(), 4], 5) == [f"[<{Plain.__module__}.Plain>, 4]", "5"]
    assert texts(print) == ["print"]


def test_nothing_is_run(tmp_path):
    target = tmp_path / "made"
    (text,) = texts(Evil(str(target)))
    assert text == "<posix.mkdir>"
    assert not target.exists()


def test_data_objects_have_their_ids():
    marker = object()
    config, _ = encode_arguments((marker, 2), {"more": marker}, lambda value: 1 if value is marker else None)
    assert argument_texts(config, ["3/2", "3/8"]) == ["<data object 3/8>", "2", "more=<data object 3/8>"]


def test_large_and_deep_values_are_cut():
    (text,) = texts("x" * 10_000)
    assert len(text) <= 80
    deep: list = []
    for _ in range(90):
        deep = [deep]
    (text,) = texts(deep)
    assert len(text) < 100
    assert texts(1 << 100_000) == ["<an int of 100001 bits>"]
    assert len(texts(*range(80))) == 51


def test_a_bomb_is_no_bomb():
    bomb: tuple = ()
    for _ in range(60):
        bomb = (bomb, bomb)
    (text,) = texts([bomb])
    assert len(text) < 200
    # Hashing it would take for ever.
    asked = pickle.dumps((1, [])) + b"\x80\x05\x8f(" + pickle.dumps(bomb)[2:-1] + b"\x90."
    assert len(argument_texts(asked, [])[0]) < 200
    assert argument_texts(pickle.dumps((2**60, [])), []) == ["..."]


@pytest.mark.parametrize("seed", range(50))
def test_bytes_that_are_no_arguments_are_survived(seed):
    rng = random.Random(seed)
    config = bytearray(encode_arguments(([1, {"a": (2, 3)}], "text"), {"k": {4}})[0])
    for _ in range(rng.randrange(1, 6)):
        config[rng.randrange(len(config))] = rng.randrange(256)
    assert all(isinstance(text, str) for text in argument_texts(bytes(config), []))
    assert argument_texts(rng.randbytes(200), [])[-1] == "..."


def test_what_comes_after_a_value_that_cannot_be_read_is_left_out():
    config = encode_arguments((1, 2), {})[0]
    assert argument_texts(config[:-3], []) == ["1", "..."]
    assert argument_texts(pickle.dumps((2, [])) + pickle.dumps(1) + b"\x80\x05garbage", []) == ["1", "..."]
