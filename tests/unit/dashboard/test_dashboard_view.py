"""Open documents: what is computed when, and what is sent."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from bokeh.document import Document

from rainzmq.common.ids import make_uid
from rainzmq.common.states import SessionState
from rainzmq.dashboard.application import PAGES
from rainzmq.dashboard.page_graph import GraphPage
from rainzmq.dashboard.page_overview import OverviewPage, failures
from rainzmq.dashboard.page_sessions import SessionsPage
from rainzmq.dashboard.page_stream import StreamPage
from rainzmq.dashboard.page_task import TaskPage
from rainzmq.dashboard.page_tasks import TasksPage
from rainzmq.dashboard.query import Query
from rainzmq.dashboard.site import Site
from rainzmq.dashboard.view import View
from rainzmq.monitoring.hub import Hub
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.shared import Failure, TaskBody
from rainzmq.testing.events import START, demo_hub


class Clock:
    """A clock that is moved by hand."""

    def __init__(self):
        self.time = 0.0

    def __call__(self):
        return self.time


def live_hub():
    hub = demo_hub(3, end=False)
    hub.is_replay, hub.is_connected = False, True
    return hub


def events_of(document):
    """What the document sends from now on."""
    sent = []
    document.on_change(sent.append)
    return sent


def waits(hub, reason):
    hub.model.apply(e.SessionWaits(0, hub.model.now, 1, [reason]))


@pytest.mark.parametrize("page", PAGES, ids=[page.path for page in PAGES])
@pytest.mark.parametrize("is_replay", [True, False])
def test_every_page_can_be_shown_at_any_time(page, is_replay):
    hub = demo_hub(3)
    hub.is_replay = is_replay
    for query in ({}, {"t": str(START + 1.0), "id": "1/1"}, {"t": "5"}, {"session": "2", "id": "x"}):
        document = Document()
        view = View(Site(hub), page, document, Query(query), "dark")
        assert all(fragment.html is not None for fragment in view.fragments.values())
        document.to_json()


@pytest.mark.parametrize("page", PAGES, ids=[page.path for page in PAGES])
def test_every_page_of_an_empty_hub_can_be_shown(page):
    for hub in (Hub(is_connected=True), Hub(is_replay=True)):
        View(Site(hub), page, Document(), Query(), "light")


def test_nothing_is_sent_when_nothing_changed():
    hub, clock, document = live_hub(), Clock(), Document()
    view = View(Site(hub, clock), OverviewPage, document, Query(), "light")
    sent = events_of(document)
    clock.time += 1
    view.tick()
    assert sent == []


def test_only_what_differs_is_sent():
    hub, clock, document = live_hub(), Clock(), Document()
    view = View(Site(hub, clock), OverviewPage, document, Query(), "light")
    sent = events_of(document)
    waits(hub, "no worker offers kind gpu")
    clock.time += 1
    view.tick()
    assert [event.model.name for event in sent] == ["fragment:waiting", "shown"]
    assert "no worker offers kind gpu" in view.fragments["waiting"].html


def test_a_tick_of_the_site_wakes_only_documents_that_are_not_up_to_date():
    hub, clock = live_hub(), Clock()
    site, documents = Site(hub, clock), [Document(), Document()]
    views = [View(site, OverviewPage, document, Query(), "light") for document in documents]
    site.tick()
    assert [len(document.session_callbacks) for document in documents] == [0, 0]
    waits(hub, "a reason")
    site.tick()
    site.tick()
    assert [len(document.session_callbacks) for document in documents] == [1, 1]
    for view in views:
        view.tick()
        assert "a reason" in view.fragments["waiting"].html


def test_documents_of_closed_tabs_are_left_alone():
    hub = live_hub()
    site, document = Site(hub, Clock()), Document()
    view = View(site, OverviewPage, document, Query(), "light")
    view._context = SimpleNamespace(destroyed=True)
    waits(hub, "a reason")
    site.tick()
    assert document.session_callbacks == []
    assert list(site.views) == []


@pytest.mark.parametrize("page", PAGES, ids=[page.path for page in PAGES])
def test_pages_stay_right_while_tasks_sessions_and_workers_come(page):
    hub, clock = live_hub(), Clock()
    site = Site(hub, clock)
    views = [View(site, page, Document(), Query({"id": "1/1", "state": "ready"}), "light") for _ in range(2)]
    body = TaskBody(1, "python/run", 1, "late", b"", [], [])
    for number in range(3, 9):
        time = hub.model.now + 1
        for event in (
            e.WorkerCame(0, time, number, f"w:{number}", "node", 1, 2, ["python"]),
            e.WorkerSampled(0, time, number, [50.0], *[1] * 9),
            e.SessionCame(0, time, number, "late", "c"),
            e.TasksSubmitted(0, time, number, [body], [1], [1], [0], [], [], [], [], [], []),
        ):
            hub.model.apply(event)
            clock.time += 0.01
            for view in views:
                view.tick()


def test_what_was_computed_for_a_version_is_shared_by_documents(monkeypatch):
    hub, clock = live_hub(), Clock()
    site, calls = Site(hub, clock), []
    original = type(hub.model.sessions[1]).states
    monkeypatch.setattr(
        type(hub.model.sessions[1]), "states", lambda self, time=None: calls.append(1) or original(self, time)
    )
    View(site, OverviewPage, Document(), Query(), "light")
    first = len(calls)
    for _ in range(3):
        View(site, OverviewPage, Document(), Query(), "dark")
    assert len(calls) == first


def test_a_page_that_takes_long_rests_for_longer():
    hub, clock, document = live_hub(), Clock(), Document()
    view = View(Site(hub, clock), OverviewPage, document, Query(), "light")
    show, shown = view._show, []

    def slow(ask):
        show(ask)
        clock.time += 2.0
        shown.append(clock.time)

    view._show = slow
    for _ in range(20):
        waits(hub, f"reason at {clock.time}")
        clock.time += 0.5
        view.tick()
    assert len(shown) == 2


def test_the_query_chooses_what_is_shown():
    hub, document = demo_hub(3), Document()
    view = View(Site(hub), TasksPage, document, Query({"session": "all"}), "light")
    assert 'id=2%2F1"' in view.fragments["list"].html
    view.control.query = "?session=1&state=finished"
    assert 'id=2%2F1"' not in view.fragments["list"].html
    view.control.query = f"?t={START}"
    assert "No task is like that" in view.fragments["list"].html


def test_zooming_asks_for_more_detail_and_reset_follows_again():
    hub, document = demo_hub(20), Document()
    view = View(Site(hub), StreamPage, document, Query(), "light")
    bars = document.get_model_by_name("bars")
    axis = document.get_model_by_name("stream-range")
    everything, start, end = len(bars.data["left"]), axis.start, axis.end
    axis.update(start=start + 1000, end=start + 1500)
    view._now()
    assert 0 < len(bars.data["left"]) < everything
    assert (axis.start, axis.end) == (start + 1000, start + 1500)
    axis.update(start=start, end=end)
    view._now()
    assert len(bars.data["left"]) == everything


def test_the_session_token_holds_no_cookie_but_the_theme():
    from rainzmq.dashboard.application import make_application
    from rainzmq.rest.guard import Guard

    made = make_application(demo_hub(1), Guard("secret", frozenset({"127.0.0.1:1"})))
    assert made.include_headers == []
    assert made.include_cookies == ["rainzmq_theme"]


def failed_and_cancelled():
    """A hub with a session that failed with a traceback, and one that was closed before its tasks ran."""
    hub = live_hub()
    error = "Traceback (most recent call last):\n  File x\n\x1b[31mValueError\x1b[0m: bad"
    failure = Failure(make_uid(3, 1), "check", "python/call", 0, "127.0.0.1:5001", error, "")
    body = TaskBody(1, "python/run", 1, "check", b"", [], [])
    time = hub.model.now
    for number, end in ((3, ("failed", failure)), (4, ("closed", None))):
        hub.model.apply(e.SessionCame(0, time, number, "s", "c"))
        submitted = ([body], [1, 2], [1, 1], [0, 0], [], [], [], [], [], [])
        hub.model.apply(e.TasksSubmitted(0, time, number, *submitted))
        if number == 3:
            hub.model.apply(e.TasksAssigned(0, time, 1, [make_uid(3, 1)], [0]))
            hub.model.apply(e.TaskFailed(0, time + 1, 1, failure, time + 0.5, 1000))
        hub.model.apply(e.SessionEnded(0, time + 1, number, *end))
    return hub


def test_sessions_say_the_line_of_the_error_and_have_the_rest_folded_away():
    view = View(Site(failed_and_cancelled()), SessionsPage, Document(), Query(), "light")
    html = view.fragments["sessions"].html
    assert ">check</a>: ValueError: bad<details" in html
    assert html.count("Traceback") == 1
    assert "\x1b" not in html


def test_a_closed_session_with_cancelled_tasks_says_so():
    view = View(Site(failed_and_cancelled()), SessionsPage, Document(), Query({"session": "4"}), "light")
    html = view.fragments["sessions"].html
    assert '<span class="state partly">closed, 2 cancelled</span>' in html
    assert '"state closed"' not in html


def test_a_task_that_never_ran_is_not_awaited_any_more():
    hub = failed_and_cancelled()
    view = View(Site(hub), TaskPage, Document(), Query({"id": "4/1"}), "light")
    assert "It was never assigned to a worker." in view.fragments["task"].html
    view = View(Site(hub), TaskPage, Document(), Query({"id": "3/1"}), "light")
    assert "\x1b" not in view.fragments["task"].html


def test_failures_that_say_the_same_are_one_line():
    hub = live_hub()
    body = TaskBody(1, "python/run", 1, "check", b"", [], [])
    for number, text in ((3, "no label"), (4, "no label"), (5, "no file"), (6, "no label")):
        error = f"Traceback (most recent call last):\n  File x, line {number}\nValueError: {text}"
        failure = Failure(make_uid(number, 1), "check", "python/call", 0, "127.0.0.1:5001", error, "")
        time = hub.model.now
        hub.model.apply(e.SessionCame(0, time, number, "s", "c"))
        hub.model.apply(e.TasksSubmitted(0, time, number, [body], [1], [1], [0], [], [], [], [], [], []))
        hub.model.apply(e.TasksAssigned(0, time, 1, [make_uid(number, 1)], [0]))
        hub.model.apply(e.TaskFailed(0, time + 1, 1, failure, time + 0.5, 1000))
        hub.model.apply(e.SessionEnded(0, time + 1, number, SessionState.FAILED, failure))
    hub.model.apply(e.SessionCame(0, hub.model.now, 7, "client", "c"))
    gone = Failure(0, "", "", 0, "", "the client vanished", "")
    hub.model.apply(e.SessionEnded(0, hub.model.now, 7, SessionState.FAILED, gone))
    ask = View(Site(hub), OverviewPage, Document(), Query({"session": "all"}), "light")._ask()
    found = [(item.headline, item.count, [task.id for task in item.tasks]) for item in failures(ask)]
    assert found == [
        ("the client vanished", 1, []),
        ("ValueError: no label", 3, ["3/1", "4/1", "6/1"]),
        ("ValueError: no file", 1, ["5/1"]),
        ("ValueError: <img src=x>", 1, ["2/1"]),
    ]
    labels = failures(ask)[1]
    assert labels.last - labels.first == pytest.approx(3)
    assert "line 6" in labels.message


def chosen(hub, **query):
    view = View(Site(hub), SessionsPage, Document(), Query(query), "light")
    return [session.session_id for session in view._ask().sessions]


def test_without_a_choice_open_sessions_are_shown_or_else_the_one_that_ended_last():
    hub = demo_hub(3, end=False)
    assert chosen(hub) == [1]
    assert chosen(hub, session="all") == [1, 2]
    assert chosen(hub, session="2") == [2]
    assert chosen(hub, t=str(hub.model.sessions[2].ended - 0.01)) == [1, 2]
    hub.model.apply(e.SessionEnded(0, hub.model.now + 1, 1, SessionState.CLOSED, None))
    hub.model.apply(e.SessionCame(0, hub.model.now + 1, 3, "nothing", "c"))
    assert chosen(hub) == [3]
    hub.model.apply(e.SessionEnded(0, hub.model.now + 1, 3, SessionState.CLOSED, None))
    assert chosen(hub) == [1], "one that had no task says nothing"
    assert chosen(Hub(is_replay=True)) == []


def test_the_graph_says_which_of_all_sessions_it_shows():
    site = Site(failed_and_cancelled())
    html = View(site, GraphPage, Document(), Query({"session": "all"}), "light").fragments["summary"].html
    assert "Of all 4 sessions one is shown: 1 demo" in html
    assert 'href="?session=2"' in html
    html = View(site, GraphPage, Document(), Query({"session": "2"}), "light").fragments["summary"].html
    assert "Of all" not in html


def test_a_server_that_is_gone_is_said_with_the_time_it_was_last_seen():
    hub = live_hub()
    view = View(Site(hub, Clock()), OverviewPage, Document(), Query(), "light")
    assert "live" in view.fragments["status"].html
    hub.is_connected = False
    view.tick()
    html = view.fragments["status"].html
    assert "server not connected" in html
    assert re.search(r"last seen <time>\d\d:\d\d:\d\d</time>; values are the last known", html)


def test_single_tasks_are_no_peaks_of_the_throughput():
    document = Document()
    View(Site(live_hub()), OverviewPage, document, Query(), "light")
    plot = next(model for model in document.roots if model.name == "Throughput")
    data = plot.renderers[0].data_source.data
    assert data["right"][0] - data["left"][0] > 800
