"""A run as one HTML file that needs nothing else: no server, no network, no other file.

Texts and bars are plain HTML and can be read without scripts. The drawings are Bokeh figures, whose program
is in the file; each is there in light and in dark colours, and the reader's system says which one shows. A
content security policy lets only the scripts run that were put here (they carry a number that nobody else
can know) and nothing be loaded from elsewhere, so that not even a name that slipped through would do harm.
"""

from __future__ import annotations

import json
import re
import secrets
import time as clock
from functools import cache
from typing import Any

from bokeh.core.types import ID
from bokeh.embed import json_item
from bokeh.models import Plot
from bokeh.resources import Resources
from markupsafe import Markup

from rainzmq.dashboard.graph_figure import graph_figure
from rainzmq.dashboard.palette import DARK, LIGHT, Theme, places_of
from rainzmq.dashboard.report.contents import (
    MOST_DETAILED,
    MOST_ROWS,
    Contents,
    contents,
    in_short,
    longest_names,
)
from rainzmq.dashboard.stream_figure import stream_figure
from rainzmq.dashboard.texts import NOTHING, environment
from rainzmq.monitoring.groups import shown_names
from rainzmq.monitoring.hub import Hub

MOST_BARS = 6000
"""Bars of the drawing of what ran when; it can be zoomed into, but never shows more."""


_OUTSIDE = re.compile(r"""(?<=["'`])https?://(?!www\.w3\.org/)[^"'`\s\\)$]+""")
"""Where Bokeh's program would load from when asked for formulas, maps and icons, and what its logo links to.
The names of XML's vocabularies stay."""


def make_report(hub: Hub) -> str:
    """The HTML of a report of all that a hub knows."""
    found = contents(hub)
    figures = _figures(hub, found)
    places = places_of(shown_names(hub.model.sessions.values()).values())
    templates = environment(
        "rainzmq.dashboard.report",
        percent=_percent,
    )
    template = templates.get_template("report.html")
    return template.render(
        it=found,
        legend=[
            (name, *(theme.names[places[name]] for theme in (LIGHT, DARK)))
            for name in longest_names(hub.model)
        ],
        in_short=in_short,
        most_detailed=MOST_DETAILED,
        items={name: _embedded(item) for name, item in figures.items()},
        bokeh=Markup(_bokeh_script()) if figures else "",
        nonce=secrets.token_urlsafe(16),
        made=clock.time(),
        most_rows=MOST_ROWS,
        zone=clock.strftime("%Z", clock.localtime(found.end)),
    )


def _figures(hub: Hub, found: Contents) -> dict[str, Any]:
    """Figures by the id of the element they go to; each twice."""
    figures: dict[str, Any] = {}
    for theme in (LIGHT, DARK):
        if any(len(session.tasks) for session in hub.model.sessions.values()):
            stream = stream_figure(hub.model, None, theme=theme, most=MOST_BARS)
            _add(figures, "stream", theme, stream)
        for chapter in found.chapters:
            if chapter.graph is not None:
                session = hub.model.sessions[chapter.view.session_id]
                _add(figures, f"graph-{chapter.graph}", theme, graph_figure(session, theme=theme))
    return figures


def _add(figures: dict[str, Any], name: str, theme: Theme, plot: Plot) -> None:
    target = f"{name}-{theme.name}"
    figures[target] = json_item(plot, target=ID(target))


def _embedded(item: Any) -> Markup:
    """JSON that can stand in a script element whatever it holds."""
    text = json.dumps(item, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)


@cache
def _bokeh_script() -> str:
    """Bokeh's program, without what it would load from elsewhere."""
    (program,) = Resources(mode="inline", components=["bokeh"]).js_raw[:1]
    program = _OUTSIDE.sub("data:,", program)
    # A script element ends at its end tag, also within a string.
    return program.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _percent(share: float | None) -> str:
    if share is None:
        return NOTHING
    value = 100 * share
    return (
        f"{value:.0f} %" if value >= 9.95 or value == 0 else f"{value:.1f} %" if value >= 0.05 else "<0.1 %"
    )
