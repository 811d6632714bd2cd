"""The dashboard over a hub in a thread of the test's process, and a tab of a browser that looks at it."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import BrowserContext, ConsoleMessage
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.testing import bind_unused_port

from rainzmq.dashboard.application import make_application, serve
from rainzmq.monitoring.hub import Hub
from rainzmq.rest.guard import Guard

TOKEN = "s3cret-token"

_EXPECTED = ("[bokeh", "Bokeh items were rendered successfully")


class Served:
    """A dashboard of its own loop and thread. `hub` may be fed by `feed` only."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.tabs: list[Tab] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dashboard", daemon=True)
        self._thread.start()
        assert self._ready.wait(20)

    def _run(self) -> None:
        async def main() -> None:
            self.loop = IOLoop.current()
            listener, self.port = bind_unused_port(address="127.0.0.1")
            hosts = frozenset({f"127.0.0.1:{self.port}"})
            self.application = make_application(self.hub, Guard(TOKEN, hosts))
            self.server: HTTPServer = serve(self.application, [listener], self.loop)
            self.stopped = asyncio.Event()
            self._ready.set()
            await self.stopped.wait()
            self.application.stop()
            self.server.stop()
            await self.server.close_all_connections()

        asyncio.run(main())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Close its tabs, then the server: a tab would complain about a server that is gone."""
        for tab in self.tabs:
            tab.context.close()
        self.loop.add_callback(self.stopped.set)
        self._thread.join(20)
        assert not self._thread.is_alive()

    def feed(self, *events: Any) -> None:
        """Let the hub take in events, on the thread that serves it."""
        done = threading.Event()

        def take() -> None:
            for event in events:
                self.hub.model.apply(event)
            done.set()

        self.loop.add_callback(take)
        assert done.wait(20)

    def rest(self, path: str, **query: Any) -> Any:
        """What REST says."""
        text = f"?{urlencode(query)}" if query else ""
        request = urllib.request.Request(f"{self.url}/api/v1{path}{text}")
        request.add_header("Authorization", f"Bearer {TOKEN}")
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)


class Tab:
    """A tab. `complaints`: all that went wrong in it."""

    def __init__(self, server: Served, context: BrowserContext) -> None:
        self.server, self.context = server, context
        server.tabs.append(self)
        self.page = context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        self.page.on("request", self._on_request)
        self.page.set_default_timeout(15_000)
        host = f"127.0.0.1:{server.port}"
        name = f"rainzmq-token-{server.port}"
        context.add_cookies([{"name": name, "value": TOKEN, "url": f"http://{host}"}])

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") or not message.text.startswith(_EXPECTED):
            self.complaints.append(f"{message.type}: {message.text}")

    def _on_request(self, request: Any) -> None:
        if not request.url.startswith((self.server.url, f"ws{self.server.url[4:]}", "data:", "blob:")):
            self.complaints.append(f"request to {request.url}")

    def open(self, path: str, **query: Any) -> Tab:
        """Open a page and wait until it is connected."""
        text = f"?{urlencode(query)}" if query else ""
        self.page.goto(f"{self.server.url}/{path}{text}")
        return self.connected()

    def connected(self) -> Tab:
        self.page.wait_for_selector("html[data-connected=yes]")
        return self

    def run(self, script: str, *arguments: Any) -> Any:
        """What a function of the page's world returns."""
        return self.page.evaluate(script, *arguments)

    def until(self, script: str, argument: Any = None) -> None:
        """Wait until what a script of the page's world returns is true."""
        wait_until(lambda: bool(self.page.evaluate(script, argument)), self)

    def rows(self, fragment: str) -> list[list[str]]:
        """Texts of all cells of the table in a fragment, without its head."""
        return self.run(
            """name => [...document.querySelectorAll(`[data-fragment=${name}] tbody tr`)].map(
                 row => [...row.children].map(cell => cell.innerText.trim()))""",
            fragment,
        )

    def numbers(self, fragment: str) -> dict[str, str]:
        """Texts of the numbers of a fragment that stand in no row, by what they are."""
        return self.run(
            """name => Object.fromEntries([...document.querySelectorAll(`[data-fragment=${name}] [data-n]`)]
                 .filter(item => item.closest("[data-row]") === null)
                 .map(item => [item.dataset.n, item.innerText.trim()]))""",
            fragment,
        )

    def table(self, selector: str) -> dict[str, dict[str, str]]:
        """Texts of the numbers of each row below a selector, by the row and what they are."""
        return self.run(
            """selector => Object.fromEntries([...document.querySelectorAll(`${selector} [data-row]`)].map(
                 row => [row.dataset.row, Object.fromEntries([...row.querySelectorAll("[data-n]")].map(
                   item => [item.dataset.n, item.innerText.trim()]))]))""",
            selector,
        )

    def text(self, fragment: str) -> str:
        return self.page.locator(f"[data-fragment={fragment}]").inner_text()

    def click_in_figure(self, source: str, figure: str, index: int) -> None:
        """Click on the middle of a bar of a figure."""
        x, y = self.run(
            """([source, figure, index]) => {
                 const doc = Bokeh.documents[0];
                 const { data } = doc.get_model_by_name(source);
                 const view = Bokeh.index.get_by_id(doc.get_model_by_name(figure).id);
                 view.el.scrollIntoView({ block: "center" });
                 const box = view.el.getBoundingClientRect();
                 const middle = (data.left[index] + data.right[index]) / 2;
                 return [box.x + view.frame.x_scale.compute(middle),
                         box.y + view.frame.y_scale.compute(data.y[index])];
               }""",
            [source, figure, index],
        )
        self.page.mouse.move(x, y)
        self.page.mouse.click(x, y)


def wait_until(holds: Callable[[], bool], tab: Tab) -> None:
    """Wait for something outside of the browser."""
    for _ in range(200):
        if holds():
            return
        tab.page.wait_for_timeout(50)
    raise AssertionError("it did not happen within 10 s")
