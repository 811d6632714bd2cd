"""Content types: what the bytes of a data object mean.

A content type is None (unknown) or a name from a closed list. A name that goes on where another ends is
narrower than it (`text-latin-1` is a `text`), every type is narrower than None, and `pickle` is narrower than
`cloudpickle`, because whoever can load the latter can load the former.
"""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Callable
from typing import Any

from rainzmq.common.errors import RainException
from rainzmq.common.nesting import bounded, check_nesting, describe_limit, is_too_deep
from rainzmq.common.pickles import dumps, dumps_by_value, loads

DIRECTORY_TYPE = "dir"
"""The content type of every directory, and of nothing else."""

_PLAIN = ("pickle", "cloudpickle", "json", "cbor", "arrow", "text", DIRECTORY_TYPE, "protobuf")
_FAMILIES = ("protobuf/", "mime/", "user/")
_MAX_LENGTH = 200
_TEXT = "text-"


def check_content_type(content_type: str | None) -> str | None:
    """The content type itself; ValueError when there is no such type."""
    if content_type is None or content_type in _PLAIN:
        return content_type
    if not isinstance(content_type, str):
        raise ValueError(f"A content type is a str or None, not {type(content_type).__name__}")
    if len(content_type) > _MAX_LENGTH:
        raise ValueError(f"A content type has at most {_MAX_LENGTH} characters, not {len(content_type)}")
    for family in _FAMILIES:
        rest = content_type[len(family) :]
        if content_type.startswith(family) and rest and rest.isprintable() and " " not in rest:
            return content_type
    if content_type.startswith(_TEXT):
        _codec_name(content_type)
        return content_type
    raise ValueError(
        f"Unknown content type {content_type!r}; known are {', '.join(_PLAIN)}, text-<ENCODING>, "
        "protobuf/<T>, mime/<T>, user/<T> and None"
    )


def is_subtype(narrow: str | None, wide: str | None) -> bool:
    """Whether everything of type `narrow` is also of type `wide`. Each type is a subtype of itself."""
    if wide is None:
        return True
    if narrow is None:
        return False
    return narrow.startswith(wide) or (wide == "cloudpickle" and narrow.startswith("pickle"))


def merge_content_types(first: str | None, second: str | None) -> str | None:
    """The narrower of two types; RainException when neither is a subtype of the other."""
    if is_subtype(first, second):
        return first
    if is_subtype(second, first):
        return second
    raise RainException(
        f"Content types {first!r} and {second!r} are incompatible: neither is a subtype of the other"
    )


def check_encoding(content_type: str | None) -> str | None:
    """The content type itself when values can be serialized to it or when it is None.

    Raises:
        ValueError: there is no such type, or nothing can be serialized to it.
    """
    check_content_type(content_type)
    if content_type is not None and _kind(content_type) not in _ENCODERS:
        raise ValueError(
            f"Nothing can be encoded to content type {content_type!r}; encodings are "
            f"{', '.join(_ENCODERS)} and text-<ENCODING>"
        )
    return content_type


def encode_value(value: Any, content_type: str | None) -> bytes:
    """`value` serialized.

    Raises:
        ValueError: there is no such content type.
        RainException: nothing is serialized to that type, `value` cannot be (as when it is nested too deep),
            or an extra is missing.
    """
    check_content_type(content_type)
    encoder = None if content_type is None else _ENCODERS.get(_kind(content_type))
    if encoder is None or content_type is None:
        raise RainException(
            f"A value cannot be encoded to content type {content_type!r}; encodings are "
            f"{', '.join(_ENCODERS)} and text-<ENCODING>"
        )
    try:
        if content_type in _WALKED:
            _check_nesting(value, content_type)
        return bounded(encoder, value, content_type)
    except RainException:
        raise
    except Exception as error:  # serializers run code of the value's class
        raise RainException(
            f"A value of type {type(value).__qualname__} cannot be encoded to {content_type!r}: "
            f"{describe_limit() if is_too_deep(error) else f'{type(error).__name__}: {error}'}"
        ) from error


