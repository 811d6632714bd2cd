"""Messages to frames and back, and what hostile frames cannot do."""

from __future__ import annotations

import random
from array import array
from enum import StrEnum
from typing import Annotated, Any

import msgpack
import pytest

from rainzmq.common.states import SessionState
from rainzmq.protocol import schema
from rainzmq.protocol.codec import Header, decode, decode_bare, encode, encode_bare, pack, peek_header, unpack
from rainzmq.protocol.messages import client, data, subworker, worker
from rainzmq.protocol.messages.events import TasksAssigned
from rainzmq.protocol.messages.shared import OutputTemplate, TaskBody
from rainzmq.protocol.schema import MESSAGES, STRUCTS, ProtocolError, from_row, to_row

SAMPLES: dict[str, Any] = {
    "int": 7,
    "str": "text",
    "bytes": b"\x00\xff",
    "bool": True,
    "float": 1.5,
}


def sample(hint: Any) -> Any:
    """Some value of a declared type."""
    from typing import get_args, get_origin

    kinds = {schema.Int64s: "q", schema.Int32s: "i", schema.UInt32s: "I", schema.Float64s: "d"}
    if hint in kinds:
        return array(kinds[hint], [5, 6])
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return next(iter(hint))
    if isinstance(hint, type) and hint in STRUCTS:
        return hint(*[sample(inner_hint(hint, field.name)) for field in STRUCTS[hint].fields])
    origin, args = get_origin(hint), get_args(hint)
    if origin is list:
        return [sample(args[0])] * 2
    if origin is tuple:
        return tuple(sample(arg) for arg in args)
    if origin is dict:
        return {"key": 1}
    if args:
        return sample(next(arg for arg in args if arg is not type(None)))
    return 5 if hint is Any else SAMPLES[hint.__name__]


def inner_hint(cls: type, name: str) -> Any:
    import typing

    return typing.get_type_hints(cls)[name]


@pytest.mark.parametrize(
    "cls", list(MESSAGES), ids=lambda cls: f"{MESSAGES[cls].conversation}-{cls.__name__}"
)
def test_every_message_survives_the_wire(cls):
    declaration = MESSAGES[cls]
    message = cls(*[sample(inner_hint(cls, field.name)) for field in declaration.fields])
    header = Header(cluster_id=1, server_epoch=2, sender_epoch=3)
    for sender in declaration.senders:
        if declaration.conversation == subworker.CONVERSATION:
            assert decode_bare(encode_bare(message), declaration.conversation, sender) == message
        else:
            assert decode(encode(message, header), declaration.conversation, sender) == (header, message)


def test_only_declared_senders_may_send_a_message():
    frame = encode(client.NewSession(1, "name"), Header())
    with pytest.raises(ProtocolError, match="a viewer may not send 'new_session'"):
        decode(frame, client.CONVERSATION, "viewer")
    with pytest.raises(ProtocolError, match="unknown message"):
        decode(frame, worker.CONVERSATION, "worker")


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", "not a msgpack frame"),
        (b"\xc1", "not a msgpack frame"),
        (pack(5), "without a header"),
        (pack(["bye"]), "without a header"),
        (pack([5, 1, 1, 1, 1, ""]), "without a tag"),
        (pack(["bye", "1", 1, 1, 1, ""]), "header of something other"),
        (pack(["bye", -1, 1, 1, 1, ""]), "header of something other"),
        (pack(["bye", True, 1, 1, 1, ""]), "header of something other"),
        (pack(["bye", 1, 1, 1, 1]), "0 fields instead of 1"),
        (pack(["bye", 1, 1, 1, 1, 5]), "ClientBye.reason: expected str, got int"),
        (pack(["bye", 1, 1, 1, 1, ""]) + b"\x00", "not a msgpack frame"),
        (msgpack.packb(["bye", 1, 1, 1, 1, msgpack.ExtType(5, b"x")]), "extension|not a msgpack"),
        (msgpack.packb(["bye", 1, 1, 1, 1, {1: 2}]), "not a msgpack frame"),
        (b"\x91" * 100_000, "not a msgpack frame"),
        (b"\xdd\xff\xff\xff\xff", "not a msgpack frame"),
        (b"\xc6\xff\xff\xff\xff", "not a msgpack frame"),
    ],
)
def test_bad_frames_raise_a_protocol_error_that_says_why(frame, reason):
    with pytest.raises(ProtocolError, match=reason):
        decode(frame, client.CONVERSATION, "client")


