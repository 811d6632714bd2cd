"""Figures that stand in a document of their own, such as a report."""

from __future__ import annotations

import re

import pytest
from bokeh.embed import components, file_html
from bokeh.resources import INLINE

from rainzmq.dashboard.graph_figure import GraphFigure, graph_figure
from rainzmq.dashboard.palette import DARK, LIGHT
from rainzmq.dashboard.stream_figure import StreamFigure, stream_data, stream_figure, whole_span
from rainzmq.monitoring.dag import Dag, Node
from rainzmq.testing.events import START, demo_hub


@pytest.fixture
def model():
    return demo_hub(5).model


def test_figures_stand_in_one_file_without_any_link_outside(model):
    session = model.sessions[1]
    for plot in (stream_figure(model, None), graph_figure(session, theme=DARK)):
        page = file_html(plot, INLINE, title="report")
        assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=", page)
        assert len(components(plot)) == 2


def test_a_stream_figure_shows_the_whole_of_a_session(model):
    plot = stream_figure(model, model.sessions[1])
    assert plot.x_range.end - plot.x_range.start == pytest.approx(
        1000 * (whole_span(model, [model.sessions[1]], model.now)[1] - START - 0.45), abs=20
    )


def test_bars_lead_to_their_tasks_where_links_are_wanted(model):
    made = StreamFigure(DARK, lambda task: f"/task?id={task}")
    sessions = list(model.sessions.values())
    data = stream_data(model, sessions, whole_span(model, sessions, model.now), model.now)
    made.draw(data)
    hrefs, labels = made.bars.data["href"], made.bars.data["label"]
    assert "/task?id=2/1" in hrefs
    assert all(href.removeprefix("/task?id=") in label for href, label in zip(hrefs, labels, strict=True))
    assert sum(use.tasks for use in data.uses) == 12


def test_another_theme_changes_the_colours_of_bars(model):
    made = StreamFigure(DARK)
    sessions = list(model.sessions.values())
    made.draw(stream_data(model, sessions, whole_span(model, sessions, model.now), model.now))
    before = list(made.bars.data["color"])
    assert set(before) <= set(DARK.names)
    made.recolor(LIGHT)
    assert set(made.bars.data["color"]) <= set(LIGHT.names)
    assert made.plot.background_fill_color == LIGHT.panel


def test_a_small_graph_is_not_stretched(model):
    assert graph_figure(model.sessions[2]).max_width < 500
    wide = graph_figure(model.sessions[1])
    assert wide.min_width <= wide.max_width


def test_a_layer_is_a_column_however_many_it_has():
    figure = GraphFigure(LIGHT)
    leaves = [Node(f"1/{n}", "leaf", True, True, 1, [0, 0, 0, 0, 1, 0, 0], 0.0, float(n)) for n in range(128)]
    top = Node("1/999", "sum", True, True, 1, [1, 0, 0, 0, 0, 0, 0], 1.0, 0.0)
    figure.draw(Dag([*leaves, top], [(n, 128, 1) for n in range(128)], False, 129))
    assert set(figure.nodes.data["left"][:128]) == {0.0}
    assert list(figure.nodes.data["y"][:128]) == list(range(128))
    assert (figure.nodes.data["left"][128], figure.nodes.data["y"][128]) == (1.0, 63.5)
    assert figure.plot.height > 128 * 20, "it is scrolled, not squeezed"
    many = [Node(f"1/{n}", "leaf", True, True, 1, [0, 0, 0, 0, 1, 0, 0], 0.0, float(n)) for n in range(1000)]
    figure.draw(Dag(many, [], False, 1000))
    assert figure.plot.height <= 8000
