"""How far a session is, by the first part of its tasks' names."""

from __future__ import annotations

import pytest

from rainzmq.protocol.messages import client as c
from rainzmq.protocol.messages.shared import OutputTemplate, TaskBody
from rainzmq.server.core.events import PeerGone
from rainzmq.server.core.groups import MOST_GROUPS, OTHERS, NameGroups
from rainzmq.testing.server_core import ServerUnderTest

_OUT = OutputTemplate(None, False, None, None, None, None)


@pytest.fixture
def server() -> ServerUnderTest:
    return ServerUnderTest()


def groups(server: ServerUnderTest, session_id: int) -> list[tuple[str, int, int]]:
    """What the client is told."""
    server.take(server.client)
    server.say(c.AskProgress(5, session_id))
    server.turn()
    (progress,) = server.take(server.client, c.Progress)
    return [tuple(row) for row in progress.groups]


def body(key: int, name: str | None) -> TaskBody:
    return TaskBody(key, "python/call", 1, name, b"", [], [_OUT])


def test_tasks_count_in_the_group_of_their_own_name_or_their_bodys_or_their_type(server):
    worker = server.worker(b"w", cpus=4)
    session = server.session()
    ids = [1, 3, 5, 7]
    names = [(7, "train/b")]
    bodies = [body(1, "load/a"), body(2, None), body(3, "train")]
    columns = (ids, [1, 2, 3, 1], [b""] * 4, [0] * 4, [], names)
    server.say(c.Submit(session.session_id, bodies, *columns, [], [], [], [], True))
    server.turn()

    assert groups(server, session.session_id) == [("load", 0, 1), ("python", 0, 1), ("train", 0, 2)]
    server.finishes(worker, server.task(session, 7), server.task(session, 1))
    assert groups(server, session.session_id) == [("load", 1, 1), ("python", 0, 1), ("train", 1, 2)]


def test_task_that_runs_again_is_not_finished(server):
    first = server.worker(b"w")
    session = server.session()
    server.submit(session, {1: []}, keep=(2,))
    server.finishes(first, server.task(session, 1))
    assert groups(server, session.session_id) == [("python", 1, 1)]

    server.event(PeerGone(b"w", "it is gone"))

    assert groups(server, session.session_id) == [("python", 0, 1)]


def test_number_of_groups_is_bounded():
    found = NameGroups()
    for number in range(10 * MOST_GROUPS):
        found.of(f"task-{number}/x")[0] += 1

    rows = found.rows()
    assert len(rows) == MOST_GROUPS + 1
    assert rows[-1] == (OTHERS, 0, 9 * MOST_GROUPS)
