"""Content types."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import pytest

from rainzmq.common.content_types import (
    check_content_type,
    check_encoding,
    decode_value,
    encode_value,
    is_subtype,
    merge_content_types,
)
from rainzmq.common.errors import RainException

KNOWN = [
    *("pickle", "cloudpickle", "json", "cbor", "arrow", "text", "text-latin-1", "text-UTF-16", "dir"),
    *("protobuf", "protobuf/Msg", "mime/text/html", "user/my-thing", None),
]


@pytest.mark.parametrize("name", KNOWN)
def test_known_types_are_accepted(name: str | None) -> None:
    assert check_content_type(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "Pickle",
            "pickle2",
            "text-",
            "text-nope",
            "text-rot13",
            "mime",
            "mime/",
            "user",
            "user/",
            "user/a b",
        ),
        *("user/a\nb", "foo", "dir/x", 5, b"text"),
    ],
)
def test_other_types_are_value_errors(name: Any) -> None:
    with pytest.raises(ValueError, match="ontent type"):
        check_content_type(name)


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        ("text", "text"),
        ("text-latin-1", "text"),
        ("protobuf/Msg", "protobuf"),
        ("mime/text/html", "mime/text"),
        ("pickle", "cloudpickle"),
        *[(name, None) for name in KNOWN],
    ],
)
def test_subtypes(narrow: str | None, wide: str | None) -> None:
    assert is_subtype(narrow, wide)
    assert merge_content_types(narrow, wide) == narrow
    assert merge_content_types(wide, narrow) == narrow


@pytest.mark.parametrize(("one", "other"), [("text", "json"), ("user/a", "user/b"), ("cloudpickle", "json")])
def test_types_that_exclude_each_other_can_not_be_merged(one: str, other: str) -> None:
    assert not is_subtype(one, other)
    with pytest.raises(RainException, match=f"'{one}' and '{other}' are incompatible"):
        merge_content_types(one, other)


def test_wider_types_are_no_subtypes() -> None:
    assert not is_subtype("text", "text-latin-1")
    assert not is_subtype("cloudpickle", "pickle")
    assert not is_subtype(None, "text")


@pytest.mark.parametrize(
    ("value", "content_type"),
    [
        ({"a": [1, 2.5, None]}, "json"),
        ({"a": (1, b"x")}, "pickle"),
        ([1, 2], "cloudpickle"),
        ({"a": b"\0"}, "cbor"),
        ("čau", "text"),
        ("café", "text-latin-1"),
    ],
)
def test_values_survive_encoding(value: Any, content_type: str) -> None:
    assert decode_value(encode_value(value, content_type), content_type) == value
    assert decode_value(memoryview(encode_value(value, content_type)), content_type) == value


def test_arrow_holds_tables() -> None:
    table = decode_value(encode_value({"x": [1, 2]}, "arrow"), "arrow")
    assert table.to_pydict() == {"x": [1, 2]}
    assert decode_value(encode_value(table, "arrow"), "arrow") == table


def test_pickle_of_a_local_class_can_be_loaded_elsewhere() -> None:
    class Local:
        value = 5

    data = encode_value(Local(), "pickle")
    assert b"cloudpickle" in data
    assert pickle.loads(data).value == 5


def test_text_encodings_are_obeyed() -> None:
    assert encode_value("é", "text-latin-1") == b"\xe9"
    assert encode_value("é", "text") == "é".encode()


@pytest.mark.parametrize(
    ("value", "content_type"),
    [(1, "text"), (object(), "json"), (lambda: (yield), "json"), ("é", "text-ascii")],
)
def test_value_that_can_not_be_encoded_is_named(value: Any, content_type: str) -> None:
    with pytest.raises(RainException, match=type(value).__name__):
        encode_value(value, content_type)


@pytest.mark.parametrize("content_type", [None, "dir", "protobuf", "mime/x", "user/x"])
def test_opaque_types_can_be_neither_encoded_nor_loaded(content_type: str | None) -> None:
    with pytest.raises(RainException, match="cannot be encoded"):
        encode_value(1, content_type)
    with pytest.raises(RainException, match="cannot be loaded"):
        decode_value(b"", content_type)


@pytest.mark.parametrize("content_type", ["json", "pickle", "text"])
def test_malformed_data_is_an_error_with_the_reason(content_type: str) -> None:
    with pytest.raises(RainException, match=f"'{content_type}' cannot be loaded: .*Error"):
        decode_value(b"\xff\xfe{", content_type)


@pytest.mark.parametrize(("content_type", "module"), [("cbor", "cbor2"), ("arrow", "pyarrow")])
def test_missing_extra_is_named(content_type: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    for convert in (encode_value, decode_value):
        with pytest.raises(RainException, match=rf"rainzmq\[{content_type}\]"):
            convert(b"", content_type)


def test_encodings_are_those_that_can_be_written() -> None:
    assert check_encoding("text-latin-1") == "text-latin-1"
    assert check_encoding(None) is None
    for name in ("protobuf", "dir", "nonsense"):
        with pytest.raises(ValueError, match=name):
            check_encoding(name)
