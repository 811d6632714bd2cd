"""Frames on a stream socket."""

from __future__ import annotations

import pytest

from rainzmq.protocol.codec import decode_bare
from rainzmq.protocol.messages.subworker import CONVERSATION, Bye
from rainzmq.protocol.schema import ProtocolError
from rainzmq.protocol.stream import FrameCutter, to_frame


def test_frame_is_a_length_and_a_message() -> None:
    frame = to_frame(Bye("x"))
    assert frame == b"\x00\x00\x00\x07\x92\xa3bye\xa1x"
    assert decode_bare(frame[4:], CONVERSATION, "worker") == Bye("x")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_frames_are_found_however_the_stream_is_cut(size: int) -> None:
    payloads = [b"", b"a", b"bcd" * 10, b"e"]
    stream = b"".join(len(item).to_bytes(4, "big") + item for item in payloads)
    reader = FrameCutter(100)
    found = []
    for start in range(0, len(stream), size):
        found += reader.feed(stream[start : start + size])
    assert found == payloads


def test_too_long_frame_is_refused_before_it_arrives() -> None:
    reader = FrameCutter(100)
    assert reader.feed(b"\x00\x00\x00\x64") == []
    with pytest.raises(ProtocolError, match="a frame of 101 bytes; at most 100"):
        FrameCutter(100).feed(b"\x00\x00\x00\x65")
