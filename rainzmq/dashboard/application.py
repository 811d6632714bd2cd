"""The web application: pages, REST, static files; every request passes the guard.

A page is asked for by GET: its text is rendered at once, and a Bokeh session is opened that its script
connects to by websocket for figures and for what changes. No inline script is sent, so that the content
security policy can forbid it.
"""

from __future__ import annotations

import json
import logging
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.server.tornado import BokehTornado
from bokeh.server.views.doc_handler import DocHandler
from bokeh.server.views.ws import WSHandler
from markupsafe import Markup
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop, PeriodicCallback
from tornado.web import Application as TornadoApplication
from tornado.web import RedirectHandler, StaticFileHandler

from rainzmq.dashboard.page import PAGES as TITLES
from rainzmq.dashboard.page import Page
from rainzmq.dashboard.page_data import DataPage
from rainzmq.dashboard.page_graph import GraphPage
from rainzmq.dashboard.page_overview import OverviewPage
from rainzmq.dashboard.page_sessions import SessionsPage
from rainzmq.dashboard.page_stream import StreamPage
from rainzmq.dashboard.page_task import TaskPage
from rainzmq.dashboard.page_tasks import TasksPage
from rainzmq.dashboard.page_workers import WorkersPage
from rainzmq.dashboard.query import Query
from rainzmq.dashboard.site import UPDATE_S, Site
from rainzmq.dashboard.view import View
from rainzmq.monitoring.hub import Hub
from rainzmq.rest.guard import Guard, guarded
from rainzmq.rest.handlers import UnknownHandler, routes

PAGES: tuple[type[Page], ...] = (
    OverviewPage,
    StreamPage,
    GraphPage,
    TasksPage,
    TaskPage,
    WorkersPage,
    DataPage,
    SessionsPage,
)
"""All pages; the first is shown for `/`."""

THEME_COOKIE = "rainzmq_theme"

SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
"""Scripts come from this server only, and none stands in a page. Styles do: Bokeh makes them as it goes."""

HEADERS_S = 20.0
"""Who has sent no whole request by then, the first or a further one, is disconnected: s. A websocket and an
answer that is under way stay. On a machine so busy that this process does not get to run for as long,
requests that came meanwhile are lost too: so it is no shorter.
"""

BODY_S = 30.0
"""How long the body of a request may take, s."""

MAX_BODY_BYTES = 1 << 20
"""Largest body of a request."""

_ASSETS = Path(__file__).with_name("assets")
_VIEW = "view"
_TASK_PATH = re.compile(r"/tasks?/(\d{1,18}/\d{1,18})/?")
"""Where one looks for a task who knows REST."""


class PageHandler(DocHandler):
    """A page: opens a Bokeh session and sends the text of the page."""

    async def get(self, *args: Any, **kwargs: Any) -> None:
        """Called by tornado."""
        session: Any = await self.get_session()  # type: ignore[misc]
        view: View = session.document.template_variables[_VIEW]
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", SECURITY_POLICY)
        self.set_header("Cache-Control", "no-store")
        bokeh = self.application.prefix + "/static/js/bokeh.min.js"
        self.write(render(view, session.token, bokeh, _asset_url))


class MissingHandler(UnknownHandler):
    """Answers for paths that do not exist: a browser gets a page, others a problem."""

    def initialize(self, hub: Hub, site: Site | None = None) -> None:
        """Called by tornado."""
        super().initialize(hub)
        assert site is not None, "the application gives one"
        self._site = site

    def prepare(self) -> None:
        """Called by tornado."""
        path, method = self.request.path, self.request.method
        wants_page = "text/html" in self.request.headers.get("Accept", "").lower()
        if method not in ("GET", "HEAD") or not wants_page or path.startswith(("/api/", "/static/")):
            super().prepare()
            return
        task = _TASK_PATH.fullmatch(path)
        if task is not None:
            time = self.get_query_argument("t", None)
            self.redirect("/task?" + urlencode({**({"t": time} if time else {}), "id": task[1]}, safe="/"))
            return
        self.set_status(404)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", SECURITY_POLICY)
        template = self._site.templates.get_template("missing.html")
        self.finish(template.render(path=path[:200], pages=TITLES, asset=_asset_url))


class SocketHandler(WSHandler):
    """The websocket of a page. Only pages of this very host and port may open it."""

    def check_origin(self, origin: str) -> bool:
        """The guard has looked at the origin too; Bokeh's own list, which the environment can widen, is not
        asked.
        """
        return origin.lower() == f"http://{self.request.host.lower()}"


class _Routes(TornadoApplication):
    """Stands between Bokeh's application and tornado's: puts our handlers in the place of Bokeh's."""

    def __init__(self, handlers: list[Any], rest: Sequence[Any] = (), **settings: Any) -> None:
        wanted = list(rest)
        for route in handlers:
            kind = route[1]
            if kind is DocHandler:
                wanted.append((route[0], PageHandler, *route[2:]))
            elif kind is WSHandler:
                wanted.append((route[0], SocketHandler, *route[2:]))
            elif kind.__name__ not in ("AutoloadJsHandler", "MetadataHandler", "RootHandler", "IcoHandler"):
                wanted.append(route)
        super().__init__(wanted, **settings)


