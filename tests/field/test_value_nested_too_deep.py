"""One value that refers to itself through many others ends my interpreter."""

from __future__ import annotations

from typing import Any

import pytest

from rainzmq import Client, Output, RainException, TaskException, blob, remote

pytestmark = pytest.mark.filterwarnings("ignore:(Session|Leaving session) '")


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize("encode", ["cbor", "json", "pickle", "cloudpickle"])
def test_the_client_refuses_it_by_name_of_the_limit(client: Client, encode: str) -> None:
    with (
        client.new_session("deep"),
        pytest.raises(RainException, match=r"nested (more|deeper) than .*400|1000"),
    ):
        blob(nested(100_000), encode=encode)


@pytest.mark.parametrize("encode", ["cbor", "json", "pickle"])
def test_a_task_that_returns_it_fails_and_its_process_goes_on(client: Client, encode: str) -> None:
    @remote(outputs=[Output(encode=encode)])
    def deep(ctx: Any) -> Any:
        import sys

        sys.setrecursionlimit(10**6)
        return nested(100_000)

    with client.new_session("deep") as session:
        task = deep()
        session.submit()
        with pytest.raises(TaskException, match=r"cannot be encoded to .*it is nested"):
            task.wait()


def test_user_data_of_a_task_is_bounded_as_well(client: Client) -> None:
    @remote()
    def deep(ctx: Any) -> None:
        ctx.info.user["x"] = nested(1000)

    with client.new_session("deep") as session:
        task = deep()
        session.submit()
        with pytest.raises(TaskException, match=r"ctx\.info\.user cannot be .* more than 400 levels deep"):
            task.wait()
