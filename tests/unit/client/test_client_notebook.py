"""In notebooks things show what is known of them: escaped, and without asking anybody."""

from __future__ import annotations

from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import pytest
from client_wire import Wire, failure

from rainzmq import Client, Session, Task, blob, tasks
from rainzmq.client.ended import SessionEnd
from rainzmq.client.graph import _MOST_DRAWN
from rainzmq.common.ids import make_uid
from rainzmq.common.specs import ObjectInfo, TaskInfo
from rainzmq.protocol.messages.client import SessionFailed
from rainzmq.transport.access import HttpAccess

EVIL = "<script>alert(1)</script>&\"'"


def ended(message: SessionFailed) -> SessionEnd:
    return SessionEnd(message.state, message.failure, [])


class Checker(HTMLParser):
    """Tags must be known and closed; `text` is what is shown."""

    KNOWN = {"div", "strong", "table", "tr", "th", "td", "pre", "a", "code"}

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert tag in self.KNOWN
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def shown(item: Any) -> str:
    """What a notebook shows of it; short and well formed."""
    html = item._repr_html_()
    assert len(html) < 20_000
    return Checker(html).text


@pytest.fixture
def session() -> Any:
    with Session(None, 3, EVIL) as session:
        yield session


def test_task_shows_what_it_is_before_submit(session):
    data = blob(b"x", label=EVIL)
    task = Task([(EVIL, data)], ["a<b"], task_type="mine/<x>", name=EVIL, cpus=2)

    text = shown(task)

    for part in (EVIL, "3/2", "mine/<x>", "not submitted", "a<b (3/3)", "cpus 2"):
        assert part in text


def test_task_shows_what_was_heard_of_it(wire: Wire):
    task = tasks.Concat([blob(b"x")])
    wire.session.submit()
    task.graph_node.info = TaskInfo(
        "Traceback\n<b>oh</b>" + "x" * 10_000, 1e9, 2.5, "w:<1>", {}, "debug & more"
    )
    sent = len(wire.control.sent)

    text = shown(task)

    for part in ("w:<1>", "2.5 s", "[...]", "debug & more", "2001-09-0"):
        assert part in text
    assert len(wire.control.sent) == sent


def test_task_of_many_inputs_shows_the_first(session):
    text = shown(tasks.Concat([blob(b"x") for _ in range(5000)]))

    assert "3/10, and 4,990 more" in text


def test_object_shows_what_is_known_of_it(session):
    data = blob(b"x", label=EVIL).keep()
    assert all(part in shown(data) for part in (EVIL, "3/1", "kept yes", "not submitted"))

    data.graph_node.info = ObjectInfo(2048, "text:utf-8", "w:1", {})
    assert all(part in shown(data) for part in ("2 KiB", "w:1", "text:utf-8"))


def test_session_shows_what_was_submitted_and_its_error(wire: Wire):
    task = tasks.Concat([blob(b"x")])
    wire.session.submit()
    tasks.Concat([])
    assert "submitted 1 task" in shown(wire.session)
    assert "not submitted 1 task, 1 data object" in shown(wire.session)

    wire.session.heard.end = ended(failure(make_uid(1, task.id.id), EVIL))

    text = shown(wire.session)
    assert "failed" in text
    assert EVIL in text


def test_closed_session_says_so(session):
    session.close()

    assert "closed" in shown(session)
    assert EVIL in shown(session)


def test_session_that_failed_and_was_closed_says_that_it_failed(session):
    session.heard.end = ended(failure(make_uid(1, 1), EVIL))
    session.close()

    assert "state failed" in shown(session)
    assert "closed" not in shown(session)


@pytest.mark.parametrize("http", [None, HttpAccess("127.0.0.1", 7222, "the-secret")])
def test_client_shows_its_server_and_where_the_dashboard_is(http):
    access = SimpleNamespace(address="host<", port=7210, http=http)
    client = object.__new__(Client)
    client._access, client._closed = access, True

    text, html = shown(client), client._repr_html_()

    assert "host<:7210" in text
    assert "closed" in text
    assert ("http://127.0.0.1:7222" in text) == (http is not None)
    assert "the-secret" not in html
    assert client.dashboard_link == (None if http is None else "http://127.0.0.1:7222/?token=the-secret")


def test_large_graph_is_not_drawn_but_counted(session, monkeypatch):
    for number in range(_MOST_DRAWN + 1):
        Task([], 1, task_type="a/b", name=f"g{number % 13}" if number else EVIL)
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/dot")
    graph = session.make_graph()

    assert graph._repr_svg_() is None
    text = shown(graph)
    assert f"{_MOST_DRAWN + 1} tasks" in text
    assert "others" in text
