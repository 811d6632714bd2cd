"""The query of a page's URL."""

from __future__ import annotations

import pytest

from rainzmq.dashboard.query import Query


def test_links_to_other_pages_keep_the_time_and_the_session():
    query = Query.parse("?t=12.5&session=3&sort=-sum")
    assert query.link("workers") == "/workers?t=12.5&session=3"
    assert query.link("task", id="3/1") == "/task?t=12.5&session=3&id=3%2F1"
    assert Query().link("overview") == "/overview"


def test_a_change_keeps_all_else_and_none_takes_a_value_away():
    query = Query.parse("name=a%2Fb&after=50")
    assert query.with_(after=100) == "?name=a%2Fb&after=100"
    assert query.with_(after=None) == "?name=a%2Fb"


@pytest.mark.parametrize("text", ["t=", "t=nan", "t=inf", "t=yesterday", "", "t=1e999"])
def test_a_senseless_time_is_none(text):
    assert Query.parse(text).time() is None


@pytest.mark.parametrize(
    "text", ["session=-1", "session=x", "session=", "session=1.5", "session=" + "9" * 40]
)
def test_a_senseless_number_is_none(text):
    assert Query.parse(text).number("session") is None


def test_what_is_in_a_query_can_not_break_out_of_a_link():
    query = Query({"t": '"><script>', "session": "1&x=2"})
    assert query.link("tasks") == "/tasks?t=%22%3E%3Cscript%3E&session=1%26x%3D2"
