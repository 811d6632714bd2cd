"""Bounds of how deep values are nested."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy
import pytest

from rainzmq.common.content_types import decode_value, encode_value
from rainzmq.common.errors import RainException
from rainzmq.common.nesting import MAX_NESTING, MAX_RECURSION, bounded, check_nesting
from rainzmq.common.pickles import dumps, dumps_by_value
from rainzmq.common.pycall import ArgumentFault, encode_arguments


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.fixture
def absurd_recursion_limit() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(10**6)
    yield
    sys.setrecursionlimit(before)


def test_a_value_at_the_limit_is_taken_and_one_deeper_is_not() -> None:
    check_nesting(nested(MAX_NESTING))
    with pytest.raises(RainException, match="more than 400 levels deep, which is the limit"):
        check_nesting(nested(MAX_NESTING + 1))


@pytest.mark.parametrize("wrap", [tuple, lambda parts: {"a": parts[0]}, lambda parts: {"a": parts}, list])
def test_containers_of_all_kinds_count(wrap: Any) -> None:
    value: Any = 1
    for _ in range(MAX_NESTING + 1):
        value = wrap([value])
    with pytest.raises(RainException, match="levels deep"):
        check_nesting(value)


def test_what_is_shared_is_looked_at_once_a_level() -> None:
    value: Any = []
    for _ in range(60):
        value = [value, value]
    check_nesting(value)


def test_a_value_in_itself_is_too_deep() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(RainException, match="levels deep"):
        check_nesting(value)


def test_arrays_of_objects_are_looked_into() -> None:
    array = numpy.empty(1, dtype=object)
    array[0] = nested(MAX_NESTING + 1)
    with pytest.raises(RainException, match="levels deep"):
        check_nesting(array)


@pytest.mark.parametrize("content_type", ["cbor", "json", "pickle", "cloudpickle"])
@pytest.mark.usefixtures("absurd_recursion_limit")
def test_every_encoder_refuses_a_value_that_would_fill_the_stack(content_type: str) -> None:
    with pytest.raises(RainException, match=rf"list cannot be encoded to '{content_type}': it is nested"):
        encode_value(nested(100_000), content_type)


def test_arrow_refuses_columns_that_would_fill_the_stack() -> None:
    with pytest.raises(RainException, match="cannot be encoded to 'arrow': it is nested more than 400"):
        encode_value({"a": [nested(100_000)]}, "arrow")


@pytest.mark.parametrize(("content_type", "data"), [("json", b"[" * 100_000), ("cbor", b"\x81" * 100_000)])
@pytest.mark.usefixtures("absurd_recursion_limit")
def test_every_decoder_refuses_data_that_would_fill_the_stack(content_type: str, data: bytes) -> None:
    with pytest.raises(
        RainException, match=f"content type '{content_type}' cannot be loaded: .*(deep|depth)"
    ):
        decode_value(data, content_type)


@pytest.mark.parametrize("content_type", ["cbor", "json", "pickle", "cloudpickle"])
def test_a_value_below_the_limits_comes_back(content_type: str) -> None:
    value = nested(300)
    assert decode_value(encode_value(value, content_type), content_type) == value


@pytest.mark.usefixtures("absurd_recursion_limit")
def test_pickles_of_functions_and_arguments_are_bounded_as_well() -> None:
    for work in (dumps, dumps_by_value):
        with pytest.raises(Exception, match="recursion"):
            work(nested(100_000))
    with pytest.raises(ArgumentFault, match="recursion"):
        encode_arguments((nested(100_000),), {})


@pytest.mark.usefixtures("absurd_recursion_limit")
def test_the_recursion_limit_is_lowered_only_meanwhile() -> None:
    assert bounded(sys.getrecursionlimit) == MAX_RECURSION
    assert sys.getrecursionlimit() == 10**6


def test_a_lower_recursion_limit_stays() -> None:
    assert bounded(sys.getrecursionlimit) == sys.getrecursionlimit() < MAX_RECURSION
