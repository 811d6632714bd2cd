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


def seed_and_draw(how: str) -> float:
    """Seed a global generator in one of the ways there are; the first number after it."""
    import random
    from random import seed

    import numpy

    if how == "random":
        random.seed(0)
    elif how == "by name":
        seed(0)
    elif how == "state":
        random.setstate(random.Random(0).getstate())
    elif how == "numpy":
        numpy.random.seed(0)
    else:
        numpy.random.set_state(numpy.random.RandomState(0).get_state())
    return random.random() if how in ("random", "by name", "state") else float(numpy.random.rand())


@pytest.mark.parametrize("how", ["random", "by name", "state", "numpy", "numpy's state"])
def test_a_task_that_seeds_a_global_generator_seeds_no_other_task(client: Client, how: str) -> None:
    @remote(outputs=[Output(encode="pickle")])
    def seeded(ctx: Any) -> float:
        return seed_and_draw(how)

    @remote(outputs=[Output(encode="pickle")])
    def draw(ctx: Any) -> tuple[float, float]:
        return random.random(), float(numpy.random.rand())

    seeds, draws = [], []
    for name in ("first", "second"):
        with client.new_session(name) as session:
            for _ in range(20):
                seeds.append(seeded())
                draws.append(draw())
            session.keep_all()
            session.submit()
            numbers = [task.output.fetch().load() for task in draws[-20:]]
            assert len({task.output.fetch().load() for task in seeds[-20:]}) == 1
            draws[-20:] = numbers
    assert len({first for first, _ in draws}) == len({second for _, second in draws}) == 40


def test_functions_imported_by_name_draw_other_numbers_in_every_process(client: Client) -> None:
    from random import random as draw_one

    from numpy.random import rand

    @remote(outputs=[Output(encode="pickle")])
    def draw(ctx: Any) -> tuple[float, float]:
        return draw_one(), float(rand())

    with client.new_session("by name") as session, warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = [draw() for _ in range(100)]
        session.keep_all()
        session.submit()
        found = [task.output.fetch().load() for task in drawn]
    assert len({first for first, _ in found}) == len({second for _, second in found}) == 100
