"""A browser, and the dashboard over made-up histories that it opens."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dashboard_served import Served, Tab
from playwright.sync_api import Browser, sync_playwright

from rainzmq.testing.events import demo_hub

_NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, as it is installed on this computer. Of one module: as long as it is open, playwright has an
    event loop running in this thread, which other tests must not find.
    """
    found = next((path for path in map(shutil.which, _NAMES) if path), None)
    if found is None:
        pytest.fail(
            f"the browser tests need one of {', '.join(_NAMES)} in PATH (Debian: apt install chromium)"
        )
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture(scope="module")
def replay(browser: Browser) -> Iterator[Served]:
    """A finished history, for tests that change nothing."""
    server = Served(demo_hub(20))
    yield server
    server.close()


@pytest.fixture
def live() -> Iterator[Served]:
    """A cluster that is connected, and whose first session is open."""
    hub = demo_hub(20, end=False)
    hub.is_replay, hub.is_connected = False, True
    server = Served(hub)
    yield server
    server.close()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Callable[..., Tab]]:
    """Opens tabs; at the end none of them may have said anything in its console."""
    tabs: list[Tab] = []

    def opened(server: Served, theme: str = "light", width: int = 1280, height: int = 800) -> Tab:
        size = {"width": width, "height": height}
        context = browser.new_context(viewport=size, color_scheme=theme, timezone_id="UTC")
        tabs.append(Tab(server, context))
        return tabs[-1]

    yield opened
    for made in tabs:
        made.context.close()
    assert [said for made in tabs for said in made.complaints] == []


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots are kept."""
    chosen = os.environ.get("RAINZMQ_SCREENSHOTS")
    path = Path(chosen) if chosen else tmp_path_factory.mktemp("screenshots")
    path.mkdir(parents=True, exist_ok=True)
    return path
