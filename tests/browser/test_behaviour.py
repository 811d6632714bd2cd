"""What happens when people do something: clicks, keys, zooming, replaying, cancelling; and nothing else."""

from __future__ import annotations

import random

import pytest
from dashboard_served import Served, wait_until

from rainzmq.common.ids import make_uid
from rainzmq.common.states import SessionState
from rainzmq.monitoring.session import RUNNING
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.shared import Failure, OutputTemplate, TaskBody
from rainzmq.testing.events import START, demo_hub

EVIL = '<script>window.hacked = 1</script><img src=x onerror="window.hacked = 1">$$\\frac{x}{y}$$'


def running_at(hub, time):
    """Ids of the tasks that run at a time, as the model says."""
    found = set()
    for session in hub.model.sessions.values():
        rows = (session.states(time) == RUNNING).nonzero()[0]
        found |= {f"{session.session_id}/{number}" for number in session.tasks["ids"][rows].tolist()}
    return found


def set_time(shown, time):
    """Move the slider as a hand does, and wait until the page shows it."""
    shown.run(
        """time => {
             const slider = document.getElementById("time");
             slider.value = time - Number(slider.dataset.first);
             slider.dispatchEvent(new Event("input", { bubbles: true }));
           }""",
        time,
    )


def test_a_replay_shows_the_running_tasks_of_any_time(tab, replay):
    shown = tab(replay).open("tasks", state="running", order="slow")
    model, chosen = replay.hub.model, random.Random(7)
    first, seen = model.first_time(), set()
    place, step = "Number(new URLSearchParams(location.search).get('t'))", (model.now - first) / 1000
    for _ in range(20):
        time = chosen.uniform(first, model.now - 0.01)
        set_time(shown, time)
        shown.until("Number(new URLSearchParams(location.search).get('t')) > 0")
        wait_until(lambda wanted=time: abs(shown.run(place) - wanted) <= step, shown)
        wanted = running_at(replay.hub, shown.run(place))
        wait_until(lambda wanted=wanted: ids_of(shown) == wanted, shown)
        seen.add(len(wanted))
    assert max(seen) >= 4


def ids_of(shown):
    return {row[0] for row in shown.rows("list")}


def test_the_time_is_set_by_keys_and_kept_on_all_pages(tab, replay):
    shown = tab(replay).open("overview")
    shown.page.get_by_label("Time", exact=True).focus()
    for _ in range(3):
        shown.page.keyboard.press("PageDown")
    shown.until("new URLSearchParams(location.search).has('t')")
    shown.until("document.getElementById('time').getAttribute('aria-valuetext').includes('of 5')")
    shown.until("document.querySelector('nav a[href^=\"/workers\"]').href.includes('t=')")
    time = shown.run("new URLSearchParams(location.search).get('t')")
    shown.page.get_by_role("link", name="Workers", exact=True).click()
    shown.page.wait_for_url("**/workers?*")
    shown.connected()
    assert shown.run("new URLSearchParams(location.search).get('t')") == time
    finished = sum(int(row["finished"]) for row in shown.table("[data-fragment=live]").values())
    assert finished == sum(item["finished"] for item in replay.rest("/workers", time=time)["items"])


def test_playing_goes_on_by_itself_and_stops(tab, replay):
    shown = tab(replay).open("overview")
    shown.page.get_by_role("button", name="Play").click()
    shown.until("Number(document.getElementById('time').value) > 0.2")
    shown.page.get_by_role("button", name="Pause").click()
    at = shown.run("document.getElementById('time').value")
    shown.page.wait_for_timeout(400)
    assert shown.run("document.getElementById('time').value") == at


def test_a_session_is_chosen_for_all_pages(tab, replay):
    shown = tab(replay).open("tasks")
    shown.page.get_by_label("Session").select_option("2")
    shown.until("document.querySelectorAll('[data-fragment=list] tbody tr').length === 2")
    shown.page.get_by_role("link", name="Sessions", exact=True).click()
    shown.page.wait_for_url("**/sessions?session=2")
    shown.connected()
    assert [row[0] for row in shown.rows("sessions")] == ["2 broken <script>"]
    shown.page.go_back()
    shown.connected()
    shown.page.get_by_label("Session").select_option("all")
    shown.until("document.querySelectorAll('[data-fragment=list] tbody tr').length === 43")
    shown.page.go_back()
    shown.until("document.querySelectorAll('[data-fragment=list] tbody tr').length === 2")


