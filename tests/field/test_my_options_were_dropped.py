"""I gave remote() a function together with options, and it ran as if I had given none."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rainzmq import Client, LocalCluster, remote


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[LocalCluster]:
    """One worker, on which a task can have two cpus."""
    with LocalCluster(workers=[2], dashboard=False) as cluster:
        yield cluster


def squares(ctx: Any, count: int) -> tuple[list[int], int]:
    """Values of any kind, and how many cpus it has."""
    return [number**2 for number in range(count)], len(os.environ["RAINZMQ_CPUS"].split(","))


OPTIONS: dict[str, Any] = {
    "outputs": ["squares", "cpus"],
    "auto_encode": "pickle",
    "cpus": 2,
    "name": "train/squares",
}


@pytest.mark.parametrize(
    "made",
    [remote(squares, **OPTIONS), remote(**OPTIONS)(squares)],
    ids=["remote(f, ...)", "remote(...)(f)"],
)
def test_options_count_however_the_function_is_given(client: Client, made: Callable[..., Any]) -> None:
    with client.new_session("options") as session:
        task = made(4)
        task.keep_outputs()
        session.submit()
        assert task.outputs["squares"].fetch().load() == [0, 1, 4, 9]
        assert task.outputs["cpus"].fetch().load() == 2
        assert task.name == "train/squares"


def test_an_option_that_there_is_not_is_refused_where_it_is_given() -> None:
    with pytest.raises(TypeError, match="cores"):
        remote(squares, cores=7)  # type: ignore[call-overload]
