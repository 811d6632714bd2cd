"""One open document: a page in one browser tab, and how it is kept up to date.

query of the URL, theme --Control--> View --Page.fragments--> Fragment.html --> morphed into the page
                                      \\--Page.draw--> sources of Bokeh figures

The text of a page is HTML, rendered here and escaped by jinja2; only parts that differ are sent, and shown
together. The script of the page changes only what differs in them, so that focus, selection and scrolling
stay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bokeh.core.properties import Int, String
from bokeh.document import Document
from bokeh.model import DataModel, Model

from rainzmq.dashboard.page import Page, PageQuery
from rainzmq.dashboard.palette import LIGHT, THEMES
from rainzmq.dashboard.query import Query
from rainzmq.dashboard.site import Site

_REST = 4.0
"""A document rests for so many times as long as its last update took, times the number of open documents:
together they take about a quarter of the time at most.
"""


_DEBOUNCE_MS = 150


class Fragment(DataModel):
    """HTML of a part of the page; `name` is the part's."""

    html = String(default="")


class Shown(DataModel):
    """Counts the updates of a page. What differs is sent in several messages, this after all others: so the
    browser changes all fragments at once, and numbers that belong together are of one moment.
    """

    number = Int(default=0)


class Control(DataModel):
    """What the browser says: query of the URL, and theme."""

    query = String(default="")
    theme = String(default="light")


class View:
    """A page in a document.

    Attributes:
        page: what it shows.
        control, fragments, shown: the models that the page's script knows.
        figures: by name.
        theme: that of the figures.
    """

    def __init__(
        self, site: Site, make: Callable[[], Page], document: Document, query: Query, theme: str
    ) -> None:
        self.site, self._document = site, document
        self._context = document.session_context
        self.page = make()
        self._query, self.theme = query, THEMES.get(theme, LIGHT)
        self.control = Control(name="control", query=query.with_(), theme=self.theme.name)
        self.fragments: dict[str, Fragment] = {}
        self.shown = Shown(name="shown")
        self._updates = 0
        self._drawn: Any = None
        self._wants_update = self._is_woken = False
        self._rests_until = float("-inf")
        self.figures: dict[str, Model] = {}
        self._start()
        site.views.add(self)

    def _start(self) -> None:
        ask = self._ask()
        self.page.start(ask, self._again)
        self.figures = dict(self.page.figures)
        self._show(ask)
        document = self._document
        document.title = f"{self.page.title} \N{EN DASH} rainzmq"
        # Bokeh's script puts the first roots where the page has places for figures.
        with document.models.freeze():
            for model in (*self.figures.values(), self.control, *self.fragments.values(), self.shown):
                document.add_root(model)
        self.control.on_change("query", self._on_query)
        self.control.on_change("theme", self._on_theme)

    def wake(self) -> None:
        """Show what changed as soon as the document is free, unless the last update took long."""
        if getattr(self._context, "destroyed", False):
            self.site.views.discard(self)
        elif self._is_due() and not self._is_woken:
            self._is_woken = True
            self._document.add_next_tick_callback(self.tick)

    def tick(self) -> None:
        """Show what changed, if something did."""
        self._is_woken = False
        if self._is_due():
            self._update()

    def _is_due(self) -> bool:
        return self.site.now() >= self._rests_until and self._drawn != self.site.version()

    def _update(self) -> None:
        begun = self.site.now()
        self._show(self._ask())
        took = self.site.now() - begun
        self._rests_until = self.site.now() + _REST * took * len(self.site.views)

    def control_time(self) -> float | None:
        """The time that the query asks for, s since the epoch."""
        return self._query.time()

    def _again(self) -> None:
        """The page itself wants an update soon, since it was zoomed; more wishes until then are one."""
        if not self._wants_update:
            self._wants_update = True
            self._document.add_timeout_callback(self._now, _DEBOUNCE_MS)

    def _now(self) -> None:
        self._wants_update = False
        self._update()

    def _ask(self) -> PageQuery:
        return PageQuery(self.site, self._query, self.theme, self.page.path)

    def _show(self, ask: PageQuery) -> None:
        self._drawn = self.site.version()
        is_new = False
        for name, html in {**self.page.frame(ask), **self.page.fragments(ask)}.items():
            fragment = self.fragments.get(name)
            if fragment is None:
                self.fragments[name] = Fragment(name=f"fragment:{name}", html=str(html))
            elif fragment.html != html:
                fragment.update(html=str(html))
                is_new = True
        self.page.draw(ask)
        if is_new:
            self._updates += 1
            self.shown.update(number=self._updates)

    def _on_query(self, _name: str, _old: str, new: str) -> None:
        self._query = Query.parse(new)
        self._update()

    def _on_theme(self, _name: str, _old: str, new: str) -> None:
        self.theme = THEMES.get(new, LIGHT)
        self.page.recolor(self.theme)
        self._update()
