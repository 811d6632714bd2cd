"""What each page shows is what REST says, for eyes of all kinds."""

from __future__ import annotations

import pytest

PAGES = ("overview", "stream", "graph", "tasks", "task?id=1/1", "workers", "data", "sessions")
LOOKS = (("light", 1280, 800), ("dark", 1280, 800), ("light", 390, 844))

ACCESS = """() => {
  const wrong = [];
  const named = element => (element.getAttribute("aria-label") || element.innerText || element.title
    || [...(element.labels || [])].map(label => label.innerText).join("")).trim();
  const shown = element => element.checkVisibility() && element.closest(".plot") === null;
  for (const element of document.querySelectorAll("a, button, input, select, summary"))
    if (shown(element) && !named(element)) wrong.push(`no name: ${element.outerHTML.slice(0, 120)}`);
  for (const head of document.querySelectorAll("th"))
    if (!head.scope) wrong.push(`th without scope: ${head.innerText}`);
  for (const table of document.querySelectorAll("table"))
    if (!table.querySelector("th")) wrong.push("a table without th");
  const ids = [...document.querySelectorAll("[id]")].map(element => element.id);
  for (const id of ids) if (ids.filter(other => other === id).length > 1) wrong.push(`id twice: ${id}`);
  for (const label of document.querySelectorAll("[aria-labelledby]"))
    if (!document.getElementById(label.getAttribute("aria-labelledby")))
      wrong.push(label.outerHTML.slice(0, 120));
  if (document.querySelectorAll("h1").length !== 1) wrong.push("not one h1");
  if (!document.documentElement.lang || !document.title) wrong.push("no language or title");
  for (const name of ["main", "nav", "header"])
    if (!document.querySelector(name)) wrong.push(`no ${name}`);
  return wrong;
}"""

CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = color => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const light = color => {
    const [r, g, b] = color.slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    const layers = [];
    for (let at = element; at !== null; at = at.parentElement)
      layers.push(rgba(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const wrong = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest("script, .plot")) continue;
    const below = behind(element);
    const above = over(rgba(getComputedStyle(element).color), below);
    const [low, high] = [light(above), light(below)].sort((one, other) => one - other);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) wrong.push(`${ratio.toFixed(2)}: ${walker.currentNode.data.trim().slice(0, 60)}`);
  }
  return wrong;
}"""


@pytest.mark.parametrize(("theme", "width", "height"), LOOKS)
def test_pages_are_accessible_and_fit_the_screen(tab, replay, screenshots, theme, width, height):
    shown = tab(replay, theme, width, height)
    for path in PAGES:
        shown.open(path)
        name = path.partition("?")[0]
        assert shown.run("document.documentElement.dataset.theme") == theme
        overflow = shown.run("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, f"{name} is {overflow} px wider than the screen"
        assert shown.run(ACCESS) == [], name
        assert shown.run(CONTRAST) == [], name
        shown.page.screenshot(path=screenshots / f"{name}-{theme}-{width}.png", full_page=True)


def test_overview_shows_the_counts_of_all_sessions(tab, replay):
    shown = tab(replay).open("overview", session="all")
    sessions = replay.rest("/sessions")["items"]
    sums = {name: sum(item["counts"][name] for item in sessions) for name in sessions[0]["counts"]}
    assert (sums["finished"], sums["failed"], sums["cancelled"]) == (41, 1, 1)
    tiles = shown.numbers("tiles")
    for name in ("finished", "running", "waiting", "failed", "cancelled"):
        assert tiles[name] == str(sums[name])
    assert tiles["workers"] == str(len(replay.rest("/workers")["items"]))
    (failure,) = shown.page.locator(".failure").all_inner_texts()
    assert "bad (2/1)" in failure
    assert "ValueError: <img src=x>" in failure


def test_overview_shows_progress_by_group(tab, replay):
    shown = tab(replay).open("overview", session=1)
    groups = {item["name"]: item for item in replay.rest("/sessions/1/groups")["items"]}
    rows = {row[0]: row for row in shown.rows("progress")}
    for name, label in (("load", "load"), ("train/model-2", "model-2"), ("report", "report")):
        assert rows[label][2] == f"{groups[name]['done']}/{groups[name]['total']}"


def test_tasks_are_a_tree_with_the_numbers_of_rest(tab, replay):
    shown = tab(replay).open("tasks", session=1)
    groups = replay.rest("/sessions/1/groups")["items"]
    rows = shown.rows("tree")
    assert len(rows) == len(groups)
    for row, group in zip(rows, groups, strict=True):
        own = group["name"].rpartition("/")[2] + ("" if group["is_leaf"] else "/")
        assert row[0].split("\n")[-1].strip("▾▸ ") == own
        assert [int(row[2]), int(row[3])] == [group["done"], group["total"]]


def test_a_group_opens_its_tasks_and_sorting_keeps_the_tree(tab, replay):
    shown = tab(replay).open("tasks", session=1)
    shown.page.get_by_role("link", name="model-3", exact=True).click()
    shown.until("document.querySelectorAll('[data-fragment=list] tbody tr').length === 6")
    wanted = replay.rest("/tasks", session=1, name="train/model-3")["items"]
    assert [row[0] for row in shown.rows("list")] == [item["id"] for item in wanted]
    assert [row[2] for row in shown.rows("list")] == [item["state"] for item in wanted]
    shown.page.get_by_role("link", name="sum", exact=True).click()
    shown.until("document.querySelector('th[aria-sort=descending]') !== null")
    names = [row[0].strip("▾▸ \n") for row in shown.rows("tree")]
    at = names.index("train/")
    assert names[at : at + 4] == ["train/", "model-2", "model-1", "model-3"]
    assert names[-1] == "report"
    shown.page.get_by_role("button", name="Close train").click()
    shown.until("document.querySelectorAll('[data-fragment=tree] tbody tr').length === 4")


def test_tasks_are_filtered_by_state_name_and_worker(tab, replay):
    shown = tab(replay).open("tasks", session="all")
    shown.page.get_by_label("State").select_option("failed")
    shown.until("document.querySelectorAll('[data-fragment=list] tbody tr').length === 1")
    assert shown.rows("list")[0][0] == "2/1"
    shown.open("tasks", worker="127.0.0.1:5001", find="PARSE")
    ids = {row[0] for row in shown.rows("list")}
    wanted = replay.rest("/tasks", worker="127.0.0.1:5001", name="load/parse")["items"]
    assert ids == {item["id"] for item in wanted}


def test_a_task_shows_all_that_rest_says(tab, replay):
    shown = tab(replay).open("task", id="1/1")
    detail = replay.rest("/tasks/1/1")
    text = shown.text("task")
    assert detail["why"] in text
    assert detail["debug"] == "loaded <b>fine</b>"
    for part in (detail["debug"], detail["stdout"].strip(), detail["stderr"].strip(), detail["task_type"]):
        assert part in text
    shown.open("task", id="2/1")
    text = shown.text("task")
    assert replay.rest("/tasks/2/1")["error"] in text
    assert "killed by signal 9" in text
    shown.open("task", id="1/41")
    shown.page.get_by_role("link", name="1/1", exact=True).click()
    shown.connected()
    assert "load/parse" in shown.page.locator("h1").inner_text()


def test_a_task_that_is_not_there_is_said_so(tab, replay):
    shown = tab(replay)
    for wrong in ("9/9", "<script>alert(1)</script>", ""):
        shown.open("task", id=wrong)
        assert "There is no task" in shown.text("task")


def test_workers_data_and_sessions_show_what_rest_says(tab, replay):
    shown = tab(replay).open("workers")
    rows, workers = shown.table("[data-fragment=live]"), replay.rest("/workers")["items"]
    assert list(rows) == [item["worker_id"] for item in workers]
    for item in workers:
        row = rows[item["worker_id"]]
        assert all(row[name] == str(item[name]) for name in ("cpus", "running", "finished"))
        assert row["cpu_percent"] == f"{item['cpu_percent']:.0f} %"
    shown.open("data", session="all")
    moves = {(item["source"], item["worker"]): item for item in replay.rest("/moves")["items"]}
    workers = ["127.0.0.1:5001", "127.0.0.1:5002"]
    for row in shown.rows("moves"):
        for worker, cell in zip(workers, row[1:], strict=True):
            move = moves.get((row[0], worker))
            assert (cell == "\u2013") if move is None else cell.endswith(f" {move['count']}")
    objects = {item["id"]: item for item in replay.rest("/objects", limit=100)["items"]}
    shown_objects = shown.rows("objects")
    assert {row[0] for row in shown_objects} == set(objects)
    assert all(row[2] == objects[row[0]]["state"] for row in shown_objects)
    shown.open("sessions")
    for row, item in zip(shown.rows("sessions"), replay.rest("/sessions")["items"][::-1], strict=True):
        assert row[0] == f"{item['session_id']} {item['name']}"
        assert row[2] == item["state"]


def test_nobody_gets_in_without_the_token(tab, replay):
    shown = tab(replay)
    shown.context.clear_cookies()
    for path in ("/overview", "/assets/dashboard.js", "/static/js/bokeh.min.js", "/overview/ws", "/metrics"):
        answer = shown.context.request.get(replay.url + path)
        assert answer.status == 401, path


def test_a_link_with_the_token_opens_the_page_and_loses_it(tab, replay):
    shown = tab(replay)
    shown.context.clear_cookies()
    shown.open("tasks", session=1, token="s3cret-token")
    assert shown.page.url == f"{replay.url}/tasks?session=1"
    assert "s3cret" not in shown.page.content()