@pytest.mark.parametrize("state", ["done", "", "FAILED", 3, None, ["failed"]])
def test_a_state_that_is_none_of_its_words_is_refused(state):
    frame = pack(["ev_session_ended", 1, 1, 1, 1, 1, 1.0, 3, state, None])
    with pytest.raises(ProtocolError, match=r"SessionEnded\.state: .* is no SessionState"):
        decode(frame, client.CONVERSATION, "server")


def test_a_state_comes_as_the_member_itself():
    frame = pack(["ev_session_ended", 1, 1, 1, 1, 1, 1.0, 3, "failed", None])
    assert decode(frame, client.CONVERSATION, "server")[1].state is SessionState.FAILED


def test_mutated_frames_raise_nothing_but_protocol_errors():
    rng = random.Random(1)
    body = TaskBody(1, "a/b", 1, None, b"", ["x"], [OutputTemplate("a", False, None, None, None, None)])
    submit = client.Submit(1, [body], [1], [1], [b"c"], [1], [9], [(1, "n")], [], [], [2], [(1, b"{}")], True)
    frame = encode(submit, Header())
    accepted = 0
    for _ in range(3000):
        mutated = bytearray(frame)
        for _ in range(rng.randint(1, 4)):
            mutated[rng.randrange(len(mutated))] = rng.randrange(256)
        try:
            decode(bytes(mutated[: rng.randint(1, len(mutated))]), client.CONVERSATION, "client")
            accepted += 1
        except ProtocolError:
            pass
    assert accepted < 1500


def test_numbers_out_of_range_are_refused():
    for value in (1 << 63, -(1 << 62), True, 1.0):
        with pytest.raises(ProtocolError):
            from_row(data.Credit, [1, value])
    with pytest.raises(ProtocolError, match="finite"):
        from_row(client.ClientWelcome, ["", 1, 1, float("nan"), 1.0, 1.0])
    assert from_row(client.ClientWelcome, ["", 1, 1, 2, 1.0, 1.0]).heartbeat_interval_s == 2.0


def test_columns_are_checked_item_by_item():
    row = list(to_row(worker.Retract([1, 2])))
    assert from_row(worker.Retract, row).uids == [1, 2]
    for bad in ([1, "2"], [1, True], [1, 1 << 63], "12", None):
        with pytest.raises(ProtocolError):
            from_row(worker.Retract, [bad])


def test_the_header_of_any_version_can_be_read():
    frame = pack(["hello", 99, 0, 0, 0, "a", {"new": "fields"}])
    assert peek_header(frame) == ("hello", Header(99, 0, 0, 0))


def test_a_field_without_a_meaning_can_not_be_declared():
    with pytest.raises(AssertionError, match="no meaning"):

        @schema.struct
        class Bad:
            field: int

    with pytest.raises(TypeError, match="cannot hold"):

        @schema.struct
        class Worse:
            field: Annotated[set, "a set"]


def test_unpacking_limits_do_not_stop_large_columns():
    numbers = list(range(100_000))
    assert unpack(pack(numbers)) == numbers


def test_packed_columns_come_back_as_arrays_of_the_same_numbers():
    event = TasksAssigned(1, 2.0, 3, [0, -1, 1 << 62], [0, -5, (1 << 31) - 1])
    header, decoded = decode(encode(event, Header()), "client-server", "server")
    assert (list(decoded.uids), list(decoded.attempts)) == (event.uids, event.attempts)
    assert decode(encode(decoded, header), "client-server", "server")[1] == decoded


@pytest.mark.parametrize("column", [[1, 2], b"\0" * 9, "text", None, 5])
def test_a_packed_column_must_be_bytes_of_whole_items(column):
    frame = pack(("ev_removed", *Header(), 1, 2.0, column))
    with pytest.raises(ProtocolError, match="8 bytes per item"):
        decode(frame, "client-server", "server")
