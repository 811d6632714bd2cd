"""A failure says how far the session had come."""

from __future__ import annotations

from typing import Any

import pytest

from rainzmq import Client, TaskException, remote


@remote
def work(ctx: Any, sample: int) -> str:
    assert sample >= 0, "a bad sample"
    return str(sample)


def test_the_error_says_how_many_tasks_were_finished(client: Client) -> None:
    with client.new_session("samples") as session:
        for sample in range(12):
            work(sample)
        session.submit()
        session.wait_all()
        bad = work(-1)
        session.submit()
        with pytest.raises(TaskException, match="a bad sample") as caught:
            session.wait_all()
        assert "12 of 13 tasks were finished" in str(caught.value).splitlines()
        with pytest.raises(TaskException, match="12 of 13 tasks were finished"):
            session.wait([bad])


def test_of_a_single_task_that_needs_not_be_said(client: Client) -> None:
    with client.new_session("single") as session:
        work(-1)
        session.submit()
        with pytest.raises(TaskException) as caught:
            session.wait_all()
        assert "were finished" not in str(caught.value)