class DashboardApplication(BokehTornado, _Routes):
    """All pages of a hub."""

    def __init__(self, site: Site, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ticks = PeriodicCallback(site.tick, UPDATE_S * 1000)

    def start(self) -> None:
        """Begin to keep pages up to date."""
        super().start()
        self._ticks.start()

    def stop(self, wait: bool = True) -> None:
        """Stop that."""
        self._ticks.stop()
        super().stop(wait)


def make_application(hub: Hub, guard: Guard) -> BokehTornado:
    """The application that serves a hub's pages, and REST under `/api/v1` and `/metrics`.

    The hub must be fed on the thread of the application's loop.

    Args:
        hub: what is shown.
        guard: lets requests in or not, websockets and static files too.
    """
    # A tab that is closed while something is sent to it is nothing to warn of.
    logging.getLogger("bokeh.server.views.ws").setLevel(logging.ERROR)
    site = Site(hub)
    pages = {f"/{page.path}": Application(FunctionHandler(_opener(site, page))) for page in PAGES}
    pages_and_files: list[Any] = [
        (r"/", RedirectHandler, {"url": f"/{PAGES[0].path}", "permanent": False}),
        (r"/favicon\.ico", RedirectHandler, {"url": "/assets/icon.svg", "permanent": False}),
        (r"/assets/(.*)", StaticFileHandler, {"path": str(_ASSETS)}),
    ]
    made: BokehTornado = guarded(DashboardApplication)(
        guard,
        site,
        pages,
        extra_patterns=pages_and_files,
        rest=routes(hub),
        default_handler_class=MissingHandler,
        default_handler_args={"hub": hub, "site": site},
        use_index=False,
        # Nothing of a request but its query and the theme gets into the token that the page holds.
        include_headers=[],
        include_cookies=[THEME_COOKIE],
        session_token_expiration=24 * 3600,
        check_unused_sessions_milliseconds=5000,
        websocket_compression_level=1,
        websocket_max_message_size_bytes=1 << 20,
    )
    return made


def serve(
    application: BokehTornado, sockets: Sequence[socket.socket], loop: IOLoop | None = None
) -> HTTPServer:
    """Serve an application on bound, listening sockets; `loop`: the one that runs, None for the current."""
    loop = loop or IOLoop.current()
    application.initialize(loop)
    server = HTTPServer(
        application,
        max_body_size=MAX_BODY_BYTES,
        max_buffer_size=4 << 20,
        idle_connection_timeout=HEADERS_S,
        body_timeout=BODY_S,
    )
    server.add_sockets(list(sockets))
    application.start()
    return server


def _opener(site: Site, page: type[Page]) -> Any:
    def open_page(document: Document) -> None:
        request: Any = document.session_context.request  # type: ignore[union-attr]
        arguments: dict[str, list[bytes]] = request.arguments
        query = Query(
            {key: values[-1].decode("utf-8", "replace") for key, values in arguments.items() if values}
        )
        theme = request.cookies.get(THEME_COOKIE, "light")
        document.template_variables[_VIEW] = View(site, page, document, query, theme)

    return open_page


def render(view: View, token: str, bokeh: str, asset: Any) -> str:
    """HTML of a whole page. `bokeh`: URL of Bokeh's script; `asset(name)`: that of a file of ours."""
    model, hub = view.site.hub.model, view.site.hub
    places = {figure.id: f"figure-{name}" for name, figure in view.figures.items()}
    item = {"token": token, "roots": places, "root_ids": list(places)}

    def fragment(name: str) -> Markup:
        return Markup('data-fragment="{}">{}').format(name, Markup(view.fragments[name].html))

    def figure(name: str) -> Markup:
        plot: Any = view.figures[name]
        # It has its height before the figure is there: what is below it does not jump.
        return Markup(
            '<div class="plot" id="figure-{}" role="figure" aria-label="{}" style="--height:{}px"></div>'
        ).format(name, plot.name, int(plot.height))

    replay = None
    if hub.is_replay:
        first, now = model.first_time(), model.now
        length = max(0.001, now - first)
        place = (view.control_time() or now) - first
        replay = {"first": first, "now": now, "length": length, "step": length / 1000, "place": place}
    return view.site.templates.get_template(view.page.template).render(
        page=view.page,
        theme=view.theme,
        fragment=fragment,
        figure=figure,
        replay=replay,
        bokeh=bokeh,
        asset=asset,
        document=_script_json({"item": item}),
    )


def _asset_url(name: str) -> str:
    """URL of an asset; another one when its content changes."""
    version = StaticFileHandler.get_version({"static_path": str(_ASSETS)}, name)
    return f"/assets/{name}?v={version}"


def _script_json(value: Any) -> Markup:
    """JSON that can stand in a script element."""
    text = json.dumps(value)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)