@pytest.mark.parametrize("name", ["train/model-2", "report", "bad"])
def test_a_click_on_a_bar_opens_its_task(tab, replay, name):
    shown = tab(replay).open("stream", session="all")
    index = shown.run(
        """name => Bokeh.documents[0].get_model_by_name("bars").data.label
                       .findIndex(label => label.startsWith(name))""",
        name,
    )
    label = shown.run("index => Bokeh.documents[0].get_model_by_name('bars').data.label[index]", index)
    shown.click_in_figure("bars", "Task stream", index)
    shown.page.wait_for_url("**/task?*")
    shown.connected()
    assert shown.page.locator("h1").inner_text() == label.replace("(", "").replace(")", "")


def test_a_click_in_the_graph_opens_a_task_or_lists_those_of_a_group(tab, replay):
    shown = tab(replay).open("graph", session=1)
    shown.click_in_figure("nodes", "Graph", 23)
    shown.page.wait_for_url("**/task?*")
    shown.connected()
    assert shown.run("new URLSearchParams(location.search).get('id')") == "1/47"
    shown.open("graph", session=1, fold=1)
    keys = shown.run("[...Bokeh.documents[0].get_model_by_name('nodes').data.full]")
    shown.click_in_figure("nodes", "Graph", keys.index("train/model-1"))
    shown.page.wait_for_url("**/tasks?*")
    shown.connected()
    assert {row[1] for row in shown.rows("list")} == {"train/model-1"}
    assert len(shown.rows("list")) == 7


def test_groups_of_a_large_graph_are_opened_by_a_click(tab):
    hub = demo_hub(1)
    history = [e.SessionCame(0, START + 8, 3, "many", "node (pid 1)")]
    names = [f"a/{group}/{part}" for group in range(30) for part in range(2)]
    bodies = [TaskBody(key, "python/run", 1, name, b"", [], []) for key, name in enumerate(names, 1)]
    ids = list(range(1, 601))
    keys = [1 + number % len(names) for number in range(600)]
    rest = ([0] * 600, [], [], [], [], [], [])
    history.append(e.TasksSubmitted(0, START + 8, 3, bodies, ids, keys, *rest))
    for event in history:
        hub.model.apply(event)
    server = Served(hub)
    try:
        shown = tab(server).open("graph", session=3)
        nodes = "Bokeh.documents[0].get_model_by_name('nodes').data.full.length"
        assert shown.run(nodes) == 1
        shown.click_in_figure("nodes", "Graph", 0)
        shown.until(f"{nodes} === 30")
        shown.page.get_by_role("link", name="fold all").click()
        shown.until(f"{nodes} === 1")
    finally:
        server.close()


