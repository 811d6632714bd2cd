"""Declaration of messages: fields, meaning and checks, once.

A message is a frozen-layout dataclass whose fields are `Annotated[type, "meaning and unit"]`. `@message(tag,
...)` registers it; `@struct` declares a record that stands inside messages. Both are encoded as msgpack
arrays in the order of their fields. From the annotations a *row codec* is generated: `to_row` (object to a
tuple of plain values) and `from_row` (plain values, from a peer that may be hostile, to an object), which
raises `ProtocolError` and nothing else. Types understood: bool, int, float, str, bytes, `T | None`,
`list[T]`, `tuple[T, ...fixed]`, `dict[str, T]`, structs, a `StrEnum` (its value travels), and `Any` for what
msgpack decodes; `Int64s`, `Int32s`, `UInt32s` and `Float64s` for long columns of numbers that travel as
bytes, which costs next to nothing to decode.
"""

from __future__ import annotations

import math
import sys
import types
import typing
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Annotated, Any, NewType, TypeVar, Union, dataclass_transform, get_args, get_origin

T = TypeVar("T")

Decode = Callable[[Any], Any]
Encode = Callable[[Any], Any]


Int64s = NewType("Int64s", list[int])
"""A column of integers: a list when it is made, little-endian int64 on the wire, an `array` when decoded."""

Int32s = NewType("Int32s", list[int])
"""As Int64s, with integers of 32 bits."""

UInt32s = NewType("UInt32s", list[int])
"""As Int64s, with integers of 32 bits from 0: ids within a session."""

Float64s = NewType("Float64s", list[float])
"""As Int64s, with floating point numbers of 64 bits."""

_PACKED: dict[Any, str] = {Int64s: "q", Int32s: "i", UInt32s: "I", Float64s: "d"}


class ProtocolError(Exception):
    """A frame that is not a message: malformed, unknown, too large, or with a field of the wrong type."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message or struct: its name, its type as text, and its meaning."""

    name: str
    type_text: str
    doc: str


@dataclass(frozen=True)
class Declaration:
    """What is known of a message type or a struct.

    Attributes:
        cls: the dataclass.
        tag: first element of the array on the wire; empty for structs.
        conversation: which pair of processes speaks it, such as "client-server".
        senders: roles that may send it.
        fields: the declared fields, in order.
    """

    cls: type
    tag: str
    conversation: str
    senders: tuple[str, ...]
    fields: tuple[Field, ...]


MESSAGES: dict[type, Declaration] = {}
STRUCTS: dict[type, Declaration] = {}
_BY_TAG: dict[tuple[str, str], Declaration] = {}


@dataclass_transform()
def message(tag: str, conversation: str, *senders: str) -> Callable[[type[T]], type[T]]:
    """Declare a message type: its tag, the conversation it belongs to, and the roles that may send it."""

    def declare(cls: type[T]) -> type[T]:
        cls = dataclass(slots=True)(cls)
        declaration = Declaration(cls, tag, conversation, senders, _declared_fields(cls))
        key = (conversation, tag)
        assert key not in _BY_TAG, f"message {key} is declared twice"
        _install_codec(cls)
        MESSAGES[cls] = _BY_TAG[key] = declaration
        return cls

    return declare


@dataclass_transform()
def struct(cls: type[T]) -> type[T]:
    """Declare a record that stands inside messages."""
    cls = dataclass(slots=True)(cls)
    declaration = Declaration(cls, "", "", (), _declared_fields(cls))
    _install_codec(cls)
    STRUCTS[cls] = declaration
    return cls


def by_tag(conversation: str, tag: str) -> Declaration:
    """The message type of a tag; ProtocolError when there is none."""
    try:
        return _BY_TAG[conversation, tag]
    except (KeyError, TypeError):
        raise ProtocolError(f"unknown message {tag!r:.40} in conversation {conversation}") from None


def to_row(value: Any) -> tuple[Any, ...]:
    """The fields of a message or struct as a tuple of plain values."""
    row: tuple[Any, ...] = type(value).__to_row__(value)
    return row


def from_row(cls: type[T], row: Any) -> T:
    """A message or struct of type `cls` from plain values; ProtocolError when they do not fit its
    declaration.
    """
    return typing.cast(Any, cls).__from_row__(row)  # type: ignore[no-any-return]


def empty(cls: type[T]) -> T:
    """A message of columns, all of them empty lists."""
    return cls(*[[] for _ in MESSAGES[cls].fields])


def declared() -> Iterable[Declaration]:
    """All message types, for the documentation and its test."""
    return MESSAGES.values()


def _declared_fields(cls: type) -> tuple[Field, ...]:
    hints = typing.get_type_hints(cls, include_extras=True)
    result = []
    for item in fields(cls):
        hint = hints[item.name]
        assert get_origin(hint) is Annotated, f"{cls.__name__}.{item.name} has no meaning: use Annotated"
        inner, doc = get_args(hint)[:2]
        result.append(Field(item.name, _type_text(inner), doc))
    return tuple(result)