def decode_value(data: bytes | memoryview, content_type: str | None) -> Any:
    """The value whose serialized form is `data`.

    Raises:
        ValueError: there is no such content type.
        RainException: values of that type cannot be loaded, `data` is malformed, or an extra is missing.
    """
    check_content_type(content_type)
    decoder = None if content_type is None else _DECODERS.get(_kind(content_type))
    if decoder is None or content_type is None:
        known = (
            "No content type is known" if content_type is None else f"Content type {content_type!r} is opaque"
        )
        raise RainException(
            f"{known}, so the data cannot be loaded; give the object one of {', '.join(_DECODERS)} "
            "or use get_bytes()"
        )
    try:
        return bounded(decoder, data, content_type)
    except RainException:
        raise
    except Exception as error:  # deserializers run code of the value's class
        raise RainException(
            f"Data of content type {content_type!r} cannot be loaded: "
            f"{describe_limit() if is_too_deep(error) else f'{type(error).__name__}: {error}'}"
        ) from error


def text_encoding(content_type: str | None) -> str:
    """The encoding of a text type; UTF-8 for everything that does not name one."""
    if content_type is not None and content_type.startswith(_TEXT):
        return _codec_name(content_type)
    return "utf-8"


def _kind(content_type: str) -> str:
    return "text" if content_type.startswith(_TEXT) else content_type


def _codec_name(content_type: str) -> str:
    name = content_type[len(_TEXT) :]
    try:
        info = codecs.lookup(name)
    except (LookupError, ValueError):
        raise ValueError(f"Content type {content_type!r} names an unknown text encoding {name!r}") from None
    if not getattr(info, "_is_text_encoding", True):
        raise ValueError(f"Content type {content_type!r} names {name!r}, which is no text encoding")
    return info.name


def _encode_text(value: Any, content_type: str) -> bytes:
    if not isinstance(value, str):
        raise RainException(
            f"Only a str can be encoded to {content_type!r}, not a {type(value).__qualname__}"
        )
    return value.encode(text_encoding(content_type))


def _check_nesting(value: Any, content_type: str) -> None:
    # A DataFrame is no container itself, but its columns may hold some.
    parts = value if isinstance(value, dict) or not hasattr(value, "items") else dict(value.items())
    try:
        check_nesting(parts)
    except RainException as error:
        raise RainException(
            f"A value of type {type(value).__qualname__} cannot be encoded to {content_type!r}: {error}"
        ) from None


def _encode_json(value: Any, _content_type: str) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _cbor() -> Any:
    try:
        import cbor2
    except ImportError:
        raise RainException("Content type 'cbor' needs an extra: pip install 'rainzmq[cbor]'") from None
    return cbor2


def _arrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise RainException("Content type 'arrow' needs an extra: pip install 'rainzmq[arrow]'") from None
    return pyarrow


def _encode_arrow(value: Any, _content_type: str) -> bytes:
    arrow = _arrow()
    table = value if isinstance(value, arrow.Table) else arrow.table(value)
    sink = io.BytesIO()
    with arrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _decode_arrow(data: bytes | memoryview, _content_type: str) -> Any:
    arrow = _arrow()
    with arrow.ipc.open_stream(arrow.py_buffer(data)) as reader:
        return reader.read_all()


_WALKED = frozenset({"cbor", "arrow"})
"""Content types whose encoders would follow a value until the stack is full."""

_ENCODERS: dict[str, Callable[[Any, str], bytes]] = {
    "pickle": lambda value, _: dumps(value),
    "cloudpickle": lambda value, _: dumps_by_value(value),
    "json": _encode_json,
    "cbor": lambda value, _: bytes(_cbor().dumps(value)),
    "arrow": _encode_arrow,
    "text": _encode_text,
}

_DECODERS: dict[str, Callable[[bytes | memoryview, str], Any]] = {
    "pickle": lambda data, _: loads(data),
    "cloudpickle": lambda data, _: loads(data),
    "json": lambda data, _: json.loads(bytes(data)),
    "cbor": lambda data, _: _cbor().loads(data),
    "arrow": _decode_arrow,
    "text": lambda data, content_type: str(data, text_encoding(content_type)),
}
