"""Every number on every page and in the report is what REST says: on a real run in which everything happens.

Looked at live, and again from the event log: at a time at which tasks ran and waited, and at its end.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from dashboard_served import Served, Tab
from eventful_run import EventfulRun, eventful_run
from said_by_rest import Said, parted
from shown_numbers import clock, count, moment, seconds, size

from rainzmq.dashboard.report.report import make_report
from rainzmq.monitoring.store import open_replay

pytestmark = pytest.mark.slow  # a real run with killed processes, and all pages three times

CHOICES = ("all", "")
"""Sessions that are chosen; "" is what is shown without a choice."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EventfulRun]:
    home = tmp_path_factory.mktemp("home")
    home.chmod(0o700)
    patch = pytest.MonkeyPatch()
    patch.setenv("RAINZMQ_HOME", str(home))
    with eventful_run(tmp_path_factory.mktemp("run")) as found:
        yield found
        for tab in found.tabs:
            tab.context.close()
    patch.undo()


@pytest.fixture(scope="module")
def log(run: EventfulRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The event log as it is once the run was looked at live."""
    run.end()
    copy = tmp_path_factory.mktemp("log") / "events.db"
    with closing(sqlite3.connect(run.log)) as log, closing(sqlite3.connect(copy)) as other:
        log.backup(other)
    return copy


@pytest.fixture(scope="module")
def replayed(log: Path, browser: Any) -> Iterator[Served]:
    hub = open_replay(log)
    served = Served(hub)
    yield served
    served.close()
    hub.log.close()


class Looker:
    """Opens pages and says what REST says of the same.

    Attributes:
        is_still: nothing changes from one look to the next, not even time.
    """

    def __init__(self, tab: Tab, said: Said, query: dict[str, Any], is_still: bool) -> None:
        self.tab, self.said, self.is_still = tab, said, is_still
        self._query = query

    def open(self, path: str, **query: Any) -> Tab:
        return self.tab.open(path, **{**self._query, **query})


LOOKS = ("live", "at a time", "at the end")
"""In order of time: what is looked at live ends before the rest."""

all_looks = pytest.mark.parametrize("way", LOOKS, indirect=True, scope="module")
"""For tests that look at the end too, where the sessions are over and the workers have left."""


@pytest.fixture(params=LOOKS[:2], scope="module")
def way(request: pytest.FixtureRequest) -> str:
    """How it is looked at. Of the module: all tests look live before the run ends for those that do not."""
    found: str = request.param
    return found


@pytest.fixture
def look(way: str, request: pytest.FixtureRequest, tab: Callable[..., Tab]) -> Callable[[str], Looker]:
    """A function that looks at a choice of sessions."""

    def looked(choice: str) -> Looker:
        query = {"session": choice} if choice else {}
        if way == "live":
            live = request.getfixturevalue("run")
            said = Said(live.rest, None, choice)
            return Looker(tab(live), said, {**query, "token": live.token}, False)
        replay = request.getfixturevalue("replayed")
        time = request.getfixturevalue("run").looked_at if way == "at a time" else None
        if time is not None:
            query["t"] = f"{time:.6f}"
        return Looker(tab(replay), Said(replay.rest, time and float(query["t"]), choice), query, True)

    return looked


def agree(shown: dict[str, str], expected: dict[str, str]) -> None:
    """All expected numbers are shown as such."""
    assert {key: shown.get(key) for key in expected} == expected


def rows_agree(shown: dict[str, dict[str, str]], expected: dict[str, dict[str, str]]) -> None:
    """The rows are just those that are expected, with the expected numbers."""
    assert list(shown) == list(expected) or shown.keys() == expected.keys()
    wrong = {
        row: (shown[row].get(key), value)
        for row, values in expected.items()
        for key, value in values.items()
        if shown[row].get(key) != value
    }
    assert wrong == {}, "shown, said by REST"


@all_looks
@pytest.mark.parametrize("choice", CHOICES)
def test_header_and_overview(look, choice):
    looker = look(choice)
    said, shown = looker.said, looker.open("overview")
    counts = said.counts
    header = {"finished": count(counts["finished"]), "total": count(sum(counts.values()))}
    header |= {key: count(counts[key]) for key in ("running", "failed", "cancelled") if counts[key]}
    assert shown.numbers("status") == header
    live = said.live_workers
    agree(
        shown.numbers("tiles"),
        {
            **{key: count(counts[key]) for key in ("finished", "running", "waiting", "failed", "cancelled")},
            "could_run": count(counts["ready"] + counts["assigned"]),
            "workers": count(len(live)),
            "cpus": count(sum(worker["cpus"] for worker in live)),
            "open_sessions": count(sum(view["state"] == "open" for view in said.sessions)),
        },
    )
    agree(shown.numbers("waiting"), {key: count(counts[key]) for key in ("waiting", "ready", "assigned")})
    progress = shown.table("[data-fragment=progress]")
    assert progress
    rows_agree(progress, {row: said.group(row.partition(":")[2], few=True) for row in progress})
    assert sum(int(row["total"]) for key, row in progress.items() if key[0] == "0") == sum(counts.values())
    workers = {}
    for worker in live:
        workers[worker["worker_id"]] = {"running": count(worker["running"]), "cpus": count(worker["cpus"])}
        if looker.is_still:
            workers[worker["worker_id"]] |= said.loads(worker)
    rows_agree(shown.table("[data-fragment=workers]"), workers)
    rows_agree(shown.table(".failures"), said.failures())


@all_looks
@pytest.mark.parametrize("choice", [*CHOICES, "4"])
def test_task_stream(look, choice):
    looker = look(choice)
    shown = looker.open("stream").table("[data-fragment=names]")
    expected = looker.said.uses()
    whole = sum(use["busy_s"] for use in expected.values())
    rows = {
        name: {"tasks": count(use["tasks"]), "attempts": count(use["attempts"])}
        for name, use in expected.items()
    }
    if looker.is_still:
        for name, use in expected.items():
            rows[name] |= {"busy_s": seconds(use["busy_s"]), "share": f"{100 * use['busy_s'] / whole:.0f} %"}
    rows_agree(shown, rows)


@pytest.mark.parametrize("choice", CHOICES)
def test_tree_and_lists_of_tasks(look, choice):
    looker = look(choice)
    said = looker.said
    shown = looker.open("tasks", open="\n".join(said.prefixes()))
    tree = shown.table("[data-fragment=tree]")
    assert {row.partition(":")[2] for row in tree} == said.prefixes()
    rows_agree(tree, {row: said.group(row.partition(":")[2]) for row in tree})
    rows: dict[str, dict[str, str]] = {}
    for start in range(0, len(said.tasks), 50):
        shown = looker.open("tasks", after=start)
        rows |= shown.table("[data-fragment=list]")
        assert shown.numbers("list")["total"] == count(len(said.tasks))
    rows_agree(rows, {task["id"]: listed(looker, task) for task in said.tasks})
    for state in ("failed", "cancelled", "running"):
        shown = looker.open("tasks", state=state)
        wanted = [task["id"] for task in said.tasks if task["state"] == state]
        assert list(shown.table("[data-fragment=list]")) == wanted


def listed(looker: Looker, task: dict[str, Any]) -> dict[str, str]:
    row = {
        "cpu": "\N{EN DASH}" if task["cpu"] is None else str(task["cpu"]),
        "started": clock(task["started"]),
        "attempt": str(task["attempt"] + 1),
    }
    if looker.is_still or task["state"] != "running":
        row["duration_s"] = seconds(task["duration_s"])
    return row


def test_page_of_a_task(look):
    looker = look("all")
    said, seen = looker.said, Counter[str]()
    for task in said.tasks:
        detail = said.detail(task["id"])
        kind = task["state"] + (" again" if len(detail["attempts"]) > 1 else "")
        seen[kind] += 1
        if seen[kind] > 2:
            continue
        shown = looker.open("task", id=task["id"])
        numbers = {
            "cpus": str(detail["cpus"]),
            "submitted": moment(detail["submitted"]),
            **{key: clock(detail[key]) for key in ("assigned", "started", "ended")},
            "attempts": str(len(detail["attempts"])),
            "Inputs": count(detail["input_count"]),
            "Outputs": count(detail["output_count"]),
        }
        if looker.is_still or task["state"] != "running":
            numbers["duration_s"] = seconds(detail["duration_s"])
        agree(shown.numbers("task"), numbers)
        for text in detail["arguments"] or ():
            assert text in shown.text("task")
        parts = {item["id"]: {"size_bytes": size(item["size_bytes"])} for item in detail["inputs"]}
        parts |= {item["id"]: {"size_bytes": size(item["size_bytes"])} for item in detail["outputs"]}
        tries = {
            str(place): {
                "attempt": str(item["attempt"] + 1),
                "started": clock(item["started"]),
                "ended": clock(item["ended"]),
            }
            for place, item in enumerate(detail["attempts"])
        }
        rows_agree(shown.table("[data-fragment=task]"), {**parts, **tries})
    assert {"finished", "finished again", "failed", "cancelled"} <= set(seen)
    (fold,) = [task["id"] for task in said.tasks if task["name"] == "prep/fold 3"]
    inputs = [f"<data object {item['id']}>" for item in said.detail(fold)["inputs"]]
    assert said.detail(fold)["arguments"] == ["0.5", "'fold'", *inputs]


@all_looks
def test_workers(look):
    looker = look("all")
    said, shown = looker.said, looker.open("workers")
    live = {}
    for worker in said.live_workers:
        keys = ("cpus", "running", "assigned", "finished")
        row = {key: count(worker[key]) for key in keys} | {"came": clock(worker["came"])}
        if looker.is_still:
            row |= said.loads(worker) | said.speeds(worker)
            row |= {
                key: size(worker[key]) for key in ("memory_total_bytes", "store_bytes", "store_free_bytes")
            }
            row["store_objects"] = count(worker["store_objects"])
        live[worker["worker_id"]] = row
    rows_agree(shown.table("[data-fragment=live]"), live)
    gone = {
        worker["worker_id"]: {
            "finished": count(worker["finished"]),
            "came": clock(worker["came"]),
            "went": clock(worker["went"]),
        }
        for worker in said.workers
        if worker["state"] == "gone"
    }
    assert gone
    rows_agree(shown.table("[data-fragment=gone]"), gone)


@pytest.mark.parametrize("choice", CHOICES)
def test_data(look, choice):
    looker = look(choice)
    said, shown = looker.said, looker.open("data")
    objects, moves = said.objects(), said.moves()
    states = Counter(item["state"] for item in objects)
    bytes_of = Counter[str]()
    for item in objects:
        bytes_of[item["state"]] += item["size_bytes"] or 0
    agree(
        shown.numbers("totals"),
        {
            **{state: count(states[state]) for state in ("finished", "unfinished", "removed")},
            "finished_bytes": size(bytes_of["finished"]),
            "removed_bytes": size(bytes_of["removed"]),
            "moved_bytes": size(sum(move["bytes"] for move in moves)),
            "transfers": count(sum(move["count"] for move in moves)),
        },
    )
    cells = {f"bytes:{move['source']}:{move['worker']}": size(move["bytes"]) for move in moves}
    cells |= {f"count:{move['source']}:{move['worker']}": count(move["count"]) for move in moves}
    assert shown.numbers("moves") == cells
    rows: dict[str, dict[str, str]] = {}
    for start in range(0, len(objects), 50):
        shown = looker.open("data", after=start)
        rows |= shown.table("[data-fragment=objects]")
        assert shown.numbers("objects")["total"] == count(len(objects))
    expected = {
        item["id"]: {
            "size_bytes": size(item["size_bytes"]),
            "consumers": count(item["consumers"]),
            "finished": clock(item["finished"]),
        }
        for item in objects
    }
    rows_agree(rows, expected)


@all_looks
def test_sessions(look):
    looker = look("")
    said = looker.said
    rows = {}
    for view in said.all_sessions:
        counts = view["counts"]
        row = {key: count(counts[key]) for key in ("finished", "running", "failed", "cancelled")}
        row["total"], row["came"] = count(view["total"]), moment(view["came"])
        row["waiting"] = count(counts["waiting"] + counts["ready"] + counts["assigned"])
        if looker.is_still or view["ended"]:
            row["took"] = seconds((view["ended"] or said.now) - view["came"])
        rows[str(view["session_id"])] = row
    rows_agree(looker.open("sessions").table("[data-fragment=sessions]"), rows)


@pytest.mark.parametrize("fold", ["0", "1"])
def test_graph(look, fold):
    for number in ("1", "2", "6"):
        looker = look(number)
        said, shown = looker.said, looker.open("graph", fold=fold)
        assert shown.numbers("summary")["tasks"] == count(len(said.tasks))
        shown.page.locator("summary").last.click()
        rows = shown.table("[data-fragment=table]")
        rows_agree(rows, {key: said.node(key) for key in rows})
        assert sum(int(row["count"].replace(",", "")) for row in rows.values()) == len(said.tasks)


def test_report(replayed, log, tab, tmp_path):
    said = Said(replayed.rest, None, "all")
    path = tmp_path / "report.html"
    path.write_text(make_report(open_replay(log)))
    shown_tab = tab(replayed)
    shown_tab.page.goto(path.as_uri())
    assert shown_tab.complaints == [f"request to {path.as_uri()}"], "a report needs no other file"
    shown_tab.complaints.clear()
    shown = parted(shown_tab.page)
    counts = said.counts
    agree(
        shown["summary"].numbers,
        {
            **{key: count(counts[key]) for key in ("finished", "failed", "cancelled")},
            "total": count(sum(counts.values())),
            "workers": str(len(said.workers)),
            "cpus": str(sum(worker["cpus"] for worker in said.workers)),
            "attempts_in_vain": count(len(said.in_vain())),
            "moved_bytes": size(sum(move["bytes"] for move in said.moves())),
            "wall_s": seconds(said.wall_s()),
            "busy": f"{100 * said.busy():.0f} %",
        },
    )
    rows_agree(
        shown["sessions"].rows,
        {
            str(view["session_id"]): {
                **{key: count(view["counts"][key]) for key in ("finished", "failed", "cancelled")},
                "total": count(view["total"]),
                "lasted": seconds(view["ended"] - view["came"]),
            }
            for view in said.all_sessions
        },
    )
    rows_agree(shown["workers"].rows, said.worker_uses())
    rows_agree(
        shown["moves"].rows,
        {
            f"{move['source']}:{move['worker']}": {
                "count": count(move["count"]),
                "bytes": size(move["bytes"]),
                "seconds": seconds(move["seconds"]),
            }
            for move in said.moves()
        },
    )
    assert set(shown["attempts"].rows) == set(said.in_vain())
    for view in said.all_sessions:
        number = str(view["session_id"])
        mine = Said(replayed.rest, None, number)
        chapter = shown[f"session-{number}"].rows
        for key, row in chapter.items():
            if key.startswith(f"{number}:"):
                expected = mine.group(key.partition(":")[2].rstrip("/"), folded=True)
                agree(row, {name: expected[name] for name in row})
            else:
                agree(row, {"duration_s": seconds(mine.detail(key)["duration_s"])})
        done = sum(int(row["done"]) for key, row in chapter.items() if key.startswith(f"{number}:"))
        assert done == view["counts"]["finished"]
