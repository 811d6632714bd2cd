"""The pages say what the code says: no message, field, state or option is missing."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import click
import pytest

from rainzmq.cli.main import cli
from rainzmq.monitoring.rows import KINDS
from rainzmq.protocol.messages import client, data, events, subworker, worker
from rainzmq.protocol.schema import declared
from rainzmq.server.core import states as server_states
from rainzmq.worker.core import states as worker_states

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "rainzmq"
TOUR = (DOCS / "tour.md").read_text()


def test_generated_parts_are_up_to_date():
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "scripts" / "make_docs.py")
    make_docs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_docs)
    for path, generated in make_docs.pages().items():
        assert path.read_text().endswith(generated), f"{path}: run python scripts/make_docs.py"


CONVERSATIONS = (client, data, events, subworker, worker)
"""Importing them declares their messages."""


@pytest.mark.parametrize("declaration", list(declared()), ids=lambda item: f"{item.conversation}-{item.tag}")
def test_every_message_and_field_is_in_the_protocol_page(declaration):
    page = (DOCS / "protocol.md").read_text()
    heading = f"### `{declaration.tag}` {declaration.cls.__name__}\n"
    assert heading in page
    section = page.split(heading, 1)[1].split("\n### ", 1)[0]
    for field in declaration.fields:
        assert f"| {field.name} |" in section


@pytest.mark.parametrize("module", [server_states, worker_states], ids=["server", "worker"])
def test_every_state_is_in_the_state_machines_page(module):
    page = (DOCS / "state_machines.md").read_text()
    for entity, transitions in module.TABLES.items():
        for state in transitions:
            assert f"| {entity} | {state} |" in page, f"{entity} {state}"


def commands(command: click.Command, name: str) -> list[tuple[str, click.Command]]:
    found = [(name, command)]
    if isinstance(command, click.Group):
        for sub in command.list_commands(click.Context(command)):
            inner = command.get_command(click.Context(command), sub)
            if inner.hidden:  # only started by other commands
                continue
            found += commands(inner, f"{name} {sub}")
    return found


COMMANDS = commands(cli, "rainzmq")


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_every_command_and_option_is_in_the_command_line_page(name, command):
    page = (DOCS / "command_line.md").read_text()
    assert f"`{name}" in page
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            for option in parameter.opts:
                assert f"`{option}" in page, f"{name} {option}"


def test_every_type_of_event_is_in_the_page_about_rest():
    page = (DOCS / "rest.md").read_text().split("\n## Events\n", 1)[1].split("\n## ", 1)[0]
    assert re.findall(r"^\| `(\w+)` \| [^|]+ \|$", page, re.M) == list(KINDS)


def test_links_between_pages_lead_somewhere():
    for page in [*DOCS.glob("*.md"), *ROOT.glob("*.md"), ROOT / "benchmarks" / "README.md"]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_changelog_keeps_its_form():
    """As keepachangelog.com has it: what is to come first, kinds of changes in their order, one line each."""
    kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    _, unreleased, *releases = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.M)
    assert unreleased.startswith("Unreleased\n")
    for release in releases:
        assert re.match(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d\n", release), release[:40]
    for section in [unreleased, *releases]:
        found = re.findall(r"^### (.*)$", section, re.M)
        assert found == [kind for kind in kinds if kind in found]
        for line in section.splitlines()[1:]:
            assert line == "" or line.startswith(("### ", "- ", "  ")), line


def test_the_words_of_the_field_are_in_the_glossary():
    glossary = (DOCS / "glossary.md").read_text()
    for word in ("task", "data object", "replica", "worker", "subworker", "assign", "retract", "attempt"):
        assert f"| {word} |" in glossary


def given_up() -> list[str]:
    """The words of the glossary's second table that are not used any more."""
    table = (DOCS / "glossary.md").read_text().split("\n| say | not |\n|---|---|\n")[1]
    return re.findall(r"^\| .+ \| (.+) \|$", table, re.M)