def short_tasks(count):
    """A finished session of tasks of 10 ms, one after the other on each of two cpus."""
    hub = demo_hub(1)
    ids = list(range(1, count + 1))
    uids, zeros = [make_uid(3, number) for number in ids], [0] * count
    starts = [START + 10 + number // 2 * 0.01 for number in range(count)]
    body = TaskBody(1, "python/run", 1, "short", b"", [], [])
    ran = (zeros, starts, [10_000] * count, [number % 2 for number in range(count)], zeros)
    for event in (
        e.SessionCame(0, START + 8, 3, "short", "node (pid 1)"),
        e.TasksSubmitted(0, START + 8, 3, [body], ids, [1] * count, zeros, [], [], [], [], [], []),
        e.TasksAssigned(0, START + 9, 1, uids, zeros),
        e.TasksFinished(0, starts[-1] + 1, 1, uids, *ran, [], [], [], []),
    ):
        hub.model.apply(event)
    return hub


def test_many_tasks_are_merged_and_appear_when_zoomed_to(tab):
    server = Served(short_tasks(20_000))
    try:
        shown = tab(server).open("stream", session=3)
        bars = "Bokeh.documents[0].get_model_by_name('bars').data"
        assert shown.run(f"{bars}.left.length") < 100
        assert "tasks, most of the time short" in shown.run(f"{bars}.label[0]")
        shown.run(
            """() => {
                 const range = Bokeh.documents[0].get_model_by_name("stream-range");
                 range.setv({ start: range.start + 50_000, end: range.start + 50_500 });
               }"""
        )
        shown.until(f"{bars}.left.length > 2 && {bars}.href.every(href => href !== '')")
        tasks = server.hub.model.sessions[3].tasks
        low = float(tasks["started"].min()) + 50
        seen = (tasks["started"] <= low + 0.5) & (tasks["ended"] >= low)
        assert abs(shown.run(f"{bars}.left.length") - int(seen.sum())) <= 4
    finally:
        server.close()


def test_names_and_messages_are_never_taken_for_markup(tab):
    hub = demo_hub(1)
    body = TaskBody(
        1, EVIL, 1, f"{EVIL}/{EVIL}", b"", [EVIL], [OutputTemplate(EVIL, False, EVIL, None, None, None)]
    )
    uid = make_uid(3, 1)
    failure = Failure(uid, EVIL, EVIL, 0, EVIL, EVIL, EVIL)
    hub.notes.append(EVIL)
    hub.source = EVIL
    for event in (
        e.WorkerCame(0, START + 8, 9, EVIL, EVIL, 1, 2, [EVIL]),
        e.SessionCame(0, START + 8, 3, EVIL, EVIL),
        e.SessionWaits(0, START + 8, 3, [EVIL]),
        e.TasksSubmitted(0, START + 8, 3, [body], [1, 3], [1, 1], [0, 1], [2], [], [], [], [], []),
        e.TasksAssigned(0, START + 9, 9, [uid], [0]),
        e.TasksStarted(0, START + 9, 9, [uid], [0]),
        e.TasksPrinted(0, START + 10, 9, [(uid, 0, EVIL, EVIL, 5, 5)]),
        e.ObjectsMoved(0, START + 10, 9, [(make_uid(3, 2), EVIL, START + 9, 100_000, 100)]),
        e.TaskFailed(0, START + 10, 9, failure, START + 9, 1_000_000),
        e.SessionEnded(0, START + 10, 3, SessionState.FAILED, failure),
        e.WorkerWent(0, START + 10, 9, EVIL, False),
    ):
        hub.model.apply(event)
    server = Served(hub)
    try:
        shown = tab(server)
        pages = (
            "overview",
            "stream",
            "graph?session=3",
            "tasks",
            "task?id=3/1",
            "workers",
            "data",
            "sessions",
        )
        for path in pages:
            shown.open(path)
            if path == "stream":
                shown.run(
                    "() => { window.labels = Bokeh.documents[0].get_model_by_name('bars').data.label; }"
                )
                index = shown.run("window.labels.findIndex(label => label.includes('hacked'))")
                shown.run(
                    """() => { const source = Bokeh.documents[0].get_model_by_name("bars");
                               source.data = { ...source.data, href: source.data.href.map(() => "#") }; }"""
                )
                shown.click_in_figure("bars", "Task stream", index)
            if path.startswith("graph"):
                shown.page.mouse.move(400, 400)
            shown.page.wait_for_timeout(100)
            found = shown.run(
                """() => { const all = root => [...root.querySelectorAll("*")].flatMap(
                             element => [element, ...(element.shadowRoot ? all(element.shadowRoot) : [])]);
                           const count = name => all(document).filter(e => e.matches(name)).length;
                           return ({ hacked: "hacked" in window,
                            images: count("img, mjx-container"),
                            scripts: [...document.scripts].filter(s => !s.src && s.id !== "document").length,
                            said: document.body.innerText.includes("window.hacked = 1") }); }"""
            )
            assert found == {"hacked": False, "images": 0, "scripts": 0, "said": True}, path
    finally:
        server.close()


def test_the_theme_is_switched_and_remembered_figures_too(tab, replay):
    shown = tab(replay, "dark").open("overview")
    fill = "Bokeh.documents[0].get_model_by_name('Throughput').background_fill_color"
    shown.until(f"{fill} === '#1a2028'")
    shown.page.get_by_role("button", name="Switch between dark and light").click()
    shown.until(f"{fill} === '#ffffff'")
    shown.open("workers")
    assert shown.run("document.documentElement.dataset.theme") == "light"


def test_keys_reach_everything_and_show_where_they_are(tab, replay):
    shown = tab(replay).open("tasks")
    outline = """() => { const style = getComputedStyle(document.activeElement);
                         return [style.outlineStyle, style.outlineWidth]; }"""
    reached = []
    for _ in range(30):
        shown.page.keyboard.press("Tab")
        style, width = shown.run(outline)
        reached.append(shown.run("document.activeElement.innerText || document.activeElement.name || ''"))
        assert style == "solid" or style == "auto", reached
        assert float(width.removesuffix("px")) >= 1
    assert reached[0] == "Skip to content"
    for wanted in ("Overview", "Sessions", "model-1", "name"):
        assert wanted in reached


def test_what_is_typed_and_focused_stays_while_the_page_changes(tab, live):
    shown = tab(live).open("tasks")
    field = shown.page.get_by_label("Contains")
    field.focus()
    field.press_sequentially("pars")
    live.feed(
        e.SessionCame(0, live.hub.model.now + 1, 3, "new", "node (pid 1)"),
        e.TasksSubmitted(
            0,
            live.hub.model.now + 1,
            3,
            [TaskBody(1, "python/run", 1, "added", b"", [], [])],
            [1],
            [1],
            [0],
            *([], [], [], [], [], []),
        ),
    )
    shown.until("document.querySelector('[data-fragment=tree]').innerText.includes('added')")
    assert field.input_value() == "pars"
    assert shown.run("document.activeElement.name") == "find"
    field.press("Enter")
    shown.until("document.querySelectorAll('[data-fragment=list] tbody tr').length === 20")


def test_nothing_is_sent_when_nothing_changes(tab, live):
    shown = tab(live)
    frames = []
    shown.page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.append(frame)))
    shown.open("overview")
    shown.page.wait_for_timeout(300)
    before = len(frames)
    shown.page.wait_for_timeout(1300)
    assert len(frames) == before
    live.feed(e.SessionWaits(0, live.hub.model.now, 1, ["no worker offers kind gpu"]))
    shown.until(
        "document.querySelector('[data-fragment=waiting]').innerText.includes('no worker offers kind gpu')"
    )
    assert len(frames) > before


