"""On a phone, without a connection, and at paths that do not exist."""

from __future__ import annotations

from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from dashboard_served import TOKEN

from rainzmq.common.ids import make_uid
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.shared import TaskBody

FAR = """selector => [...document.querySelectorAll(selector)].filter(element => {
  const box = element.getBoundingClientRect();
  return element.checkVisibility() && (box.left < 0 || box.right > innerWidth + 1);
}).map(element => element.outerHTML.slice(0, 80))"""


@pytest.mark.parametrize("width", [390, 800, 1280])
def test_all_of_a_session_is_in_sight_on_any_screen(tab, live, width):
    hub = live.hub
    hub.canceller = lambda session, reason: None
    reason = "task 1/1 (load/parse) needs 64 cpus, but the largest worker, 127.0.0.1:5001, has 2"
    live.feed(e.SessionWaits(0, hub.model.now, 1, [reason]))
    shown = tab(live, "dark", width, 844).open("sessions")
    assert shown.run("document.documentElement.scrollWidth - innerWidth") <= 0
    assert shown.run(FAR, "[data-fragment=sessions] :is(.reason, .action, .state)") == []
    assert shown.page.get_by_text(reason).is_visible()
    heights = shown.run(
        "[...document.querySelectorAll('[data-fragment=sessions] tbody tr')].map(row => row.offsetHeight)"
    )
    assert max(heights) < 240
    shown.page.get_by_role("button", name="Cancel session 1 demo").click()
    assert shown.page.get_by_role("heading", name="Cancel session 1 demo?").is_visible()


def test_the_chosen_page_is_in_sight_and_boxes_with_more_say_so(tab, replay):
    shown = tab(replay, "light", 390, 844).open("sessions")
    assert shown.run(FAR, ".bar nav [aria-current]") == []
    assert shown.run("document.querySelector('.bar nav').className") == "more-left"
    shown.open("data")
    box = "document.querySelector('[data-fragment=objects] .scroll')"
    shown.until(f"{box}.classList.contains('more-right')")
    shown.run(f"{box}.scrollLeft = 5000")
    shown.until(f"!{box}.classList.contains('more-right') && {box}.classList.contains('more-left')")


def test_the_header_leaves_a_phone_to_what_it_is_for(tab, live):
    shown = tab(live, "light", 390, 844).open("overview")
    assert shown.run("document.querySelector('header.top').offsetHeight") <= 100
    assert shown.page.locator(".tile").first.bounding_box()["y"] < 120


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_below_the_header_jumps_while_a_page_comes_up(tab, live, width):
    shown = tab(live, "light", width, 800)
    shown.page.add_init_script(
        """window.jumps = [];
           new PerformanceObserver(list => window.jumps.push(...list.getEntries().map(entry => entry.value)))
             .observe({ type: "layout-shift", buffered: true });"""
    )
    for path in ("overview", "stream", "graph?session=1", "workers"):
        shown.open(path)
        shown.page.wait_for_timeout(200)
        assert sum(shown.run("jumps")) < 0.02, path


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_what_failed_and_why_is_in_sight_at_once(tab, live, width, height):
    shown = tab(live, "light", width, height).open("overview", session="all")
    said = shown.page.locator(".failure .said", has_text="ValueError: <img src=x>")
    box = said.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert box["y"] + box["height"] <= height
    assert said.evaluate("item => item.scrollWidth <= item.clientWidth || item.clientWidth === 0")
    if width == 1280:
        for name in ("throughput", "load"):
            chart = shown.page.locator(f"#figure-{name}").bounding_box()
            assert chart["y"] + chart["height"] <= height, name
    said.click()
    assert shown.page.locator(".failure pre").is_visible()


