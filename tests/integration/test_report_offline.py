"""A report opens in a browser without a network, in light and dark, on a desk and on a phone."""

from __future__ import annotations

from pathlib import Path

import pytest

from rainzmq.dashboard.report.report import make_report
from rainzmq.testing.events import demo_hub

sync_api = pytest.importorskip("playwright.sync_api")

CHROMIUM = Path("/usr/bin/chromium")

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="needs chromium")

DRAWN = """() => [...document.querySelectorAll(".pair > div")].map(target => [
    getComputedStyle(target).visibility,
    Boolean(target.firstElementChild && target.firstElementChild.shadowRoot.querySelector("canvas, div")),
    target.getBoundingClientRect().height > 50,
])"""
"""Of each place of a figure: is it visible, is there something in it, is it of a size."""


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_report_opens_offline_and_draws_its_figures(tmp_path, scheme, width):
    path = tmp_path / "report.html"
    path.write_text(make_report(demo_hub()))
    troubles: list[str] = []
    requests: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        context = browser.new_context(
            offline=True, color_scheme=scheme, viewport={"width": width, "height": 900}
        )
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
        page.goto(path.as_uri())
        page.wait_for_function("() => window.Bokeh && Bokeh.documents.every(made => made.is_idle)")
        drawn = page.evaluate(DRAWN)
        overflow = page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
        browser.close()

    assert troubles == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert len(drawn) == 6
    assert all(has_view and is_high for _, has_view, is_high in drawn)
    assert [visibility for visibility, _, _ in drawn].count("visible") == 3
    assert overflow <= 0