def _type_text(hint: Any) -> str:
    if (isinstance(hint, type) and not get_args(hint)) or isinstance(hint, NewType):
        return hint.__name__
    text = str(hint).replace("typing.", "").replace("rainzmq.common.states.", "")
    return text.replace(f"{__name__.rsplit('.', 1)[0]}.messages.", "")


def _install_codec(cls: type) -> None:
    hints = typing.get_type_hints(cls)
    names = [item.name for item in fields(cls)]
    plans = [(name, *_codec(hints[name], f"{cls.__name__}.{name}")) for name in names]
    count = len(plans)
    decoders = [decode for _, _, decode in plans]
    parts = []
    scope: dict[str, Any] = {}
    for index, (name, encode, _) in enumerate(plans):
        if encode is None:
            parts.append(f"m.{name},")
        else:
            scope[f"e{index}"] = encode
            parts.append(f"e{index}(m.{name}),")
    # Generated once per class: a loop over fields costs more than the rest of coding a hot message.
    to_row_function = eval(f"lambda m: ({' '.join(parts)})", scope)

    def from_row_slowly(row: Any) -> Any:
        if type(row) is not list and type(row) is not tuple:
            raise ProtocolError(f"{cls.__name__}: expected an array, got {type(row).__name__}")
        if len(row) != count:
            raise ProtocolError(f"{cls.__name__}: {len(row)} fields instead of {count}")
        return cls(*[decode(value) for decode, value in zip(decoders, row, strict=True)])

    cls.__to_row__ = staticmethod(to_row_function)  # type: ignore[attr-defined]
    cls.__from_row__ = staticmethod(  # type: ignore[attr-defined]
        _fast_decoder(cls, [hints[name] for name in names], decoders, from_row_slowly)
    )


def _fast_decoder(
    make: Callable[..., Any], hints: list[Any], decoders: list[Decode], slowly: Decode
) -> Decode:
    """A decoder of arrays that looks at fields of plain types inline; `slowly` gets those with a fault, and
    says which.
    """
    names = [f"v{index}" for index in range(len(hints))]
    scope: dict[str, Any] = {"make": make, "slowly": slowly}
    checks, values = [f"type(row) is list and len(row) == {len(hints)}"], []
    for index, (name, hint) in enumerate(zip(names, hints, strict=True)):
        check = _inline_check(hint, name)
        if check is None:
            scope[f"d{index}"] = decoders[index]
            values.append(f"d{index}({name})")
        else:
            checks.append(check)
            values.append(f"tuple({name})" if get_origin(hint) is tuple else name)
    unpack = f"({', '.join(names)},) = row"
    source = f"""
def decode(row):
    if {checks[0]}:
        {unpack if names else "pass"}
        if {" and ".join(checks[1:]) or "True"}:
            return make({", ".join(values)})
    return slowly(row)
"""
    exec(source, scope)
    decode: Decode = scope["decode"]
    return decode


def _inline_check(hint: Any, name: str) -> str | None:
    """The condition that a value is of a plain type, as source; None when its decoder must look at it."""
    if hint in (bool, str, bytes):
        return f"type({name}) is {hint.__name__}"
    if hint is int:
        return f"type({name}) is int and {-(1 << 62)} < {name} < {1 << 63}"
    if hint is float:
        return f"type({name}) is float and -1e308 < {name} < 1e308"
    if get_origin(hint) in (Union, types.UnionType):
        (inner,) = [arg for arg in get_args(hint) if arg is not type(None)]
        check = _inline_check(inner, name)
        return None if check is None or get_origin(inner) is tuple else f"({name} is None or {check})"
    if get_origin(hint) is tuple and not any(get_origin(arg) is tuple for arg in get_args(hint)):
        parts = [_inline_check(arg, f"{name}[{index}]") for index, arg in enumerate(get_args(hint))]
        if None not in parts:
            return " and ".join([f"type({name}) is list and len({name}) == {len(parts)}", *map(str, parts)])
    return None


def _codec(hint: Any, where: str) -> tuple[Encode | None, Decode]:
    """Encoder (None: the value as it is) and checking decoder of one type."""
    if hint in (bool, str, bytes):
        return None, _exactly(hint, where)
    if hint is int:
        return None, _integer(where)
    if hint is float:
        return None, _number(where)
    if hint is Any:
        return None, lambda value: value
    if hint in _PACKED:
        return _packed_codec(_PACKED[hint], where)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return None, _member(hint, where)
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _optional_codec(args, where)
    if origin is list:
        return _list_codec(args[0], where)
    if origin is tuple:
        return _tuple_codec(args, where)
    if origin is dict:
        return _dict_codec(args, where)
    if hint in STRUCTS:
        return hint.__to_row__, hint.__from_row__
    raise TypeError(f"{where}: a message cannot hold {hint}")


