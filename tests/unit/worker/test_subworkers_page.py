"""docs/subworker_protocol.md says what the declarations say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rainzmq.common.limits import CONFIG_LIMIT_BYTES, CRASH_LIMIT, INFO_LIMIT_BYTES, MEMORY_OBJECT_BYTES
from rainzmq.protocol import stream
from rainzmq.protocol.codec import decode_bare
from rainzmq.protocol.messages import subworker as m
from rainzmq.protocol.schema import MESSAGES, STRUCTS, Declaration
from rainzmq.protocol.stream import to_frame
from rainzmq.protocol.version import SUBWORKER_PROTOCOL_VERSION

PAGE = (Path(__file__).parents[3] / "docs" / "subworker_protocol.md").read_text()
SPOKEN = [item for item in MESSAGES.values() if item.conversation == m.CONVERSATION]
PARTS = [STRUCTS[cls] for cls in (m.SubworkerTask, m.SubworkerInput, m.SubworkerOutput, m.SubworkerResult)]
TYPES = {"int": "int", "str": "str", "bytes": "bytes", "bool": "bool", "float": "float"}


def type_on_page(text: str) -> str:
    """A declared type as the page writes it."""
    if text.endswith(" | None"):
        return type_on_page(text.removesuffix(" | None")) + "?"
    if text.startswith("list["):
        return f"[{type_on_page(text[5:-1])}]"
    if text.startswith("tuple["):
        return f"({text[6:-1]})"
    return TYPES.get(text, text.rpartition(".")[2])


def fields_on_page(heading: str) -> list[tuple[str, str]]:
    """Names and types in the first table after a heading."""
    section = PAGE.split(heading, 1)[1]
    table = section.split("|---|---|---|\n", 1)[1].split("\n\n", 1)[0]
    return [(name, kind) for name, kind in re.findall(r"^\| `(\w+)` \| ([^|]+) \|", table, re.MULTILINE)]


def declared_fields(declaration: Declaration) -> list[tuple[str, str]]:
    return [(field.name, type_on_page(field.type_text)) for field in declaration.fields]


@pytest.mark.parametrize("declaration", SPOKEN, ids=lambda item: item.tag)
def test_every_message_is_on_the_page_with_its_fields_in_order(declaration: Declaration) -> None:
    (sender,) = declaration.senders
    heading = f"### `{declaration.tag}`, from the {sender}\n"
    assert fields_on_page(heading) == declared_fields(declaration)


@pytest.mark.parametrize("declaration", PARTS, ids=lambda item: item.cls.__name__)
def test_every_struct_is_on_the_page_with_its_fields_in_order(declaration: Declaration) -> None:
    assert fields_on_page(f"**{declaration.cls.__name__}**\n") == declared_fields(declaration)


def test_worked_example_is_what_is_sent() -> None:
    example = PAGE.split("## A worked example", 1)[1].split("## A whole subworker", 1)[0]
    lines = re.findall(r"^    ((?:[0-9a-f]{2} ?)+)(?:  |$)", example, re.MULTILINE)
    task_input = m.SubworkerInput("text", (3, 5), False, "text", 5, b"hello", None, b"", b"", None)
    output = m.SubworkerOutput(None, (3, 18), False, None, None, None, b"")
    inputs, outputs = [task_input], [output]
    task = m.SubworkerTask(
        (3, 17), 0, "upper", 1, b"", inputs, outputs, "/w/t", [0], None, "shout/upper", b""
    )
    result = m.SubworkerResult(b"HELLO", None, None, b"")
    sent = [
        m.SubworkerHello(1, "shout", 4711, ["upper"]),
        m.RunTasks([(3, 1, b"")], [task]),
        m.TaskResult((3, 17), 0, True, "", [result], b"", "", 1700000000.5, 250),
    ]
    assert bytes.fromhex(" ".join(lines)) == b"".join(map(to_frame, sent))


def test_limits_are_those_of_the_code() -> None:
    assert f"Subworker protocol, version {SUBWORKER_PROTOCOL_VERSION}\n" in PAGE
    assert f"| time from start to `hello` | {stream.HELLO_TIMEOUT_S:g} s |" in PAGE
    assert f"| frame from the subworker | {stream.RESULT_FRAME_LIMIT_BYTES >> 20} MiB |" in PAGE
    assert f"| `error` | {INFO_LIMIT_BYTES >> 10} KiB of UTF-8" in PAGE
    assert f"| each `user` | {INFO_LIMIT_BYTES >> 10} KiB |" in PAGE
    assert f"| `config` | {CONFIG_LIMIT_BYTES >> 10} KiB |" in PAGE
    assert f"Contents of up to {MEMORY_OBJECT_BYTES >> 10} KiB come as `data`" in PAGE
    assert f"the task is run again, at most {CRASH_LIMIT} times" in PAGE


def test_environment_variables_are_on_the_page() -> None:
    for name in (stream.SOCKET_VARIABLE, stream.KIND_VARIABLE, stream.PIN_VARIABLE):
        assert f"`{name}`" in PAGE


def test_smallest_hello_of_the_page_is_understood() -> None:
    assert isinstance(
        decode_bare(bytes.fromhex("95a568656c6c6f01a573686f7574cd1267c0"), m.CONVERSATION, "subworker"),
        m.SubworkerHello,
    )