def test_cards_and_header_change_together(tab, live):
    shown = tab(live).open("overview", session="all")
    shown.run(
        """() => {
             const part = name => document.querySelector(`[data-fragment=${name}]`);
             const done = name => part(name).querySelector("[data-n=finished]").innerText;
             window.pairs = new Set();
             new MutationObserver(() => window.pairs.add(
               `${done("status")}=${done("tiles")}`
             )).observe(document.body, { subtree: true, childList: true, characterData: true });
           }"""
    )
    body = TaskBody(1, "python/run", 1, "more", b"", [], [])
    for round_ in range(5):
        now = live.hub.model.now
        ids = [1001 + 10 * round_ + at for at in range(10)]
        uids, zeros = [make_uid(1, number) for number in ids], [0] * 10
        ran = (zeros, [now] * 10, [1000] * 10, zeros, zeros)
        live.feed(
            e.TasksSubmitted(0, now + 0.1, 1, [body], ids, [1] * 10, zeros, [], [], [], [], [], []),
            e.TasksAssigned(0, now + 0.1, 1, uids, zeros),
            e.TasksFinished(0, now + 0.2, 1, uids, *ran, [], [], [], []),
        )
        wanted = str(51 + 10 * round_)
        shown.until("wanted => document.querySelector('[data-n=finished]').innerText === wanted", wanted)
    pairs = [pair.split("=") for pair in shown.run("[...pairs]")]
    assert len(pairs) >= 5
    assert [pair for pair in pairs if pair[0] != pair[1]] == []


@pytest.mark.parametrize("width", [1280, 1440])
def test_no_column_of_a_table_is_out_of_sight_on_a_desktop(tab, live, width):
    shown = tab(live, "light", width, 800)
    for path in ("overview", "tasks", "workers", "data", "sessions", "stream"):
        shown.open(path)
        for box in shown.page.locator(".scroll").all():
            assert box.evaluate("box => box.scrollWidth - box.clientWidth") <= 0, path


def test_a_server_that_is_gone_marks_what_is_shown(tab, live):
    shown = tab(live).open("overview")
    assert shown.page.locator(".status .pill.good").inner_text() == "live"
    live.loop.add_callback(setattr, live.hub, "is_connected", False)
    shown.page.get_by_text("values are the last known").wait_for()
    assert shown.page.locator(".status .pill").inner_text() == "server not connected"
    shown.until("document.documentElement.dataset.server === 'gone'")
    assert shown.run("getComputedStyle(document.querySelector('.tile')).borderTopStyle") == "dashed"
    live.loop.add_callback(setattr, live.hub, "is_connected", True)
    shown.until("document.documentElement.dataset.server === 'there'")


def test_a_network_that_goes_silent_is_noticed_too(tab, live):
    shown = tab(live)
    shown.page.clock.install()
    shown.open("overview")
    shown.page.route("**/api/v1/server", lambda route: route.abort())
    for _ in range(2):
        shown.page.clock.run_for(10_500)
        shown.page.wait_for_timeout(300)
    shown.page.get_by_text("The connection to the dashboard is lost").wait_for()
    assert shown.page.locator(".status .pill.bad").inner_text().startswith("not connected, last seen ")
    shown.complaints.clear()


def test_a_browser_gets_a_page_that_says_where_to_go_and_programs_a_problem(tab, replay):
    shown = tab(replay)
    shown.page.goto(f"{replay.url}/nonsense<script>alert(1)</script>")
    assert "There is no page" in shown.page.locator("h1").inner_text()
    shown.page.locator("main").get_by_role("link", name="Task stream").click()
    shown.connected()
    for path in ("/tasks/1/3", "/task/1/3/"):
        shown.page.goto(replay.url + path)
        assert shown.connected().page.url == f"{replay.url}/task?id=1/3"
    assert [said for said in shown.complaints if "404" not in said] == []
    shown.complaints.clear()
    for path, accept in (("/nonsense", "*/*"), ("/api/v1/nonsense", "text/html"), ("/tasks/1/3", "*/*")):
        headers = {"Authorization": f"Bearer {TOKEN}", "Accept": accept}
        with pytest.raises(HTTPError) as caught, urlopen(Request(replay.url + path, headers=headers)):
            pass
        assert caught.value.code == 404
        assert caught.value.headers["Content-Type"].startswith("application/problem+json")
