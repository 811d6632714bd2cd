"""All my tasks draw the same random numbers."""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy
import pytest

from rainzmq import Client, Output, RainWarning, remote

pytestmark = pytest.mark.filterwarnings("ignore:(Session|Leaving session) '")


@pytest.mark.parametrize("make", [numpy.random.default_rng, numpy.random.RandomState, random.Random])
def test_a_generator_that_travels_with_a_function_gives_a_warning_with_the_recipe(
    client: Client, make: Any
) -> None:
    generator = make()

    @remote(outputs=[Output(encode="pickle")])
    def draw(ctx: Any) -> float:
        value: float = generator.random()
        return value

    with client.new_session("one generator"):
        with pytest.warns(RainWarning, match=r"'.*draw' holds a random generator.*\[f\(seed\) for seed in "):
            draw()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            draw()  # once a session is enough


def test_the_recipe_of_the_warning_gives_different_numbers(client: Client) -> None:
    @remote(outputs=[Output(encode="pickle")])
    def draw(ctx: Any, seed: Any) -> float:
        return numpy.random.default_rng(seed).random()

    with client.new_session("a seed each") as session, warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = [draw(seed) for seed in numpy.random.SeedSequence().spawn(50)]
        session.keep_all()
        session.submit()
        assert len({task.output.fetch().load() for task in drawn}) == 50