def test_a_session_is_cancelled_after_a_question(tab, live):
    asked = []
    live.hub.canceller = lambda session, reason: asked.append((session, reason))
    shown = tab(live).open("sessions")
    shown.page.get_by_role("button", name="Cancel session 1 demo").click()
    shown.page.get_by_role("button", name="Keep it").click()
    shown.page.get_by_role("button", name="Cancel session 1 demo").click()
    shown.page.get_by_label("Reason").fill("no longer needed")
    assert asked == []
    shown.page.get_by_role("button", name="Cancel the session").click()
    wait_until(lambda: bool(asked), shown)
    assert asked == [(1, "no longer needed")]
    live.feed(e.SessionEnded(0, live.hub.model.now + 1, 1, SessionState.CANCELLED, None))
    shown.until("document.querySelector('[data-fragment=sessions]').innerText.includes('cancelled')")


def test_a_replay_can_cancel_nothing(tab, replay):
    shown = tab(replay).open("sessions")
    assert shown.page.locator("[data-cancel]").count() == 0


def test_an_empty_cluster_says_what_to_do(tab):
    hub = demo_hub(1)
    server = Served(type(hub)(source="127.0.0.1:7210", is_connected=True))
    try:
        shown = tab(server).open("overview")
        assert "No worker is connected: start one with rainzmq worker ADDRESS" in shown.text("waiting")
        shown.open("stream")
        assert "Nothing ran in this span: no worker was connected" in shown.text("names")
    finally:
        server.close()


def test_a_lost_dashboard_is_said_and_found_again(tab, live):
    shown = tab(live).open("overview")

    def cut():
        for session in live.application.get_sessions("/overview"):
            for connection in list(session._subscribed_connections):
                connection._socket.close()

    with shown.page.expect_navigation():
        live.loop.add_callback(cut)
        shown.page.get_by_text("The connection to the dashboard is lost").wait_for()
        assert shown.page.locator(".status .pill.bad").inner_text().startswith("not connected, last seen ")
        assert shown.page.locator(".status .pill.good").count() == 0
    shown.connected()
    assert shown.complaints
    shown.complaints.clear()