def test_words_that_were_given_up_are_not_used():
    sources = [path for path in (ROOT / "rainzmq").rglob("*") if path.suffix in (".py", ".html", ".js")]
    words = "|".join(re.escape(word).replace("\\ ", r"[\s_]+(?:# *)?") for word in given_up())
    pattern = re.compile(rf"(?<![a-z])(?:{words})(?![a-z])", re.I)
    pages = [page for page in [*DOCS.glob("*.md"), *ROOT.glob("*.md")] if page.name != "glossary.md"]
    found = {
        f"{path.relative_to(ROOT)}: {hit[0]}"
        for path in [*sources, *pages]
        for hit in pattern.finditer(path.read_text())
    }
    assert found == set()


def test_there_are_words_that_were_given_up():
    assert {"anew", "can not", "ask back"} <= set(given_up())


def names_in(path: Path) -> set[str]:
    """What a file defines at its top, and methods of its classes as `Class.method`; without importing it."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.FunctionDef():
                names.add(node.name)
            case ast.ClassDef():
                names.add(node.name)
                names |= {
                    f"{node.name}.{item.name}" for item in node.body if isinstance(item, ast.FunctionDef)
                }
            case ast.Assign() | ast.AnnAssign():
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def said_wrong(text: str) -> list[str]:
    """What a part of the tour names and is not there: paths, and names that none of these files defines, nor
    any of the messages."""
    spans = re.findall(r"`([^`]+)`", text)
    paths = [span for span in spans if "/" in span]
    files = [*(PACKAGE / path for path in paths), *(PACKAGE / "protocol/messages").glob("*.py")]
    known = {name for file in files if file.is_file() for name in names_in(file)}
    names = [span for span in spans if "/" not in span]
    return [path for path in paths if not any(PACKAGE.glob(path))] + [
        name for name in names if name not in known
    ]


def parts_of_tour() -> list[str]:
    """Paragraphs, stops and rows of tables, without the program."""
    text = re.sub(r"^```python\n.*?^```$", "", TOUR, flags=re.M | re.S)
    return re.split(r"\n(?=\n|\d+\. |\| )", text)


def items_below(heading: str) -> list[str]:
    section = TOUR.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^\d+\. (.*(?:\n +.*)*)", section, re.M)


def test_everything_the_tour_names_exists():
    assert [wrong for part in parts_of_tour() for wrong in said_wrong(part)] == []


def test_links_of_the_tour_lead_to_the_file_they_name():
    assert all(name == target for name, target in re.findall(r"\[`([^`]+)`\]\(\.\./rainzmq/([^)]+)\)", TOUR))


def test_each_of_14_stops_has_a_file_and_a_function_of_it():
    stops = items_below("One task in 14 stops")
    assert len(stops) == 14
    for stop in stops:
        file, function = re.match(r"\*\*.*\.\*\* \[`(.*\.py)`\]\(.*\),\s+`([\w.]+)`\.\n", stop).groups()
        assert function in names_in(PACKAGE / file)


def test_the_tour_names_14_files_to_read():
    files = [
        re.match(r"\[`(.*\.py)`\]", item)[1] for item in items_below("Read these 14 files in this order")
    ]
    assert len(set(files)) == len(files) == 14


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("`server/core/tasks.py`, `task_again`, and a `Submit`", []),
        ("`server/core/tasks.py`, `task_finnished`", ["task_finnished"]),
        ("`task_again`", ["task_again"]),
        ("`server/core/engine.py`, `Engine.handle` and `Engine.task_again`", ["Engine.task_again"]),
        ("`server/tasks.py`", ["server/tasks.py"]),
        ("`cli/`, `no_such_place/` and `dashboard/leaf_*.py`", ["no_such_place/", "dashboard/leaf_*.py"]),
        ("`dashboard/application.py`, `PAGES`", []),
    ],
)
def test_what_the_tour_would_say_wrong(text: str, wrong: list[str]):
    assert said_wrong(text) == wrong
