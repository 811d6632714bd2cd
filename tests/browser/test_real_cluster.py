"""A real pipeline on a real cluster, in a real browser: live, then again from its event log."""

from __future__ import annotations

import json
import random
import sqlite3
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from dashboard_served import Served, Tab, wait_until

from rainzmq import LocalCluster, remote, tasks
from rainzmq.monitoring.store import open_replay, stored_events
from rainzmq.protocol.messages.events import TasksFinished
from rainzmq.transport.access import read_access


@remote(outputs=1)
def load(ctx, number):
    time.sleep(0.01 + 0.005 * (number % 5))
    print(f"loaded part {number} <script>alert(1)</script>")
    return b"x" * 10_000 * (number + 1)


@remote(outputs=1)
def fit(ctx, *parts):
    time.sleep(0.02)
    ctx.debug("%d parts", len(parts))
    return b"y" * 70_000


@remote(outputs=1, cpus=64)
def greedy(ctx):
    return b""


class RealServer:
    """The dashboard of a cluster, as a `Tab` wants it."""

    def __init__(self, cluster: LocalCluster) -> None:
        http = read_access(cluster.access_file).http
        assert http is not None
        self.url, self.port, self.token = http.url, http.port, http.token
        self.tabs: list[Tab] = []

    def rest(self, path: str) -> Any:
        """What REST says."""
        request = urllib.request.Request(f"{self.url}/api/v1{path}")
        request.add_header("Authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Iterator[tuple[LocalCluster, RealServer]]:
    """A pipeline of 37 tasks that is over, but for one that no worker can run."""
    home = tmp_path_factory.mktemp("home")
    home.chmod(0o700)
    patch = pytest.MonkeyPatch()
    patch.setenv("RAINZMQ_HOME", str(home))
    with (
        LocalCluster(workers=[1, 2], http_port=0, pin="none") as cluster,
        cluster.client() as client,
        client.new_session("real <b>pipeline</b>") as session,
    ):
        parts = [load(number, name=f"load/part-{number % 3}") for number in range(24)]
        fits = [fit(*parts[number : number + 6], name="fit") for number in range(0, 24, 2)]
        program = tasks.Execute(["sh", "-c", "cat; echo done >&2"], stdin=parts[0], stdout=True)
        program.output.keep()
        session.submit()
        session.wait([*fits, program])
        greedy(name="greedy")
        session.submit()
        server = RealServer(cluster)
        deadline = time.monotonic() + 20
        while not server.rest("/sessions/1")["reasons"]:
            assert time.monotonic() < deadline, "nothing says why the greedy task waits"
            time.sleep(0.05)
        yield cluster, server
        session.close()
        for tab in server.tabs:
            tab.context.close()
    patch.undo()


@pytest.fixture
def live(run) -> RealServer:
    return run[1]


@pytest.fixture
def log(run) -> Path:
    return run[0].logdir / "server" / "events.db"


def opened(tab, live: RealServer, path: str, **query: Any) -> Tab:
    """A page, by the link that people get."""
    return tab(live).open(path, token=live.token, **query)


def test_overview_says_how_far_it_is_and_what_waits_why(tab, live, screenshots):
    shown = opened(tab, live, "overview")
    session = live.rest("/sessions/1")
    tiles = shown.numbers("tiles")
    assert tiles["finished"] == str(session["counts"]["finished"]) == "37"
    assert tiles["could_run"] == str(session["counts"]["ready"]) == "1"
    assert "needs 64 cpus, but the largest worker" in session["reasons"][0]
    assert session["reasons"][0] in shown.page.locator("main").inner_text()
    groups = {item["name"]: item for item in live.rest("/sessions/1/groups")["items"]}
    rows = {row[0]: row for row in shown.rows("progress")}
    assert rows["fit"][2] == f"{groups['fit']['done']}/{groups['fit']['total']}" == "12/12"
    assert rows["load"][2] == "24/24"
    shown.page.screenshot(path=screenshots / "real-overview.png", full_page=True)


def test_a_click_leads_from_a_group_to_a_task_and_what_it_printed(tab, live, screenshots):
    shown = opened(tab, live, "tasks")
    shown.page.get_by_role("link", name="part-1", exact=True).click()
    shown.until("document.querySelectorAll('[data-fragment=list] tbody tr').length === 8")
    wanted = live.rest("/tasks?name=load/part-1")["items"]
    assert [row[0] for row in shown.rows("list")] == [item["id"] for item in wanted]
    task = wanted[3]["id"]
    shown.page.get_by_role("link", name=task, exact=True).click()
    shown.page.wait_for_url("**/task?*")
    shown.connected()
    detail = live.rest(f"/tasks/{task}")
    assert "<script>alert(1)</script>" in detail["stdout"]
    text = shown.text("task")
    for part in (detail["why"], detail["stdout"].strip(), detail["worker"], detail["task_type"]):
        assert part in text
    shown.page.screenshot(path=screenshots / "real-task.png", full_page=True)


def test_the_stream_has_a_bar_for_each_run_and_a_click_opens_its_task(tab, live, screenshots):
    shown = opened(tab, live, "stream")
    # The session is open: the longer it is the more bars are narrower than a pixel, and merged.
    counted = """[...Bokeh.documents[0].get_model_by_name('bars').data.label].map(
        label => Number((/^(\\d+) tasks, /.exec(label) || [0, 1])[1]))"""
    shown.until(f"{counted}.reduce((sum, count) => sum + count, 0) === 37")
    labels = shown.run("[...Bokeh.documents[0].get_model_by_name('bars').data.label]")
    ids = {item["id"] for item in live.rest("/tasks?state=finished&limit=1000")["items"]}
    single = {label for label in labels if " tasks, most of the time " not in label}
    assert single
    assert {label.rpartition("(")[2].rstrip(")") for label in single} <= ids
    # The widest: bars of a pixel move on while one aims at them, since the session is open.
    index = shown.run(
        """() => {
             const { left, right, href } = Bokeh.documents[0].get_model_by_name("bars").data;
             const widths = [...left].map((value, at) => href[at] ? right[at] - value : 0);
             return widths.indexOf(Math.max(...widths));
           }"""
    )
    shown.click_in_figure("bars", "Task stream", index)
    shown.page.wait_for_url("**/task?*")
    shown.connected()
    assert shown.page.locator("h1").inner_text() == labels[index].replace("(", "").replace(")", "")
    opened(tab, live, "stream").page.screenshot(path=screenshots / "real-stream.png", full_page=True)


def test_a_click_in_the_graph_opens_the_task(tab, live, screenshots):
    shown = opened(tab, live, "graph")
    keys = shown.run("[...Bokeh.documents[0].get_model_by_name('nodes').data.full]")
    index = next(at for at, key in enumerate(keys) if key.startswith("fit"))
    shown.page.screenshot(path=screenshots / "real-graph.png", full_page=True)
    shown.click_in_figure("nodes", "Graph", index)
    shown.page.wait_for_url("**/task?*")
    shown.connected()
    task = shown.run("new URLSearchParams(location.search).get('id')")
    assert live.rest(f"/tasks/{task}")["name"] == "fit"
    assert f"({task})" in keys[index]


def test_workers_data_and_sessions_say_what_rest_says(tab, live):
    shown = opened(tab, live, "workers")
    workers = live.rest("/workers")["items"]
    rows = shown.table("[data-fragment=live]")
    assert list(rows) == [item["worker_id"] for item in workers]
    assert [row["finished"] for row in rows.values()] == [str(item["finished"]) for item in workers]
    assert sum(item["finished"] for item in workers) == 37
    shown.open("data")
    moves = live.rest("/moves")["items"]
    assert sum(item["bytes"] for item in moves) > 0
    counts = [cell.rpartition(" ")[2] for row in shown.rows("moves") for cell in row[1:] if cell != "\u2013"]
    assert sorted(map(int, counts)) == sorted(item["count"] for item in moves)
    shown.open("sessions")
    assert shown.rows("sessions")[0][0] == "1 real <b>pipeline</b>"


def test_the_replay_shows_at_20_times_what_ran_then_by_the_log_itself(tab, log):
    with closing(sqlite3.connect(f"{log.as_uri()}?mode=ro", uri=True)) as database:
        spans = {
            f"{uid >> 32}/{uid & 0xFFFFFFFF}": (start, start + duration_us / 1e6)
            for event in stored_events(database)
            if isinstance(event, TasksFinished)
            for uid, start, duration_us in zip(event.uids, event.start_times, event.durations_us, strict=True)
        }
    assert len(spans) == 37
    edges = [edge for span in spans.values() for edge in span]
    rng, times = random.Random(3), []
    while len(times) < 20:
        at = rng.uniform(min(edges), max(edges))
        if all(abs(at - edge) > 1e-3 for edge in edges):
            times.append(at)
    hub = open_replay(log)
    served = Served(hub)
    try:
        shown, seen = tab(served), 0
        for at in times:
            shown.open("tasks", state="running", t=f"{at:.6f}")
            wanted = {task for task, (start, end) in spans.items() if start <= at < end}
            wait_until(lambda wanted=wanted: {row[0] for row in shown.rows("list")} == wanted, shown)
            seen += len(wanted)
        assert seen >= 20
    finally:
        served.close()
        hub.log.close()
