"""What every page is: fragments of HTML and figures, from an `PageQuery` that says what to show."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Hashable
from typing import Any, ClassVar, TypeVar

from bokeh.models import LayoutDOM

from rainzmq.dashboard.palette import Theme, first_choice, places_of
from rainzmq.dashboard.query import Query
from rainzmq.dashboard.site import Site
from rainzmq.monitoring.groups import shown_names
from rainzmq.monitoring.session import STATES, SessionLog
from rainzmq.monitoring.views import (
    GroupView,
    SessionView,
    StateCounts,
    WorkerView,
    server_view,
    session_view,
    worker_views,
)

_Value = TypeVar("_Value")

ALL = "all"
"""What the query says as `session` for all of them."""

PAGES = (
    ("overview", "Overview"),
    ("stream", "Task stream"),
    ("graph", "Graph"),
    ("tasks", "Tasks"),
    ("workers", "Workers"),
    ("data", "Data"),
    ("sessions", "Sessions"),
)
"""Path and title of the pages that the header leads to."""


class PageQuery:
    """What a page is asked to show, for one update.

    Attributes:
        site, query, theme, path: as they are now.
        time: in s since the epoch; None: how it is now. Only replays have another.
        until: `time`, or the time of the last event.
        choice: "" for those that are open, or else the one that ended last; "all"; or the number of one.
        there: all sessions that had come.
        sessions: those chosen of them.
        session_id: the chosen one, None for several.
    """

    def __init__(self, site: Site, query: Query, theme: Theme, path: str) -> None:
        self.site, self.query, self.theme, self.path = site, query, theme, path
        self.hub, self.model = site.hub, site.hub.model
        wanted = query.time() if self.hub.is_replay else None
        self.time = (
            None if wanted is None or wanted >= self.model.now else max(wanted, self.model.first_time())
        )
        self.until = self.model.now if self.time is None else self.time
        self.there = [session for session in self.model.sessions.values() if session.came <= self.until]
        # The page of a task is about its session.
        session = query.get("session") or (query.get("id").partition("/")[0] if path == "task" else "")
        self.choice, self.sessions = _chosen(session, self.there, self.time)
        self.session_id = self.sessions[0].session_id if len(self.sessions) == 1 else None

    def once(self, name: str, make: Callable[[], _Value], *key: Hashable) -> _Value:
        """What `make` returns for this time and these sessions, computed once for all documents."""
        return self.site.once((name, self.time, self.choice, *key), make)

    def session_views(self) -> list[SessionView]:
        """The chosen sessions, in order of their coming."""
        return self.once("sessions", lambda: [self.session_view(session) for session in self.sessions])

    def session_view(self, session: SessionLog) -> SessionView:
        """A session and how far it is."""
        key = ("session", self.time, session.session_id)
        return self.site.once(key, lambda: session_view(session, self.time))

    def worker_views(self) -> list[WorkerView]:
        """All workers that had come."""
        return self.site.once(("workers", self.time), lambda: worker_views(self.model, self.time))

    def counts(self) -> StateCounts:
        """Tasks of the chosen sessions by state."""
        views = self.session_views()
        return StateCounts(*(sum(view.counts[state] for view in views) for state in STATES))

    def place(self, name: str) -> int:
        """Place of the colour of what is shown under a name, which may be a folded one."""
        return self._places().get(name, first_choice(name))

    def shown_as(self, name: str) -> str:
        """What a task of this name is shown as where there are colours: folded when there are many names."""
        return self._shown_names().get(name, name)

    def place_of_task(self, name: str) -> int:
        """Place of the colour of a task of this name."""
        return self.place(self.shown_as(name))

    def place_of_group(self, group: GroupView) -> int | None:
        """Place of the colour that a group's tasks have in common; None when they have several."""
        if group.own:
            return self.place_of_task(group.name)
        return self._places().get(group.name + "/")

    def _shown_names(self) -> dict[str, str]:
        return self.once("shown names", lambda: shown_names(self.sessions))

    def _places(self) -> dict[str, int]:
        return self.once("places", lambda: places_of(self._shown_names().values()))

    def render(self, template: str, macro: str, **values: Any) -> str:
        """HTML of a macro of a template, which gets `ask` and the values by name."""
        made = self.site.templates.get_template(template).module
        return str(getattr(made, macro)(ask=self, q=self.query, **values))


def _chosen(wanted: str, there: list[SessionLog], time: float | None) -> tuple[str, list[SessionLog]]:
    """The choice that a query makes among sessions, and those chosen."""
    mine = [session for session in there if str(session.session_id) == wanted]
    if mine:
        return wanted, mine
    return (ALL, there) if wanted == ALL else ("", _usual(there, time))


def _usual(there: list[SessionLog], time: float | None) -> list[SessionLog]:
    """Those shown without a choice: sessions that are open, or else the one with tasks that ended last."""
    is_open = [session for session in there if session.is_open(time)]
    if is_open or not there:
        return is_open
    return [max(there, key=lambda session: (len(session.tasks) > 0, session.ended))]


class Page:
    """A page: subclasses say what it shows.

    Attributes:
        path, title: as in the URL and the header.
        template: of the whole page; `parts`: of its fragments.
        figures: Bokeh figures by name, made by `start`.
    """

    path: ClassVar[str]
    title: ClassVar[str]

    def __init__(self) -> None:
        self.figures: dict[str, LayoutDOM] = {}

    @property
    def template(self) -> str:
        """File of the whole page."""
        return f"{self.path}.html"

    @property
    def parts(self) -> str:
        """File of the macros of its fragments."""
        return f"{self.path}_parts.html"

    def start(self, ask: PageQuery, again: Callable[[], None]) -> None:
        """Make the figures. `again`: to be called when a figure was zoomed and there is more to show."""

    def fragments(self, ask: PageQuery) -> dict[str, str]:
        """HTML by name; always of the same names."""
        return {}

    def draw(self, ask: PageQuery) -> None:
        """Bring the figures up to date."""

    def recolor(self, theme: Theme) -> None:
        """Give the figures another theme."""

    def frame(self, ask: PageQuery) -> dict[str, str]:
        """What stands around every page."""
        server = server_view(ask.hub, ask.time)
        usual = _usual(ask.there, ask.time)
        heard = ask.model.now
        seen = clock.strftime("%H:%M:%S", clock.localtime(heard)) if heard else ""
        return {
            "nav": ask.render("frame_parts.html", "nav", pages=PAGES),
            "status": ask.render("frame_parts.html", "status", server=server, counts=ask.counts(), seen=seen),
            "notes": ask.render("frame_parts.html", "notes", server=server),
            "choice": ask.render(
                "frame_parts.html",
                "choice",
                sessions=ask.there,
                default=usual,
                is_open=any(session.is_open(ask.time) for session in usual),
                all=ALL,
            ),
            "clock": ask.render("frame_parts.html", "clock"),
        }
