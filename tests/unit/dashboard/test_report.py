"""A report is one file that tells all of a run and needs nothing else."""

from __future__ import annotations

import configparser
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from rainzmq.common.ids import make_uid
from rainzmq.common.states import AttemptState, SessionState
from rainzmq.dashboard.report.contents import MOST_DETAILED, contents, longest_names
from rainzmq.dashboard.report.report import make_report
from rainzmq.monitoring.hub import Hub
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.shared import Failure, OutputTemplate, TaskBody
from rainzmq.testing.events import demo_hub

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}\u2028"
_OUT = OutputTemplate("out", False, None, None, None, None)
_VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """What a browser would find: tags with attributes, scripts, and the text that is shown."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["script"]:
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif self._open[-1:] != ["style"]:
            self.text += " ".join(data.split()) + " "


def evil_hub() -> Hub:
    """A run in which everything that has a name has an evil one."""
    hub = Hub(source=EVIL, is_replay=True, notes=[EVIL])
    body = TaskBody(1, EVIL, 1, EVIL, b"", [], [_OUT])
    uid = make_uid(1, 1)
    failure = Failure(make_uid(1, 3), EVIL, EVIL, 0, EVIL, EVIL, EVIL)
    history = (
        (e.WorkerCame, 1, EVIL, EVIL, 1, 1, [EVIL]),
        (e.SessionCame, 1, EVIL, EVIL),
        (e.TasksSubmitted, 1, [body], [1, 3], [1, 1], [0, 1], [2], [], [], [], [], []),
        (e.TasksAssigned, 1, [uid], [0]),
        (e.TasksReturned, 1, [uid], [0], AttemptState.CRASHED, [EVIL]),
        (e.TasksAssigned, 1, [uid], [1]),
        (e.TasksFinished, 1, [uid], [1], [5.0], [500_000], [0], [1], [7], [], [], []),
        (e.TasksAssigned, 1, [make_uid(1, 3)], [0]),
        (e.TasksPrinted, 1, [(make_uid(1, 3), 0, EVIL, EVIL, 9, 9)]),
        (e.TaskFailed, 1, failure, 8.0, 100_000),
        (e.SessionEnded, 1, SessionState.FAILED, failure),
    )
    for number, event in enumerate(history, 1):
        hub.take([event[0](number, float(number), *event[1:])], [b""])
    return hub


@pytest.fixture(scope="module")
def html() -> str:
    return make_report(demo_hub())


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_report_has_all_its_parts(page):
    for part in (
        "Report of a run",
        "a made-up history",
        "Where the wall time went",
        "Critical path",
        "Slowest groups",
        "Failures",
        "ValueError: <img src=x>",
        "127.0.0.1:5001",
        "load/parse",
        "killed by signal 9",
        "Data moved",
    ):
        assert part in page.text
    targets = {attributes.get("id") for _, attributes in page.tags}
    for name in ("stream", "graph-0", "graph-1"):
        assert {f"{name}-light", f"{name}-dark"} <= targets


def test_parts_of_the_bar_fill_it(page):
    widths: list[list[float]] = []
    for tag, attributes in page.tags:
        if tag == "div" and attributes.get("class") == "bar":
            widths.append([])
        elif str(attributes.get("class")).startswith("part "):
            widths[-1].append(float(re.findall(r"width:([0-9.]+)%", str(attributes["style"]))[0]))
    assert len(widths) >= 4
    for bar in widths:
        assert sum(bar) == pytest.approx(100, abs=0.01)


def test_nothing_is_loaded_or_linked_from_elsewhere(html, page):
    for tag, attributes in page.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form")
        assert not {"src", "action", "srcset"} & attributes.keys()
        assert str(attributes.get("href", "#")).startswith("#")
    urls = set(re.findall(r"""["'`]\s*(https?://[^"'`\s]+)""", html))
    assert all(url.startswith("http://www.w3.org/") for url in urls)
    assert "@import" not in html


def test_only_our_own_scripts_may_run(page):
    (policy,) = [
        str(attributes["content"])
        for tag, attributes in page.tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; ")
    for attributes, _ in page.scripts:
        assert attributes.get("type") == "application/json" or f"'nonce-{attributes['nonce']}'" in policy
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]


def test_figures_are_json_that_leads_to_elements_that_are_there(page):
    targets = {attributes.get("id") for _, attributes in page.tags}
    items = [
        json.loads(text) for attributes, text in page.scripts if attributes.get("type") == "application/json"
    ]
    assert len(items) == 6
    assert {item["target_id"] for item in items} <= targets


def test_everything_is_escaped():
    hub = evil_hub()
    page = Page(make_report(hub))

    assert len(page.scripts) == len(Page(make_report(demo_hub(3))).scripts) - 2
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert page.text.count("<img src=x onerror=alert(2)>{{ 7*7 }}") > 10
    for attributes, text in page.scripts:
        if attributes.get("type") == "application/json":
            assert "<" not in text


def test_empty_run_has_a_report_too():
    page = Page(make_report(Hub(source="nothing", is_replay=True, notes=["this event log is empty"])))

    assert "this event log is empty" in page.text
    assert "No session was opened." in page.text
    assert page.scripts == []


def test_run_that_is_not_over_has_a_report_too():
    hub = demo_hub(end=False)

    assert "open" in Page(make_report(hub)).text


def test_large_run_makes_a_file_of_reasonable_size():
    html = make_report(demo_hub(3000))

    assert len(html) < 6_000_000


def test_report_begins_with_why_it_took_so_long(page):
    begin = page.text.index("In short")
    first = page.text[begin : page.text.index("What the cpus did")]
    assert re.search(r"The cpus were \d+ % busy; twice the workers would take about .* instead of ", first)
    assert "The longest chain, " in first
    assert begin < page.text.index("Contents") < page.text.index("What ran when")


def test_contents_lead_to_every_chapter(page):
    targets = {attributes.get("id") for _, attributes in page.tags}
    links = [str(attributes["href"])[1:] for tag, attributes in page.tags if tag == "a"]
    assert set(links) <= targets
    assert {"failures", "stream", "session-1", "session-2", "sessions", "workers", "moves", "method"} <= set(
        links
    )


def test_sessions_that_took_longest_get_a_chapter_each():
    model = Hub().model
    for session in range(1, 41):
        submitted = (session, [TaskBody(1, "a/b", 1, "x", b"", [], [])], [1], [1], [0])
        finished = (1, [make_uid(session, 1)], [0], [0.0], [1], [0], [0])
        model.apply(e.SessionCame(1, 1.0, session, f"s{session}", "here"))
        model.apply(e.TasksSubmitted(1, 1.0, *submitted, [], [], [], [], [], []))
        model.apply(e.TasksFinished(1, float(session), *finished, [], [], [], []))

    found = contents(Hub(model))

    assert [chapter.view.session_id for chapter in found.chapters] == list(range(41 - MOST_DETAILED, 41))
    assert found.left_out == 40 - MOST_DETAILED
    assert "32 sessions with tasks have no chapter in this report" in Page(make_report(Hub(model))).text
    assert len(found.sessions) == 40
    assert sorted(chapter.graph for chapter in found.chapters if chapter.graph is not None) == [0, 1, 2, 3]


def test_numbers_of_the_summary_agree_with_the_history():
    found = contents(demo_hub())

    assert (found.counts.finished, found.counts.failed, found.counts.cancelled) == (41, 1, 1)
    assert found.attempt_count == 1
    assert found.moved_bytes == 21 * 5000
    assert found.moved_bytes == sum(worker.received_bytes for worker in found.workers)
    assert found.speed is not None
    assert 0.5 < found.speed.busy <= 1
    assert sum(part.share for part in found.cpu_time) == pytest.approx(1)
    busy = sum(worker.busy_cpu_s for worker in found.workers)
    assert busy == pytest.approx(12.2 + 0.2 + 0.05, abs=0.01)  # the report needs two cpus
    for chapter in found.chapters:
        assert sum(part.seconds for part in chapter.wall) == pytest.approx(chapter.wall_s, rel=0.01)
        assert sum(part.share for part in chapter.wall) == pytest.approx(1)


def test_files_that_a_report_is_made_of_are_installed():
    root = Path(__file__).resolve().parents[3]
    setup = configparser.ConfigParser()
    setup.read(root / "setup.cfg")
    (pattern,) = setup["options.package_data"]["rainzmq.dashboard.report"].split()
    directory = root / "rainzmq" / "dashboard" / "report"

    files = {path for path in directory.rglob("*") if path.suffix in (".html", ".css")}
    assert files
    assert files <= set(directory.glob(pattern))


def test_names_with_a_number_each_are_folded_in_all_tables():
    model = Hub().model
    bodies = [TaskBody(key, "a/b", 1, f"load/{key}", b"", [], []) for key in range(1, 41)]
    ids = list(range(1, 41))
    model.apply(e.SessionCame(1, 1.0, 1, "s", "here"))
    model.apply(e.TasksSubmitted(1, 1.0, 1, bodies, ids, ids, [0] * 40, [], [], [], [], [], []))
    done = ([make_uid(1, number) for number in ids], [0] * 40, [2.0] * 40, [500_000] * 40, [0] * 40)
    model.apply(e.TasksFinished(1, 3.0, 1, *done, [0] * 40, [], [], [], []))

    (chapter,) = contents(Hub(model)).chapters

    assert [(group.name, group.done) for group in chapter.groups] == [("load/", 40)]
    assert chapter.group_count == 1
    assert [name for name, _, _ in chapter.path_groups] in (["load/"], ["load/1"])
    assert longest_names(model) == ["load/"]