def _exactly(cls: type, where: str) -> Decode:
    def decode(value: Any) -> Any:
        if type(value) is not cls:
            raise ProtocolError(f"{where}: expected {cls.__name__}, got {type(value).__name__}")
        return value

    return decode


def _member(cls: type[StrEnum], where: str) -> Decode:
    members = {member.value: member for member in cls}

    def decode(value: Any) -> Any:
        member = members.get(value) if type(value) is str else None
        if member is None:
            raise ProtocolError(f"{where}: {value!r:.40} is no {cls.__name__}")
        return member

    return decode


def _integer(where: str) -> Decode:
    def decode(value: Any) -> Any:
        if type(value) is not int or not -(1 << 62) < value < (1 << 63):
            raise ProtocolError(f"{where}: expected an integer under 2^63, got {type(value).__name__}")
        return value

    return decode


def _number(where: str) -> Decode:
    def decode(value: Any) -> Any:
        if type(value) is float:
            if value != value or value in (float("inf"), float("-inf")):
                raise ProtocolError(f"{where}: not a finite number")
            return value
        if type(value) is int:
            return float(value)
        raise ProtocolError(f"{where}: expected a number, got {type(value).__name__}")

    return decode


def _optional_codec(args: tuple[Any, ...], where: str) -> tuple[Encode | None, Decode]:
    rest = [arg for arg in args if arg is not type(None)]
    if len(rest) != 1 or len(args) != 2:
        raise TypeError(f"{where}: only `T | None` unions can stand in a message")
    encode, decode = _codec(rest[0], where)

    def decode_optional(value: Any) -> Any:
        return None if value is None else decode(value)

    if encode is None:
        return None, decode_optional
    inner = encode
    return (lambda value: None if value is None else inner(value)), decode_optional


def _list_codec(item: Any, where: str) -> tuple[Encode | None, Decode]:
    encode, decode = _codec(item, where)

    if item in (int, str, bytes, bool):
        allowed = {item}

        def decode_plain(value: Any) -> Any:
            if type(value) is not list:
                raise ProtocolError(f"{where}: expected an array, got {type(value).__name__}")
            if value and set(map(type, value)) != allowed:
                raise ProtocolError(f"{where}: expected only {item.__name__} in the array")
            if item is int and value and not (min(value) > -(1 << 62) and max(value) < (1 << 63)):
                raise ProtocolError(f"{where}: an integer out of range")
            return value

        return None, decode_plain

    def decode_list(value: Any) -> Any:
        if type(value) is not list:
            raise ProtocolError(f"{where}: expected an array, got {type(value).__name__}")
        if item is float and set(map(type, value)) == {float} and all(map(math.isfinite, value)):
            return value
        return [decode(item) for item in value]

    if encode is None:
        return None, decode_list
    inner = encode
    return (lambda value: [inner(item) for item in value]), decode_list


def _packed_codec(kind: str, where: str) -> tuple[Encode, Decode]:
    size = array(kind).itemsize

    def encode(value: Any) -> bytes:
        column = value if type(value) is array else array(kind, value)
        if sys.byteorder == "big":
            column = array(kind, column)
            column.byteswap()
        return column.tobytes()

    def decode(value: Any) -> Any:
        if type(value) is not bytes or len(value) % size:
            raise ProtocolError(f"{where}: expected a column of {size} bytes per item")
        column = array(kind)
        column.frombytes(value)
        if sys.byteorder == "big":
            column.byteswap()
        return column

    return encode, decode


def _tuple_codec(args: tuple[Any, ...], where: str) -> tuple[Encode | None, Decode]:
    codecs = [_codec(arg, where) for arg in args]

    def decode_slowly(value: Any) -> Any:
        if type(value) is not list or len(value) != len(codecs):
            raise ProtocolError(f"{where}: expected an array of {len(codecs)}")
        return tuple([decode(item) for (_, decode), item in zip(codecs, value, strict=True)])

    decode_tuple = _fast_decoder(
        lambda *items: items, list(args), [decode for _, decode in codecs], decode_slowly
    )

    if all(encode is None for encode, _ in codecs):
        return None, decode_tuple

    def encode_tuple(value: Any) -> Any:
        return [
            item if encode is None else encode(item) for (encode, _), item in zip(codecs, value, strict=True)
        ]

    return encode_tuple, decode_tuple


def _dict_codec(args: tuple[Any, ...], where: str) -> tuple[Encode | None, Decode]:
    if args[0] is not str:
        raise TypeError(f"{where}: keys in a message are str")
    encode, decode = _codec(args[1], where)
    if encode is not None:
        raise TypeError(f"{where}: dictionaries in a message hold plain values")

    def decode_dict(value: Any) -> Any:
        if type(value) is not dict or any(type(key) is not str for key in value):
            raise ProtocolError(f"{where}: expected a map with str keys")
        return {key: decode(item) for key, item in value.items()}

    return None, decode_dict
