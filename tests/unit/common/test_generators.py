"""Random generators in what is pickled."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from random import random as draw
from typing import Any

import numpy
import pytest
from numpy.random import rand

from rainzmq.common import generators
from rainzmq.common.generators import generator_kind
from rainzmq.common.pickles import dumps, dumps_by_value


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (random.Random(1), "random.Random"),
        (numpy.random.default_rng(1), "numpy.random.Generator"),
        (numpy.random.RandomState(1), "numpy.random.mtrand.RandomState"),
        (numpy.random.PCG64(1), "numpy.random.PCG64"),
    ],
)
def test_generators_are_known(value: Any, kind: str) -> None:
    assert generator_kind(value) == kind


@pytest.mark.parametrize("value", [random.SystemRandom(), draw.__self__, rand.__self__, random, 5])  # type: ignore[attr-defined]
def test_what_repeats_nothing_is_no_generator(value: Any) -> None:
    assert generator_kind(value) is None


@pytest.mark.parametrize("dump", [dumps, dumps_by_value])
@pytest.mark.parametrize("function", [draw, rand])
def test_functions_of_the_modules_mean_the_generator_where_they_are_loaded(
    dump: Callable[[Any], bytes], function: Any
) -> None:
    data = dump(function)
    assert len(data) < 200, "the state travels"
    assert pickle.loads(data).__self__ is function.__self__


def test_a_type_is_asked_about_once_not_every_object() -> None:
    class Mine(random.Random):
        pass

    class Other:
        pass

    generators._is_generator_type.cache_clear()
    assert [generator_kind(Mine()) for _ in range(3)] == [f"{__name__}.{Mine.__qualname__}"] * 3
    assert [generator_kind(Other()) for _ in range(3)] == [None] * 3
    assert generators._is_generator_type.cache_info().misses == 2
